"""Data: from raw files to batches."""
