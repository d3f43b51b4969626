"""Table sources: scikit-learn's tables, CSV files and every way a CSV file can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ftheta.core.errors import ConfigError, DataError, MissingExtraError
from ftheta.data.sources.tables import CSV, SklearnTable
from ftheta.data.tables import TableDataset

GOOD = "size,colour,weight,kind\n1,red,2.5,cat\n2,blue,3.5,dog\n3,red,4.5,cat\n4,blue,5.5,10\n5,red,6.5,2\n"


def table(folder: Path, text: str | bytes, **fields: Any) -> TableDataset:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CSV.parse({"path": str(path), **fields}).table()


def test_columns_of_numbers_and_classes_in_order(tmp_path: Path) -> None:
    found = table(tmp_path, GOOD, target="kind")
    assert found.names == ["size", "weight"] and found.classes == ["2", "10", "cat", "dog"]
    assert found.columns["label"].tolist() == [2, 3, 2, 1, 0]
    assert found.columns["features"].tolist()[1] == [2.0, 3.5]
    numbers = table(tmp_path, GOOD, target="weight", predict="number", features=["size"])
    assert numbers.columns["target"].tolist() == [2.5, 3.5, 4.5, 5.5, 6.5] and numbers.names == ["size"]
    assert list(table(tmp_path, GOOD).columns) == ["features"]


def test_byte_order_mark_other_separator_quotes_and_no_header(tmp_path: Path) -> None:
    found = table(tmp_path, b'\xef\xbb\xbf1;"2";a\r\n\r\n3;4;"b;c"\r\n', separator=";", header=False, target="3")
    assert found.names == ["1", "2"] and found.classes == ["a", "b;c"] and found.columns["features"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("a,b\n1,2\n3,x\n5,6\n", {}, "table.csv, line 3, column 'b': expected a number, got 'x'"),
        ("a,b\n1,2\n3,\n5,6\n", {}, "table.csv, line 3, column 'b': is empty"),
        ("a,b\n1,2\n3,nan\n5,6\n", {}, "table.csv, line 3, column 'b': 'nan' is not a finite number"),
        ('a,b\n"1\n",2\n3,x\n4,5\n', {}, "table.csv, line 4, column 'b': expected a number"),
        ("a,b\n1,2\n3\n", {}, "table.csv, line 3: 1 values, and line 1 has 2"),
        ("a,b\n1,2\n3,\n", {"target": "b"}, "line 3, column 'b': is empty"),
        ("a,b\n1,2\n3,q\n", {"target": "b", "predict": "number"}, "line 3, column 'b': expected a number, got 'q'"),
        ("a,b\n1,2\n", {"target": "bb"}, "table.csv has no column 'bb'; did you mean 'b'"),
        ("a,b\n1,2\n", {"target": "b", "features": ["b"]}, "'b' is the target and cannot be a feature"),
        ("a,b\nx,2\n", {"target": "b"}, "no column but the target holds numbers"),
        ("a,a\n1,2\n", {}, "two columns are called 'a'"),
        ("a,b\n", {}, "holds no rows"),
        ("", {}, "holds no rows"),
        ('a,b\n1,"2\n', {}, "table.csv, line 2: unexpected end of data"),
        (b"a,b\n1,\xff\n", {}, "is not UTF-8: byte 0xff"),
        ("a,b\n" + "".join(f"1,{i}.5\n" for i in range(50)), {"target": "b"}, "50 different numbers in 50 rows, too many for classes"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str | bytes, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        table(tmp_path, text, **fields)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"data.source.path: nowhere.csv cannot be read \(No such file"):
        CSV(path="nowhere.csv").table()


def test_columns_brought_to_scale_by_training_rows(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    source = SklearnTable(name="wine", test=0.2, validation=0.1, standardise=True)
    splits = source.splits(tmp_path, 0)
    train = splits["train"].batch(torch.arange(len(splits["train"])))["features"]
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [124, 18, 36]
    torch.testing.assert_close(train.mean(0), torch.zeros(13, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(13, dtype=torch.float64))
    plain = SklearnTable(name="wine", test=0.2, validation=0.1).splits(tmp_path, 0)
    rows = plain["test"].batch(torch.arange(3))["features"].tolist()
    processor = source.processor(splits["train"])
    assert torch.equal(processor.encode(rows)["features"], splits["test"].batch(torch.arange(3))["features"])
    assert processor.labels == ["class_0", "class_1", "class_2"]


def test_splits_share_no_row_and_follow_the_seed(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    source = SklearnTable(name="diabetes", test=0.25)
    first, again, other = (source.splits(tmp_path, seed) for seed in (0, 0, 1))
    assert list(first) == ["train", "test"] and len(first["train"]) + len(first["test"]) == 442
    assert first["test"].fingerprint == again["test"].fingerprint != other["test"].fingerprint
    rows = {tuple(row) for split in first.values() for row in split.batch(torch.arange(len(split)))["features"].tolist()}
    assert len(rows) == 442
    assert first["train"].ports.gives == source.ports().gives


def test_no_rows_left_to_train_on_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves none to train on"):
        SklearnTable.parse({"name": "iris", "test": 0.6, "validation": 0.5})


def test_without_scikit_learn_its_tables_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"the table 'iris' needs the package 'scikit-learn': pip install 'ftheta\[classical\]'"):
        SklearnTable(name="iris").table()
