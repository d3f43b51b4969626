"""Training on pictures: pictures a second of the Trainer on CIFAR-10 with the network of recipe `cifar10-resnet`, against a plain PyTorch loop at the best of
several settings; the time to the accuracy that this loop reaches in its whole budget; and the share of time that recipes wait for their batches.

Both sides learn from the same 9,000 pictures in memory, in steps of 128, with label smoothing, and change them at random: mirrored, moved, a part blanked. Equality comes
first: without changes, the losses of some steps from the same parameters must agree within 1e-3 in float32, under the same optimizer (Nesterov's SGD); speed is compared
with that optimizer on both sides, and stands beside that of the recipe, which has Muon. For the time to an accuracy, the plain side's rate is chosen by the 1,000 pictures kept for
validation, in runs of a sixth of the budget; every schedule rises for a tenth and falls to nothing over its own budget. Both sides are judged in float32 on the official 10,000
test pictures, and the recipe is given growing shares of the plain side's budget until it is as accurate with every seed. Time runs from building the model
to the last step, compilation and choice of precision included.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common import THREADS, Row, alternate, arguments, arm, progress, publish, ratio, spread
from benchmarks.plain_resnet import PlainResNet, batches, sgd
from benchmarks.training import EXACT_BAND
from benchmarks.watch import Watch
from ftheta.architectures.architecture import Architecture
from ftheta.data.source import Ordered
from ftheta.data.sources.source_config import Prepared
from ftheta.lifecycle.build import build_data, build_model, build_source
from ftheta.lifecycle.recipe import Recipe, load
from ftheta.training.events import Events
from ftheta.training.trainer import Progress, Trainer

RECIPE, BATCH, RATE, SMOOTHING = "cifar10-resnet", 128, 0.05, 0.1
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {}, "bf16": {"bf16": True}, "bf16, compiled": {"bf16": True, "compiled": True}, "float32, compiled": {"compiled": True},
}
RATES = (0.02, 0.05, 0.1, 0.2)
SHARES = (1 / 4, 1 / 3, 1 / 2, 3 / 4, 1)
WAITING = {"cifar10-resnet": 40, "mnist-resnet": 60, "isbi-unet": 4, "bccd-detector": 6}
"""Recipes whose waiting is measured → steps of a quick run; a whole one has five times as many."""
SAME = {"optimizer": {"kind": "sgd", "rate": RATE, "momentum": 0.9, "nesterov": True, "decay": 5e-4}, "schedule": "constant", "clip": None}


# ours


def opened(seed: int = 0, name: str = RECIPE, **train: Any) -> tuple[Recipe, Prepared, Architecture]:
    """A recipe with changes to how it trains, its data, and its model as it begins."""
    torch.set_num_threads(THREADS)
    recipe = load(name, {"seed": seed, "train": {"validation": None, "threads": THREADS, "log_every": 1, **train}})
    data = build_data(recipe)
    return recipe, data, build_model(recipe.architecture(data.splits["train"].ports.sizes), seed)


def fitted(recipe: Recipe, data: Prepared, model: Architecture, source: Any = None) -> tuple[Watch, Progress]:
    watch = Watch()
    trainer = Trainer(model, recipe.objective, source or build_source(recipe, data), recipe.train, seed=recipe.seed, events=Events(None, [watch.listen]))
    watch.mark()
    return watch, trainer.fit()


def ours(steps: int, warm: int, same: bool, changes: bool = True, precision: str = "auto") -> dict[str, Any]:
    """The Trainer, with the optimizer of both sides or that of the recipe."""
    recipe, data, model = opened(minutes=None, steps=steps, precision=precision, **(SAME if same else {}))
    watch, done = fitted(recipe, data, model, None if changes else Ordered(data.splits["train"], BATCH, 0))
    return {"losses": watch.losses, "precision": done.precision, **rate(watch, warm)}


def waiting(name: str, steps: int) -> dict[str, Any]:
    """A recipe's share of time spent waiting for batches."""
    _, done = fitted(*opened(name=name, minutes=None, epochs=None, steps=steps))
    return {"share": 100 * done.waited / done.seconds, "seconds": done.seconds}


