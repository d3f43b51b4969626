"""Why something that was to be read cannot be used: raised where it is found out, counted where there is an account."""

from __future__ import annotations


class BadRow(ValueError):
    """Why a row cannot be used; the next may be."""


class BadFile(ValueError):
    """Why a file, or what is left of it, cannot be used."""
