"""Ways to use f: generation, sampling."""
