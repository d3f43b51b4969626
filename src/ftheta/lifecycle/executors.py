"""Who works on documents, by name."""

from __future__ import annotations

from ftheta.core.catalog import Catalogue
from ftheta.core.errors import UsageError, suggest
from ftheta.data.corpus.executors import Executor, Told

EXECUTORS = Catalogue("executor", {"local": "ftheta.data.corpus.executors:Local", "ray": "ftheta.data.corpus.cluster:Ray"})


def build_executor(on: str, workers: int | None, told: Told | None = None) -> Executor:
    """Who performs steps, and tells of every shard that is done; starts nothing yet. Raises UsageError for a name that is none, or whose package is missing."""
    if on not in EXECUTORS:
        raise UsageError(f"--on: there is no '{on}'{suggest(on, EXECUTORS.names())}")
    return EXECUTORS.load(on)(workers, told)
