"""Stored arrays end to end, as if they were one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ftheta.data.stages import intact


class Joined:
    """Arrays (n, ...) of files end to end, given how long each is. Each is verified and mapped when something of it is first taken."""

    def __init__(self, files: Sequence[Path], lengths: Sequence[int]):
        self.files = [file for file, length in zip(files, lengths, strict=True) if length]
        self.ends = np.cumsum([length for length in lengths if length])
        self.mapped: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.files else 0

    def array(self, number: int) -> np.ndarray:
        """Raises DamagedError for a shard that is not as it was written."""
        if number not in self.mapped:
            file = self.files[number]
            self.mapped[number] = np.load(intact(file.parent, file.name), mmap_mode="r")
        return self.mapped[number]

    def take(self, index: np.ndarray) -> np.ndarray:
        """What stands at these places, of any shape."""
        if len(self.files) == 1:
            return np.asarray(self.array(0)[index])
        of = np.searchsorted(self.ends, index, side="right")
        found: np.ndarray | None = None
        for number in np.unique(of):
            mine, array = of == number, self.array(number)
            if found is None:
                found = np.empty((*index.shape, *array.shape[1:]), array.dtype)
            found[mine] = array[index[mine] - (self.ends[number] - len(array))]
        assert found is not None
        return found
