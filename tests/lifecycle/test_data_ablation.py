"""Rules are left out in turn at equal compute; what is known to matter is found to, what changes nothing is not, and nobody is judged by text that was trained on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import WORDS
from typer.testing import CliRunner

import ftheta
from ftheta.cli import app
from ftheta.core.errors import DataError, UsageError
from ftheta.data.corpus.shards import read_documents
from ftheta.evaluation.statistics import contrast, paired_over_seeds
from ftheta.lifecycle.corpora import prepared
from ftheta.lifecycle.data_ablation import WHOLE, arms
from ftheta.lifecycle.held_text import held_text, known_shares
from ftheta.lifecycle.recipe import load

SIGNS = "#$%&*+=<>@^~0123456789"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 documents of words, and as many longer ones of signs."""
    folder, draws = tmp_path_factory.mktemp("half noise"), random.Random(0)
    for number in range(120):
        (folder / f"w{number:03}.txt").write_text(" ".join(draws.choices(WORDS, k=60)) + ".")
        (folder / f"n{number:03}.txt").write_text("".join(draws.choices(SIGNS, k=400)))
    return folder


def recipe(folder: Path, **data: Any) -> dict[str, Any]:
    return {
        "format": 1, "name": "noisy",
        "data": {
            "source": {"kind": "text_files", "path": str(folder)}, "clean": ["normalise", {"kind": "quality", "letters": [0.5, None]}],
            "split": {"validation": 0.05, "test": 0.2}, "tokenizer": {"kind": "bytes"}, "pack": {"length": 48}, **data,
        },
        "model": {"kind": "decoder", "dim": 24, "depth": 1, "mixer": {"kind": "attention", "heads": 2}},
        "objective": "next_token",
        "train": {
            "steps": 120, "batch": 16, "optimizer": {"kind": "muon", "rate": 0.05}, "schedule": {"kind": "linear_decay", "warmup": 0.1}, "precision": "float32", "threads": 1,
            "validation": None,
        },
    }


