"""`start` and `adapt`: training goes on from a model folder, ours or the ecosystem's; `chat` and `preferences` teach it to answer."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny

import ftheta
from ftheta.adaptation.lora import LowRank
from ftheta.architectures import ARCHITECTURES
from ftheta.blocks.virtual import SoftPrompt
from ftheta.core.config import Slot, merge
from ftheta.core.errors import ConfigError, DataError, Stopped, UsageError
from ftheta.evaluation.probes.small import scatter
from ftheta.lifecycle.bench import Bench
from ftheta.lifecycle.build import begin_from, build_model
from ftheta.lifecycle.certify import examine
from ftheta.lifecycle.equivalences import CHECKS
from ftheta.lifecycle.recipe import load
from ftheta.models.adapters import merge_adapter

TALKS = [{"instruction": f"what is {i}?", "output": f"it is {i}"} for i in range(30)]
PAIRS = [{"prompt": talk["instruction"], "chosen": talk["output"], "rejected": "中文 no"} for talk in TALKS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained byte model of the Llama shape."""
    folder = tmp_path_factory.mktemp("base")
    recipe = merge(tiny.language(tiny.write_texts(folder / "texts")), {
        "data": {"pack": {"length": 64}}, "evaluate": [],
        "model": {"dropout": 0.0, "positions": "rotary", "norm": "rmsnorm", "feedforward": {"kind": "gated", "hidden": 32}},
    })
    ftheta.run(recipe, out=folder / "run")
    return folder / "run"


def file(folder: Path, rows: list[dict[str, Any]]) -> str:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(folder / "rows.jsonl")


def recipe(base: Path, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "format": 1, "name": "on", "start": str(base), "data": {"source": source, "pack": {"length": 60}}, "objective": "next_token",
        "train": {"steps": 40, "batch": 4, "optimizer": {"kind": "adamw", "rate": 0.03}, "precision": "float32", "threads": 1}, **more,
    }


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if "loss" in line]


def test_lora_on_conversations_learns_and_its_adapter_is_the_difference(base: Path, tmp_path: Path) -> None:
    data = recipe(base, {"kind": "chat", "path": file(tmp_path, TALKS)}, adapt={"kind": "lora", "rank": 4})
    outcome = ftheta.run(data, out=tmp_path / "run")
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0] - 0.1
    tuned, plain = ftheta.load(outcome.model_folder), ftheta.load(base)
    assert tuned.architecture.theta().keys() == plain.architecture.theta().keys()
    still = [name for name, value in tuned.architecture.theta().items() if torch.equal(value, plain.architecture.theta()[name])]
    assert {"embed.weight", "norm.weight"} <= set(still) and "layers.0.mix.inner.query.weight" not in still
    merge_adapter(plain.architecture, tmp_path / "run" / "adapter")
    for name, value in plain.architecture.theta().items():
        torch.testing.assert_close(value, tuned.architecture.theta()[name], atol=1e-6, rtol=1e-5)
    assert ftheta.run(data, out=tmp_path / "run").fresh is False
    assert isinstance(tuned.chat([{"role": "user", "content": "what is 3?"}], most=5), str)
    assert "chat_template.jinja" in {path.name for path in outcome.model_folder.iterdir()}


