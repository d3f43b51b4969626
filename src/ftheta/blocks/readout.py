"""From the hidden states of a sequence to an answer: a class, a number, one of several texts, a tag or a number for every token, a stretch of text, one vector.

Padding (`real` False) never counts. The first token stands for the sequence as BERT's [CLS] does (Devlin et al. 2018, arXiv:1810.04805);
the last one has seen the whole of it where tokens only look back (Radford et al. 2018);
the mean of all is how sentence vectors are made (Reimers & Gurevych 2019, arXiv:1908.10084).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.linear import Linear

PoolingName = Literal["first", "last", "mean"]
DenseName = Literal["tanh", "relu", "gelu"]
Pooling = Annotated[PoolingName, Field(description="What stands for the sequence: its first token, its last, or the mean of its tokens.")]
Dense = Annotated[DenseName | None, Field(description="A dense layer with this activation before the last one; none: no such layer.")]
Bias = Annotated[bool, Field(description="Whether the last layer adds a learned number to each of its outputs.")]
Dropout = Annotated[float, Field(ge=0, lt=1, description="Share of the last layer's inputs dropped in training.")]


def pooled(hidden: Tensor, real: Tensor | None, pooling: PoolingName) -> Tensor:
    """(B, T, D) → (B, D): the first real token's, the last one's, or the mean over real tokens."""
    if pooling != "mean":
        if real is None:
            return hidden[:, 0 if pooling == "first" else -1]
        place = real.int().argmax(1)                                                     # rows may be padded on the left
        if pooling == "last":
            place = real.shape[1] - 1 - real.flip(1).int().argmax(1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), place]
    if real is None:
        return hidden.mean(1)
    weight = real[:, :, None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp_min(1)


class Readout(nn.Module, ABC):
    """Hidden states (B, T, D) and which tokens are real (B, T; None: all) → named outputs."""

    choices: ClassVar[bool] = False
    """Whether an example is K texts, (B, K, T), and what is read depends on all of them."""

    @staticmethod
    @abstractmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        """The ports of what it gives, for these arguments."""

    @abstractmethod
    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]: ...


class Pooled(Readout):
    """output(dropout(activation(dense(pool(h)))))."""

    outputs: int

    def __init__(self, dim: int, classes: int, *, pooling: Pooling = "first", dense: Dense = "tanh", dropout: Dropout = 0.1, bias: Bias = True):
        super().__init__()
        self.pooling: PoolingName = pooling
        self.activation: DenseName | None = dense
        self.dropout = dropout
        self.dense = Linear(dim, dim) if dense else None
        self.output = Linear(dim, self.outputs or classes, bias=bias)

    def scores(self, hidden: Tensor, real: Tensor | None) -> Tensor:
        """(B, outputs)."""
        x = pooled(hidden, real, self.pooling)
        if self.dense is not None and self.activation is not None:
            x = activate(self.activation, self.dense(x))
        return self.output(F.dropout(x, self.dropout, self.training))


class Classify(Pooled):
    """A class for the sequence: logits (B, K)."""

    outputs = 0

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"logits": "logits B K"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        return {"logits": self.scores(hidden, real)}


class Choose(Pooled):
    """A score for each of K texts, of which one is chosen: logits (B, K) from hidden (B, K, T, D); a choice that is all padding cannot be meant."""

    outputs = 1
    choices = True

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"logits": "logits B K"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        flat = None if real is None else real.flatten(0, 1)
        logits = self.scores(hidden.flatten(0, 1), flat).view(hidden.shape[:2])
        return {"logits": logits if real is None else logits.masked_fill(~real.any(-1), -torch.inf)}


class Follows(Pooled):
    """Whether the second of two texts comes after the first: follows (B, 2), class 0 that it does."""

    outputs = 2

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"follows": "logits B 2"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        return {"follows": self.scores(hidden, real)}


class Regress(Pooled):
    """A number for the sequence: value (B,)."""

    outputs = 1

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"value": "real B"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        return {"value": self.scores(hidden, real)[:, 0]}


class Tag(Readout):
    """A class for every token: logits (B, T, K)."""

    def __init__(
        self, dim: int, classes: int, *, dropout: Dropout = 0.1,
        hidden: Annotated[int | None, Field(gt=0, description="Width of a dense layer with ReLU before the last one; none: no such layer.")] = None,
    ):
        super().__init__()
        self.dropout = dropout
        self.dense = Linear(dim, hidden) if hidden else None
        self.output = Linear(hidden or dim, classes)

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"logits": "logits B T K"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        x = hidden if self.dense is None else self.dense(hidden).relu()
        return {"logits": self.output(F.dropout(x, self.dropout, self.training))}


class Values(Readout):
    """What is still to be had from each token on, a number each: values (B, T). Beside the trunk's own head it is the critic of one who writes."""

    def __init__(self, dim: int, classes: int):
        super().__init__()
        self.output = Linear(dim, 1)

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"values": "real B T"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        return {"values": self.output(hidden)[..., 0]}


class Replaced(Readout):
    """Whether each token stands in place of another: replaced (B, T), log-odds (ELECTRA; Clark et al. 2020, arXiv:2003.10555)."""

    def __init__(self, dim: int, classes: int, *, activation: Annotated[ActivationName, Field(description="What follows the dense layer.")] = "gelu"):
        super().__init__()
        self.activation: ActivationName = activation
        self.dense = Linear(dim, dim)
        self.output = Linear(dim, 1)

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"replaced": "logits B T"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        return {"replaced": self.output(activate(self.activation, self.dense(hidden)))[..., 0]}


class Span(Readout):
    """Where a stretch of tokens begins and ends: span (B, T, 2), the logits of every token being its first and its last."""

    def __init__(self, dim: int, classes: int, *, dropout: Dropout = 0.0):
        super().__init__()
        self.dropout = dropout
        self.output = Linear(dim, 2)

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"span": "logits B T 2"}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        return {"span": self.output(F.dropout(hidden, self.dropout, self.training))}


class Embed(Readout):
    """One vector for the sequence: embedding (B, D)."""

    def __init__(
        self, dim: int, classes: int, *, pooling: Pooling = "mean",
        normalise: Annotated[bool, Field(description="Whether the vector is brought to length 1.")] = True,
        pooler: Annotated[bool, Field(description="Whether there is also BERT's pooler, `pooled`: tanh of a dense layer on the first token.")] = False,
    ):
        super().__init__()
        self.pooling: PoolingName = pooling
        self.normalise = normalise
        self.dense = Linear(dim, dim) if pooler else None

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"embedding": "real B D", **({"pooled": "real B D"} if arguments["pooler"] else {})}

    def forward(self, hidden: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        found = pooled(hidden, real, self.pooling)
        result = {"embedding": F.normalize(found, dim=-1) if self.normalise else found}
        if self.dense is not None:
            result["pooled"] = self.dense(pooled(hidden, real, "first")).tanh()
        return result
