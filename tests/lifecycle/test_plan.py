"""A plan is asked before a run and compared with it; counts are exact, memory is near and never promised in vain."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import ConfigError, UsageError
from ftheta.lifecycle.plan import Plan, plan, show
from ftheta.lifecycle.planning.cost import cost_of, step_budget
from ftheta.lifecycle.planning.heap import ShadowHeap
from ftheta.lifecycle.planning.machine import Power
from ftheta.lifecycle.planning.memory import largest_micro_batch
from ftheta.lifecycle.planning.rehearsal import Rehearsal
from ftheta.lifecycle.planning.rehearse import Rehearsed, drawn_out, step_by_step, stretches
from ftheta.lifecycle.planning.table import duration, short, size
from ftheta.lifecycle.recipe import load
from ftheta.training.config import TrainConfig

pytestmark = pytest.mark.slow                                                                    # rehearsals and real steps in processes of their own: minutes

RUN = """
import json, sys, tempfile
from ftheta.lifecycle.lifecycle import run
from ftheta.lifecycle.planning.machine import peak_bytes

with tempfile.TemporaryDirectory() as folder:
    costs = run(json.loads(sys.argv[1]), out=folder + "/run").results["training"]
print(json.dumps([peak_bytes(), costs["flops_per_step"]]))
"""


def text_recipe(folder, **model):
    folder.joinpath("text").mkdir(exist_ok=True)
    for i in range(4):
        folder.joinpath("text", f"{i}.txt").write_text("".join(f"line {n} of file {i}, which says little. " for n in range(900)))
    return {
        "format": 1, "name": "tiny",
        "data": {"source": {"kind": "text_files", "path": str(folder / "text")}, "split": {"validation": 0.25, "test": 0.25}, "tokenizer": "bytes", "pack": {"length": 64}},
        "model": {"kind": "decoder", "dim": 64, "depth": 2, "mixer": {"kind": "attention", "heads": 4}, **model}, "objective": "next_token",
        "train": {"steps": 6, "batch": 8, "precision": "float32", "validation": None, "threads": 1},
    }


def graph_recipe():
    return {
        "format": 1, "name": "net", "data": {"source": {"kind": "communities", "nodes": 2000, "features": 32}}, "model": {"kind": "graph", "hidden": 64},
        "objective": "classification", "train": {"steps": 8, "batch": 1, "precision": "float32", "validation": None, "threads": 1},
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTHETA_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def tiny(home, tmp_path_factory):
    """A recipe, its plan and what a run in a fresh process took."""
    recipe = text_recipe(tmp_path_factory.mktemp("tiny"))
    return recipe, plan(recipe, probe_steps=4), really(recipe)


def really(recipe):
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(recipe)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_memory_is_near_and_the_upper_end_holds(tiny):
    _, found, (peak, _) = tiny
    assert found.memory.peak.value == pytest.approx(peak, rel=0.2)
    assert peak <= found.memory.needed
    assert sum(found.memory.parts.values()) == pytest.approx(found.memory.peak.value, rel=0.01)
    assert found.fits and found.verdict.startswith("fits")


def test_flops_are_those_the_run_counts(tiny):
    _, found, (_, flops) = tiny
    assert found.cost.flops_per_step.value == flops
    assert found.cost.flops.value == 6 * flops


def test_the_probe_times_steps(tiny):
    _, found, _ = tiny
    assert found.probed_steps == 4
    assert found.cost.seconds.value == pytest.approx(6 * found.cost.seconds_per_step.value)
    assert found.cost.seconds.low < found.cost.seconds.value < found.cost.seconds.high
    assert found.cost.watt_hours.value == pytest.approx(found.cost.seconds.value * found.cost.watts / 3600)


def test_json_round_trip_and_text(tiny):
    _, found, _ = tiny
    assert Plan.parse(json.loads(json.dumps(found.dump()))) == found
    written = show(found)
    assert f"{found.parameters:,}" in written and written.splitlines()[-1] == found.verdict


def test_a_graph_is_rehearsed_whole(home):
    recipe = graph_recipe()
    found = plan(recipe, probe=False)
    peak, flops = really(recipe)
    assert found.memory.peak.value == pytest.approx(peak, rel=0.2)
    assert peak <= found.memory.needed
    assert found.cost.flops_per_step.value == flops


def test_gpt2_is_counted_exactly_without_being_built(home, tmp_path):
    bias = {"kind": "attention", "heads": 12, "bias": True}
    recipe = text_recipe(tmp_path, vocab=50257, context=1024, dim=768, depth=12, mixer=bias, feedforward={"kind": "mlp", "bias": True})
    recipe["data"]["pack"]["length"] = 1024
    found = plan(recipe, probe=False, changes={"train": {"batch": 2}})
    tokens = 2 * 1024
    assert found.parameters == found.trainable == 124_439_808
    assert found.cost.flops_per_step.value == pytest.approx(6 * 124_439_808 * tokens + 12 * 12 * 768 * 1024 * tokens, rel=0.03)
    assert found.memory.parts["weights"] == pytest.approx(4 * 124_439_808, rel=0.01)
    assert found.disk.model == pytest.approx(4 * 124_439_808, rel=0.01)
    assert any("not been read" in note for note in found.notes)


def test_what_cannot_fit_is_not_tried_and_a_micro_batch_is_proposed(home, tmp_path):
    recipe = text_recipe(tmp_path)
    whole = plan(recipe, changes={"train": {"batch": 400_000}}, probe=False)
    assert not whole.fits and whole.probed_steps == 0
    assert whole.verdict.startswith("does not fit") and f"largest micro-batch that does: {whole.largest_micro_batch:,}" in whole.verdict
    assert 100 < whole.largest_micro_batch < 400_000
    absurd = plan(recipe, changes={"model": {"dim": 65536, "depth": 4}, "train": {"batch": 8}})
    assert not absurd.fits and absurd.largest_micro_batch == 0 and absurd.probed_steps == 0
    assert "largest micro-batch that does: 0" in absurd.verdict


def test_a_fit_is_tried(home):
    pytest.importorskip("sklearn")
    recipe = {
        "format": 1, "name": "sums", "data": {"source": {"kind": "sklearn_table", "name": "diabetes"}}, "model": {"kind": "linear"}, "objective": "fit",
    }
    found = plan(recipe)
    assert found.parameters == 11 and found.fits and found.cost.flops is None
    assert any("cannot be rehearsed" in note for note in found.notes)


def test_misfits_are_refused_as_in_a_run(home):
    with pytest.raises(ConfigError, match="does not fit together"):
        plan({**graph_recipe(), "objective": "next_token"}, probe=False)


# parts


def test_a_rehearsal_counts_live_storages_and_computes_nothing():
    rehearsal = Rehearsal()
    with rehearsal:
        layer = nn.Linear(1000, 1000, bias=False)
        rehearsal.part = "activations"
        x = torch.zeros(500, 1000)
        y = layer(x)
        del x
        y.sum().backward()
    assert rehearsal.live["weights"] == 4_000_000
    assert rehearsal.most == 4_000_000 + 2 * 2_000_000 + 4_000_000 + rehearsal.peak["activations"] - 8_000_000
    assert rehearsal.flops["activations"] == 2 * 2 * 500 * 1000 * 1000


def test_a_rehearsal_routes_tokens_evenly():
    fields = {"kind": "decoder", "vocab": 30, "dim": 16, "depth": 1, "context": 16, "mixer": {"kind": "attention", "heads": 2}}
    counted = []
    for feedforward in ({"kind": "moe", "experts": 8, "active": 2, "hidden": 32}, {"kind": "gated", "hidden": 64}):
        rehearsal = Rehearsal()
        with rehearsal:
            model = DecoderConfig.parse({**fields, "feedforward": feedforward}).build()
            rehearsal.part = "activations"
            model(tokens=torch.zeros(4, 16, dtype=torch.long))["hidden"].sum().backward()
        counted.append(rehearsal.flops["activations"])
    router = 3 * 2 * 64 * 16 * 8                                                          # forward, and backward to both factors
    assert counted[0] == counted[1] + router                                              # two of eight experts are as wide as one network


def test_a_rehearsal_lets_code_look_at_whole_numbers_but_not_at_the_rest():
    with Rehearsal():
        ids = torch.arange(12).view(3, 4)
        assert ids.tolist()[2] == [8, 9, 10, 11] and bool((ids == ids).all())
        x = torch.randn(3, 4, 5)
        assert x[ids > 5].shape == (6, 5)
        assert x.sum().item() == 1.0
        assert torch.ones(1 << 15, 1 << 15, dtype=torch.bool).shape == (1 << 15, 1 << 15)


@pytest.mark.skipif(not ShadowHeap.available(), reason="needs a heap that can be looked at")
def test_the_shadow_heap_occupies_at_least_what_lives_and_nothing_is_touched():
    heap = ShadowHeap()
    blocks = [heap.allocate(1 << 20) for _ in range(50)]
    assert heap.resident >= 0.9 * (50 << 20)
    for block in blocks[::2]:
        heap.free(block)
    assert heap.resident >= 0.9 * (25 << 20)
    for block in blocks[1::2]:
        heap.free(block)
    assert heap.most >= 0.9 * (50 << 20)
    impossible = heap.allocate(1 << 50)
    assert impossible.mapped and heap.resident >= 1 << 50
    heap.free(impossible)


def test_budgets_in_steps():
    assert step_budget(TrainConfig(steps=7), 4, 10, None) == 7
    assert step_budget(TrainConfig(tokens=1000), 4, 10, None) == 25
    assert step_budget(TrainConfig(epochs=2.0), 4, 1, 10) == 4
    assert step_budget(TrainConfig(epochs=2.0), 4, 1, None) is None
    assert step_budget(TrainConfig(minutes=1.0), 4, 1, 10) is None
    with pytest.raises(UsageError, match="give a budget"):
        step_budget(TrainConfig(), 4, 1, 10)


def test_minutes_are_shared_among_stretches_of_time(tmp_path):
    recipe = text_recipe(tmp_path)
    recipe["data"]["pack"]["ramp"] = [{"until": 0.5, "length": 32}]
    recipe = load(recipe, {"train": {"steps": None, "minutes": 1.0}})
    assert stretches(recipe) == [(0.5, 0.0), (0.5, 0.5)]
    parts = [{"share": 0.5, "flops": 10.0, "optimizer_flops": 0.0, "seconds": 1.0}, {"share": 0.5, "flops": 30.0, "optimizer_flops": 0.0, "seconds": 3.0}]
    cost = cost_of(recipe, {"stretches": parts}, None, None, 0, Power(10.0, "told"))
    assert cost.steps.value == 40 and cost.seconds.value == 60
    assert cost.flops.value == 30 * 10 + 10 * 30
    assert cost.seconds_per_step.value == pytest.approx(60 / 40)


def test_the_largest_micro_batch_grows_with_the_budget():
    found = {"process": 0, "data": 0, "trained": 1000 << 20, "live": 1000 << 20, "resident": 1000 << 20, "other": [5, 500 << 20]}
    sizes = [largest_micro_batch(found, 10, 1000, budget << 20) for budget in (10, 500, 2000, 4000)]
    assert sizes[0] == 0 and sizes == sorted(sizes) and sizes[-1] > sizes[1]


def test_a_model_that_walks_along_a_row_is_drawn_out():
    recipe = load({**text_recipe_without_files(), "model": {"kind": "decoder", "dim": 16, "depth": 1, "mixer": "gru", "positions": "none"}})
    assert step_by_step(recipe.architecture({"V": 10, "T": 8}), torch.device("cpu"))
    short, longer = Rehearsed(live=100, flops=10.0, parts={"weights": 50}), Rehearsed(live=150, flops=20.0, parts={"weights": 50})
    assert vars(drawn_out(short, longer, (1, 2), 5)) | {"operations": []} == vars(Rehearsed(live=300, flops=50.0, parts={"weights": 50}))


def text_recipe_without_files():
    return {
        "format": 1, "name": "none", "data": {"source": {"kind": "text_files", "path": "/nowhere"}, "tokenizer": "bytes"}, "objective": "next_token",
        "train": {"steps": 1},
    }


def test_numbers_as_people_read_them():
    assert (size(3 << 20), size(1536), size(250 << 30)) == ("3 MiB", "1.5 KiB", "250 GiB")
    assert (short(1.234e9), short(12)) == ("1.23 G", "12")
    assert (duration(0.012), duration(90), duration(600), duration(86400)) == ("12 ms", "90 s", "10 min", "24 h")
