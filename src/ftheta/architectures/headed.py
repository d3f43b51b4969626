"""A trunk of tokens and a head that answers: sequence classification and regression, multiple choice, tagging, spans, sentence vectors.

Fine-tuned BERTs and sentence embedders are this file; what the head does is a slot. Padding costs next to nothing: rows that have much of it
share rows while the trunk reads them (`compact`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ftheta.architectures import TRUNKS
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.architectures.decoder import DecoderConfig
from ftheta.blocks import READOUTS
from ftheta.blocks.compact import compact
from ftheta.blocks.context import Cache
from ftheta.blocks.initialise import normal
from ftheta.core.config import Part, Slot, from_data, slot
from ftheta.core.contract import Ports


def headless(data: Any) -> Any:
    """A model's fields, its trunk having no head unless it names one."""
    if isinstance(data, Mapping) and isinstance(data.get("trunk"), Mapping) and "head" not in data["trunk"]:
        return {**data, "trunk": {**data["trunk"], "head": None}}
    return data


READ = ("tokens", "documents", "segments")
"""What of the trunk's inputs is passed on."""


class HeadedConfig(ArchitectureConfig):
    """A trunk and what is read from its hidden states; the trunk may keep its own head beside a readout that gives no logits."""

    kind: Literal["headed"] = "headed"
    trunk: Annotated[DecoderConfig, Slot(TRUNKS)] = slot("encoder", head=None)
    """The model that reads the tokens; without a head of its own, unless one is chosen."""
    readout: Annotated[Part, Slot(READOUTS)] = slot("classify")
    """What is made of its hidden states."""
    classes: int = from_data("K", 2)
    """Number of classes, where there are classes."""

    @model_validator(mode="before")
    @classmethod
    def headless(cls, data: Any) -> Any:
        """A trunk that says nothing of a head has none."""
        return headless(data)

    @model_validator(mode="after")
    def one_head(self) -> HeadedConfig:
        if self.trunk.head is not None and "logits" in self.readout.cls.gives(self.readout.arguments):
            raise ValueError("the trunk's own head would be of no use: leave trunk.head out, or choose the trunk alone as the model")
        return self

    def ports(self) -> Ports:
        ports = self.trunk.ports()
        takes = {name: spec for name, spec in ports.takes.items() if name.rstrip("?") in READ}
        gives = {name: spec for name, spec in ports.gives.items() if name != "auxiliary"}  # what experts add is a matter of language modelling
        classes = {"K": self.classes}
        if self.readout.cls.choices:                                                      # any number of them
            takes, gives = ({name: spec.replace("B T", "B K T") for name, spec in side.items()} for side in (takes, gives))
            classes = {}
        return Ports(takes, {**gives, **self.readout.cls.gives(self.readout.arguments)}, {**ports.sizes, **classes}, ports.traits - {"prefix"})       # which is not passed on

    def build(self) -> Headed:
        return Headed(self)


class Headed(Architecture):
    """tokens (B, T), padding being document -1 → hidden (B, T, D) and what the readout gives; of K texts to choose among tokens are (B, K, T)."""

    def __init__(self, config: HeadedConfig):
        super().__init__()
        self.config: HeadedConfig = config
        self.trunk = config.trunk.build()
        self.readout = config.readout.build(dim=config.trunk.dim, classes=config.classes)

    def forward(self, tokens: Tensor, documents: Tensor | None = None, segments: Tensor | None = None, cache: Cache | None = None) -> Outputs:
        self.trunk.compute_dtype = self.compute_dtype                                    # set on the whole by whoever runs it
        if cache is not None:                                                            # who writes asks for tokens only
            return self.trunk(tokens, documents, cache)
        given = {"tokens": tokens, "documents": documents, "segments": segments}
        texts = {name: value.flatten(0, -2) for name, value in given.items() if value is not None}       # a row each
        layout = compact(texts["documents"]) if "documents" in texts and not torch.compiler.is_exporting() else None
        if layout is not None:
            texts = {**{name: layout.gather(value) for name, value in texts.items()}, "documents": layout.documents}
        hidden = self.trunk(**texts)["hidden"]
        hidden = (hidden if layout is None else layout.scatter(hidden)).reshape(*tokens.shape, -1)
        head = self.trunk.head
        answers = self.readout(hidden, None if documents is None else documents >= 0)
        return Outputs({"hidden": hidden, **answers}, {} if head is None else {"logits": lambda: head(hidden)})

    @property
    def head(self) -> nn.Module | None:
        """The trunk's own head, in models that guess tokens and read the text at once."""
        return self.trunk.head

    @property
    def room(self) -> int | None:
        return self.trunk.room

    def initialise(self, seed: int) -> None:
        """The trunk as it says; the readout N(0, 0.02²), biases 0: the first loss is about ln K."""
        self.trunk.initialise(seed)
        for name, parameter in self.readout.named_parameters():
            if parameter.ndim < 2:
                parameter.data.zero_()
            else:
                normal(parameter, self.config.trunk.std, seed, "readout", name)

    def compiled_parts(self) -> list[nn.Module]:
        return self.trunk.compiled_parts()
