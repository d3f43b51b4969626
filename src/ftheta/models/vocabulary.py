"""New tokens for a language model that is already trained: each starts as the mean of the tokens that spelled it until now, so what the
model says of other texts hardly changes (Hewitt 2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html, with a mean over the pieces).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from ftheta.architectures.architecture import ArchitectureConfig
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.models.model import Model


@torch.no_grad()
def add_tokens(model: Model, tokens: Sequence[str]) -> Model:
    """A copy of the model whose tokenizer has these tokens as well; every table with a row per token gets rows for them.

    Raises UsageError for a model without a vocabulary, for an empty token and for one it has already.
    """
    processor, before = model.processor, model.architecture
    if not isinstance(processor, TextProcessor) or "vocab" not in type(before.config).model_fields:
        raise UsageError(f"a model for '{model.task.name}' has no vocabulary to add tokens to")
    if processor.cutters is not None:
        raise UsageError("the model cuts sources and answers in two ways, neither of which tokens can be added to")
    for token in tokens:
        if not token or processor.tokenizer.token_to_id(token) is not None or list(tokens).count(token) > 1:
            raise UsageError(f"token {token!r} cannot be added: it is {'already known' if token else 'empty'}")
    pieces = [processor.encode(token, start=False) for token in tokens]
    tokenizer = Tokenizer.from_str(processor.tokenizer.to_str())
    tokenizer.add_tokens(list(tokens))
    now = TextProcessor(tokenizer, processor.roles, processor.begin, processor.end)
    new = [tokenizer.token_to_id(token) for token in tokens]
    known = before.config.ports().sizes["V"]
    config = before.config.replace(vocab=max(known, now.vocab))
    assert isinstance(config, ArchitectureConfig)
    after = config.build()
    values = before.theta()
    for name, room in after.theta().items():
        if name in tables(values, known):
            rows = values[name].new_zeros(room.shape)
            rows[:known] = values[name]
            for row, parts in zip(new, pieces, strict=True):
                rows[row] = values[name][parts].mean(0)
            values[name] = rows
    after.load_theta(values)
    return Model(after, now, model.task.name, model.provenance)


def tables(values: dict[str, torch.Tensor], known: int) -> list[str]:
    """The tensors with a row for every token."""
    return [name for name, value in values.items() if value.shape[:1] == (known,) and name.split(".")[0] in ("embed", "head", "value_embeds")]
