"""Inputs to compare a model and its export by: raw, so that reading them is compared too, awkward as users' are, and the same for every run."""

from __future__ import annotations

import importlib.util
import random
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import FthetaError
from ftheta.data.chat.conversations import Message
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.processor import Processor
from ftheta.data.processors.text import TextProcessor
from ftheta.models.contract import TEXTS
from ftheta.models.model import Model

COUNT = 64
CONVERSATIONS = 8
NEW = 16
"""Tokens that are written after a text, at most."""
SIZES = {"B": 1, "T": 5, "S": 6, "N": 7, "E": 9, "H": 8, "W": 8}
"""Of dimensions that the model leaves open."""
TALKS = (
    (("user", "Hello!"),), (("system", "Be brief."), ("user", "What is 2 + 2?")), (("user", "One"), ("assistant", "Two"), ("user", "Three")),
    (("user", "<bos><eos> <|im_end|> [INST]"),), (("user", "床前明月光"),), (("user", " spaces \n\n"),),
    (("user", "🙂"), ("assistant", "🙃"), ("user", "a")), (("user", "x"),),
)


@dataclass(frozen=True)
class Probe(ABC):
    """One input."""

    name: str
    """What it is called in messages."""

    @abstractmethod
    def read(self, processor: Processor, ports: Ports) -> Batch:
        """The tensors of one row, as a processor makes them for a model with these ports."""


@dataclass(frozen=True)
class Text(Probe):
    """A text to go on from, to answer to or to judge."""

    text: str

    def read(self, processor: Processor, ports: Ports) -> Batch:
        assert isinstance(processor, TextProcessor)
        room = ports.sizes.get("T", 512)
        if "source" in ports.takes:
            source = processor.source(self.text, max(1, ports.sizes.get("S", room)))
            start = torch.tensor([processor.answer_start or [0]])
            return {"source": torch.tensor([source]), "source_documents": torch.zeros(1, len(source), dtype=torch.int64), "tokens": start}
        if writes(ports):
            return {"tokens": torch.tensor([processor.encode(self.text)[: prompt_room(room)]])}
        framed = processor.frame(self.text, None, room)
        if ports.takes["tokens"] == "ids B K T":
            made = processor.choices([[framed, processor.frame(self.text[::-1], None, room)]])
        else:
            made = processor.batch([framed])
        return {name: value for name, value in made.items() if name in {taken.rstrip("?") for taken in ports.takes}}


@dataclass(frozen=True)
class Talk(Probe):
    """A conversation in which the model is to speak next."""

    said: tuple[tuple[str, str], ...]

    def read(self, processor: Processor, ports: Ports) -> Batch:
        assert isinstance(processor, TextProcessor)
        pieces = processor.template().pieces([Message(role, content) for role, content in self.said], ask=True)
        return {"tokens": torch.tensor([processor.spoken(pieces)[0][-prompt_room(ports.sizes.get("T", 512)) :]])}


@dataclass(frozen=True)
class Picture(Probe):
    """A picture file, or an array where there is no library to read files."""

    data: bytes | list[list[list[int]]]

    def read(self, processor: Processor, ports: Ports) -> Batch:
        assert isinstance(processor, ImageProcessor)
        return processor.encode([self.data])


@dataclass(frozen=True)
class Tensors(Probe):
    """Numbers that the model takes as they are."""

    values: Batch

    def read(self, processor: Processor, ports: Ports) -> Batch:
        return self.values


def writes(ports: Ports) -> bool:
    """Whether it continues rows of tokens."""
    return "causal" in ports.traits and ports.gives.get("logits") == "logits B T V" and "tokens" in ports.takes


