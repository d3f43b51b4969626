"""Pictures a second of one core: decoding (beside bare pillow), batches out of the decoded arrays, and every random change at two sizes.

The files are those of FTHETA_MIRROR: CIFAR-10 (JPEG, 32×32), BCCD (JPEG, 640×480) and ISBI's slices (PNG, 512×512).
"""

from __future__ import annotations

import io
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.common import Row, alternate, arguments, arm, publish, spread
from ftheta.core.config import Slot
from ftheta.core.random import Draws
from ftheta.data.augment import AUGMENTATIONS
from ftheta.data.catalogue import locate
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.read.account import Account
from ftheta.data.read.pictures import decode
from ftheta.data.source import Mates
from ftheta.data.sources.pictures import CIFAR10, ImageFolder
from ftheta.data.sources.source_config import Sections
from ftheta.data.tokenizers.trained import Bytes

FILES = {
    "CIFAR-10, JPEG 32×32": ("cifar10_jpeg/test.tar.xz", None, 400), "BCCD, JPEG 640×480 to 320×240": ("bccd/bccd_voc.tar", (240, 320), 20),
    "ISBI, PNG 512×512": ("isbi_em/isbi_em_train.tar", None, 10),
}
SIZES = {32: 256, 224: 32}
"""Sides of pictures → pictures of a batch."""


def rate(do: Callable[[], Any], count: int, seconds: float) -> dict[str, Any]:
    """How many of `count` things done at a time are done in a second."""
    do()
    start, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        do()
        done += count
    return {"rate": done / passed}


def decoding(what: str, bare: bool, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    path, size, count = FILES[what]
    name, _, file = path.partition("/")
    locate(name)
    source = ImageFolder(path=f"data:{name}/{file}")
    data = [item.data for item in itertools.islice(source.items(source.files()[0], Account()), count)]
    processor = ImageProcessor(size)

    def plainly(one: bytes) -> np.ndarray:
        picture = Image.open(io.BytesIO(one)).convert("RGB")
        return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR) if size else picture)

    return rate(lambda: [plainly(one) if bare else processor.pixels(decode(one, 3)) for one in data], count, seconds)


def batches(seconds: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train = CIFAR10().prepare(Sections(Bytes(), Path(folder))).splits["train"]
        return rate(lambda: train.batch(torch.randint(len(train), (256,))), 256, seconds)


def change(name: str, side: int, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    count, step = SIZES[side], itertools.count()
    batch = {"image": torch.rand(count, 3, side, side), "label": torch.arange(count) % 10}
    mates = Mates(10, lambda slots: {key: value[slots] for key, value in batch.items()})
    made = Slot(AUGMENTATIONS).parse(name)
    return rate(lambda: made(batch, Draws(torch.arange(count), count, "benchmark", next(step)), mates), count, seconds)       # type: ignore[operator]


def main() -> None:
    options = arguments(__doc__ or "", pairs=3).parse_args()
    seconds = 0.2 if options.quick else 1.0
    arms: dict[str, Callable[[], dict[str, Any]]] = {}
    for what in FILES:
        for bare in (False, True):
            arms[f"{'bare pillow' if bare else 'decoding'}: {what}"] = lambda what=what, bare=bare: arm(decoding, what=what, bare=bare, seconds=seconds)
    arms["batches of decoded pictures, 32×32"] = lambda: arm(batches, seconds=seconds)
    for side in SIZES:
        for name in AUGMENTATIONS.names():
            arms[f"{name}, {side}×{side}"] = lambda name=name, side=side: arm(change, name=name, side=side, seconds=seconds)
    found = alternate(arms, 1 if options.quick else options.pairs, lambda result: f"{result['rate']:,.0f} a second")
    rows = [Row(name, "", spread([result["rate"] for result in results], " a second")) for name, results in found.items()]
    publish("pictures", "Pictures a second of one core", rows, {"results": found}, options.quick)


if __name__ == "__main__":
    main()
