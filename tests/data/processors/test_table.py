"""The table processor: rows as lists and mappings, what is refused, and its round trip through plain facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.data.processors.table import TableProcessor

PROCESSOR = TableProcessor(["width", "height"], [1.0, 2.0], [2.0, 4.0], ["small", "large"])


def test_lists_and_mappings_are_the_same_rows() -> None:
    expected = torch.tensor([[1.0, 0.5], [0.0, -0.5]], dtype=torch.float64)
    assert torch.equal(PROCESSOR.encode([[3, 4.0], [1, 0]])["features"], expected)
    assert torch.equal(PROCESSOR.encode([{"height": "4", "width": 3}, {"width": 1, "height": 0}])["features"], expected)
    assert torch.equal(TableProcessor(["a"]).encode([[7]])["features"], torch.tensor([[7.0]], dtype=torch.float64))
    assert PROCESSOR.label(1) == "large" and PROCESSOR.label(2) == "2"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1], r"row 1: 1 numbers for 2 columns \(width, height\)"),
        ([1, "x"], "row 1, column 'height': expected a number, got 'x'"),
        ([1, None], "row 1, column 'height': expected a number, got None"),
        ([1, float("inf")], "row 1, column 'height': inf is not a finite number"),
        ([1, " "], "row 1, column 'height': is empty"),
        ({"width": 1}, "row 1: column 'height' is missing"),
        ({"width": 1, "hight": 2}, "row 1: there is no such column, got 'hight'; did you mean 'height'"),
        ("1,2", "row 1: expected a list of 2 numbers or a mapping"),
        (3, "row 1: expected a list of 2 numbers or a mapping"),
    ],
)
def test_errors_name_row_and_column(row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PROCESSOR.encode([[1, 2], row])


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        PROCESSOR.encode([])


def test_a_column_that_never_changes_is_only_shifted() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0]], dtype=torch.float64)
    scaled = TableProcessor.standard(["a", "b"], features).normalise(features)
    assert scaled.tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_round_trip(tmp_path: Path) -> None:
    again = TableProcessor.load(json.loads(json.dumps(PROCESSOR.dump())), tmp_path)
    assert again.dump() == PROCESSOR.dump()
    assert torch.equal(again.encode([[0.1, 0.2]])["features"], PROCESSOR.encode([[0.1, 0.2]])["features"])
