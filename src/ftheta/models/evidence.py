"""What a model's answer rests on, for who wants to see it: of a text the tokens that one of them looks at, or that its answer depends on; of a picture the
places. How it is found stands in `inference.evidence`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ftheta.architectures.architecture import call
from ftheta.architectures.decoder import Decoder
from ftheta.architectures.headed import Headed
from ftheta.architectures.image_trunk import MapTrunk
from ftheta.architectures.vit import ViT
from ftheta.core.config import Config
from ftheta.core.contract import Batch
from ftheta.core.errors import UsageError, suggest
from ftheta.data.chat.conversations import Message
from ftheta.data.processors.text import TextProcessor
from ftheta.inference.evidence import attending, attention, grad_cam, gradient_times_input, rollout
from ftheta.models.model import Model
from ftheta.models.tasks.images import ImageClassification, MultiLabelImageClassification
from ftheta.models.tasks.sentences import MultiLabelTextClassification, TextClassification
from ftheta.models.tasks.text import FillMask, Said, TextGeneration

LONGEST = 512
"""Tokens of a text that may be looked into."""
Method = Literal["attention", "gradient", "grad_cam", "rollout"]
READING = (TextClassification, MultiLabelTextClassification)
LOOKING = (ImageClassification, MultiLabelImageClassification)


class Pointed(Config):
    """What is to be looked into: a text, a conversation or a picture."""

    text: str | None = None
    """A text, with all that the model has written."""
    messages: tuple[Said, ...] = ()
    """Instead of a text: a conversation (models with a chat template)."""
    pixels: list[Any] | None = None
    """Instead of a text: a picture, as nested lists, for models that read pictures."""
    at: int | None = Field(default=None, ge=0)
    """Of a text: the token that is asked about, counted from 0; none: the last."""
    method: Method | None = None
    """How it is found; none: the first of those the model has."""


class Evidence(Config):
    """What an answer rests on."""

    method: Method
    """How it was found."""
    tokens: list[str] = Field(default_factory=list)
    """Of a text: its tokens, as the model read them."""
    at: int | None = None
    """Of a text: the token that was asked about."""
    layers: list[int] = Field(default_factory=list)
    """With attention: the layers that have any, counted from 0."""
    weights: list[list[list[float]]] = Field(default_factory=list)
    """With attention: of every such layer and each of its heads, how much the token looks at each token (they sum to 1)."""
    parts: list[float] = Field(default_factory=list)
    """With the gradient: how much each token adds to log p, or of a classifier to the logit, of what is said (above 0: for it, below: against)."""
    heat: list[list[float]] = Field(default_factory=list)
    """Of a picture: how much each place counts, row by row."""
    says: str | None = None
    """What the answer is of which these are the grounds."""


def methods(model: Model) -> list[Method]:
    """The ways to look into a model, the usual one first; none where there is no way."""
    if isinstance(model.task, LOOKING):
        return ["grad_cam"] if isinstance(model.architecture, MapTrunk) else ["rollout"] if isinstance(model.architecture, ViT) else []
    trunk = trunk_of(model)
    if trunk is None or trunk.virtual is not None or not isinstance(model.task, (TextGeneration, FillMask, *READING)):
        return []
    return ["attention", "gradient"] if attending(trunk) else ["gradient"]


def trunk_of(model: Model) -> Decoder | None:
    """What reads the tokens."""
    found = model.architecture.trunk if isinstance(model.architecture, Headed) else model.architecture
    return found if isinstance(found, Decoder) else None


def evidence(model: Model, asked: Pointed) -> Evidence:
    """What the answer rests on. Raises UsageError for what cannot be asked of this model."""
    known = methods(model)
    method = asked.method or next(iter(known), None)
    if method is None or method not in known:
        ways = f"only {', '.join(known)}" if known else "no way to be looked into"
        raise UsageError(f"method: this model has {ways}{suggest(method or '', known, 'methods')}")
    if sum((asked.text is not None, bool(asked.messages), asked.pixels is not None)) != 1:
        raise UsageError("text: give one of text, messages and pixels")
    model.architecture.eval()
    return of_picture(model, asked, method) if isinstance(model.task, LOOKING) else of_text(model, asked, method)


def of_picture(model: Model, asked: Pointed, method: Method) -> Evidence:
    if asked.pixels is None or asked.at is not None:
        raise UsageError("pixels: this model reads pictures: give pixels, and no at")
    image, processor = model.processor.encode([asked.pixels])["image"], model.processor                   # type: ignore[attr-defined]
    architecture = model.architecture
    assert isinstance(architecture, MapTrunk | ViT)
    heat, answers = grad_cam(architecture, image) if isinstance(architecture, MapTrunk) else rollout(architecture, image)
    return Evidence(method=method, heat=rounded(heat[0]), says=processor.label(int(answers[0])))          # type: ignore[attr-defined]


def of_text(model: Model, asked: Pointed, method: Method) -> Evidence:
    processor, trunk = model.processor, trunk_of(model)
    assert isinstance(processor, TextProcessor) and trunk is not None
    if asked.pixels is not None:
        raise UsageError("pixels: this model reads texts: give text")
    given = batch_of(model, asked)
    tokens: list[int] = given["tokens"][0].tolist()
    most = min(LONGEST, trunk.room or LONGEST)
    if not 0 < len(tokens) <= most:
        raise UsageError(f"text: it has {len(tokens):,} tokens; 1 to {most:,} can be looked into")
    at = len(tokens) - 1 if asked.at is None else asked.at
    if at >= len(tokens):
        raise UsageError(f"at: the text has only {len(tokens):,} tokens, counted from 0")
    facts = {"tokens": [spelled(processor, tokens[:i], token) for i, token in enumerate(tokens)], "at": at}
    if method == "attention":
        with torch.no_grad():
            weights = attention(trunk, lambda: call(model.architecture, given)["hidden"], at)
        return Evidence(method=method, **facts, layers=attending(trunk), weights=rounded(weights))
    if isinstance(model.task, TextGeneration) and not at:
        raise UsageError("at: nothing comes before the first token, so there is nothing it depends on: choose a later one, or method attention")
    said: list[str] = []
    parts = gradient_times_input(trunk, answer_of(model, given, at, said.append))
    return Evidence(method=method, **facts, parts=parts.tolist(), says=said[0])


def batch_of(model: Model, asked: Pointed) -> Batch:
    """A row of tokens as the task reads it. Raises UsageError."""
    task, processor = model.task, model.processor
    assert isinstance(processor, TextProcessor)
    if asked.messages:
        if not isinstance(task, TextGeneration):
            raise UsageError("messages: this model does not talk: give text")
        calls = [message.tool_calls for message in asked.messages]
        processor.ensure_plain([call for each in calls for call in each], "messages")
        talk = [Message(message.role, message.content) for message in asked.messages]
        said = processor.template().pieces(talk, ask=talk[-1].role != "assistant", calls=calls)
        return {"tokens": torch.tensor([processor.spoken(said)[0]])}
    assert asked.text is not None
    if isinstance(task, READING):
        return processor.batch(task.frame([(asked.text, None)]))
    return {"tokens": torch.tensor([processor.blanks(asked.text) if isinstance(task, FillMask) else processor.encode(asked.text)], dtype=torch.long)}


def answer_of(model: Model, given: Batch, at: int, say: Callable[[str], None]) -> Callable[[], Tensor]:
    """What gives the number whose grounds are asked for, and says what it is a number of: log p of the token at this place after those before it, of the
    likeliest token there, or the logit of the likeliest class."""
    architecture, processor, tokens = model.architecture, model.processor, given["tokens"][0]
    assert isinstance(processor, TextProcessor)

    def run() -> Tensor:
        found = call(architecture, given)
        if isinstance(model.task, READING):
            logits = found["logits"][0].float()
            say(processor.label(int(logits.argmax())))
            return logits.max()
        before = at - isinstance(model.task, TextGeneration)
        scores = architecture.head(found["hidden"][0, before]).float().log_softmax(-1)                    # type: ignore[operator]
        chosen = int(tokens[at]) if isinstance(model.task, TextGeneration) else int(scores.argmax())
        say(spelled(processor, [], chosen))
        return scores[chosen]

    return run


def spelled(processor: TextProcessor, before: Sequence[int], token: int) -> str:
    """A token as it is shown after these; a control token by its name."""
    return processor.decode_after(before, [token]) or processor.tokenizer.id_to_token(token) or ""


def rounded(values: Tensor) -> Any:
    """As lists, to seven digits after the point."""
    return (values.double() * 1e7).round().div(1e7).tolist()
