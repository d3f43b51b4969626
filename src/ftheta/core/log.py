"""One logger for the package; only the first process speaks."""

from __future__ import annotations

import logging
import os

logger = logging.getLogger("ftheta")


def configure(level: int = logging.INFO) -> None:
    """Plain lines on standard error, from the first process only."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level if os.environ.get("RANK", "0") == "0" else logging.CRITICAL)
