"""Using models for many at once: an engine that continues texts, batches of every other task, a server."""