def test_a_rule_that_matters_is_found_to_and_one_that_does_nothing_is_not(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ftheta.ablate_data(recipe(texts), seeds=3, out=tmp_path, workers=1)
    whole, without_normalise, without_quality = found.arms
    assert [one.name for one in found.arms] == ["as it is", "without normalise", "without quality"]
    assert whole.documents < 100 < without_quality.documents and without_normalise.tokens == whole.tokens
    assert without_normalise.difference is not None and tuple(without_normalise.difference)[:3] == (0, 0, 0) and without_normalise.says == "no detectable difference"
    assert without_quality.difference is not None and without_quality.difference.low > 0.1 and without_quality.says == "worse"
    assert len({run.costs["flops"] for one in found.arms for run in one.runs}) == 1                # equal compute
    assert {run.results["seed"] for run in without_quality.runs} == {0, 1, 2}
    assert {name[0] for name in found.held.names} == {"w"} and len(found.held.names) >= 15
    shown = found.show()
    assert "95 % intervals, 3 seeds" in shown and "no detectable difference" in shown and found.picture.read_bytes()[:4] == b"\x89PNG"

    def never(*given: Any, **more: Any) -> None:
        raise AssertionError("done already")

    monkeypatch.setattr("ftheta.lifecycle.data_ablation.load_model", never)
    monkeypatch.setattr("ftheta.lifecycle.lifecycle.train", never)
    assert ftheta.ablate_data(recipe(texts), seeds=3, out=tmp_path, workers=1).show() == shown


def test_what_is_compared(texts: Path) -> None:
    clean = ["normalise", {"kind": "quality", "rules": "text"}, {"kind": "quality", "rules": "code"}]
    parsed = load(recipe(texts, deduplicate=["exact", {"kind": "near", "threshold": 0.8}], clean=clean))
    each, turned = arms(parsed, (), ())
    assert turned and list(each) == [WHOLE, *(f"without {name}" for name in ("normalise", "quality", "quality-2", "exact", "near"))]
    assert [rule["rules"] for rule in each["without quality-2"].data.dump()["clean"] if rule["kind"] == "quality"] == ["text"]
    some, turned = arms(parsed, ["exact+near", "everything"], ["repair", "{kind: near, threshold: 0.5}"])
    assert not turned and list(some) == [WHOLE, "without exact+near", "without everything", "with repair", "with near"]
    assert not some["without exact+near"].data.deduplicate and len(some["without exact+near"].data.clean) == 3
    assert not some["without everything"].data.deduplicate and not some["without everything"].data.clean
    assert [rule["kind"] for rule in some["with near"].data.dump()["deduplicate"]] == ["exact", "near", "near"]
    for one in some.values():
        assert one.data.split is not None and one.data.split.seed == 0
    for wrong, words in ((["nearr"], "did you mean 'near'"), (["exact+x"], "has no rule 'x'")):
        with pytest.raises(UsageError, match=words):
            arms(parsed, wrong, ())
    for wrong in ("nera", "{kind: nera}", "{", "[1]"):
        with pytest.raises(UsageError, match="expected a rule"):
            arms(parsed, (), [wrong])


def test_what_cannot_be_compared_is_said(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to leave out"):
        ftheta.ablate_data(recipe(texts, clean=[]), out=tmp_path)
    backwards = recipe(texts) | {"objective": "masked", "model": {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}}
    with pytest.raises(UsageError, match="choose a decoder"):
        ftheta.ablate_data(backwards, out=tmp_path)
    with pytest.raises(DataError, match="needed, so give more documents"):
        ftheta.ablate_data(recipe(texts, split={"validation": 0.0, "test": 0.01}), out=tmp_path, workers=1)


def test_a_rule_that_others_need_is_noted_in_turn_and_an_error_when_asked_for(texts: Path, tmp_path: Path) -> None:
    clean = [{"kind": "language"}, {"kind": "quality", "languages": ["en"]}]
    data = recipe(texts, clean=clean, split={"validation": 0.0, "test": 0.2})
    data["train"]["steps"] = 1
    found = ftheta.ablate_data(data, seeds=1, out=tmp_path, workers=1)
    assert [one.name for one in found.arms] == ["as it is", "without quality"]
    assert any("without language: cannot be made" in note for note in found.notes) and any("with one seed" in note for note in found.notes)
    with pytest.raises(DataError, match=r"put \{kind: language\} before it"):
        ftheta.ablate_data(data, without=["language"], seeds=1, out=tmp_path, workers=1)


def test_nobody_is_judged_by_text_that_somebody_trained_on(tmp_path: Path) -> None:
    """Of every document there is a copy with some words changed: with `near` one of both is left, without it they part."""
    folder, draws = tmp_path / "texts", random.Random(1)
    folder.mkdir()
    for number in range(60):
        words = [f"{draws.choice(WORDS)}{draws.randrange(1000)}" for _ in range(120)]
        (folder / f"{number:02}.txt").write_text(" ".join(words))
        if number % 2:
            words[60] = "other"
            (folder / f"{number:02}-copy.txt").write_text(" ".join(words))
    parsed = load(recipe(folder, clean=[], deduplicate=[{"kind": "near", "threshold": 0.6}], split={"validation": 0.1, "test": 0.3}))
    ways = {name: prepared(one) for name, one in arms(parsed, (), ())[0].items()}
    held = held_text(ways, WHOLE)
    trained = {document.name for text in ways.values() for place in text.corpus.divided for split in ("train", "validation")
               for document in read_documents(place / f"{split}.parquet")}
    assert held.copied > 0 and not {name.removesuffix(".txt").removesuffix("-copy") for name in held.names} & {name.removesuffix(".txt").removesuffix("-copy") for name in trained}
    for name in held.names:
        assert all(name in {d.name for place in text.corpus.divided for d in read_documents(place / "test.parquet")} for text in ways.values())


def test_the_share_of_a_text_that_is_known() -> None:
    text = [f"w{number}" for number in range(27)]                                           # 20 runs of 8 words
    others = [" ".join(text[:12]), " ".join([*text[15:], "x"])]                             # 5 of them, and 5 more
    assert known_shares([" ".join(text), "nothing like it stands anywhere", "..."], [others]).tolist() == [10 / 20, 0.0, 1.0]


def test_an_interval_over_seeds_is_wider_than_over_documents_alone_and_covers() -> None:
    """In 95 % of simulated experiments with seeds and documents that differ the true difference lies within."""
    draws, inside, truth = np.random.default_rng(0), 0, 0.1
    sizes = np.full(40, 100.0)
    for _ in range(200):
        seeds = truth + draws.normal(0, 0.03, 3)
        units = draws.normal(0, 0.1, 40)
        base = [draws.normal(2, 0.05, 40) * sizes for _ in range(3)]
        other = [one + (seed + units) * sizes for one, seed in zip(base, seeds, strict=True)]
        found = paired_over_seeds(other, base, sizes, 0)
        inside += found.low <= truth <= found.high
    assert 0.93 <= inside / 200 <= 1.0
    alone = contrast(np.stack([np.mean(other, axis=0), np.mean(base, axis=0)]), np.stack([sizes, sizes]), 0)
    assert found.high - found.low > alone.high - alone.low and found.value == alone.value
    one = paired_over_seeds(other[:1], base[:1], sizes, 0)
    assert tuple(one[:3]) == tuple(contrast(np.stack([other[0], base[0]]), np.stack([sizes, sizes]), 0)[:3])


def test_on_the_command_line(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "noisy.json").write_text(json.dumps(recipe(texts)))                         # JSON is YAML
    result = CliRunner().invoke(app, [
        "data", "ablate", str(tmp_path / "noisy.json"), "--without", "quality", "--with", "{kind: exact, unit: line}", "--seeds", "1", "--set", "train.steps=3",
        "--out", str(tmp_path / "out"), "--workers", "1",
    ])
    assert result.exit_code == 0, result.output
    assert "without quality" in result.output and "with exact" in result.output and (tmp_path / "out" / "ablation.png").exists()
