"""Prompting equals asking transformers for the likelihood of words, chooses on validation rows, and is a model folder like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests import tiny

import ftheta
from ftheta.architectures.prompted import Prompted
from ftheta.core.config import merge
from ftheta.core.errors import ConfigError
from ftheta.lifecycle.lifecycle import Outcome

LLAMA = {"positions": "rotary", "norm": "rmsnorm", "feedforward": {"kind": "gated", "hidden": 32}, "tie": False}
WORDS = {"good": "fine", "bad": "poor"}
BLANKS = {"bad": "poor", "good": "fine ship"}


def write(place: Path, rows: list[dict[str, str]]) -> str:
    place.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(place)


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A byte decoder that has read many reviews with their verdicts, an encoder of words, and a table of other reviews."""
    folder = tmp_path_factory.mktemp("starts")
    texts = folder / "texts"
    texts.mkdir()
    for i in range(60):
        word = ("fine", "poor")[i % 2]
        (texts / f"{i}.txt").write_text(f"a {'red' if word == 'fine' else 'old'} {tiny.WORDS[i % 7]} is {word}\n" * 2)
    common = {
        "data": {"source": {"path": str(texts)}, "pack": {"length": 48}}, "evaluate": [],
        "train": {"steps": 150, "batch": 8, "validation": None, "average": None, "checkpoint": {"every": None}, "log_every": 50},
    }
    decoder = merge(tiny.language(texts), {**common, "model": {"dim": 32, "dropout": 0.0, "depth": 2, **LLAMA}})
    encoder = merge(tiny.language(texts), {
        **common, "model": {"kind": "encoder", "dim": 16, "depth": 1, "dropout": 0.0, "mixer": {"kind": "attention", "heads": 2, "causal": False}}, "objective": "masked",
    })
    encoder["data"]["tokenizer"] = {"kind": "wordpiece", "vocab": 40}
    encoder["train"]["steps"] = 20
    ftheta.run(decoder, out=folder / "decoder")
    ftheta.run(encoder, out=folder / "encoder")
    write(folder / "rows.jsonl", [{"text": f"a {'red' if i % 2 else 'old'} {tiny.WORDS[i % 5]}", "label": "good" if i % 2 else "bad"} for i in range(80)])
    return {name: folder / name for name in ("decoder", "encoder", "rows.jsonl")}


def recipe(starts: dict[str, Path], start: str, **adapt: Any) -> dict[str, Any]:
    return {
        "format": 1, "name": "asked", "start": str(starts[start]), "adapt": {"kind": "prompting", "labels": WORDS, **adapt},
        "data": {"source": {"kind": "text_table", "path": str(starts["rows.jsonl"]), "longest": 24}}, "model": {"kind": "headed"}, "objective": "classification",
        "train": {"steps": 4, "batch": 4}, "evaluate": ["accuracy"],
    }


def run(tmp_path: Path, data: dict[str, Any]) -> Outcome:
    return ftheta.run(data, out=tmp_path / "run")


def test_a_decoder_is_asked_and_nothing_moves(starts: dict[str, Path], tmp_path: Path) -> None:
    outcome = run(tmp_path, recipe(starts, "decoder", templates=["{text} so {label}", "{text} is {label}"]))
    costs = outcome.results["training"]
    facts = costs["prompting"]
    assert facts["template"] == "{text} is {label}" and [tried["template"] for tried in facts["tried"]] == ["{text} so {label}", "{text} is {label}"]
    assert facts["validation_loss"] == min(tried["loss"] for tried in facts["tried"]) and costs["trainable"] == 0 and costs["flops"] > 0
    (accuracy,) = [entry for entry in outcome.results["measurements"] if entry["name"] == "accuracy"]
    assert accuracy["value"] > 0.9
    model, before = ftheta.load(outcome.model_folder), ftheta.load(starts["decoder"]).architecture.theta()
    assert all(torch.equal(before[name.removeprefix("trunk.")], value) for name, value in model.architecture.theta().items())
    assert model.predict("a red sea").label == "good" and model.predict("a old sea").label == "bad"
    assert run(tmp_path, recipe(starts, "decoder", templates=["{text} so {label}", "{text} is {label}"])).fresh is False

    outside = transformers.AutoModelForCausalLM.from_pretrained(starts["decoder"] / "model")
    processor = ftheta.load(starts["decoder"]).processor
    for text in ("a red ship", "a old sea", "an answer"):
        scores = []
        for name in ("bad", "good"):
            question, word = processor.encode(f"{text} is"), processor.encode(f" {WORDS[name]}", start=False)         # type: ignore[attr-defined, call-arg]
            known = outside(torch.tensor([question + word])).logits[0].log_softmax(-1)
            scores.append(sum(float(known[len(question) - 1 + i, token]) for i, token in enumerate(word)))
        torch.testing.assert_close(asked(model, text), torch.tensor(scores), atol=1e-4, rtol=1e-5)


