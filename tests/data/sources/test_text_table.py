"""Labelled texts from files: read exactly or refused with file and line, split class by class, padded batches, a classifier from end to end."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import ftheta
from ftheta.core.errors import ConfigError, DataError, UsageError
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text_table import TextTable
from ftheta.data.tokenizers.trained import Bytes
from ftheta.lifecycle.recipe import load

ROWS = [("Fine, \"really\" fine", "good"), ("bad", "bad"), ("so-so\tat best", "good"), ("中文 é", "bad")]


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def table(path: str, **fields: Any) -> TextTable:
    return TextTable.parse({"kind": "text_table", "path": path, **fields})


def test_the_same_rows_from_every_format(tmp_path: Path) -> None:
    comma = write(tmp_path, "a.csv", 'label,text\ngood,"Fine, ""really"" fine"\nbad,bad\ngood,so-so\tat best\n\nbad,中文 é\n')
    lines = write(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS))
    assert [(e.text, e.answer) for e in table(comma).examples(comma)] == [(e.text, e.answer) for e in table(lines).examples(lines)] == ROWS
    tabs = write(tmp_path, "a.tsv", 'x "1\t0\ny\t1\n')                                   # quotes mean nothing there
    assert [(e.text, e.answer) for e in table(tabs, header=False, text="1", label="2").examples(tabs)] == [('x "1', "0"), ("y", "1")]


@pytest.mark.parametrize(("name", "text", "fields", "message"), [
    ("a.csv", "text,label\nx,1\ny\n", {}, "line 3: 1 values, expected 2"), ("a.csv", "texts,label\nx,1\n", {}, "did you mean 'texts'"),
    ("a.csv", "text,label\nx,\n", {}, "line 2: column 'label'"), ("a.csv", 'text,label\n"x,1\n', {}, "line 2"), ("a.jsonl", '{"text": "x"\n', {}, "line 1"),
    ("a.jsonl", "[1]\n", {}, "expected a JSON object"), ("a.jsonl", '{"text": null, "label": 1}', {}, "holds None"), ("a.txt", "x", {}, "expected .csv"),
    ("a.csv", "text,label\n", {}, "holds no rows"), ("a.csv", "text,label\nx,1\ny,1\n", {}, "nothing to tell apart"),
])
def test_what_cannot_be_used_is_refused_with_its_place(tmp_path: Path, name: str, text: str, fields: dict[str, Any], message: str) -> None:
    source = table(write(tmp_path, name, text), **fields)
    with pytest.raises(DataError, match=message):
        source.classes(source.examples(source.path))


def pairs(folder: Path, count: int = 40) -> str:
    rows = [{"text": "word " * (i % 7 + 1), "other": f"number {i}", "label": 10 if i % 4 else 2} for i in range(count)]
    return write(folder, "pairs.jsonl", "\n".join(map(json.dumps, rows)))


def test_groups_go_with_their_texts(tmp_path: Path) -> None:
    rows = [{"text": f"a {'bcd'[i % 3]} {i}", "label": i % 2, "sex": "mf"[i // 3 % 2]} for i in range(40)]
    path = write(tmp_path, "groups.jsonl", "\n".join(map(json.dumps, rows)))
    data, without = (table(path, **fields).prepare(Sections(Bytes(), tmp_path, seed=0)) for fields in ({"group": "sex"}, {}))
    assert table(path, group="sex").ports().gives["group"] == "label B" and "group" not in without.splits["test"].ports.gives
    said = {row["text"]: row["sex"] for row in rows}
    for part, split in data.splits.items():
        batch, plain = split.batch(torch.arange(len(split))), without.splits[part].batch(torch.arange(len(split)))
        assert split.groups is not None and all(torch.equal(batch[name], value) for name, value in plain.items()) and batch.keys() - plain.keys() == {"group"}
        texts = [data.processor.tokenizer.decode([token for token in row.tolist() if token >= 4]) for row in batch["tokens"]]               # type: ignore[attr-defined]
        assert [split.groups.names[number] for number in batch["group"]] == [said[text] for text in texts]
    with pytest.raises(DataError, match=r"no column 'gender' \(data.source.group\)"):
        table(path, group="gender").examples(path)


def test_splits_are_of_every_class_and_batches_are_padded(tmp_path: Path) -> None:
    source = table(pairs(tmp_path), second="other", longest=32)
    prepared = source.prepare(Sections(Bytes(), tmp_path, seed=0))
    assert prepared.processor.labels == ["2", "10"] and {name: len(split) for name, split in prepared.splits.items()} == {"train": 32, "validation": 4, "test": 4}
    assert [int((split.batch(torch.arange(4))["label"] == 0).sum()) for name, split in prepared.splits.items() if name != "train"] == [1, 1]
    train = prepared.splits["train"]
    batch = train.batch(torch.arange(6))
    assert batch["tokens"].shape[1] <= 32 and train.ports.sizes == {"V": 260, "T": 32, "K": 2}
    for row in range(6):
        alone = train.batch(torch.tensor([row]))
        length = alone["tokens"].shape[1]
        assert all(torch.equal(batch[name][row, :length], alone[name][0]) for name in ("tokens", "segments", "documents"))
        assert (batch["documents"][row, length:] == -1).all() and (batch["tokens"][row, length:] == 3).all()
        assert alone["segments"][0].max() == 1 and alone["tokens"][0, 0] == 0 and alone["tokens"][0, -1] == 2
    assert source.prepare(Sections(Bytes(), tmp_path, seed=0)).splits["train"].fingerprint == train.fingerprint
    assert source.prepare(Sections(Bytes(), tmp_path, seed=1)).splits["train"].fingerprint != train.fingerprint


def recipe(path: str) -> dict[str, Any]:
    return {
        "format": 1, "name": "texts", "data": {"source": {"kind": "text_table", "path": path, "second": "other", "longest": 24}, "tokenizer": "bytes"},
        "model": {"kind": "headed", "readout": {"kind": "classify", "pooling": "mean", "dropout": 0.0},
                  "trunk": {"kind": "encoder", "dim": 16, "depth": 1, "segments": 2, "mixer": {"kind": "attention", "heads": 2, "causal": False}}},
        "objective": "classification", "train": {"steps": 6, "batch": 8, "optimizer": {"kind": "adamw", "rate": 0.01}, "device": "cpu", "precision": "float32"},
        "evaluate": ["accuracy"],
    }


def test_a_classifier_from_a_file_to_an_answer(tmp_path: Path) -> None:
    assert ftheta.run(recipe(pairs(tmp_path)), out=tmp_path / "run").fresh
    assert not ftheta.run(recipe(pairs(tmp_path)), out=tmp_path / "run").fresh             # sizes of a trunk are the data's too
    with pytest.raises(UsageError, match=r"model\.trunk\.depth: was 1"):
        ftheta.run(recipe(pairs(tmp_path)), changes={"model": {"trunk": {"depth": 2}}}, out=tmp_path / "run")
    model = ftheta.load(tmp_path / "run")
    answer = model.predict({"text": "word word", "second": "number 9"})
    assert model.task.name == "text-classification" and set(answer.probabilities) == {"2", "10"}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert abs(next(line["loss"] for line in lines if "loss" in line) - 0.6931) < 0.1


def test_published_splits_are_files_of_any_format_and_archives_are_looked_into(tmp_path: Path) -> None:
    train = write(tmp_path, "train.part", "1 good film\n0 bad film\n\n1 fine\n")
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as archive:
        archive.writestr("inner/test.tsv", "label\ttext\n0\tbad\n")
    source = table(train, format="label_first", validation=0.0, test=0.0)
    assert [(e.text, e.answer) for e in source.parts(0)["train"]] == [("good film", "1"), ("bad film", "0"), ("fine", "1")]
    with pytest.raises(DataError, match=r"or say data.source.format"):
        table(train).parts(0)
    comma = write(tmp_path, "train.csv", "label,text\n1,good\n0,bad\n")
    parts = table(comma, validation=0.0, test=str(tmp_path / "parts.zip" / "inner" / "test.tsv")).parts(0)
    assert {name: [(e.text, e.answer) for e in part] for name, part in parts.items()} == {"train": [("good", "1"), ("bad", "0")], "test": [("bad", "0")]}
    with pytest.raises(DataError, match=r"holds no file 'test.tsv' \(files: inner/test.tsv\)"):
        table(comma, test=str(tmp_path / "parts.zip" / "test.tsv")).parts(0)


def test_files_of_named_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTHETA_MIRROR", str(tmp_path))
    path = "data:chnsenticorp/train.tsv"
    with pytest.raises(DataError, match=r"set FTHETA_MIRROR to a folder that holds chnsenticorp/train\.tsv"):
        table(path).parts(0)
    (tmp_path / "chnsenticorp").mkdir()
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        write(tmp_path / "chnsenticorp", name, "label\ttext\n1\tx\n0\ty\n")
    with pytest.raises(DataError, match="is not the published file"):
        table(path).parts(0)
    monkeypatch.setattr("ftheta.data.catalogue.check", lambda path, accepted: None)
    assert len(table(path, test=0.0, validation=0.0).parts(0)["train"]) == 2
    with pytest.raises(DataError, match=r"holds no file 'trian.tsv'; did you mean 'train.tsv'"):
        table("data:chnsenticorp/trian.tsv").parts(0)


def test_pairs_with_numbers_give_a_model_that_ranks(tmp_path: Path) -> None:
    path = write(tmp_path, "s.jsonl", "\n".join(json.dumps({"text": "ab"[i % 2] * 3, "other": "ab"[i // 2 % 2] * 3, "label": 4.0 * (i % 2 == i // 2 % 2)}) for i in range(80)))
    wanted = recipe(path)
    wanted["data"]["source"] |= {"predict": "number"}
    wanted |= {"objective": "regression", "evaluate": ["regression"]}
    wanted["model"] = {**wanted["model"], "readout": {"kind": "regress", "pooling": "mean", "dropout": 0.0}}
    wanted["train"] |= {"steps": 200, "optimizer": "muon"}
    outcome = ftheta.run(wanted, out=tmp_path / "run")
    assert [m["name"] for m in outcome.results["measurements"]] == ["root mean squared error", "R2"] and outcome.results["measurements"][1]["value"] > 0.8
    model = ftheta.load(outcome.model_folder)
    same, other = model.predict([{"text": "aaa", "second": "aaa"}, {"text": "aaa", "second": "bbb"}])
    assert model.task.name == "text-ranking" and same.score > 3 > 1 > other.score
    with pytest.raises(DataError, match="line 2: column 'label' holds 'good', expected a number"):
        table(write(tmp_path, "b.csv", "text,label\na,good\n"), predict="number").parts(0)


def test_sections_for_other_text_are_refused(tmp_path: Path) -> None:
    path = pairs(tmp_path)
    with pytest.raises(ConfigError, match=r"data.pack: source 'text_table' has no use for it \(it takes tokenizer\)"):
        load({**recipe(path), "data": {**recipe(path)["data"], "pack": {"length": 8}}})
    with pytest.raises(ConfigError, match="leaves none to train on"):
        table(path, test=0.5, validation=0.5)
