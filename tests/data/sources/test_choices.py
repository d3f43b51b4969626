"""Questions with answers to choose among: read from every format or refused with the place, padded where there are fewer, learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ftheta
from ftheta.architectures.architecture import call
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import DataError
from ftheta.data.sources.choices import Choices
from ftheta.data.sources.source_config import Sections
from ftheta.data.tokenizers.trained import Bytes
from ftheta.evaluation.probes.small import scatter


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def source(path: str, **fields: Any) -> Choices:
    return Choices.parse({"kind": "choices", "path": path, **fields})


def test_the_same_questions_from_every_format(tmp_path: Path) -> None:
    lines = write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in (
        {"question": "1+1?", "choices": ["1", "2"], "answer": 1}, {"question": "sky?", "choices": ["red", "blue", "green"], "answer": 1})))
    comma = write(tmp_path, "a.csv", "question,a,b,c,answer\n1+1?,1,2,,B\nsky?,red,blue,green,b\n")
    tabs = write(tmp_path, "a.tsv", "question\ta\tb\tc\tanswer\n1+1?\t1\t2\t\t2\nsky?\tred\tblue\tgreen\tblue\n")
    items = source(lines).items(lines)
    assert [(item.question, item.offered, item.right) for item in items] == [("1+1?", ("1", "2"), 1), ("sky?", ("red", "blue", "green"), 1)]
    assert source(comma, offered=("a", "b", "c"), written="letter").items(comma) == items == source(tabs, offered=("a", "b", "c"), written="text").items(tabs)
    assert items[0].pairs == [("1+1?", "1"), ("1+1?", "2")]
    story = write(tmp_path, "b.jsonl", json.dumps({"q": "which?", "text": "A story.", "o": ["x", "y"], "answer": "0"}))
    (read,) = source(story, question="q", context="text", offered=("o",)).items(story)
    assert read.pairs == [("A story.", "which? x"), ("A story.", "which? y")]


@pytest.mark.parametrize(("row", "fields", "message"), [
    ({"question": "a", "choices": ["b", "c"]}, {}, "line 1: no column 'answer'"), ({"question": "a", "choices": ["b", "c"], "answer": 2}, {}, "holds 2, expected one of 0, 1"),
    ({"question": "a", "choices": ["b"], "answer": 0}, {}, "1 answer to choose among"), ({"question": "a", "choices": ["b", None], "answer": 0}, {}, "None where text"),
    ({"question": "a", "choices": ["b", "c"], "answer": "b"}, {"written": "letters"}, "letter"), ({"question": "a", "choices": "b", "answer": 0}, {}, "1 answer"),
])
def test_what_cannot_be_used_is_refused(tmp_path: Path, row: dict[str, Any], fields: dict[str, Any], message: str) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps(row))
    with pytest.raises(Exception, match=message):
        source(path, **fields).items(path)
    with pytest.raises(DataError, match="holds no rows"):
        source(write(tmp_path, "e.jsonl", "")).items(str(tmp_path / "e.jsonl"))


def rows(count: int) -> str:
    """Which word has the letter that is asked for; two or three words are offered."""
    words, draw, found = ("cab", "fed", "hog"), torch.Generator().manual_seed(0), []
    for _ in range(count):
        order = torch.randperm(3, generator=draw).tolist()[: 2 + int(torch.randint(2, (1,), generator=draw))]
        right = int(torch.randint(len(order), (1,), generator=draw))
        found.append({"question": words[order[right]][1], "choices": [words[i] for i in order], "answer": right})
    return "\n".join(map(json.dumps, found))


def test_batches_and_answers_do_not_depend_on_choices_that_are_not_there(tmp_path: Path) -> None:
    prepared = source(write(tmp_path, "a.jsonl", rows(40)), longest=16).prepare(Sections(Bytes(), tmp_path / "cache"))
    train = prepared.splits["train"]
    assert {name: len(split) for name, split in prepared.splits.items()} == {"train": 32, "validation": 4, "test": 4} and train.ports.sizes == {"V": 260, "T": 16}
    batch = train.batch(torch.arange(32))
    assert batch["tokens"].shape[:2] == (32, 3) and batch["tokens"].shape == batch["documents"].shape == batch["segments"].shape
    config = HeadedConfig.parse({"kind": "headed", "readout": "choose", "trunk": {
        "kind": "encoder", "vocab": 260, "dim": 24, "depth": 1, "context": 16, "segments": 2, "mixer": {"kind": "attention", "heads": 3, "causal": False}}})
    model = scatter(config.build(), 0, 0.3).eval()
    logits = call(model, batch)["logits"]
    empty = (batch["documents"] < 0).all(-1)
    assert 0 < int(empty.sum()) < 32 and torch.equal(logits == -torch.inf, empty)
    for row in range(32):
        alone = call(model, train.batch(torch.tensor([row])))["logits"][0]
        assert torch.allclose(alone, logits[row, : len(alone)], atol=1e-5) and len(alone) == 3 - int(empty[row].sum())
    torch.nn.functional.cross_entropy(logits, batch["label"]).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_a_chooser_learns(tmp_path: Path) -> None:
    outcome = ftheta.run({
        "format": 1, "name": "words", "objective": "classification", "evaluate": ["accuracy"],
        "data": {"source": {"kind": "choices", "path": write(tmp_path, "a.jsonl", rows(300)), "longest": 16}, "tokenizer": "bytes"},
        "model": {"kind": "headed", "readout": {"kind": "choose", "pooling": "mean"}, "trunk": {
            "kind": "encoder", "dim": 32, "depth": 1, "segments": 2, "embed_std": 0.3, "mixer": {"kind": "attention", "heads": 4, "causal": False}}},
        "train": {"steps": 60, "batch": 32, "optimizer": "muon", "precision": "float32", "threads": 1},
    }, out=tmp_path / "run")
    assert outcome.results["measurements"][0]["value"] > 0.9
    model = ftheta.load(outcome.model_folder)
    assert model.task.name == "multiple-choice"
    answer, other = model.predict([{"question": "o", "choices": ["hog", "cab"]}, {"question": "a", "choices": ["fed", "hog", "cab"]}])
    assert (answer.answer, answer.number, other.answer) == ("hog", 0, "cab") and sum(other.probabilities) == pytest.approx(1, abs=1e-5)
