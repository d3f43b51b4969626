import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.data.processors.graph import GraphProcessor


def test_rows_are_scaled_as_in_training_and_come_back_from_a_folder(tmp_path):
    processor = GraphProcessor.load(GraphProcessor(3, ["a", "b"], rows=True).dump(), tmp_path)
    batch = processor.encode([[1, 1, 2], [0, 0, 0]], [[0, 1], [1, 0]])
    assert torch.equal(batch["nodes"], torch.tensor([[0.25, 0.25, 0.5], [0, 0, 0]]))
    assert batch["edges"].tolist() == [[0, 1], [1, 0]] and processor.label(1) == "b" and processor.label(7) == "7"
    assert processor.encode([[1, 0, 0]], [])["edges"].shape == (2, 0)


def test_what_does_not_fit_is_named():
    with pytest.raises(DataError, match="node 1 has 2 features, the model takes 3"):
        GraphProcessor(3).encode([[1, 2, 3], [1, 2]], [])
    with pytest.raises(DataError, match=r"edge 0: \[0, 5\] is not a pair"):
        GraphProcessor(3).encode([[1, 2, 3]], [[0, 5]])
