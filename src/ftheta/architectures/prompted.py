"""A language model that names classes in words: z_k = log p(words of class k | the text in a template).

A model that writes is asked for the words after the template (Brown et al. 2020, arXiv:2005.14165); one that fills blanks, for words where the
template has its blanks, a blank for each token (Schick & Schütze 2020, arXiv:2001.07676). Nothing is added to the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ftheta.architectures import TRUNKS
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.config import Slot, slot
from ftheta.core.contract import PADDING, Ports

Piece = tuple[int, ...] | Literal["text", "second", "answer"]
"""Tokens of a template, or what is put in there."""


class PromptedConfig(ArchitectureConfig):
    """A language model, a template and words for classes, as token ids."""

    kind: Literal["prompted"] = "prompted"
    trunk: Annotated[DecoderConfig, Slot(TRUNKS)] = slot("decoder")
    """The language model, with its head."""
    template: tuple[Piece, ...] = ("text", "answer")
    """What the model reads: token ids, and the places of the `text`, the `second` text of a pair, and the `answer`."""
    words: tuple[tuple[int, ...], ...] = Field(default=((0,), (1,)), min_length=2)
    """The token ids of what each class is called."""
    blank: int | None = Field(default=None, ge=0)
    """The token that stands for a hidden one, for models that fill blanks."""
    control: tuple[int, ...] = ()
    """Tokens around texts that are no part of them."""

    @model_validator(mode="after")
    def can_answer(self) -> PromptedConfig:
        if self.trunk.head is None:
            raise ValueError("the trunk has no head to say words with: leave trunk.head at its default")
        if list(self.template).count("answer") != 1 or "text" not in self.template:
            raise ValueError("the template needs the text, and the answer once")
        if not all(self.words):
            raise ValueError("words: every class needs at least one token")
        if self.fills and self.blank is None:
            raise ValueError("a model that looks both ways fills blanks: say with `blank` which token is one")
        if not self.fills and self.template[0] == "answer":
            raise ValueError("a model that looks back needs something before the answer")
        return self

    @property
    def fills(self) -> bool:
        """Whether the model fills blanks, rather than writing on."""
        return "bidirectional" in self.trunk.ports().traits

    def ports(self) -> Ports:
        ports = self.trunk.ports()
        takes = {"tokens": "ids B T", "documents?": "ids B T", "segments?": "ids B T"}
        return Ports(takes, {"logits": "logits B K"}, {**ports.sizes, "K": len(self.words)}, frozenset({"gradients"}))

    def build(self) -> Prompted:
        return Prompted(self)


class Asked(NamedTuple):
    """Classes whose words can be looked up in one pass, and what that pass reads in their place."""

    classes: list[int]
    fed: tuple[int, ...]


class Prompted(Architecture):
    """tokens (B, T), padding being document -1, segment 1 the second text → logits (B, K)."""

    def __init__(self, config: PromptedConfig):
        super().__init__()
        self.config: PromptedConfig = config
        self.trunk = config.trunk.build()
        self.passes: list[Asked] = []
        for k, word in enumerate(config.words):
            fed = (config.blank or 0,) * len(word) if config.fills else word[:-1]
            for asked in self.passes:
                if asked.fed == fed:
                    asked.classes.append(k)
                    break
            else:
                self.passes.append(Asked([k], fed))

    @property
    def room(self) -> int | None:
        return self.trunk.room

    def forward(self, tokens: Tensor, documents: Tensor | None = None, segments: Tensor | None = None) -> Outputs:
        self.trunk.compute_dtype = self.compute_dtype                                    # set on the whole by whoever runs it
        texts = [self.texts(tokens[i], None if documents is None else documents[i], None if segments is None else segments[i]) for i in range(len(tokens))]
        scores: dict[int, Tensor] = {}
        for asked in self.passes:
            words = len(self.config.words[asked.classes[0]])
            hidden = self.at_answer([self.question(first, second, asked.fed) for first, second in texts], words, tokens.device)
            known = self.trunk.head(hidden).log_softmax(-1)                              # type: ignore[misc]  # (B, words, V)
            for k in asked.classes:
                word = torch.tensor(self.config.words[k], device=tokens.device)
                scores[k] = known.gather(-1, word.expand(len(known), -1)[..., None])[..., 0].sum(1)
        return Outputs({"logits": torch.stack([scores[k] for k in range(len(scores))], dim=1)})

    def texts(self, tokens: Tensor, documents: Tensor | None, segments: Tensor | None) -> tuple[list[int], list[int]]:
        """The token ids of a row's first and second text, without what stands around them."""
        found: tuple[list[int], list[int]] = ([], [])
        real = [0] * len(tokens) if documents is None else documents.tolist()
        parts = [0] * len(tokens) if segments is None else segments.tolist()
        for token, document, part in zip(tokens.tolist(), real, parts, strict=True):
            if document != PADDING and token not in self.config.control:
                found[min(part, 1)].append(token)
        return found

    def question(self, first: list[int], second: list[int], fed: tuple[int, ...]) -> tuple[list[int], int]:
        """What the model reads, texts that are too long without their ends, and the place of the answer in it."""
        template = self.config.template
        if not self.config.fills:
            template = template[: template.index("answer") + 1]
        spare = (self.room or 0) - len(fed) - sum(len(piece) for piece in template if not isinstance(piece, str))
        if "second" in template:
            least = min(len(first), len(second))
            few = min(least, max(spare // 2, spare - max(len(first), len(second))))
            sizes = (few, spare - few) if len(first) <= len(second) else (spare - few, few)
        else:
            sizes = (spare, 0)
        put = {"text": first[: max(0, sizes[0])], "second": second[: max(0, sizes[1])], "answer": list(fed)}
        ids, place = list[int](), 0
        for piece in template:
            if piece == "answer":
                place = len(ids)
            ids += put[piece] if isinstance(piece, str) else piece
        return ids, place if self.config.fills else place - 1

    def at_answer(self, questions: Sequence[tuple[list[int], int]], words: int, device: torch.device) -> Tensor:
        """Hidden states (B, words, D) that the tokens of an answer of so many are told from."""
        width = max(len(ids) for ids, _ in questions)
        tokens = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in questions], device=device)
        documents = torch.tensor([[0] * len(ids) + [PADDING] * (width - len(ids)) for ids, _ in questions], device=device)
        hidden = self.trunk(tokens=tokens, documents=documents)["hidden"]
        places = torch.tensor([place for _, place in questions], device=device)[:, None] + torch.arange(words, device=device)
        return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))

    def initialise(self, seed: int) -> None:
        self.trunk.initialise(seed)

    def compiled_parts(self) -> list[torch.nn.Module]:
        return self.trunk.compiled_parts()
