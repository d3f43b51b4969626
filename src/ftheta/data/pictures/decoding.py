"""The decoding of a part: some files of a source, as arrays of pictures in their frames, with every file accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ftheta.core.atomic import Attempt
from ftheta.core.config import Slot
from ftheta.core.errors import DataError
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.reading import BAD, ROWS, FilesStep
from ftheta.data.pictures.reader import PictureReader
from ftheta.data.read.account import Account, Bad
from ftheta.data.read.bad import BadFile, BadRow
from ftheta.data.read.lines import decoded as in_utf8
from ftheta.data.read.pictures import decode
from ftheta.data.sources import SOURCES

HELD = 64 << 20
"""Bytes of pictures after which an array is full."""
KEPT = "kept.json"
"""What is in the arrays, and what texts say."""


class Decode(FilesStep):
    """Files → `pictures-N.npy` (n, C, H, W) and `masks-N.npy` (n, H, W), uint8."""

    kind: Literal["decode"] = "decode"

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        source = Slot(SOURCES).parse(self.source)
        assert isinstance(source, PictureReader)
        processor, account, texts = source.laying(), Account(), dict[str, str]()
        pictures, masks = Arrays(attempt, "pictures"), Arrays(attempt, "masks")
        for file in self.each():
            for item in source.items(file, account):
                try:
                    if item.role == "text":
                        texts[item.name] = in_utf8(item.data)
                    elif item.role == "mask":
                        masks.add(item.name, *source.mask(item.data))
                    else:
                        found = decode(item.data, processor.channels, item.name)
                        pictures.add(item.name, processor.pixels(found), (found.picture.height, found.picture.width))
                        account.noticed.update([found.noticed] if found.noticed else [])
                    account.good += item.role != "text"
                except (BadFile, BadRow) as reason:
                    account.refuse(Bad(item.name, None, 0, len(item.data), str(reason)), source.on_bad)
        attempt.write_json(ROWS, account.dump())
        attempt.write(BAD, *account.lines())
        attempt.write_json(KEPT, {"pictures": pictures.close(), "masks": masks.close(), "texts": texts})


class Arrays:
    """Arrays of one shape, laid end to end into files, HELD bytes of them in memory."""

    def __init__(self, attempt: Attempt, name: str):
        self.attempt = attempt
        self.name = name
        self.held: list[np.ndarray] = []
        self.facts: dict[str, Any] = {"shape": None, "counts": [], "names": [], "sizes": []}

    def add(self, name: str, array: np.ndarray, size: tuple[int, int]) -> None:
        """One more, of something of this height and width. Raises DataError for another shape than that of the first."""
        facts = self.facts
        facts["shape"] = facts["shape"] or list(array.shape)
        refuse_other_sizes((facts["names"][:1] or [name])[0], facts["shape"], name, list(array.shape))
        facts["names"].append(name)
        facts["sizes"].append(size)
        self.held.append(array)
        if len(self.held) * array.nbytes >= HELD:
            self.flush()

    def flush(self) -> None:
        write_array(self.attempt, f"{self.name}-{len(self.facts['counts']):04}.npy", np.stack(self.held))
        self.facts["counts"].append(len(self.held))
        self.held = []

    def close(self) -> dict[str, Any]:
        """What there is, as plain data."""
        if self.held:
            self.flush()
        return self.facts


def refuse_other_sizes(first: str, shape: Sequence[int], other: str, its: Sequence[int]) -> None:
    """Raise DataError where two pictures are not of one size."""
    if list(shape) != list(its):
        sizes = [f"{name} has {height}×{width} pixels" for name, (height, width) in ((first, shape[-2:]), (other, its[-2:]))]
        raise DataError(f"{sizes[0]}, {sizes[1]}: set data.source.size to the height and width that all are brought to")
