"""Families of the Hugging Face ecosystem."""