def ours_to(budget: float, seed: int) -> dict[str, Any]:
    """The recipe for `budget` seconds; what it reached."""
    recipe, data, _ = opened(seed, minutes=budget / 60)
    start = time.perf_counter()
    model = build_model(recipe.architecture(data.splits["train"].ports.sizes), seed)
    _, done = fitted(recipe, data, model)
    seconds = time.perf_counter() - start
    model.compute_dtype = torch.float32
    return {"accuracy": accuracy(model, data, "test"), "seconds": seconds, "steps": done.step, "precision": done.precision}


# the plain side


def plain(steps: int, warm: int, changes: bool = True, bf16: bool = False, compiled: bool = False) -> dict[str, Any]:
    """The plain loop, from the Trainer's parameters."""
    _, data, beginning = opened()
    model, train = began(beginning), data.splits["train"]
    images, labels = resident(data)
    fed = batches(images, labels, BATCH) if changes else ((train.batch(rows)["image"], labels[rows]) for rows in torch.arange(len(images)).split(BATCH))
    optimizer, run, watch = sgd(model, RATE), torch.compile(model) if compiled else model, Watch()
    watch.mark()
    for _ in range(steps):
        watch.losses.append(step(run, optimizer, *next(fed), bf16))
        watch.mark()
    return {"losses": watch.losses, **rate(watch, warm)}


def plain_to(budget: float, rate: float, seed: int, split: str = "test", bf16: bool = False, compiled: bool = False) -> dict[str, Any]:
    """The plain loop for `budget` seconds; what it reached."""
    _, data, _ = opened(seed)
    images, labels = resident(data)
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        start, steps = time.perf_counter(), 0
        model = PlainResNet()
        optimizer, run, fed = sgd(model, rate), torch.compile(model) if compiled else model, batches(images, labels, BATCH)
        while (share := (time.perf_counter() - start) / budget) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, 10 * share + 1e-3) * min(1.0, (1 - share) / 0.9)
            step(run, optimizer, *next(fed), bf16)
            steps += 1
        seconds = time.perf_counter() - start
    return {"accuracy": accuracy(model, data, split), "seconds": seconds, "steps": steps}


def began(beginning: Architecture) -> PlainResNet:
    model = PlainResNet()
    model.take(list(beginning.parameters()))
    return model


def resident(data: Prepared) -> tuple[Tensor, Tensor]:
    """The training pictures (N, 3, H, W) uint8 and classes (N,), in memory."""
    train: Any = data.splits["train"]
    return train.images[torch.arange(len(train))], train.labels


def step(run: Any, optimizer: torch.optim.Optimizer, image: Tensor, label: Tensor, bf16: bool) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = F.cross_entropy(run(image.contiguous(memory_format=torch.channels_last)), label, label_smoothing=SMOOTHING)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


# both


def rate(watch: Watch, warm: int) -> dict[str, Any]:
    """Pictures a second after the warm-up."""
    (start, _), (end, _) = watch.marks[warm], watch.marks[-1]
    return {"rate": BATCH * (len(watch.marks) - 1 - warm) / (end - start)}


@torch.inference_mode()
def accuracy(model: nn.Module, data: Prepared, split: str) -> float:
    found, pictures = model.eval(), data.splits[split]
    right = 0
    for rows in torch.arange(len(pictures)).split(500):
        batch = pictures.batch(rows)
        logits = found(batch["image"]) if isinstance(found, PlainResNet) else found(image=batch["image"])["logits"]
        right += int((logits.argmax(1) == batch["label"]).sum())
    return right / len(pictures)


def equality(steps: int = 8) -> float:
    """The largest difference of the losses of some steps in float32, without random changes."""
    sides = [arm(ours, steps=steps, warm=1, same=True, changes=False, precision="float32"), arm(plain, steps=steps, warm=1, changes=False)]
    apart = max(abs(a - b) for a, b in zip(*(side["losses"] for side in sides), strict=True))
    progress(f"losses of {steps} steps differ by {apart:.1e} at most")
    if apart > EXACT_BAND:
        raise SystemExit(f"the sides do not compute the same: {[side['losses'] for side in sides]}")
    return apart


