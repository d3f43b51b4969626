"""Evaluation: metrics with intervals, comparisons, probes."""
