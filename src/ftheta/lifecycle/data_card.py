"""The data card in a run folder, and who hears how far the data are."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftheta.core.atomic import commit, lock, verify
from ftheta.core.errors import FolderError
from ftheta.core.log import logger
from ftheta.data.corpus.executors import Told
from ftheta.training.events import Events, Listener

DATA = "data"


def write_data_card(folder: Path, account: Mapping[str, Any], card: str, more: Mapping[str, Any] | None = None, pictures: Mapping[str, bytes] | None = None) -> Path:
    """`data/` of a run folder: card.md, account.json (with what `more` there is) and pictures. One of the same data that says as much stays."""
    place = folder / DATA
    with lock(folder / f".{DATA}.lock", lambda owner: logger.info("waiting for process %s, which is writing %s ...", owner, place)):
        if more is None and place.is_dir() and not verify(place):
            with contextlib.suppress(OSError, ValueError):
                if json.loads((place / "account.json").read_bytes())["fingerprint"] == account["fingerprint"]:
                    return place
        with commit(place, replace=True) as attempt:
            for name, data in (pictures or {}).items():
                attempt.write(name, data)
            attempt.write_text("card.md", card + "".join(f"\n![{name.partition('.')[0]}]({name})\n" for name in pictures or {}))
            attempt.write_json("account.json", {**account, **(more or {})})
    return place


def refuse_unwritable(folder: Path) -> None:
    """Raise FolderError when no card could be written into a run folder: asked before the work, and nothing is written for it."""
    whole = folder.absolute()
    there = next(place for place in (whole, *whole.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "nobody may write into" if there.is_dir() else "no folder is"
        raise FolderError(f"{folder} cannot be written ({reason} {there}): choose another --out")


def telling(listeners: Sequence[Listener]) -> Told | None:
    """What tells listeners of every shard that is done; None where nobody listens."""
    events = Events(None, list(listeners))
    return (lambda what, done, total: events.event("shards", name=what, done=done, total=total)) if listeners else None
