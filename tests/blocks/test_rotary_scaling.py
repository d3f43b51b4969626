"""Scaled rotary positions equal the ecosystem's functions, and a document's do not depend on what stands beside it."""

import pytest
import torch

from ftheta.blocks import ROTARY_SCALINGS
from ftheta.blocks.context import Context
from ftheta.blocks.position import Rotary
from ftheta.blocks.rotary_scaling import ends
from ftheta.core.config import Part, Slot

CASES = {
    "linear": ({"factor": 3.0}, {"factor": 3.0}),
    "dynamic": ({"factor": 2.5}, {"factor": 2.5}),
    "yarn": ({"factor": 4.0, "original": 128}, {"factor": 4.0, "original_max_position_embeddings": 128}),
    "yarn 2": (
        {"factor": 4.0, "original": 300, "fast": 20.0, "slow": 2.0, "attention": 1.2, "truncate": False},
        {"factor": 4.0, "original_max_position_embeddings": 300, "beta_fast": 20.0, "beta_slow": 2.0, "attention_factor": 1.2, "truncate": False},
    ),
    "llama3": (
        {"factor": 8.0, "original": 100, "low": 1.0, "high": 4.0},
        {"factor": 8.0, "original_max_position_embeddings": 100, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ),
}


def part(name, fields) -> Part:
    made = Slot(ROTARY_SCALINGS).parse({"kind": name.split()[0], **fields})
    assert isinstance(made, Part)
    return made


def turned(rotary: Rotary, positions, documents=None):
    context = Context(positions, documents)
    rotary(torch.zeros(*positions.shape, 8), context)
    assert context.rotary is not None
    return context.rotary


@pytest.mark.parametrize("length", [60, 200])
@pytest.mark.parametrize("base", [10000.0, 500.0])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_ecosystem(name, base, length):
    rope = pytest.importorskip("transformers.modeling_rope_utils")
    transformers = pytest.importorskip("transformers")
    ours, theirs = CASES[name]
    kind = name.split()[0]
    config = transformers.LlamaConfig(
        hidden_size=64, num_attention_heads=2, max_position_embeddings=96, rope_parameters={"rope_type": kind, "rope_theta": base, **theirs},
    )
    speeds, attention = rope.ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length)
    cosine, sine = turned(Rotary(8, 96, 32, base=base, scaling=part(name, ours)), torch.arange(length)[None])
    angles = torch.arange(length).float()[:, None] * speeds
    for found, expected in ((cosine, angles.cos()), (sine, angles.sin())):
        assert torch.equal(found[0, 0, :, :16], found[0, 0, :, 16:])
        assert torch.allclose(found[0, 0, :, :16], expected * attention, atol=2e-5)


def test_the_length_that_counts_is_that_of_the_own_document():
    positions = torch.tensor([[*range(30), *range(10)], [*range(40)]])
    rotary = Rotary(8, 16, 8, scaling=part("dynamic", {"factor": 2.0}))
    together = turned(rotary, positions)[1]
    assert torch.equal(ends(positions), torch.tensor([[29] * 30 + [9] * 10, [39] * 40]))
    for row, places in ((0, slice(0, 30)), (0, slice(30, 40)), (1, slice(0, 40))):
        assert torch.allclose(turned(rotary, positions[row : row + 1, places])[1][0], together[row, :, places], atol=1e-6)
    assert not torch.allclose(together[0, :, :30], together[1, :, :30], atol=1e-3)


@pytest.mark.parametrize(("name", "fields", "reason"), [
    ("yarn", {"factor": 2.0, "fast": 1.0, "slow": 2.0}, "fast 1 must be more than slow 2"),
    ("llama3", {"low": 4.0, "high": 4.0}, "high 4 must be more than low 4"),
])
def test_impossible_ranges_are_refused(name, fields, reason):
    with pytest.raises(ValueError, match=reason):
        Rotary(8, 16, 8, scaling=part(name, fields))


def test_two_dimensions_cannot_be_stretched():
    with pytest.raises(ValueError, match="head dimension of 4 or more"):
        Rotary(8, 16, 2, scaling=part("dynamic", {"factor": 2.0}))
