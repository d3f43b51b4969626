"""Words with tags: read, aligned with tokens, learned, measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ftheta
from ftheta.core.contract import UNTAGGED
from ftheta.core.errors import DataError
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.tagged import TaggedText
from ftheta.data.tokenizers.trained import Bytes
from ftheta.evaluation.metrics.entities import spans

TEXT = "-DOCSTART- O\n\n" + "\n\n".join(f"{name} NNP B-PER\nlives O\nin O\n北京 B-LOC\n城 I-LOC\n. O" for name in ("Anna", "Bo", "Cleo", "Dan")) + "\n"


def write(folder: Path, text: str = TEXT) -> Path:
    (folder / "train.conll").write_text(text, encoding="utf-8")
    return folder / "train.conll"


def test_the_first_token_of_a_word_carries_its_tag(tmp_path: Path) -> None:
    source = TaggedText(path=str(write(tmp_path)))
    prepared = source.prepare(Sections(Bytes(), tmp_path / "cache"))
    assert prepared.processor.labels == ["O", "B-LOC", "B-PER", "I-LOC"]
    batch = prepared.splits["train"].batch(torch.arange(4))
    names = prepared.processor.labels
    for row in range(4):
        found = [names[i] for i in batch["label"][row].tolist() if i != UNTAGGED]
        assert found == ["B-PER", "O", "O", "B-LOC", "I-LOC", "O"]
    assert (batch["label"][batch["documents"] < 0] == UNTAGGED).all()
    assert len(prepared.splits["train"]) == 4


def test_what_is_too_long_loses_its_end_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    TaggedText(path=str(write(tmp_path)), longest=12).prepare(Sections(Bytes(), tmp_path / "cache"))
    assert "words of the train split stand beyond the 12 tokens that are read" in caplog.text


@pytest.mark.parametrize("text, why", [
    ("Anna B-PER\nlives\n", "line 2: 'lives' has no tag"), ("", "holds no sentences"), ("a O\nb O\n", "every word has the tag 'O'"),
])
def test_bad_files_are_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        TaggedText(path=str(write(tmp_path, text))).parts()
    with pytest.raises(DataError, match="cannot be read"):
        TaggedText(path=str(tmp_path / "nothing")).parts()


@pytest.mark.parametrize("tags, expected", [
    ("B-A I-A O B-B", {("A", 0, 2), ("B", 3, 4)}), ("I-A I-A", {("A", 0, 2)}), ("B-A B-A", {("A", 0, 1), ("A", 1, 2)}), ("B-A I-B", {("A", 0, 1), ("B", 1, 2)}),
    ("O O", set()), ("S-A B-B I-B E-B", {("A", 0, 1), ("B", 1, 4)}), ("A A O A", {("A", 0, 1), ("A", 1, 2), ("A", 3, 4)}),
])
def test_spans(tags: str, expected: set[tuple[str, int, int]]) -> None:
    assert spans(tags.split()) == expected


def test_a_tagger_learns_names(tmp_path: Path) -> None:
    words = [("Anna", "B-PER"), ("Bo", "B-PER"), ("runs", "O"), ("to", "O"), ("Rome", "B-LOC"), ("Oslo", "B-LOC"), ("slowly", "O")]
    draw = torch.Generator().manual_seed(0)
    sentences = ["\n".join(" ".join(words[i]) for i in torch.randint(7, (6,), generator=draw).tolist()) for _ in range(200)]
    for name, part in (("train", sentences[:160]), ("test", sentences[160:])):
        (tmp_path / f"{name}.conll").write_text("\n\n".join(part))
    outcome = ftheta.run({
        "format": 1, "name": "names", "objective": "tagging", "evaluate": ["entities"],
        "data": {"source": {"kind": "tagged_text", "path": str(tmp_path / "train.conll"), "test": str(tmp_path / "test.conll"), "longest": 48}, "tokenizer": "bytes"},
        "model": {"kind": "headed", "readout": "tag", "trunk": {"kind": "encoder", "dim": 32, "depth": 2, "mixer": {"kind": "attention", "heads": 4, "causal": False}}},
        "train": {"steps": 150, "batch": 16, "optimizer": {"kind": "adamw", "rate": 3e-3}, "precision": "float32", "threads": 1},
    }, out=tmp_path / "run")
    f1 = outcome.results["measurements"][0]
    assert f1["name"] == "entity F1" and f1["value"] > 0.95 and f1["low"] < f1["value"] <= f1["high"]
    found = ftheta.load(outcome.model_folder).predict("Anna runs to Oslo").entities
    assert [(e.text, e.label) for e in found] == [("Anna", "PER"), ("Oslo", "LOC")]
