"""A prefix that is read both ways: attention and loss against the formulas written out."""

from __future__ import annotations

import math

import pytest
import torch

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import call
from ftheta.architectures.decoder import DecoderConfig
from ftheta.blocks import attend, attention
from ftheta.blocks.attention import Attention
from ftheta.blocks.context import Context
from ftheta.core.config import Slot
from ftheta.core.contract import PADDING, Ports, check
from ftheta.core.random import Draws
from ftheta.evaluation.probes.small import scatter
from ftheta.objectives.objective import Phase
from ftheta.objectives.prefix_lm import PrefixLM

LENGTH = 12
DOCUMENTS = torch.tensor([[0] * 12, [0] * 5 + [1] * 7, [3] * 4 + [4] + [5] * 3 + [PADDING] * 4])
TOKENS = torch.randint(4, 30, (3, LENGTH), generator=torch.Generator().manual_seed(0))


def prepared(length: int = LENGTH) -> dict[str, torch.Tensor]:
    return PrefixLM().prepare({"tokens": TOKENS[:, :length], "documents": DOCUMENTS[:, :length]}, Draws(torch.arange(3), 3, "test"))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("blocks", [False, True])
def test_attention_is_the_formula(window: int | None, blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if blocks:
        monkeypatch.setattr(attention, "WHOLE", 1)
        monkeypatch.setattr(attend, "LONG", 5)
    torch.manual_seed(0)
    part = Attention(8, heads=2, window=window).double()
    x, prefix = torch.randn(3, LENGTH, 8, dtype=torch.float64), prepared()["prefix"]
    for documents in (DOCUMENTS, None):
        ours = part(x, Context(torch.arange(LENGTH)[None], documents, prefix=prefix))
        q, k, v = (layer(x).view(3, LENGTH, 2, 4) for layer in (part.query, part.key, part.value))
        wanted = torch.zeros(3, LENGTH, 2, 4, dtype=torch.float64)
        for row in range(3):
            for i in range(LENGTH):
                may = [
                    j for j in range(LENGTH)
                    if (j <= i or prefix[row, j]) and (window is None or abs(i - j) < window) and (documents is None or documents[row, i] == documents[row, j])
                ]
                for head in range(2):
                    scores = torch.tensor([float(q[row, i, head] @ k[row, j, head]) / math.sqrt(4) for j in may], dtype=torch.float64).softmax(0)
                    wanted[row, i, head] = sum(share * v[row, j, head] for share, j in zip(scores, may, strict=True))
        torch.testing.assert_close(ours, part.output(wanted.reshape(3, LENGTH, 8)), rtol=1e-10, atol=1e-10)


def test_prefixes_begin_documents_and_leave_something_to_learn() -> None:
    seen = set()
    for seed in range(60):
        prefix = PrefixLM().prepare({"tokens": TOKENS, "documents": DOCUMENTS}, Draws(torch.arange(3), 3, seed))["prefix"]
        for row in range(3):
            for number in DOCUMENTS[row].unique().tolist():
                part = prefix[row][DOCUMENTS[row] == number].tolist()
                if number == PADDING:
                    assert not any(part)
                    continue
                length = sum(part)
                assert part == [True] * length + [False] * (len(part) - length) and 1 <= length <= max(1, len(part) - 1)
                seen.add((len(part), length))
    assert seen >= {(12, n) for n in range(1, 12)}


def test_loss_is_the_sum_over_what_follows_the_prefix() -> None:
    fields = {"kind": "decoder", "vocab": 30, "dim": 16, "depth": 2, "context": LENGTH, "mixer": {"kind": "attention", "heads": 2}}
    model = scatter(Slot(ARCHITECTURES).parse(fields).build().double(), 0, 0.2)          # type: ignore[union-attr]
    model.compute_dtype = torch.float64
    batch = prepared()
    loss = PrefixLM().loss(model, lambda part, **more: call(model, part, **more), batch, Phase("main"))
    total, count = 0.0, 0
    for row in range(3):
        for number in [n for n in DOCUMENTS[row].unique().tolist() if n != PADDING]:
            place = DOCUMENTS[row] == number
            tokens, prefix = TOKENS[row][place][None], batch["prefix"][row][place][None]
            if tokens.shape[1] > 1:
                log_p = model(tokens=tokens[:, :-1], prefix=prefix[:, :-1])["logits"].log_softmax(-1)
                for t in range(int(prefix.sum()), tokens.shape[1]):
                    total, count = total - float(log_p[0, t - 1, tokens[0, t]]), count + 1
    assert int(loss.count) == count and float(loss.total) == pytest.approx(total, rel=1e-9)


def test_a_prefix_is_a_prefix_to_nothing_before_it_and_everything_after() -> None:
    """A whole row as prefix is an encoder's row; recurrent models are refused with the reason."""
    fields = {"vocab": 30, "dim": 16, "depth": 2, "context": LENGTH}
    decoder = DecoderConfig.parse({**fields, "kind": "decoder", "mixer": {"kind": "attention", "heads": 2}})
    encoder = Slot(ARCHITECTURES).parse({**fields, "kind": "encoder", "mixer": {"kind": "attention", "heads": 2, "causal": False}})
    one, two = (scatter(config.build(), 0) for config in (decoder, encoder))              # type: ignore[union-attr]
    torch.testing.assert_close(one(tokens=TOKENS, prefix=torch.ones_like(TOKENS, dtype=torch.bool))["hidden"], two(tokens=TOKENS)["hidden"])
    data = Ports(gives={"tokens": "ids B T", "documents": "ids B T"})
    assert check(data, decoder.ports(), PrefixLM().needs()) == []
    (reason,) = check(data, decoder.replace(mixer={"kind": "lstm"}, positions={"kind": "none"}).ports(), PrefixLM().needs())
    assert "recurrent" in reason and "attention" in reason


def test_a_row_is_cut_the_same_in_any_part_of_the_batch() -> None:
    parts = [PrefixLM().prepare({"tokens": TOKENS[a:b], "documents": DOCUMENTS[a:b]}, Draws(torch.arange(3)[a:b], 3, "test"))["prefix"] for a, b in ((0, 1), (1, 3))]
    assert torch.equal(torch.cat(parts), prepared()["prefix"])
