"""Several classes of one example: the loss of transformers, and texts and pictures from a table to an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import ftheta
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.several import apart, many_hot
from ftheta.objectives.multi_label import MultiLabel
from ftheta.objectives.objective import Phase


def test_the_loss_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=4, problem_type="multi_label_classification")
    theirs, labels = BertForSequenceClassification(config).eval(), torch.rand(5, 4) > 0.5
    with torch.no_grad():
        found = theirs(torch.randint(30, (5, 6)), labels=labels.float())
    loss = MultiLabel().loss(nn.Identity(), lambda batch: {"logits": found.logits}, {"labels": labels}, Phase("main"))
    assert float(loss.total / 5) == pytest.approx(float(found.loss.detach()), rel=1e-6) and loss.count == 5
    z, t = found.logits.double(), labels.double()
    weighed = -(3 * t * z.sigmoid().log() + (1 - t) * (-z).sigmoid().log()).mean(1).sum()
    loss = MultiLabel(present=3.0).loss(nn.Identity(), lambda batch: {"logits": found.logits.double()}, {"labels": labels}, Phase("main"))
    assert float(loss.total) == pytest.approx(float(weighed), rel=1e-12)
    assert int(loss.metrics["accuracy"][0]) == sum(all((z[i, k] > 0) == labels[i, k] for k in range(4)) for i in range(5))


def test_how_classes_are_written() -> None:
    assert apart("a; b ;a;", ";") == ("a", "b") and apart("", ";") == () and apart('["a", 3]', ";") == ("a", "3") and apart(["x", "x"], ",") == ("x",)
    assert apart("[a, b", ",") == ("[a", "b")
    assert many_hot([("b",), (), ("a", "b")], "ab", "123").tolist() == [[False, True], [False, False], [True, True]]
    with pytest.raises(DataError, match="table, line 3: no training example is of class 'tal'; did you mean 'tall'"):
        many_hot([("tal",)], ["tall", "wide"], ["table, line 3"])


TEXTS = [(("x",) if i % 2 else ()) + (("y",) if i % 3 == 0 else ()) for i in range(60)]


def recipe(source: dict[str, Any], model: dict[str, Any], steps: int) -> dict[str, Any]:
    data = {"source": source, **({"tokenizer": {"kind": "bytes"}} if source["kind"] == "text_table" else {})}
    return {
        "format": 1, "name": "several", "data": data, "model": model, "objective": "multi_label",
        "train": {"steps": steps, "batch": 16, "optimizer": {"kind": "adamw", "rate": 0.01}}, "evaluate": ["accuracy", "f1", {"kind": "loss", "objective": "multi_label"}],
    }


def test_texts_from_a_table_to_an_answer(tmp_path: Path) -> None:
    rows = [{"text": " ".join(["a", *names, "b"]), "label": list(names)} for names in TEXTS]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {"kind": "text_table", "path": str(tmp_path / "rows.jsonl"), "separator": ",", "longest": 16, "test": 0.3}
    trunk = {"kind": "encoder", "dim": 16, "depth": 1, "context": 32, "mixer": {"kind": "attention", "heads": 2, "causal": False}}
    results = ftheta.run(recipe(source, {"kind": "headed", "trunk": trunk}, 120), out=tmp_path / "run").results
    found = {m["name"]: m["value"] for m in results["measurements"]}
    assert found["accuracy"] == found["macro F1"] == found["F1 of x"] == 1.0
    model = ftheta.load(tmp_path / "run" / "model")
    assert model.task.name == "multi-label-text-classification"
    assert sorted(model.predict({"text": "a x y b"}).labels) == ["x", "y"] and model.predict("a b").labels == []
    assert len(model.predict({"text": "a b", "least": 0.0}).labels) == 2


def test_pictures_from_a_table_to_an_answer(tmp_path: Path) -> None:
    lines = ["image,label"]
    for i, names in enumerate(TEXTS):
        pixels = np.full((8, 8), 20, np.uint8)
        pixels[:, :4] += 200 * ("x" in names)
        pixels[:, 4:] += 200 * ("y" in names)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'|'.join(names)}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    source = {"kind": "image_table", "path": str(tmp_path / "rows.csv"), "separator": "|", "channels": 1, "test": 0.3}
    results = ftheta.run(recipe(source, {"kind": "convnet", "norm": "none", "stages": [{"width": 4}], "hidden": [8]}, 60), out=tmp_path / "run").results
    assert "macro F1" in {m["name"] for m in results["measurements"]}
    model = ftheta.load(tmp_path / "run" / "model")
    answer = model.predict({"path": str(tmp_path / "3.png")})
    assert model.task.name == "multi-label-image-classification" and set(answer.probabilities) == {"x", "y"}
    assert answer.labels == [name for name, share in answer.probabilities.items() if share >= 0.5]


def test_numbers_have_no_separator() -> None:
    with pytest.raises(ConfigError, match="leave one of them out"):
        ftheta.check({
            "format": 1, "name": "x", "data": {"source": {"kind": "text_table", "path": "a.csv", "separator": ",", "predict": "number"}}, "model": {"kind": "headed"},
            "objective": "regression", "train": {"steps": 1},
        })
