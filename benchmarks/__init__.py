"""Comparisons with peers, one script each: `python -m benchmarks.NAME`. Never run by the tests."""