def prompt_room(room: int) -> int:
    return max(1, room - NEW, room // 2)


def probes_for(model: Model) -> list[Probe]:
    """The probes of a model."""
    ports, processor, draws = model.architecture.config.ports(), model.processor, random.Random("probes")
    if isinstance(processor, TextProcessor):
        found: list[Probe] = []
        if processor.chat_template is not None:
            talks = [Talk(f"conversation {number} {said[-1][1]!r}", said) for number, said in enumerate(TALKS[:CONVERSATIONS])]
            found += [talk for talk in talks if readable(talk, processor, ports)]
        fixed = [text for text in TEXTS if text.strip()]
        while len(found) < COUNT:
            made = processor.decode([draws.randrange(processor.vocab) for _ in range(draws.randint(1, 24))])
            text = fixed.pop(0) if fixed else made.strip() or str(len(found))
            found.append(Text(f"text {len(found)} {text[:40]!r}", text))
        return found
    if isinstance(processor, ImageProcessor) and "image" in ports.takes and len(ports.takes) == 1:
        return [picture(processor, number, draws) for number in range(COUNT)]
    return [Tensors(f"input {number}", tensors_for(ports, number, given=seen(processor))) for number in range(COUNT)]


def readable(probe: Probe, processor: Processor, ports: Ports) -> bool:
    """Whether the model itself can read it: a template may refuse a system's words."""
    try:
        probe.read(processor, ports)
    except FthetaError:
        return False
    return True


def picture(processor: ImageProcessor, number: int, draws: random.Random) -> Picture:
    """Noise in stripes: every second of another size than the model's, where files can be read."""
    files = importlib.util.find_spec("PIL") is not None and processor.channels in (1, 3)
    height, width = processor.size or (SIZES["H"], SIZES["W"])
    if files and number % 2 and processor.size is not None:
        height, width = height + draws.randint(1, 9), width + draws.randint(1, 9)
    rows = [[[draws.randrange(256) // (1 + (x + y) % 3) for _ in range(processor.channels)] for x in range(width)] for y in range(height)]
    return Picture(f"picture {number} ({height}×{width})", bitmap(rows) if files else rows)


def bitmap(rows: list[list[list[int]]]) -> bytes:
    """A BMP file of 24 bits a pixel, rows from the bottom."""
    height, width = len(rows), len(rows[0])
    body = b"".join(b"".join(bytes(reversed(pixel * (3 // len(pixel)))) for pixel in row) + b"\0" * (-3 * width % 4) for row in reversed(rows))
    head = struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(body), 2835, 2835, 0, 0) + body


def seen(processor: Processor) -> dict[str, int]:
    """The height and width that a processor brings every picture to, where it does."""
    return dict(zip("HW", processor.size, strict=True)) if isinstance(processor, ImageProcessor) and processor.size else {}


def tensors_for(ports: Ports, seed: int, rows: int = 1, given: Mapping[str, int] | None = None) -> Batch:
    """What an export takes, drawn from a seed; dimensions have the sizes that are given, those of the model, or some small ones."""
    draws, made, real = torch.Generator().manual_seed(seed), Batch(), torch.float64 if "closed_form" in ports.traits else torch.float32
    sizes = {**SIZES, **{letter: size for letter, size in ports.sizes.items() if letter not in ("T", "S")}, **(given or {}), "B": rows}
    sizes |= {letter: max(1, min(SIZES[letter], ports.sizes[letter])) for letter in ("T", "S") if letter in ports.sizes}
    for name, spec in inputs_of(ports).items():
        sort, *dims = spec.split()
        shape = [sizes.get(letter, 2) for letter in dims]
        if sort == "ids":
            plain = name in ("documents", "source_documents", "segments")                  # one text a row, no padding
            made[name] = torch.zeros(shape, dtype=torch.int64) if plain else torch.randint(sizes["V"], shape, generator=draws)
        elif sort == "label":
            made[name] = torch.randint(sizes["K"], shape, generator=draws)
        elif sort == "edges":
            made[name] = torch.randint(sizes["N"], shape, generator=draws)
        elif sort == "mask":
            made[name] = torch.ones(shape, dtype=torch.bool)
        else:
            made[name] = torch.randn(shape, generator=draws).to(real)
    return made


def inputs_of(ports: Ports) -> dict[str, str]:
    """The inputs an export has: those required, and which tokens are padding where a model sees both sides; causal rows are padded on the right and
    need not know."""
    padded = {"source_documents?"} if "source" in ports.takes else set() if writes(ports) else {"documents?", "segments?"}
    return {name.rstrip("?"): spec for name, spec in ports.takes.items() if not name.endswith("?") or name in padded}
