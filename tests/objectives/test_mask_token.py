"""`masked` hides tokens behind the tokenizer's own mask token."""

import pytest
import torch

from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.objectives.language import Masked


def test_the_mask_is_the_tokenizers() -> None:
    told = Masked().with_tokens({"mask": 103}.get)
    batch = told.prepare({"tokens": torch.full((4, 200), 7)}, Draws(torch.arange(4), 4, "mask"))
    assert set(batch["tokens"].unique().tolist()) == {7, 103}
    assert Masked(mask_id=5).with_tokens({"mask": 103}.get).mask_id == 5
    with pytest.raises(ConfigError, match=r"objective\.mask_id: the tokenizer has no token that stands for a hidden one"):
        Masked().with_tokens({}.get)
