"""Models whose every answer is known beforehand: logits at a token are a row of a table, whatever stands elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.config import Slot
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.model import Model


def looks_up(table: Tensor, processor: TextProcessor, task: str = "text-generation", context: int = 256) -> Model:
    """A decoder (or, for fill-mask, an encoder) with logits[t] = table[token t]; table is (V, V)."""
    vocab = len(table)
    causal = task != "fill-mask"
    config: Any = Slot(ARCHITECTURES).parse({
        "kind": "decoder" if causal else "encoder", "vocab": vocab, "dim": vocab, "depth": 1, "context": context, "norm": {"kind": "rmsnorm", "eps": 1e-12},
        "mixer": {"kind": "attention", "heads": 1, "causal": causal}, "feedforward": {"kind": "mlp", "hidden": 4}, "tie": False,
    })
    assert isinstance(config, ArchitectureConfig)
    model = config.build()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name == "norm.weight" else 0.0)
        model.embed.weight.copy_(torch.eye(vocab))
        model.head.weight.copy_(table.T / vocab**0.5)                                       # the norm makes a one-hot row that long
    return Model(model, processor, task)


def speaks(after: Mapping[str, str], processor: TextProcessor | None = None) -> Model:
    """A decoder on bytes that says, after each letter, the letter that stands for it here; the empty text is the end."""
    processor = processor or TextProcessor(Bytes().train([]))
    end = processor.id("eos")
    assert end is not None
    table = torch.zeros(processor.vocab, processor.vocab)
    for letter, following in after.items():
        (here,) = processor.encode(letter, start=False)
        table[here, processor.encode(following, start=False)[0] if following else end] = 20.0
    return looks_up(table, processor)


def spells(text: str) -> dict[str, str]:
    """What comes after each letter of a text in which none comes twice; at last, the end."""
    assert len(set(text)) == len(text)
    return dict(zip(text, [*text[1:], ""], strict=True))
