"""Plan: what `ftheta plan` says beforehand against what a run takes, over configurations of every family.

For each configuration `plan` is asked in a fresh process (rehearsal, then 20 real steps), and the recipe is then run to its end in another
one, with its data already prepared, as after a plan. Compared are the peak of the rehearsed memory, before anything was tried, with
the peak the system saw of the process (VmHWM), and the time of a step after the probe with that of the run's steps. The first two steps of
a run, which also load and choose kernels, are left out.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import Row, arguments, arm, progress, publish

WARM = 2
MIB = 1 << 20


class Case(NamedTuple):
    family: str
    recipe: dict[str, Any]


def text(name: str, model: dict[str, Any] | None = None, train: dict[str, Any] | None = None, length: int = 128, objective: str = "next_token",
         vocab: int = 2048, ramp: tuple[dict[str, Any], ...] = (), family: str = "decoder") -> Case:
    """A small language model on a part of the standard library."""
    data = {
        "source": {"kind": "text_files", "path": "python:stdlib", "include": ["[a-e]*.py"]}, "tokenizer": {"kind": "byte_bpe", "vocab": vocab, "pattern": "code"},
        "pack": {"length": length, "ramp": list(ramp)},
    }
    sizes = {"kind": "decoder", "dim": 128, "depth": 2, "positions": "rotary", "mixer": {"kind": "attention", "heads": 4}}
    return Case(family, recipe(name, data, {**sizes, **(model or {})}, objective, {"steps": 30, "batch": 8, "optimizer": "adamw", **(train or {})}))


def other(family: str, name: str, source: dict[str, Any], model: dict[str, Any], objective: str, **train: Any) -> Case:
    return Case(family, recipe(name, {"source": source}, model, objective, train))


def recipe(name: str, data: dict[str, Any], model: dict[str, Any], objective: str, train: dict[str, Any]) -> dict[str, Any]:
    whole = {"threads": 1, "precision": "float32", "validation": None, "log_every": 1, **train}
    return {"format": 1, "name": name, "data": data, "model": model, "objective": objective, "train": whole if objective != "fit" else {}}


RECURRENT = {"positions": "none"}
TABLE = {"kind": "sklearn_table", "name": "digits"}
ROLLOUTS = {"kind": "rollouts", "environment": "cartpole", "epochs": 4}
CASES = (
    text("plain"),
    text("deep", {"depth": 6, "dim": 96}, {"batch": 16}),
    text("wide", {"dim": 384}, {"steps": 20}),
    text("long-rows", {"dim": 256, "depth": 4}, {"steps": 14}, length=256),
    text("longer-rows", None, {"batch": 4}, length=512),
    text("fused-attention", None, {"batch": 2, "steps": 15}, length=1100),
    text("many-short-rows", None, {"batch": 64}, length=32),
    text("sgd", {"dim": 256}, {"optimizer": "sgd"}),
    text("muon", {"dim": 256}, {"optimizer": "muon"}),
    text("muon-half", {"dim": 256, "depth": 4}, {"optimizer": "muon", "precision": "bfloat16", "batch": 16}),
    text("half", {"dim": 192, "depth": 4}, {"precision": "bfloat16", "batch": 16}),
    text("chosen-precision", {"dim": 256, "depth": 3}, {"precision": "auto", "batch": 16}),
    text("average", {"dim": 256, "depth": 4}, {"average": {"decay": 0.99}}),
    text("micro-batches", {"dim": 192, "depth": 4}, {"batch": 32, "micro_batch": 8, "steps": 15}),
    text("one-by-one", {"dim": 256, "depth": 4}, {"micro_batch": 1, "average": {"decay": 0.99}, "steps": 15}),
    text("llama", {"dim": 256, "depth": 3, "norm": "rmsnorm", "feedforward": "gated", "mixer": {"kind": "attention", "heads": 8, "kv_heads": 2}, "tie": False}),
    text("gpt2", {"dim": 192, "depth": 3, "positions": "learned", "mixer": {"kind": "attention", "heads": 6, "bias": True}, "dropout": 0.1}),
    text("vocabulary", {"dim": 192}, {"batch": 8}, vocab=6000),
    text("saving", {"dim": 256, "depth": 4}, {"checkpoint": {"every": 5}, "steps": 16}),
    text("validated", {"depth": 3}, {"batch": 16, "micro_batch": 4, "validation": {"every": 10, "batches": 2}, "steps": 20}),
    text("ramp", {"dim": 192, "depth": 3}, {"batch": 8, "steps": 24}, length=256, ramp=({"until": 0.5, "length": 64},)),
    text("twenty-million", {"dim": 512, "depth": 6, "mixer": {"kind": "attention", "heads": 8}}, {"batch": 4, "steps": 10}),
    text("lstm", {"dim": 192, "mixer": "lstm", **RECURRENT}, {"batch": 16, "steps": 20}, family="recurrent"),
    text("lstm-long", {"dim": 256, "depth": 3, "mixer": "lstm", **RECURRENT}, {"steps": 12}, length=256, family="recurrent"),
    text("lstm-muon", {"dim": 128, "depth": 4, "mixer": "lstm", **RECURRENT}, {"optimizer": "muon", "steps": 15}, family="recurrent"),
    text("gru", {"dim": 192, "mixer": "gru", **RECURRENT}, {"steps": 12}, length=64, family="recurrent"),
    text("gru-wide", {"dim": 384, "mixer": "gru", **RECURRENT}, {"batch": 16, "steps": 12}, length=64, family="recurrent"),
    text("encoder", {"kind": "encoder", "dim": 192, "depth": 4, "mixer": {"kind": "attention", "heads": 4, "causal": False}}, {"batch": 16, "steps": 20},
         objective="masked", family="encoder"),
    text("encoder-half", {"kind": "encoder", "dim": 256, "mixer": {"kind": "attention", "heads": 4, "causal": False}},
         {"batch": 32, "micro_batch": 8, "steps": 15, "precision": "bfloat16", "optimizer": "muon"}, length=64, objective="masked", family="encoder"),
    other("resnet", "digits-resnet", {"kind": "digits"}, {"kind": "resnet", "stem": "small", "widths": [32, 64], "depths": [2, 2], "stem_width": 32},
          "classification", steps=40, batch=128),
    other("resnet", "digits-bottleneck", {"kind": "digits"}, {"kind": "resnet", "stem": "small", "block": "bottleneck", "widths": [64, 128], "depths": [2, 2]},
          "classification", steps=30, batch=64, optimizer="muon", average={"decay": 0.99}),
    other("resnet", "mnist-resnet", {"kind": "mnist"}, {"kind": "resnet", "stem": "small", "widths": [32, 64, 128], "depths": [1, 1, 1], "stem_width": 32},
          "classification", steps=20, batch=64, optimizer="sgd"),
    other("resnet", "mnist-resnet-18", {"kind": "mnist"}, {"preset": "resnet/18"}, "classification", steps=12, batch=32),
    other("resnet", "mnist-half", {"kind": "mnist"}, {"kind": "resnet", "stem": "small", "widths": [24, 48], "depths": [1, 1], "stem_width": 24},
          "classification", steps=20, batch=128, precision="bfloat16"),
    other("gan", "digits-gan", {"kind": "digits"}, {"kind": "gan", "noise": 64, "width": 32}, "adversarial", steps=20, batch=64),
    other("gan", "digits-gan-average", {"kind": "digits"}, {"kind": "gan", "noise": 64, "width": 24}, "adversarial", steps=20, batch=128, micro_batch=32,
          average={"decay": 0.99}),
    other("gan", "mnist-gan", {"kind": "mnist"}, {"kind": "gan", "noise": 64, "width": 16}, "adversarial", steps=12, batch=32),
    other("graph", "cora", {"kind": "planetoid", "name": "cora"}, {"kind": "graph"}, "classification", steps=60, batch=1),
    other("graph", "cora-wide", {"kind": "planetoid", "name": "cora"}, {"kind": "graph", "hidden": 512, "depth": 4}, "classification", steps=30, batch=1),
    other("graph", "communities", {"kind": "communities", "nodes": 3000, "features": 64}, {"kind": "graph", "hidden": 128}, "classification", steps=40, batch=1),
    other("ppo", "cartpole", {**ROLLOUTS, "envs": 16, "horizon": 64}, {"kind": "actor_critic"}, "ppo", steps=80, batch=256),
    other("ppo", "cartpole-wide", {**ROLLOUTS, "envs": 32, "horizon": 128}, {"kind": "actor_critic", "hidden": [512, 512]}, "ppo", steps=48, batch=1024),
    other("ppo", "cartpole-micro", {**ROLLOUTS, "envs": 64, "horizon": 64}, {"kind": "actor_critic", "hidden": [256, 256]}, "ppo", steps=64, batch=512,
          micro_batch=128, average={"decay": 0.99}),
    other("estimator", "kmeans", TABLE, {"kind": "kmeans", "clusters": 10}, "fit"),
    other("estimator", "forest", TABLE, {"kind": "forest", "trees": 100}, "fit"),
    other("estimator", "linear", {"kind": "sklearn_table", "name": "diabetes"}, {"kind": "linear"}, "fit"),
)
QUICK = ("plain", "lstm", "digits-resnet", "cora", "cartpole", "kmeans")


def planned(recipe: dict[str, Any]) -> dict[str, Any]:
    """What the plan says."""
    from ftheta.lifecycle.plan import plan

    start = time.perf_counter()
    found = plan(recipe)
    return {**found.dump(), "needed": found.memory.needed, "took": time.perf_counter() - start}


def ran(recipe: dict[str, Any]) -> dict[str, Any]:
    """What the run takes: peak of the process in bytes, seconds of a step (of the fit)."""
    from ftheta.lifecycle.lifecycle import run
    from ftheta.lifecycle.planning.machine import peak_bytes

    clock: list[float] = []

    def listen(name: str, facts: dict[str, Any]) -> None:
        if name == "metrics" and "seconds" in facts and "validation_loss" not in facts:
            clock.append(facts["seconds"])

    with tempfile.TemporaryDirectory() as folder:
        costs = run(recipe, out=Path(folder) / "run", listeners=[listen]).results["training"]
    step = (clock[-1] - clock[WARM - 1]) / (len(clock) - WARM) if clock else costs["seconds"]
    return {"peak": peak_bytes(), "step": step, "precision": costs.get("precision"), "flops": costs.get("flops_per_step")}


def compared(case: Case) -> dict[str, Any]:
    """One configuration: what was said, what happened, the errors."""
    said, happened = arm(planned, recipe=case.recipe), arm(ran, recipe=case.recipe)
    memory, cost = said["memory"], said["cost"]
    step = (cost["seconds_per_step"] or cost["seconds"])["value"]
    base = memory["parts"]["process"] + memory["parts"]["data"]
    found = {
        "family": case.family, "name": case.recipe["name"], "parameters": said["parameters"], "memory_said": memory["peak"]["value"], "memory": happened["peak"],
        "memory_error": memory["peak"]["value"] / happened["peak"] - 1, "upper_end": said["needed"], "exceeded": happened["peak"] > said["needed"],
        "added_said": memory["peak"]["value"] - base, "added": happened["peak"] - base, "step_said": step, "step": happened["step"], "time_error": step / happened["step"] - 1,
        "operations_error": cost["operations_seconds"] / happened["step"] - 1 if cost["operations_seconds"] else None,
        "flops_equal": cost["flops_per_step"] is None or happened["flops"] is None or cost["flops_per_step"]["value"] == happened["flops"],
        "took": said["took"], "fits": said["fits"], "load": os.getloadavg()[0],
    }
    progress(
        f"{found['family']:<10} {found['name']:<19} memory {found['memory_said'] / MIB:7,.0f} said {found['memory'] / MIB:7,.0f} MiB {found['memory_error']:+7.1%}   "
        f"step {found['step_said'] * 1e3:9,.1f} said {found['step'] * 1e3:9,.1f} ms {found['time_error']:+7.1%}   load {found['load']:.1f}"
    )
    return found


def rows_of(found: list[dict[str, Any]]) -> list[Row]:
    memory, seconds = [abs(one["memory_error"]) for one in found], [abs(one["time_error"]) for one in found]
    untried = [abs(one["operations_error"]) for one in found if one["operations_error"] is not None]
    over = sum(one["exceeded"] for one in found)
    counted = [one["flops_equal"] for one in found if one["family"] not in ("estimator", "ppo")]
    rows = [
        Row("configurations", "≥ 40", f"{len(found)}", len(found) >= 40),
        Row("peak memory, median absolute error", "≤ 10 %", f"{statistics.median(memory):.1%}, worst {max(memory):.1%}", statistics.median(memory) <= 0.1),
        Row("runs that took more than the upper end of their band", "0", f"{over}", not over),
        Row("time of a step after a 20-step probe, median absolute error", "≤ 20 %", f"{statistics.median(seconds):.1%}, worst {max(seconds):.1%}",
            statistics.median(seconds) <= 0.2),
        Row("the same without a probe, from single operations", "", f"{statistics.median(untried):.1%}, worst {max(untried):.1%}"),
        Row("FLOPs of a step equal to those counted in the run", "all", f"{sum(counted)} of {len(counted)}", all(counted)),
        Row("seconds a plan takes, probe included", "", f"median {statistics.median(one['took'] for one in found):.0f}"),
    ]
    for family in dict.fromkeys(one["family"] for one in found):
        mine = [one for one in found if one["family"] == family]
        memory, seconds = [abs(one["memory_error"]) for one in mine], [abs(one["time_error"]) for one in mine]
        rows.append(Row(f"{family} ({len(mine)}): memory, time", "", f"{statistics.median(memory):.1%}, {statistics.median(seconds):.1%}"))
    return rows


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="*", help="names of configurations; prints, and writes no result file")
    options = parser.parse_args()
    wanted = options.only or (QUICK if options.quick else [case.recipe["name"] for case in CASES])
    with tempfile.TemporaryDirectory() as home:
        os.environ["FTHETA_HOME"] = home
        found = [compared(case) for case in CASES if case.recipe["name"] in wanted]
    publish("plan", "Plan: said beforehand, measured afterwards", rows_of(found), {"cases": found}, bool(options.quick or options.only))


if __name__ == "__main__":
    main()