def asked(model: Any, text: str) -> torch.Tensor:
    (found,) = model.task.outputs(model.task.frame([(text, None)]))
    return found["logits"]


def test_an_encoder_fills_blanks(starts: dict[str, Path], tmp_path: Path) -> None:
    outcome = run(tmp_path, recipe(starts, "encoder", templates=["{text} is {label}"], labels=BLANKS))
    model, start = ftheta.load(outcome.model_folder), ftheta.load(starts["encoder"])
    words = {name: start.processor.encode(BLANKS[name], start=False) for name in ("bad", "good")}                      # type: ignore[attr-defined, call-arg]
    assert len(words["bad"]) != len(words["good"])
    opening, closing = start.processor.borders                                            # type: ignore[attr-defined]
    mask = start.processor.id("mask")
    before = start.processor.encode("a red ship", start=False) + start.processor.encode(" is", start=False)             # type: ignore[attr-defined, call-arg]
    wanted = []
    for word in words.values():
        tokens = torch.tensor([[opening, *before, *[mask] * len(word), closing]])
        known = start.architecture(tokens=tokens)["logits"][0].log_softmax(-1)
        wanted.append(sum(float(known[1 + len(before) + i, token]) for i, token in enumerate(word)))
    torch.testing.assert_close(asked(model, "a red ship"), torch.tensor(wanted), atol=1e-5, rtol=1e-5)


def test_solved_examples_are_drawn_with_the_seed_and_fit(starts: dict[str, Path], tmp_path: Path) -> None:
    few = {"templates": ["{text}{label}."], "shots": 2, "draws": 3, "labels": {"good": "f", "bad": "p"}}
    outcome = run(tmp_path / "one", recipe(starts, "decoder", **few))
    facts = outcome.results["training"]["prompting"]
    assert len(facts["shots"]) == 2 and len({tried["draw"] for tried in facts["tried"]}) == 3
    again = run(tmp_path / "two", recipe(starts, "decoder", **few)).results["training"]["prompting"]
    other = run(tmp_path / "three", {**recipe(starts, "decoder", **few), "seed": 5}).results["training"]["prompting"]
    assert again == facts and other["shots"] != facts["shots"]
    model = ftheta.load(outcome.model_folder)
    assert isinstance(model.architecture, Prompted)
    template = model.architecture.config.template
    spoken = [model.processor.decode(piece) for piece in template if not isinstance(piece, str)]                        # type: ignore[attr-defined]
    assert all(shot in "".join(spoken) for shot in facts["shots"])
    assert model.predict("a very long text " * 9).label in ("good", "bad")                # loses its end
    with pytest.raises(ConfigError, match="leave no room for a text in the 48 tokens"):
        run(tmp_path / "many", recipe(starts, "decoder", **{**few, "shots": 9}))


def test_pairs_and_chinese(starts: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": f"天气{i}", "second": "好" if i % 2 else "坏", "label": "对" if i % 2 else "错"} for i in range(40)]
    data = recipe(starts, "decoder", language="zh", labels={})
    data["data"]["source"] |= {"path": write(tmp_path / "pairs.jsonl", rows), "second": "second"}
    outcome = run(tmp_path, data)
    assert [tried["template"] for tried in outcome.results["training"]["prompting"]["tried"]][1] == "{text}？{label}，{second}"
    assert ftheta.load(outcome.model_folder).predict({"text": "天气", "second": "好"}).label in ("对", "错")


def test_mistakes(starts: dict[str, Path], tmp_path: Path) -> None:
    for number, (change, said) in enumerate((
        ({"adapt": {"labels": {"goood": "x"}}}, r"adapt.labels.goood: no class has this name; did you mean 'good'"),
        ({"adapt": {"templates": ["{text}"]}}, r"adapt.templates.0: '\{text\}' must hold"),
        ({"adapt": {"labels": {"good": "poor"}}}, "two classes are called the same: poor, poor"),
        ({"adapt": {"templates": ["{text} {labell} {label}"]}}, r"adapt.templates.0: \{labell\} is no place"),
        ({"data": {"source": {"validation": 0.0}}}, "the template is chosen on validation rows"),
    )):
        with pytest.raises(ConfigError, match=said):
            run(tmp_path / str(number), merge(recipe(starts, "decoder"), change))
    texts = merge(tiny.language(tmp_path), {"start": str(starts["decoder"]), "adapt": "prompting"})
    with pytest.raises(ConfigError, match="prompting names the classes of texts"):
        run(tmp_path, {key: value for key, value in texts.items() if key != "data"} | {"data": {"source": texts["data"]["source"]}, "model": {}})
