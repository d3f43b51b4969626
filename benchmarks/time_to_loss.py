"""Time to a loss: how long the recipe `python-lm` takes to reach the validation loss that the plain AdamW recipe reaches in its whole budget.

The plain side is a nanoGPT-style loop (GPT-2 shape, dim 256, 4 layers, context 256, cosine schedule with warm-up, clip 1), its rate taken from
3e-4, 1e-3 and 2e-3 in float32 and with bfloat16 autocast by runs of a sixth of the budget, and torch.compile tried once over the whole budget.
Both sides train on the same tokens of the same tokenizer, 2,048 a step, and are judged in float32 by the mean cross-entropy of the same
validation tokens (65,536, document starts left out), each in windows of its own context length. Time runs from building the model to the last
step, compilation and choice of precision included. As every schedule is laid out over its own budget, the recipe is given growing shares of
the plain side's budget until it reaches the loss with every seed.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Row, arguments, arm, progress, publish, ratio
from benchmarks.plain_gpt import PlainGPT, adamw

RATES = (3e-4, 1e-3, 2e-3)
SHARES = (1 / 12, 1 / 10, 1 / 8, 1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 1)
DIM, DEPTH, HEADS, LENGTH, STEP_TOKENS = 256, 4, 4, 256, 2048
JUDGED = 65536


# what both sides share


def corpus() -> dict[str, Any]:
    """Where the tokens are; prepares them the first time."""
    from ftheta.data.sources.source_config import Sections
    from ftheta.data.split import Split
    from ftheta.data.stages import home
    from ftheta.data.text import prepare_text
    from ftheta.lifecycle.recipe import load

    recipe = load("python-lm")
    text = prepare_text(recipe.data.source, Sections(recipe.data.tokenizer_or_default(), home() / "stages", recipe.data.clean, recipe.data.split or Split(), seed=recipe.seed))
    return {"tokens": str(text.tokens), "vocab": text.tokenizer.get_vocab_size(), "counts": text.account["tokens"]}


def windows(tokens: str, vocab: int, length: int) -> Any:
    """The validation tokens both sides are judged on, in windows of `length`, as a data set and its batches of 16 windows."""
    from ftheta.data.tokens import TokenDataset

    dataset = TokenDataset(Path(tokens) / "validation.npy", "validation", vocab, length, 1)
    return (dataset.batch(rows) for rows in torch.arange(min(JUDGED, len(dataset) * length // 512 * 512) // length).split(16))


# the arms


def plain(tokens: str, vocab: int, budget: float, rate: float, bf16: bool, compiled: bool, seed: int) -> dict[str, Any]:
    """The AdamW recipe for `budget` seconds; what it reached."""
    data = np.load(Path(tokens) / "train.npy", mmap_mode="r")
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        start = time.perf_counter()
        model = PlainGPT(vocab, DIM, DEPTH, HEADS, LENGTH)
        optimizer = adamw(model, rate)
        run = torch.compile(model) if compiled else model
        steps = 0
        while (share := (time.perf_counter() - start) / budget) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, share / 0.05 + 1e-3) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))
            first = draw.integers(0, len(data) - LENGTH, STEP_TOKENS // LENGTH)
            batch = torch.from_numpy(np.stack([data[i : i + LENGTH + 1] for i in first]).astype(np.int64))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = run(batch[:, :-1], batch[:, 1:])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
        seconds = time.perf_counter() - start
    total = count = 0.0
    with torch.no_grad():
        for batch in windows(tokens, vocab, LENGTH):
            seen, documents = batch["tokens"], batch["documents"]
            targets = torch.where(documents[:, 1:] == documents[:, :-1], seen[:, 1:], -1)
            total, count = total + float(model(seen[:, :-1], targets, reduction="sum")), count + float((targets >= 0).sum())
    return {"loss": total / count, "judged": count, "seconds": seconds, "steps": steps, "parameters": sum(p.numel() for p in model.parameters())}


def ours(tokens: str, vocab: int, budget: float, seed: int) -> dict[str, Any]:
    """The recipe `python-lm` with a budget of `budget` seconds; what it reached."""
    from ftheta.architectures.architecture import call
    from ftheta.data.source import Shuffled
    from ftheta.data.tokens import TokenDataset
    from ftheta.lifecycle.build import batch_rows, build_model, build_ramp
    from ftheta.lifecycle.recipe import load
    from ftheta.training.trainer import Trainer

    recipe = load("python-lm", {"seed": seed, "train": {"minutes": budget / 60, "validation": None}})
    dataset = TokenDataset(Path(tokens) / "train.npy", "train", vocab, recipe.data.ports().sizes["T"], recipe.objective.lookahead)
    source = Shuffled(dataset, batch_rows(recipe, dataset), seed)
    start = time.perf_counter()
    model = build_model(recipe.architecture(dataset.ports.sizes), seed)
    trainer = Trainer(model, recipe.objective, source, recipe.train, seed=seed, ramp=build_ramp(recipe))
    done = trainer.fit()
    seconds = time.perf_counter() - start
    model.compute_dtype = torch.float32
    total = count = 0.0
    with torch.no_grad():
        for batch in windows(tokens, vocab, dataset.length):
            loss = recipe.objective.loss(model.eval(), partial(call, model), batch, recipe.objective.phases()[0])
            total, count = total + float(loss.total), count + float(loss.count or 0)
    return {"loss": total / count, "judged": count, "seconds": seconds, "steps": done.step, "parameters": sum(p.numel() for p in model.parameters())}


# the comparison


def tuned(place: dict[str, Any], budget: float, share: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plain side's best setting, and what every setting reached."""
    found: dict[str, Any] = {}
    settings = {
        f"{kind}, rate {rate:g}": {"rate": rate, "bf16": kind == "bfloat16", "compiled": False} for kind in ("float32", "bfloat16") for rate in RATES
    }
    for name, setting in settings.items():
        found[name] = arm(plain, **place, budget=budget * share, seed=0, **setting)
        progress(f"plain, {name}: {found[name]['loss']:.3f} after {found[name]['seconds']:.0f} s, {found[name]['steps']} steps")
    name = min(found, key=lambda name: found[name]["loss"])
    best = settings[name]
    whole = {compiled: arm(plain, **place, budget=budget, seed=0, **{**best, "compiled": compiled}) for compiled in (False, True)}
    for compiled, result in whole.items():
        progress(f"plain, {name}, {'compiled' if compiled else 'eager'}, whole budget: {result['loss']:.3f}, {result['steps']} steps")
    best["compiled"] = whole[True]["loss"] < whole[False]["loss"]
    label = name + (", compiled" if best["compiled"] else "")
    return best, {"best": label, "tried": found, "eager": whole[False], "compiled": whole[True], "first": whole[best["compiled"]]}