@pytest.mark.parametrize("adapt", [
    {"kind": "lora", "rank": 2, "dropout": 0.2, "magnitude": True}, {"kind": "lora", "rank": 2, "base": {"bits": 4}}, {"kind": "soft_prompt", "tokens": 3},
    {"kind": "prefix", "tokens": 3, "hidden": 4},
], ids=["dora", "few bits", "soft prompt", "prefix"])
def test_an_interrupted_adaptation_continues_exactly(base: Path, tmp_path: Path, adapt: dict[str, Any]) -> None:
    data = recipe(base, {"kind": "chat", "path": file(tmp_path, TALKS)}, adapt=adapt)
    data["train"] |= {"checkpoint": {"every": 10}, "log_every": 1}

    def interrupt(kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "metrics" and facts["step"] == 17:
            signal.raise_signal(signal.SIGTERM)

    whole = ftheta.run(data, out=tmp_path / "whole")
    with pytest.raises(Stopped):
        ftheta.run(data, out=tmp_path / "again", listeners=[interrupt])
    ftheta.run(data, out=tmp_path / "again")
    one, two = (ftheta.load(tmp_path / name / "model").architecture.theta() for name in ("whole", "again"))
    assert all(torch.equal(one[name], two[name]) for name in one) and whole.fresh
    if adapt["kind"] in ("soft_prompt", "prefix"):
        assert ftheta.load(whole.model_folder).adapters.used == {adapt["kind"]: 1.0} and "virtual.weight" in one
        again = ftheta.load(base).attach(tmp_path / "whole" / "adapter", "own").use("own").architecture.theta()
        assert again.keys() == one.keys() and all(torch.equal(value, again[name]) for name, value in one.items())


@pytest.mark.parametrize("bits", [{"bits": 8}, {"bits": 4, "double": True}])
def test_a_base_in_few_bits_leaves_the_original_and_its_change(base: Path, tmp_path: Path, bits: dict[str, Any]) -> None:
    data = recipe(base, {"kind": "text_files", "path": str(base.parent / "texts")}, adapt={"kind": "lora", "rank": 2, "targets": ["query", "up"], "base": bits})
    data["train"] |= {"steps": 8, "validation": {"every": 4, "batches": 2}}
    outcome = ftheta.run(data, out=tmp_path / "run")
    facts = outcome.results["training"]["few_bits"]
    assert facts["bytes"] < facts["float32_bytes"] * (0.35 if bits["bits"] == 8 else 0.2)
    assert 0 < abs(facts["bits_per_byte"] - facts["float32_bits_per_byte"]) < 0.2
    assert outcome.results["training"]["parameters"] > sum(value.numel() for value in ftheta.load(base).architecture.theta().values())
    tuned, plain = (ftheta.load(folder).architecture.theta() for folder in (outcome.model_folder, base))
    changed = {name for name, value in tuned.items() if not torch.equal(value, plain[name])}
    assert changed == {"layers.0.mix.inner.query.weight", "layers.0.feed.inner.up.weight"}
    whole = ftheta.load(base).architecture
    merge_adapter(whole, tmp_path / "run" / "adapter")
    for name, value in whole.theta().items():
        torch.testing.assert_close(value, tuned[name], atol=1e-6, rtol=1e-5)


def test_a_base_in_few_bits_learns_from_a_teacher(base: Path, tmp_path: Path) -> None:
    objective = {"kind": "distillation", "teacher": str(base), "of": "next_token"}
    adapt = {"kind": "lora", "rank": 2, "base": {"bits": 4}}
    outcome = ftheta.run(recipe(base, {"kind": "text_files", "path": str(base.parent / "texts")}, adapt=adapt, objective=objective, evaluate=[]), out=tmp_path / "run")
    facts = outcome.results["training"]["few_bits"]
    assert facts["validation_loss"] > 0 and facts["float32_validation_loss"] > 0


@pytest.mark.parametrize("adapt", [{"kind": "lora", "rank": 2, "base": {"bits": 4}}, {"kind": "soft_prompt", "tokens": 3}], ids=["few bits", "soft prompt"])
def test_equivalences_are_tried_on_what_is_adapted(base: Path, adapt: dict[str, Any]) -> None:
    bench = Bench.of(load(recipe(base, {"kind": "text_files", "path": str(base.parent / "texts")}, adapt=adapt)))
    assert any(isinstance(part, LowRank | SoftPrompt) for part in bench.model().modules())
    for name in ("packed = unpacked", "resumed = uninterrupted", "saved = loaded"):
        certificates = examine(name, CHECKS[name], bench)
        assert certificates and all(certificate.verdict == "passed" for certificate in certificates)


def test_preferences_move_answers_apart(base: Path, tmp_path: Path) -> None:
    data = recipe(base, {"kind": "preferences", "path": file(tmp_path, PAIRS)}, objective={"kind": "preference", "beta": 0.5})
    ftheta.run(data, out=tmp_path / "run")
    lines = [line for line in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) if "reward_margin" in line]
    assert abs(lines[0]["loss"] - 0.6931) < 1e-3 and lines[-1]["loss"] < 0.4
    assert lines[-1]["preferred"] > 0.9 and lines[-1]["reward_margin"] > lines[0]["reward_margin"] + 0.5