def tuned(budget: float, setting: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """The plain side's best rate by validation, and what every rate reached."""
    found = {}
    for one in RATES:
        found[f"{one:g}"] = arm(plain_to, budget=budget, rate=one, seed=0, split="validation", **setting)
        progress(f"plain, rate {one:g}: {found[f'{one:g}']['accuracy']:.3f} of the validation pictures, {found[f'{one:g}']['steps']} steps")
    return float(max(found, key=lambda name: found[name]["accuracy"])), found


def race(budget: float, seeds: int, shares: tuple[float, ...], setting: dict[str, Any]) -> tuple[list[Row], dict[str, Any]]:
    """Time to the accuracy of the plain side."""
    best, tuning = tuned(budget / 6, setting)
    theirs = [arm(plain_to, budget=budget, rate=best, seed=seed, **setting) for seed in range(seeds)]
    trials: list[dict[str, Any]] = []
    for share in shares:
        mine = [{"share": share, "seed": seed, **arm(ours_to, budget=budget * share, seed=seed)} for seed in range(seeds)]
        trials += mine
        progress(f"{share:.0%} of the budget: ours {told(mine)}, plain {told(theirs)}")
        if reached := all(a["accuracy"] >= b["accuracy"] for a, b in zip(mine, theirs, strict=True)):
            break
    quotient = ratio([a["seconds"] for a in mine], [b["seconds"] for b in theirs])
    rows = [
        Row(f"plain loop (SGD, rate {best:g}), {budget:.0f} s: accuracy on the test pictures, by seed", "", told(theirs)),
        Row(f"recipe {RECIPE} (Muon): accuracy, by seed", "at least that", told(mine), reached),
        Row("its time / the plain loop's", "", str(quotient) if reached else f"not reached in {quotient}"),
    ]
    return rows, {"tuning": tuning, "plain": theirs, "trials": trials}


def told(results: list[dict[str, Any]]) -> str:
    return ", ".join(f"{result['accuracy']:.2%}" for result in results)


def main() -> None:
    parser = arguments(__doc__ or "", pairs=3)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds of the plain side's race (default: %(default)s)")
    options = parser.parse_args()
    pairs, steps, budget, shares, times = (1, 7, 12.0, (1.0,), 1) if options.quick else (options.pairs, 60, options.budget, SHARES, 5)
    apart = equality()
    tried = {name: arm(plain, steps=steps, warm=4, **setting) for name, setting in SETTINGS.items()}
    best = max(tried, key=lambda name: tried[name]["rate"])
    progress("plain: " + ", ".join(f"{name} {found['rate']:.0f}" for name, found in tried.items()) + " pictures a second")
    run = {
        "ours": partial(arm, ours, steps=steps, warm=4, same=True), f"plain loop, {best}": partial(arm, plain, steps=steps, warm=4, **SETTINGS[best]),
        "recipe": partial(arm, ours, steps=steps, warm=4, same=False),
    }
    found = alternate(run, pairs, lambda result: f"{result['rate']:.0f} a second")
    waited = alternate({name: partial(arm, waiting, name=name, steps=times * few) for name, few in WAITING.items()}, pairs, lambda result: f"{result['share']:.2f} %")
    ready = max((name for name in tried if "compiled" not in name), key=lambda name: tried[name]["rate"])    # compiling takes more of the budget than it gains
    raced, details = race(budget, pairs, shares, SETTINGS[ready])
    rates = {name: [result["rate"] for result in results] for name, results in found.items()}
    rows = [
        Row("same losses over 8 steps, float32: largest difference", f"≤ {EXACT_BAND:g}", f"{apart:.1e}", apart <= EXACT_BAND),
        Row(f"ours (SGD, {found['ours'][0]['precision']}, chosen by itself), pictures a second", "", spread(rates["ours"])),
        Row(f"plain loop at its best ({best}), pictures a second", "", spread(rates[f"plain loop, {best}"])),
        Row("ours / plain loop at its best", "", str(ratio(rates["ours"], rates[f"plain loop, {best}"]))),
        Row(f"recipe {RECIPE} (Muon), pictures a second", "", spread(rates["recipe"])),
    ]
    for name, results in waited.items():
        shares_ = [result["share"] for result in results]
        rows.append(Row(f"{name}: share of time waiting for batches", "≤ 2 %", spread(shares_, " %", ".2f"), max(shares_) <= 2))
    publish("images_training", "Training on pictures", rows + raced, {"equality": apart, "settings": tried, "passes": found, "waiting": waited, "race": details}, options.quick)


if __name__ == "__main__":
    main()
