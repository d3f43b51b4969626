"""What decoding left of some files: pictures by number, masks, texts, and what each picture is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ftheta.core.atomic import read_manifest
from ftheta.core.errors import DataError
from ftheta.data.frame import Size
from ftheta.data.images import Stored
from ftheta.data.joined import Joined
from ftheta.data.pictures.decoding import KEPT, refuse_other_sizes
from ftheta.data.stages import digest, intact


class Kept:
    """Arrays of several parts end to end, and the names and own sizes of what is in them."""

    def __init__(self, folders: Sequence[Path], facts: Sequence[dict[str, Any]], name: str):
        files = [(folder / f"{name}-{number:04}.npy", count) for folder, part in zip(folders, facts, strict=True) for number, count in enumerate(part[name]["counts"])]
        self.names: list[str] = [one for part in facts for one in part[name]["names"]]
        self.sizes: list[Size] = [(height, width) for part in facts for height, width in part[name]["sizes"]]
        self.shape: tuple[int, ...] = ()
        first = ""
        for part in facts:
            if part[name]["names"]:
                self.shape, first = self.shape or tuple(part[name]["shape"]), first or part[name]["names"][0]
                refuse_other_sizes(first, self.shape, part[name]["names"][0], part[name]["shape"])
        self.joined = Joined([file for file, _ in files], [count for _, count in files])
        tables = [read_manifest(folder)["files"] for folder in folders]
        self.content = digest([facts["xxh3_128"] for table in tables for file, facts in sorted(table.items()) if file.startswith(f"{name}-")])

    def stored(self, rows: Sequence[int]) -> Stored:
        """Some of them as an array."""
        return Stored(self.joined, self.shape, torch.tensor(rows, dtype=torch.long), self.content)


class Found:
    """The pictures, masks and texts of some folders of decoded files."""

    def __init__(self, folders: Sequence[Path]):
        facts = [json.loads(intact(folder, KEPT).read_text()) for folder in folders]
        self.pictures = Kept(folders, facts, "pictures")
        self.masks = Kept(folders, facts, "masks")
        self.texts: dict[str, str] = {name: text for part in facts for name, text in part["texts"].items()}

    def stems(self, kept: Kept) -> dict[str, int]:
        """The number of each by its name without folders and ending. Raises DataError where two are called alike."""
        found: dict[str, int] = {}
        for row, name in enumerate(kept.names):
            other = found.setdefault(PurePosixPath(name).stem, row)
            if other != row:
                raise DataError(f"{kept.names[other]} and {name} are called alike, so that it cannot be told which of them is meant")
        return found

    def size(self) -> Size:
        """Height and width of all pictures. Raises DataError when there is none."""
        if not self.pictures.names:
            raise DataError("data.source: there is no picture")
        return self.pictures.shape[1], self.pictures.shape[2]
