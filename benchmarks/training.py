"""Training speed: tokens a second of the Trainer on a GPT-2-shaped model of 12 million parameters (6 layers, dim 384, 6 heads, context 256,
vocabulary 4,096), against the Hugging Face Trainer at its default and at the best setting found, and against a nanoGPT-style loop in
float32, with bfloat16 autocast, and with autocast and torch.compile.

All sides start from one folder of weights, see the same rows of Python source in the same order and use AdamW (rate 6e-4, betas 0.9 and
0.95, decay 0.1 on matrices, clip 1). Equality comes first: the losses of ten steps must agree, within 1e-3 in float32 and within 0.05 of
those in bfloat16. Speed is counted after the warm-up steps; the time of the first step beyond an ordinary one is reported as compile
time, with an empty compile cache; the measured passes find it filled. The ceiling is every matrix product of a step timed alone in the same run;
the quotient of the float32 and bfloat16 ceilings is what no bfloat16 training on this machine can exceed by much against float32.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Row, alternate, arguments, arm, progress, publish, ratio, spread
from benchmarks.plain_gpt import PlainGPT, adamw
from benchmarks.watch import Watch, clock

VOCAB, DIM, DEPTH, HEADS, LENGTH, BATCH = 4096, 384, 6, 6, 256, 8
RATE, DECAY, BETAS = 6e-4, 0.1, (0.9, 0.95)
EXACT_BAND, BFLOAT16_BAND = 1e-3, 0.05
HF_SETTINGS: dict[str, dict[str, Any]] = {
    "bf16": {"bf16": True},
    "bf16, fast gelu": {"bf16": True, "activation": "gelu_pytorch_tanh"},
    "bf16, fast gelu, 1 loader": {"bf16": True, "activation": "gelu_pytorch_tanh", "workers": 1},
    "bf16, fast gelu, plain attention": {"bf16": True, "activation": "gelu_pytorch_tanh", "attention": "eager"},
    "bf16, compiled": {"bf16": True, "compiled": True},
    "bf16, compiled, plain attention": {"bf16": True, "compiled": True, "attention": "eager"},
}


# what all sides share


def prepare(folder: Path, steps: int) -> None:
    """Write the initial weights as a Hugging Face folder and the rows of all steps."""
    from ftheta.architectures.decoder import DecoderConfig
    from ftheta.lifecycle.build import build_data, build_model, build_source
    from ftheta.lifecycle.recipe import load
    from ftheta.models.folder import save
    from ftheta.models.model import Model

    recipe = load("python-lm", {"data": {"pack": {"length": LENGTH, "ramp": []}}, "train": {"batch": BATCH, "batch_tokens": None}})
    data = build_data(recipe)
    source = build_source(recipe, data)
    rows = [source.batch(step, torch.arange(BATCH), None)["tokens"].numpy() for step in range(steps)]
    np.save(folder / "rows.npy", np.concatenate(rows))
    config = DecoderConfig.parse({
        "kind": "decoder", "vocab": VOCAB, "dim": DIM, "depth": DEPTH, "context": LENGTH, "positions": "learned", "norm": "layernorm",
        "mixer": {"kind": "attention", "heads": HEADS, "bias": True}, "feedforward": {"kind": "mlp", "activation": "gelu_tanh", "bias": True},
    })
    save(Model(build_model(config, 0), data.processor, "text-generation"), folder / "weights")


def rows_of(folder: str) -> torch.Tensor:
    return torch.from_numpy(np.load(Path(folder) / "rows.npy"))


def timed(marks: list[tuple[float, float]], warm: int) -> dict[str, Any]:
    """Tokens a second after the warm-up, from the clock at the start and at the end of every step; what the first cost beyond an ordinary one."""
    wall, processor = np.diff(marks, axis=0).T
    ordinary = float(np.median(wall[warm:]))
    return {
        "tokens_per_second": BATCH * LENGTH * len(wall[warm:]) / float(wall[warm:].sum()), "step_seconds": ordinary,
        "step_processor_seconds": float(np.median(processor[warm:])), "extra_seconds": max(0.0, float(wall[0]) - ordinary),
    }


# the arms


def ours(folder: str, steps: int, warm: int, precision: str = "auto", compiled: str = "auto") -> dict[str, Any]:
    """The Trainer."""
    from benchmarks.rows import Rows
    from ftheta.data.source import Ordered
    from ftheta.models.folder import load
    from ftheta.objectives.language import NextToken
    from ftheta.training.config import TrainConfig
    from ftheta.training.events import Events
    from ftheta.training.trainer import Trainer

    watch = Watch()
    config = TrainConfig.parse({
        "steps": steps, "batch": BATCH, "optimizer": {"kind": "adamw", "rate": RATE, "betas": list(BETAS), "decay": DECAY}, "schedule": "constant", "clip": 1.0,
        "precision": precision, "compile": compiled, "log_every": 1, "validation": None, "device": "cpu",
    })
    model = load(Path(folder) / "weights").architecture
    trainer = Trainer(model, NextToken(), Ordered(Rows(rows_of(folder), VOCAB), BATCH, 0), config, seed=0, events=Events(None, [watch.listen]))
    watch.mark()
    trainer.fit()
    return {"losses": watch.losses, "precision": trainer.progress.precision, **timed(watch.marks, warm)}


def huggingface(
    folder: str, steps: int, warm: int, *, bf16: bool = False, compiled: bool = False, workers: int = 0, activation: str = "gelu_new",
    attention: str = "sdpa", log: bool = False,
) -> dict[str, Any]:
    """The Hugging Face Trainer, float32 by default."""
    import transformers

    watch = Watch()

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: Any) -> torch.utils.data.Sampler:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    def collate(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        batch = torch.stack(rows)
        return {"input_ids": batch[:, :-1], "labels": batch[:, 1:], "shift_labels": batch[:, 1:].contiguous()}

    with tempfile.TemporaryDirectory() as place:
        settings = transformers.TrainingArguments(
            output_dir=place, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=RATE, adam_beta1=BETAS[0], adam_beta2=BETAS[1],
            weight_decay=DECAY, lr_scheduler_type="constant", max_grad_norm=1.0, bf16=bf16, torch_compile=compiled, dataloader_num_workers=workers,
            use_cpu=True, disable_tqdm=True, report_to="none", save_strategy="no", logging_steps=1 if log else 500, remove_unused_columns=False,
        )
        model = transformers.GPT2LMHeadModel.from_pretrained(Path(folder) / "weights", attn_implementation=attention, activation_function=activation)
        trainer = InOrder(model=model, args=settings, train_dataset=rows_of(folder), data_collator=collate, callbacks=[watch.callback()])
        watch.mark()
        trainer.train()
    return {"losses": watch.losses, **timed(watch.marks, warm)}


def plain(folder: str, steps: int, warm: int, bf16: bool = False, compiled: bool = False) -> dict[str, Any]:
    """A nanoGPT-style loop."""
    import safetensors.torch

    model = PlainGPT(VOCAB, DIM, DEPTH, HEADS, LENGTH)
    model.load_huggingface(safetensors.torch.load_file(Path(folder) / "weights" / "model.safetensors"))
    optimizer = adamw(model, RATE, DECAY)
    run = torch.compile(model) if compiled else model
    losses: list[float] = []
    marks: list[tuple[float, float]] = []
    marks.append(clock())
    for batch in rows_of(folder)[: steps * BATCH].split(BATCH):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = run(batch[:, :-1], batch[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        marks.append(clock())
    return {"losses": losses, **timed(marks, warm)}


def demo(steps: int, warm: int) -> dict[str, Any]:
    """The recipe `make demo` runs, over its whole ramp of row lengths."""
    from ftheta.lifecycle.build import build_data, build_model, build_ramp, build_source
    from ftheta.lifecycle.recipe import load
    from ftheta.training.events import Events
    from ftheta.training.trainer import Trainer

    recipe = load("python-lm", {"train": {"minutes": None, "steps": steps, "log_every": 1, "validation": None}})
    data = build_data(recipe)
    marks: list[tuple[float, int]] = []

    def listen(name: str, facts: dict[str, Any]) -> None:
        if name == "metrics":
            marks.append((time.perf_counter(), facts["units"]))

    model = build_model(recipe.architecture(data.ports.sizes), recipe.seed)
    trainer = Trainer(model, recipe.objective, build_source(recipe, data), recipe.train, seed=0, events=Events(None, [listen]), ramp=build_ramp(recipe))
    trainer.fit()
    (start, before), (end, after) = marks[warm - 1], marks[-1]
    parameters = sum(p.numel() for p in model.parameters())
    return {"tokens_per_second": (after - before) / (end - start), "parameters": parameters, "precision": trainer.progress.precision}


def products(repeats: int) -> dict[str, Any]:
    """Every matrix product of one step, forward and backward, timed alone in bfloat16 and float32: the least time a step can take."""
    rows, head = BATCH * LENGTH, DIM // HEADS
    maps = [(DEPTH, DIM, 3 * DIM), (DEPTH, DIM, DIM), (DEPTH, DIM, 4 * DIM), (DEPTH, 4 * DIM, DIM), (1, DIM, VOCAB)]
    shapes = [(count, 1, *sides) for count, i, o in maps for sides in ((rows, i, o), (rows, o, i), (o, rows, i))]
    shapes += [(count * DEPTH, BATCH * HEADS, *sides) for count, sides in ((2, (LENGTH, head, LENGTH)), (4, (LENGTH, LENGTH, head)))]
    found: dict[str, Any] = {"flops": sum(count * batch * 2.0 * m * k * n for count, batch, m, k, n in shapes)}
    for name, kind in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        seconds = 0.0
        for count, batch, m, k, n in shapes:
            a, b = torch.randn(batch, m, k).to(kind), torch.randn(batch, n, k).to(kind).mT
            times = []
            for _ in range(repeats + 2):
                start = time.perf_counter()
                torch.mm(a[0], b[0]) if batch == 1 else torch.bmm(a, b)
                times.append(time.perf_counter() - start)
            seconds += count * min(times[2:])
        found[name] = {"seconds": seconds, "flops_per_second": found["flops"] / seconds}
    return found


# the comparison


def equality(folder: str, best: dict[str, Any]) -> dict[str, Any]:
    """Losses of the first ten steps on all sides. Raises SystemExit when they differ more than allowed."""
    run: Callable[..., Any] = partial(arm, folder=folder, steps=10, warm=1)
    exact = {"ours": run(ours, precision="float32"), "Hugging Face": run(huggingface, log=True), "plain": run(plain)}
    rounded = {
        "ours": run(ours, precision="bfloat16"), "Hugging Face": run(huggingface, log=True, **best),
        "plain": run(plain, bf16=True), "plain, compiled": run(plain, bf16=True, compiled=True),
    }
    reference = exact["plain"]["losses"]
    found: dict[str, Any] = {"reference": reference, "compile_seconds": rounded["plain, compiled"]["extra_seconds"]}
    for name, sides, band in (("float32", exact, EXACT_BAND), ("bfloat16", rounded, BFLOAT16_BAND)):
        found[name] = {side: max(abs(a - b) for a, b in zip(result["losses"], reference, strict=True)) for side, result in sides.items()}
        progress(f"largest difference of loss over 10 steps, {name}: {found[name]}")
        if not max(found[name].values()) <= band:
            raise SystemExit(f"the sides do not train the same model: {name} losses differ by {found[name]}, allowed {band}")
    return found


def best_setting(folder: str, steps: int) -> tuple[str, dict[str, Any]]:
    """The fastest of the Hugging Face settings, by one short run each, and what each run found."""
    found = {}
    for name, setting in HF_SETTINGS.items():
        found[name] = arm(huggingface, folder=folder, steps=steps, warm=2, **setting)
        progress(f"Hugging Face Trainer, {name}: {found[name]['tokens_per_second']:,.0f} tokens/s, first step {found[name]['extra_seconds']:.1f} s longer")
    return max(found, key=lambda name: found[name]["tokens_per_second"]), found


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    passes, slow, fast = (1, 4, 4) if options.quick else (options.pairs, 5, 10)
    with tempfile.TemporaryDirectory() as place:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{place}/compiled"
        prepare(Path(place), 10)
        setting, settings = best_setting(place, 4 if options.quick else 8)
        equal = equality(place, HF_SETTINGS[setting])
        run: Callable[..., Any] = partial(arm, folder=place, warm=2)
        found = alternate({
            "ours": partial(run, ours, steps=fast),
            "ours, compiled": partial(run, ours, steps=fast, compiled="always"),
            "Hugging Face, default": partial(run, huggingface, steps=slow),
            "Hugging Face, best": partial(run, huggingface, steps=fast, **HF_SETTINGS[setting]),
            "plain, float32": partial(run, plain, steps=slow),
            "plain, autocast": partial(run, plain, steps=fast, bf16=True),
            "plain, autocast, compiled": partial(run, plain, steps=fast, bf16=True, compiled=True),
            "products": partial(arm, products, repeats=3 if options.quick else 20),
            "demo": partial(arm, demo, steps=10 if options.quick else 44, warm=4),
        }, passes, show)
    details = {"equality": equal, "huggingface_settings": settings, "passes": found}
    publish("training", "Training speed on a CPU", summary(found, setting, equal, settings), details, options.quick)


def show(result: dict[str, Any]) -> str:
    return f"{result['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in result else f"{result['bfloat16']['flops_per_second'] / 1e9:,.0f} GFLOP/s"


def summary(found: dict[str, list[dict[str, Any]]], setting: str, equal: dict[str, Any], settings: dict[str, Any]) -> list[Row]:
    rates = {name: [result["tokens_per_second"] for result in results] for name, results in found.items() if name != "products"}
    exact, rounded = max(equal["float32"].values()), max(equal["bfloat16"].values())
    rows = [
        Row("same loss over 10 steps, float32 sides: largest difference", f"≤ {EXACT_BAND:g}", f"{exact:.1e}", exact <= EXACT_BAND),
        Row("same loss over 10 steps, bfloat16 sides against float32", f"≤ {BFLOAT16_BAND:g}", f"{rounded:.1e}", rounded <= BFLOAT16_BAND),
        Row(f"ours, tokens/s ({found['ours'][0]['precision']}, chosen by itself)", "", spread(rates["ours"])),
    ]
    against = (
        ("Hugging Face, default", "Hugging Face Trainer at its default (float32)", 3.0),
        ("Hugging Face, best", f"Hugging Face Trainer at its best ({setting})", 1.3),
        ("plain, float32", "nanoGPT-style loop, float32", None),
        ("plain, autocast", "nanoGPT-style loop, autocast", None),
        ("plain, autocast, compiled", "nanoGPT-style loop, autocast, compiled", 1.5),
    )
    for name, label, target in against:
        quotient = ratio(rates["ours"], rates[name])
        rows.append(Row(f"{label}, tokens/s", "", spread(rates[name])))
        rows.append(Row(f"ours / {label}", f"≥ {target}×" if target else "", str(quotient), quotient.median >= target if target else None))
    quotient = ratio(rates["ours, compiled"], rates["plain, autocast, compiled"])
    rows.append(Row("ours with `compile: always`, tokens/s", "", spread(rates["ours, compiled"])))
    rows.append(Row("ours with `compile: always` / nanoGPT-style loop, autocast, compiled", "", str(quotient)))
    share = [100 * products["bfloat16"]["seconds"] / mine["step_seconds"] for products, mine in zip(found["products"], found["ours"], strict=True)]
    limit = ratio(*([result[kind]["flops_per_second"] for result in found["products"]] for kind in ("bfloat16", "float32")))
    compiling = (settings["bf16, compiled"]["extra_seconds"], equal["compile_seconds"], found["ours, compiled"][0]["extra_seconds"])
    seconds = " s; ".join(f"{value:.0f}" for value in compiling)
    return [
        *rows, Row("ours, share of the matmul ceiling at the model's shapes", "≥ 40 %", spread(share, " %", ".0f"), statistics.median(share) >= 40),
        Row("that ceiling, bfloat16, GFLOP/s", "", spread([result["bfloat16"]["flops_per_second"] / 1e9 for result in found["products"]])),
        Row("bfloat16 ceiling / float32 ceiling", "", str(limit)),
        Row("compile time, empty cache: Hugging Face Trainer; nanoGPT-style loop; ours with `compile: always`; ours", "", f"{seconds} s; none"),
        Row(f"recipe of `make demo` ({found['demo'][0]['parameters'] / 1e6:.1f} million parameters), tokens/s", "", spread(rates["demo"])),
    ]


if __name__ == "__main__":
    main()
