"""Checkpoints: how long saving and loading take, how long training stands still for a save in the background, and whether a resumed run is
bit-equal to an uninterrupted one.

A decoder is trained by AdamW for a step, so that its state (parameters and two moments) is about 100 or 400 MB, and saved as the Trainer does
it: at once (written, synced, read back and compared), and behind, where the stall is the time until training may go on and what the next
step waits for copies before it changes anything. Both take turns in one process; the first save behind, which also makes its buffers, is told
apart. While the writer works, training steps go on: what they lose against ordinary steps is reported too. Loading (every byte copied into
place, file cache warm) takes turns with `safetensors.torch.load_file` on the same files, each in a fresh process.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.common import ROOT, Row, alternate, arguments, arm, progress, publish, ratio, spread

if TYPE_CHECKING:
    from ftheta.training.trainer import Trainer

SIZES = {"100 MB": {"dim": 384, "depth": 4}, "400 MB": {"dim": 640, "depth": 6}}
VOCAB, LENGTH, ROWS = 4096, 64, 4
STALL = 0.05


def trainer(folder: str, dim: int, depth: int, steps: int, precision: str = "float32", stop_at: int | None = None) -> Trainer:
    """A decoder with its trainer and checkpoint folder; asked to stop after `stop_at` steps."""
    from benchmarks.rows import Rows
    from ftheta.architectures.decoder import DecoderConfig
    from ftheta.data.source import Shuffled
    from ftheta.lifecycle.build import build_model
    from ftheta.objectives.language import NextToken
    from ftheta.training.checkpoints import Checkpoints
    from ftheta.training.config import TrainConfig
    from ftheta.training.events import Events
    from ftheta.training.stopping import StopRequest
    from ftheta.training.trainer import Trainer

    model = build_model(DecoderConfig.parse({
        "kind": "decoder", "vocab": VOCAB, "context": LENGTH, "dim": dim, "depth": depth, "mixer": {"kind": "attention", "heads": 8},
    }), 0)
    tokens = torch.randint(VOCAB, (64, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    config = TrainConfig.parse({
        "steps": steps, "optimizer": "adamw", "precision": precision, "validation": None, "log_every": 1, "device": "cpu", "checkpoint": {"minutes": None},
    })
    stop = StopRequest()

    def listen(name: str, facts: dict[str, Any]) -> None:
        stop.asked = name == "metrics" and facts["step"] == stop_at

    source = Shuffled(Rows(tokens, VOCAB), ROWS, 0)
    return Trainer(model, NextToken(), source, config, seed=0, checkpoints=Checkpoints(Path(folder)), events=Events(None, [listen]), stop=stop)


# the arms


def saves(folder: str, dim: int, depth: int, pairs: int) -> dict[str, Any]:
    """Seconds of saving at once and of the stall when saving behind, in turns (ABBA); what steps lose while the writer works."""
    from ftheta.data.stream import Stream

    subject = trainer(folder, dim, depth, steps=10**6)
    checkpoints, stream = subject.checkpoints, Stream(subject.source, subject.slots, 1)
    assert checkpoints is not None
    waits = [0.0]
    settle = checkpoints.settle

    def settled() -> None:
        waits[-1] += seconds(settle)

    checkpoints.settle = settled                                                          # type: ignore[method-assign]
    subject.prepare()
    ordinary = [seconds(lambda: subject.step(stream)) for _ in range(8)][2:]
    state = subject.state()
    size = sum(value.nbytes for group in state.groups.values() for value in group.values())
    before = {name: {key: value.clone() for key, value in group.items()} for name, group in state.groups.items()}
    first = seconds(lambda: subject.save(wait=False))
    subject.step(stream)                                                                  # moves what is being written
    checkpoints.wait()
    after = checkpoints.load(state.step).groups
    exact = all(torch.equal(value, after[name][key]) for name, group in before.items() for key, value in group.items())
    del before, after
    at_once: list[float] = []
    stalls: list[float] = []
    lost: list[float] = []
    for number in range(pairs):
        for wait in (True, False) if number % 2 == 0 else (False, True):
            subject.step(stream)
            if wait:
                at_once.append(seconds(lambda: subject.save(wait=True)))
                continue
            stall = seconds(lambda: subject.save(wait=False))
            waits.append(0.0)
            during = [seconds(lambda: subject.step(stream))]
            while checkpoints.writing is not None and checkpoints.writing.is_alive():
                during.append(seconds(lambda: subject.step(stream)))
            checkpoints.wait()
            stalls.append(stall + waits[-1])
            lost.append(sum(during) - len(during) * statistics.median(ordinary))
    stream.close()
    return {
        "bytes": size, "exact": exact, "step": statistics.median(ordinary), "first": first, "at_once": at_once, "stalls": stalls, "lost": lost,
        "last": checkpoints.steps()[-1],
    }


def seconds(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def loads(folder: str, step: int, way: str) -> dict[str, Any]:
    """Seconds until all tensors of a checkpoint are in place: by `ours`, by ours with verification (`verified`), or by `safetensors`."""
    import safetensors.torch

    from ftheta.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(Path(folder))
    files = sorted(checkpoints.path(step).glob("*.safetensors"))
    place = [{name: torch.zeros_like(value) for name, value in safetensors.torch.load_file(file).items()} for file in files]

    def load() -> list[dict[str, torch.Tensor]]:
        if way == "safetensors":
            return [safetensors.torch.load_file(file) for file in files]
        state = checkpoints.newest() if way == "verified" else checkpoints.load(step)
        assert state is not None
        return [state.groups[file.stem] for file in files]

    def fill() -> None:
        for target, source in zip(place, load(), strict=True):
            for name, value in source.items():
                target[name].copy_(value)

    fill()
    return {"seconds": min(seconds(fill) for _ in range(9)), "bytes": sum(value.nbytes for group in place for value in group.values())}


def trained(folder: str, precision: str, stop_at: int | None) -> dict[str, Any]:
    """Digest of parameters and optimizer state after training to step 8, or None when stopped before."""
    from ftheta.core.errors import Stopped

    subject = trainer(folder, 128, 2, steps=8, precision=precision, stop_at=stop_at)
    try:
        subject.fit()
    except Stopped:
        return {"step": subject.progress.step, "digest": None}
    groups = subject.state().groups
    digest = hashlib.sha256(b"".join(groups[group][name].numpy().tobytes() for group in sorted(groups) for name in sorted(groups[group])))
    return {"step": subject.progress.step, "digest": digest.hexdigest()}


# the comparison


def resumes(place: Path) -> dict[str, bool]:
    """Whether stopping at step 3 and going on in another process gives the very bits of the uninterrupted run."""
    equal = {}
    for precision in ("float32", "bfloat16"):
        whole = arm(trained, folder=str(place / f"whole-{precision}"), precision=precision, stop_at=None)
        stopped = arm(trained, folder=str(place / f"parts-{precision}"), precision=precision, stop_at=3)
        resumed = arm(trained, folder=str(place / f"parts-{precision}"), precision=precision, stop_at=None)
        equal[precision] = stopped == {"step": 3, "digest": None} and resumed == whole
        progress(f"resumed equals uninterrupted, {precision}: {equal[precision]}")
    return equal


def main() -> None:
    options = arguments(__doc__ or "", pairs=9).parse_args()
    pairs = 2 if options.quick else options.pairs
    details: dict[str, Any] = {}
    runs = ROOT / "runs"
    runs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs, prefix=".benchmark-") as name:             # on the disk that runs are kept on
        place = Path(name)
        details["resume"] = resumes(place)
        if not all(details["resume"].values()):
            raise SystemExit("a resumed run differs from the uninterrupted one")
        for size, shape in list(SIZES.items())[: 1 if options.quick else None]:
            saved = arm(saves, folder=str(place / size), pairs=pairs, **shape)
            if not saved["exact"]:
                raise SystemExit("a checkpoint written behind holds values from after its step")
            progress(f"{size}: at once {spread(saved['at_once'], ' s', '.3f')}, stall {spread(saved['stalls'], ' s', '.4f')}")
            loaded = alternate(
                {way: partial(arm, loads, folder=str(place / size), step=saved["last"], way=way) for way in ("ours", "safetensors", "verified")},
                2 if options.quick else 5, lambda r: f"{r['bytes'] / r['seconds'] / 1e9:.1f} GB/s",
            )
            details[size] = {"save": saved, "load": loaded}
    publish("checkpoints", "Checkpoints", summary(details), details, options.quick)


def summary(details: dict[str, Any]) -> list[Row]:
    equal = all(details["resume"].values())
    rows = [Row("resumed run against uninterrupted, float32 and bfloat16", "bit-equal", "bit-equal" if equal else "different", equal)]
    for size in [size for size in SIZES if size in details]:
        save, load = details[size]["save"], details[size]["load"]
        rows.append(Row(f"{size}: written behind while training went on, against the state at its step", "bit-equal", "bit-equal", save["exact"]))
        share = ratio(save["stalls"], save["at_once"])
        rates = {way: [result["bytes"] / result["seconds"] for result in results] for way, results in load.items()}
        against = ratio(rates["ours"], rates["safetensors"])
        rows += [
            Row(f"{size}: save at once (written, synced, read back)", "", spread(save["at_once"], " s", ".2f")),
            Row(f"{size}: stall of a save behind", "", spread([1e3 * value for value in save["stalls"]], " ms", ".1f")),
            Row(f"{size}: stall / save at once", f"≤ {STALL:.0%}", f"{share.median:.1%} ({share.low:.1%} to {share.high:.1%})", share.median <= STALL),
            Row(f"{size}: stall of the first save behind, buffers made", "", f"{1e3 * save['first']:.0f} ms"),
            Row(f"{size}: what steps lose while the writer works, a save", "", spread(save["lost"], " s", ".2f")),
            Row(f"{size}: load", "", spread([rate / 1e9 for rate in rates["ours"]], " GB/s", ".1f")),
            Row(f"{size}: load against safetensors.torch.load_file", "≥ 1× (within 5 %)", str(against), against.median >= 0.95),
            Row(f"{size}: load with every byte verified", "", spread([rate / 1e9 for rate in rates["verified"]], " GB/s", ".1f")),
        ]
    return rows


if __name__ == "__main__":
    main()
