"""Pictures a second that ResNet-50 and ViT-B/16 classify, at 224×224 and a batch of 16: ours and transformers, in float32 and bfloat16, as they are and compiled.

Every arm loads one folder with the same random weights, written by transformers; before it is timed, its logits must equal those of transformers in
float32: within 1e-4 of the largest in float32, within 0.1 in bfloat16. ResNet-50 of transformers is measured in channels-last order, which helps it. Beside the
rate stand the seconds of the processor that a picture takes, which a busy machine changes less.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ftheta
from benchmarks.common import THREADS, Row, alternate, arguments, arm, publish, ratio, spread

MODELS = ("ResNet-50", "ViT-B/16")
SIDE, BATCH = 224, 16
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CLOSE = {"float32": 1e-4, "bfloat16": 0.1}


def theirs(name: str) -> torch.nn.Module:
    """The model of transformers, its weights random, norms' statistics away from where they start."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig(num_labels=1000)) if name == "ResNet-50" else ViTForImageClassification(ViTConfig(num_labels=1000))
    with torch.no_grad():
        for key, buffer in model.named_buffers():
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model.eval()


@torch.inference_mode()
def classify(name: str, side: str, precision: str, compiled: bool, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(THREADS)
    image, other = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), theirs(name)
    expected = other(pixel_values=image[:2]).logits
    if side == "transformers":
        other = other.to(TYPES[precision], memory_format=torch.channels_last if name == "ResNet-50" else torch.preserve_format)
        given = image.to(TYPES[precision], memory_format=torch.channels_last if name == "ResNet-50" else torch.preserve_format)
        if compiled:
            other.compile()

        def run(count: int) -> Tensor:
            return other(pixel_values=given[:count]).logits
    else:
        with tempfile.TemporaryDirectory() as folder:
            other.save_pretrained(Path(folder) / "theirs")
            model = ftheta.load(Path(folder) / "theirs").compute_in(precision).architecture.eval()
        for part in model.compiled_parts() if compiled else ():
            part.compile()

        def run(count: int) -> Tensor:
            return model(image=image[:count])["logits"]

    apart = float((run(2).float() - expected).abs().max() / expected.abs().max())
    if apart > CLOSE[precision]:
        raise RuntimeError(f"{side}, {precision}: logits are {apart:.2g} of the largest away from those of transformers in float32")
    run(BATCH)
    start, worked, done = time.perf_counter(), time.process_time(), 0
    while (passed := time.perf_counter() - start) < seconds:
        run(BATCH)
        done += BATCH
    return {"rate": done / passed, "processor": (time.process_time() - worked) / done, "apart": apart}


def main() -> None:
    options = arguments(__doc__ or "", pairs=3).parse_args()
    seconds = 2.0 if options.quick else 10.0
    rows, details = [], {}
    for name in MODELS:
        arms = {
            f"{side}, {precision}{', compiled' if compiled else ''}": lambda name=name, side=side, precision=precision, compiled=compiled: arm(
                classify, name=name, side=side, precision=precision, compiled=compiled, seconds=seconds)
            for side in ("ftheta", "transformers") for precision in TYPES for compiled in ((False, True) if precision == "bfloat16" else (False,))
        }
        found = alternate(arms, 1 if options.quick else options.pairs, lambda result: f"{result['rate']:.1f} a second")
        details[name] = found
        rates = {what: [result["rate"] for result in results] for what, results in found.items()}
        ours, rivals = ([what for what in rates if what.startswith(side)] for side in ("ftheta", "transformers"))
        best = max(ours, key=lambda what: sum(rates[what]))
        rival = max(rivals, key=lambda what: sum(rates[what]))
        for against, least in (("transformers, float32", 3.0), (rival, 1.2)):
            faster = ratio(rates[best], rates[against])
            rows.append(Row(f"{name}: {best} against {against}", f"≥ {least}×", f"{faster}", faster.median >= least))
        rows += [Row(f"{name}: {what}, pictures a second", "", spread(values, "", ".1f")) for what, values in rates.items()]
    publish("images", "Pictures classified", rows, details, options.quick)


if __name__ == "__main__":
    main()