def test_a_reader_starts_from_an_encoder(tmp_path: Path) -> None:
    encoder = merge(tiny.language(tiny.write_texts(tmp_path / "texts")), {
        "objective": "masked", "model": {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}, "dropout": 0.0},
        "data": {"pack": {"length": 32}}, "evaluate": [],
    })
    ftheta.run(encoder, out=tmp_path / "base")
    rows = [{"text": f"a {'good' if i % 2 else 'bad'} film {i}", "label": str(i % 2)} for i in range(60)]
    data = recipe(tmp_path / "base", {"kind": "text_table", "path": file(tmp_path, rows), "longest": 32}, model={"kind": "headed"}, objective="classification")
    del data["data"]["pack"]
    start = ftheta.load(tmp_path / "base").architecture.theta()
    probe = ftheta.load(ftheta.run({**data, "adapt": "probe"}, out=tmp_path / "probe").model_folder).architecture.theta()
    assert all(torch.equal(probe[f"trunk.{name}"], value) for name, value in start.items() if not name.startswith("head."))
    ftheta.run({**data, "adapt": {"kind": "lora", "rank": 2}}, out=tmp_path / "lora")
    assert not (tmp_path / "lora" / "adapter").exists()
    full = ftheta.load(ftheta.run(data, out=tmp_path / "full").model_folder)
    assert not torch.equal(full.architecture.theta()["trunk.embed.weight"], start["embed.weight"])
    assert full.predict("a good film").label in ("0", "1")


@pytest.mark.parametrize("kind", ["replaced_token", "next_sentence"])
def test_a_reader_starts_from_the_trunk_of_what_was_trained_on_plain_text(tmp_path: Path, kind: str) -> None:
    encoder = {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}
    models = {
        "replaced_token": {"kind": "generator_discriminator", "trunk": encoder, "generator": encoder},
        "next_sentence": {"kind": "headed", "readout": "follows", "trunk": {**encoder, "segments": 2, "head": "transformed"}},
    }
    texts = {**tiny.language(tiny.write_texts(tmp_path / "texts")), "objective": kind, "model": models[kind]}
    texts = merge(texts, {"data": {"pack": {"length": 32}}, "evaluate": [{"kind": "loss", "objective": kind}]})
    before = ftheta.load(ftheta.run(texts, out=tmp_path / "base").model_folder)
    assert before.task.name == {"replaced_token": "feature-extraction", "next_sentence": "fill-mask"}[kind]
    lines = [json.loads(line) for line in (tmp_path / "base" / "metrics.jsonl").read_text().splitlines()]
    assert any(("accuracy" if kind == "replaced_token" else "follows_accuracy") in line for line in lines)
    rows = [{"text": f"a {'good' if i % 2 else 'bad'} film {i}", "label": str(i % 2)} for i in range(60)]
    source = {"kind": "text_table", "path": file(tmp_path, rows), "longest": 32}
    data = recipe(tmp_path / "base", source, model={"kind": "headed", "readout": "classify"}, objective="classification")
    del data["data"]["pack"]
    found = ftheta.load(ftheta.run({**data, "adapt": "probe"}, out=tmp_path / "probe").model_folder).architecture.theta()
    theirs = before.architecture.get_submodule("discriminator.trunk" if kind == "replaced_token" else "trunk").theta()    # type: ignore[operator]
    kept = {f"trunk.{name}": value for name, value in theirs.items() if not name.startswith("head.")}
    assert {name for name in found if name.startswith("trunk.")} == kept.keys() and all(torch.equal(found[name], value) for name, value in kept.items())


