"""Environments: many copies at once, their randomness a pure function of (seed, copy, episode)."""
