"""`masked` hides tokens behind the tokenizer's own mask token."""

import pytest
import torch

from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.data.processors.plain import PlainProcessor
from ftheta.objectives.masked import Masked


class Known(PlainProcessor):
    """Knows a few control tokens."""

    def __init__(self, **ids: int):
        self.ids = ids

    def id(self, role: str) -> int | None:
        return self.ids.get(role)


def test_the_mask_is_the_tokenizers() -> None:
    told = Masked().with_tokens(Known(mask=103))
    batch = told.prepare({"tokens": torch.full((4, 200), 7)}, Draws(torch.arange(4), 4, "mask"))
    assert set(batch["tokens"].unique().tolist()) == {7, 103}
    assert Masked(mask_id=5).with_tokens(Known(mask=103)).mask_id == 5
    with pytest.raises(ConfigError, match=r"objective\.mask_id: the tokenizer has no token that stands for a hidden one"):
        Masked().with_tokens(Known())