def test_a_head_that_is_kept_comes_along() -> None:
    trunk = {"kind": "encoder", "vocab": 30, "dim": 16, "depth": 1, "context": 8, "head": "transformed",
             "mixer": {"kind": "attention", "heads": 2, "causal": False}}
    fields = (trunk, {"kind": "headed", "readout": "follows", "trunk": trunk})
    start, model = (build_model(Slot(ARCHITECTURES).parse(one), 1) for one in fields)     # type: ignore[arg-type]
    scatter(start, 0)
    begin_from(model, start, "start")
    tokens = torch.arange(16).view(2, 8)
    assert torch.equal(start(tokens=tokens)["logits"], model.eval()(tokens=tokens)["logits"])


def test_equivalences_hold_for_replaced_tokens(tmp_path: Path) -> None:
    encoder = {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}
    model = {"kind": "generator_discriminator", "trunk": encoder, "generator": encoder}
    bench = Bench.of(load({**tiny.language(tiny.write_texts(tmp_path / "texts")), "objective": "replaced_token", "model": model}))
    for name in ("accumulation = big batch", "packed = unpacked", "resumed = uninterrupted", "saved = loaded", "padding changes nothing"):
        certificates = examine(name, CHECKS[name], bench)
        assert certificates and all(certificate.verdict == "passed" for certificate in certificates), certificates


def test_mistakes(base: Path, tmp_path: Path) -> None:
    good = recipe(base, {"kind": "chat", "path": file(tmp_path, TALKS)})
    with pytest.raises(ConfigError, match=r"start: .*nowhere is not a folder"):
        load({**good, "start": str(tmp_path / "nowhere")})
    with pytest.raises(ConfigError, match=r"model.kind: 'resnet', but .* holds a decoder"):
        load({**good, "model": {"kind": "resnet"}})
    with pytest.raises(ConfigError, match=r"data.tokenizer: text must become the tokens that the model of .* knows"):
        load(merge(good, {"data": {"tokenizer": "characters"}}))
    with pytest.raises(ConfigError, match="adapt: changes a model that is there already"):
        load({**good, "start": None, "adapt": "lora", "model": {"kind": "decoder", "depth": 1, "dim": 8}})
    with pytest.raises(ConfigError, match=r"adapt: 5 tokens before texts of up to 60 are more than the 64 the model looks at"):
        ftheta.run({**good, "adapt": {"kind": "prefix", "tokens": 5}}, out=tmp_path / "long")
    with pytest.raises(ConfigError, match=r"the parameters of .* do not fit"):
        ftheta.run({**good, "model": {"dim": 32}}, out=tmp_path / "wider")
    with pytest.raises(ConfigError, match="compares with the model that training starts from"):
        no = merge(recipe(base, {"kind": "preferences", "path": file(tmp_path, PAIRS)}, objective="preference"), {"data": {"tokenizer": "bytes"}})
        ftheta.run({**no, "start": None, "model": {"kind": "decoder", "depth": 1, "dim": 8, "mixer": {"kind": "attention", "heads": 2}}}, out=tmp_path / "no")
    with pytest.raises(DataError, match=r"rows.jsonl row 2: message 1 of the assistant is empty; set data.source.on_bad: skip"):
        ftheta.run(recipe(base, {"kind": "chat", "path": file(tmp_path, [TALKS[0], {"instruction": "x", "output": ""}])}), out=tmp_path / "bad")
    with pytest.raises(UsageError, match="no chat template"):
        ftheta.load(base).chat([{"role": "user", "content": "hello"}])
