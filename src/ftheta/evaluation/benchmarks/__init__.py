"""Benchmarks: each a YAML file that says where its rows are, how they are asked and what is right."""
