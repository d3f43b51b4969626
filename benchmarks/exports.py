"""Exports: for a language model, a picture classifier and a forest, trained here for seconds, every format: whether it passes the gate, the largest difference,
its size, and what fewer bits cost in bits per byte of the held-out documents.

    python -m benchmarks.exports            # prints the table as Markdown
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ftheta
from ftheta.core.errors import FthetaError
from ftheta.export import FORMATS

LANGUAGE = {
    "format": 1, "name": "language", "data": {
        "source": {"kind": "text_files", "path": "python:stdlib", "include": ["json/*.py", "html/*.py", "logging/*.py", "email/*.py", "asyncio/*.py"]},
        "split": {"validation": 0.05, "test": 0.2}, "tokenizer": {"kind": "byte_bpe", "vocab": 1024}, "pack": {"length": 128},
    },
    "model": {
        "kind": "decoder", "dim": 96, "depth": 3, "positions": "rotary", "norm": {"kind": "rmsnorm", "eps": 1e-5}, "tie": False,
        "mixer": {"kind": "attention", "heads": 3}, "feedforward": {"kind": "gated", "hidden": 256},
    },
    "objective": "next_token", "train": {"steps": 300, "batch": 8, "optimizer": {"kind": "adamw", "rate": 0.003}, "validation": None}, "evaluate": [],
}
DIGITS = {
    "format": 1, "name": "pictures", "data": {"source": {"kind": "digits"}},
    "model": {"kind": "resnet", "depths": [1, 1], "widths": [16, 32], "stem": "small", "stem_width": 16}, "objective": "classification",
    "train": {"steps": 100, "batch": 32, "optimizer": {"kind": "adamw", "rate": 0.01}, "validation": None}, "evaluate": [],
}
RECIPES: dict[str, str | Mapping[str, Any]] = {"language": LANGUAGE, "pictures": DIGITS, "forest": "digits-forest"}
FORMS = [(name, precision) for name in FORMATS.names() for precision in FORMATS.load(name).precisions]


def main() -> None:
    logging.disable(logging.INFO)
    print("| model | format | gate | largest difference | bytes | outputs move by | bits per byte | seconds |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for family, recipe in RECIPES.items():
            ftheta.run(recipe, out=Path(folder) / family)
            for name, precision in FORMS:
                start = time.perf_counter()
                try:
                    found = ftheta.export_model(Path(folder) / family / "model", name, precision=precision, out=Path(folder) / "out" / family / f"{name}-{precision}")
                except FthetaError as error:
                    print(f"| {family} | {name} {precision} | {str(error).split(': ', 1)[-1]} |||||", flush=True)
                    continue
                cost, bits = ("", "") if found.quality is None else (f"{found.quality.away:.2%}", found.quality.bits)
                said = "" if not bits else f"{bits.before:.4f} → {bits.after:.4f} ({bits.low:+.4f} to {bits.high:+.4f})"
                print(f"| {family} | {name} {precision} | passes | {found.parity.largest:.1e} | {found.size:,} | {cost} | {said} | {time.perf_counter() - start:.1f} |", flush=True)


if __name__ == "__main__":
    main()
