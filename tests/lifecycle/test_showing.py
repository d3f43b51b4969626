"""What `ftheta data show` says of a row is what the loss counts, for every sort of data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests import tiny

import ftheta
from ftheta.core.config import merge
from ftheta.core.errors import UsageError
from ftheta.lifecycle.build import build_data, build_source
from ftheta.lifecycle.recipe import load


def learned(row, name="tokens"):
    return [span.text for span in row.texts[name] if span.learned]


def test_next_tokens_are_marked_but_for_the_first_of_a_document(tmp_path: Path) -> None:
    recipe = tiny.language(tiny.write_texts(tmp_path / "texts"))
    shown = ftheta.show_data(recipe, rows=3)
    parsed = load(recipe)
    data = build_data(parsed)
    tokens = build_source(parsed, data).batch(0, torch.arange(3), None)["tokens"]
    for row, ids in zip(shown.rows, tokens, strict=True):
        assert "".join(span.text for span in row.texts["tokens"]) == data.processor.tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        assert not row.texts["tokens"][0].learned and row.texts["tokens"][1].learned
    assert shown.split == "train" and shown.total == len(data.splits["train"])
    assert "[[" in shown.plain() and shown.plain().count("row ") == 3
    assert ftheta.show_data(recipe, split="test", rows=1).plain() != ftheta.show_data(recipe, rows=1).plain()


def test_of_conversations_the_answers(tmp_path: Path) -> None:
    (tmp_path / "talks.jsonl").write_text("\n".join(json.dumps({"instruction": f"what is {i}?", "output": f"it is {i}"}) for i in range(30)))
    recipe = merge(tiny.language(tmp_path), {"data": {"source": {"kind": "chat", "path": str(tmp_path / "talks.jsonl"), "template": "chatml"}, "pack": {"length": 160}}})
    shown = ftheta.show_data(recipe, rows=4)
    marked = [text for row in shown.rows for text in learned(row)]
    assert marked and all(text.startswith("it is ") for text in marked)
    assert any("what is" in span.text for span in shown.rows[0].texts["tokens"] if not span.learned)


def test_of_hidden_tokens_these(tmp_path: Path) -> None:
    model = {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}
    row = ftheta.show_data({**tiny.language(tiny.write_texts(tmp_path / "texts")), "model": model, "objective": {"kind": "masked", "rate": 0.5}}, rows=1).rows[0]
    assert 0 < len("".join(learned(row, "targets"))) < len("".join(span.text for span in row.texts["targets"]))
    assert any("<mask>" in text for text in learned(row))


def test_pictures_have_labels_and_a_file() -> None:
    shown = ftheta.show_data(tiny.images(), rows=3)
    assert [set(row.facts) for row in shown.rows] == [{"label"}] * 3
    assert shown.picture is not None and shown.picture.startswith(b"\x89PNG")


def test_tables_and_graphs() -> None:
    table = {"format": 1, "name": "t", "data": {"source": {"kind": "sklearn_table", "name": "iris"}}, "model": {"kind": "forest", "trees": 2}, "objective": "fit"}
    row = ftheta.show_data(table, rows=2).rows[1]
    graph = {"format": 1, "name": "g", "data": {"source": {"kind": "communities", "nodes": 60}}, "model": {"kind": "graph"}, "objective": "classification"}
    shown = ftheta.show_data(graph, rows=1)
    assert shown.shared["edges"].startswith("2 × ") and shown.shared["nodes"].startswith("60 × ")
    assert row.facts["features"].count(",") == 3 and row.facts["label"] in ("setosa", "versicolor", "virginica")


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split 'trian'; did you mean 'train'"):
        ftheta.show_data(tiny.images(), split="trian")
    with pytest.raises(UsageError, match="acting with the model"):
        ftheta.show_data(tiny.policy())