def main() -> None:
    parser = arguments(__doc__ or "", pairs=3)
    parser.add_argument("--budget", type=float, default=120.0, help="seconds of the plain side (default: %(default)s)")
    options = parser.parse_args()
    budget, pairs, shares, part = (24.0, 1, (1 / 4, 1), 1 / 3) if options.quick else (options.budget, options.pairs, SHARES, 1 / 6)
    text = corpus()
    place = {"tokens": text["tokens"], "vocab": text["vocab"]}
    setting, tuning = tuned(place, budget, part)
    theirs = [tuning["first"]]
    mine: list[dict[str, Any]] = []
    trials = []
    for share in shares:
        mine = []
        for seed in range(pairs):
            sides = ["ours"] + (["plain"] if seed == len(theirs) else [])
            for side in sides if seed % 2 else reversed(sides):
                if side == "ours":
                    mine.append(arm(ours, **place, budget=budget * share, seed=seed))
                    trials.append({"share": share, "seed": seed, **mine[-1]})
                else:
                    theirs.append(arm(plain, **place, budget=budget, seed=seed, **setting))
            here, there = mine[-1], theirs[seed]
            progress(f"seed {seed}: ours {here['loss']:.3f} after {here['seconds']:.1f} s, plain {there['loss']:.3f} after {there['seconds']:.1f} s")
            if here["judged"] != there["judged"]:
                raise SystemExit("the sides were judged on different tokens")
            if here["loss"] > there["loss"]:
                break
        else:
            break
    details = {"tuning": tuning, "plain": theirs, "trials": trials, "tokens": text["counts"]}
    publish("time_to_loss", "Time to the loss of a plain AdamW recipe", summary(mine, theirs, tuning["best"]), details, options.quick)


def summary(mine: list[dict[str, Any]], theirs: list[dict[str, Any]], best: str) -> list[Row]:
    reached = len(mine) == len(theirs) and all(a["loss"] <= b["loss"] for a, b in zip(mine, theirs, strict=True))

    def line(results: list[dict[str, Any]], key: str, form: str) -> str:
        return ", ".join(format(result[key], form) for result in results)

    quotient = ratio([a["seconds"] for a in mine], [b["seconds"] for b in theirs[: len(mine)]])
    sizes = [f"{results[0]['parameters'] / 1e6:.1f} million parameters" for results in (theirs, mine)]
    return [
        Row(f"plain AdamW ({best}; {sizes[0]}): loss a token, nats, by seed", "", line(theirs, "loss", ".3f")),
        Row("its seconds", "", line(theirs, "seconds", ".0f")),
        Row(f"recipe python-lm ({sizes[1]}): loss a token, nats, by seed", "at most that", line(mine, "loss", ".3f"), reached),
        Row("its seconds", "", line(mine, "seconds", ".1f")),
        Row("its time / the plain recipe's", "≤ 0.25×", str(quotient) if reached else f"not reached in {quotient}", reached and quotient.median <= 0.25),
    ]


if __name__ == "__main__":
    main()
