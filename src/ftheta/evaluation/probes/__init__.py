"""Probes: experiments on a model that show what it does, whatever it declares."""
