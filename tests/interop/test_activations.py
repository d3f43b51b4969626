from typing import get_args

import pytest
import torch

from ftheta.blocks.activation import ActivationName, activate
from ftheta.core.errors import FolderError
from ftheta.interop.huggingface.activations import ACTIVATIONS, READ, activation_of

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(("ours", "theirs"), [*ACTIVATIONS.items(), *((ours, theirs) for theirs, ours in READ.items())])
def test_a_name_means_the_same_function_there(ours: ActivationName, theirs: str) -> None:
    x = torch.linspace(-6, 6, 1001)
    assert torch.allclose(activate(ours, x), transformers.activations.ACT2FN[theirs](x), atol=1e-6)


def test_every_function_has_a_name_there() -> None:
    assert ACTIVATIONS.keys() == set(get_args(ActivationName))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(FolderError, match=r"hidden_act: 'gelu_neu' is not supported for bert.*gelu_new"):
        activation_of("gelu_neu", "hidden_act", "bert")
