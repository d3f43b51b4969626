"""Pairs of texts: what a row becomes, how rows are split, and what is said of bad ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from ftheta.core.contract import PADDING
from ftheta.core.errors import DataError
from ftheta.data.sources.pairs import PairsSource, semeval
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.tokenizers.trained import Bytes

ROWS = [{"first": "a" * (1 + i), "second": "b" * (30 - i), "score": i / 2, "negative": "c"} for i in range(20)]


def prepared(folder: Path, fields: dict[str, object], rows: list[dict[str, object]] = ROWS) -> Prepared:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PairsSource.parse({"kind": "pairs", "path": str(folder / "pairs.jsonl"), **fields}).prepare(Sections(Bytes(), folder))


def test_each_side_is_padded_to_its_own_longest_row(tmp_path: Path) -> None:
    data = prepared(tmp_path, {"score": "score", "highest": 5.0, "negative": "negative", "test": 0.0, "validation": 0.0})
    split = data.splits["train"]
    batch = split.batch(torch.arange(20))
    assert set(batch) == set(data.ports.gives) == {name for side in ("first", "second", "negative") for name in (side, f"{side}_documents")} | {"score"}
    assert [batch[side].shape[1] for side in ("first", "second", "negative")] == [22, 32, 3]          # with the tokens that begin and end a text
    for i in (0, 7):
        real = batch["first"][i][batch["first_documents"][i] != PADDING]
        assert data.processor.decode(real.tolist()) == "a" * (1 + i)                             # type: ignore[attr-defined]
        assert batch["score"][i] == i / 10
    assert split.ports.gives == PairsSource(path="x.csv", score="score", negative="negative").ports().gives


def test_rows_are_split_once_and_for_all(tmp_path: Path) -> None:
    splits = prepared(tmp_path, {"validation": 0.2, "test": 0.3}).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "validation": 4, "test": 6}
    assert len({split.fingerprint for split in splits.values()}) == 3
    assert "score" not in splits["test"].batch(torch.arange(2))


def test_bad_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: column 'score' holds 'much', expected a number"):
        prepared(tmp_path, {"score": "score"}, [ROWS[0], {**ROWS[1], "score": "much"}])
    with pytest.raises(DataError, match="no column 'sekond'"):
        prepared(tmp_path, {"second": "sekond"})
    with pytest.raises(DataError, match="holds no rows"):
        prepared(tmp_path, {}, [])


@pytest.mark.skipif(not os.environ.get("FTHETA_MIRROR"), reason="FTHETA_MIRROR is not set")
def test_semeval_is_split_by_year() -> None:
    train, test = semeval()
    assert (len(train), len(test)) == (12087, 1186) and all(0 <= float(pair.score or 0) <= 1 for pair in (*train, *test))
    assert not {frozenset((pair.first, pair.second)) for pair in train} & {frozenset((pair.first, pair.second)) for pair in test}
