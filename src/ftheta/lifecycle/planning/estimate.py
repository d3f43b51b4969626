"""A number with the band it lies in."""

from __future__ import annotations

from ftheta.core.config import Config


class Estimate(Config):
    """A number, the band it lies in and where it comes from."""

    value: float
    low: float
    high: float
    how: str

    def times(self, factor: float, how: str = "") -> Estimate:
        return Estimate(value=self.value * factor, low=self.low * factor, high=self.high * factor, how=how or self.how)


def exact(value: float, how: str) -> Estimate:
    return Estimate(value=value, low=value, high=value, how=how)


def within(value: float, factor: float, how: str) -> Estimate:
    """Off by at most this factor in either direction."""
    return Estimate(value=value, low=value / factor, high=value * factor, how=how)
