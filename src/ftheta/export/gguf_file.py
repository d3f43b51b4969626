"""A decoder as one GGUF file, `model.gguf`, for llama.cpp and what is built on it: sizes, weights as float32, float16 or 8 bits, tokenizer and chat template.

Here it is opened by ggml's own Python reader: what stands in the file alone, its tensors made real numbers again by ggml's formulas, is put through our
architecture.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.core.atomic import Attempt
from ftheta.core.errors import FolderError, MissingExtraError
from ftheta.core.tensors import mismatches
from ftheta.data.processors.text import TextProcessor
from ftheta.export import gguf_layout, gguf_vocabulary
from ftheta.export.format import Consumer, Format, Ours
from ftheta.models.folder import generation_of, read_generation
from ftheta.models.model import Model

FILE = "model.gguf"
BLOCK = 32
"""Values that share a scale in 8 bits."""
WHOLE = ("position_embd.weight", "positions.weight")
"""Matrices that llama.cpp wants as float32: learned positions, by its name and ours."""
TYPES = {"f32": (0, "F32"), "f16": (1, "F16"), "q8_0": (7, "Q8_0")}
"""Precision → GGUF's number for the file and ggml's type of a matrix."""


class GGUF(Format):
    """A file for llama.cpp."""

    precisions: ClassVar[tuple[str, ...]] = ("f32", "f16", "q8_0")
    bounds: ClassVar[dict[str, float]] = {"f16": 0.01, "q8_0": 0.1}

    def reasons(self, model: Model) -> list[str]:
        if not isinstance(model.processor, TextProcessor):
            return ["it reads no text"]
        return [*gguf_layout.reasons(model.architecture.config), *gguf_vocabulary.reasons(model.processor)]

    def expected(self, model: Model) -> Model:
        """Our own matrices, whose rows are those of the file, rounded as the precision says by formulas of our own."""
        if self.precision == "f32":
            return model
        architecture = copy.deepcopy(model.architecture)
        architecture.load_theta({key: rounded(key, value, self.precision) for key, value in architecture.theta().items()})
        return Model(architecture, model.processor, model.task.name, model.provenance, model.place)

    def write(self, model: Model, attempt: Attempt) -> None:
        gguf = library()
        assert isinstance(model.processor, TextProcessor)
        name, said, tensors = gguf_layout.written(model.architecture.config, model.architecture.theta())
        writer = gguf.GGUFWriter(attempt.path / FILE, name)
        writer.add_file_type(TYPES[self.precision][0])
        if self.precision == "q8_0":
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for key, value in {**said, **gguf_vocabulary.fields(model.processor, model.architecture.config.ports().sizes["V"])}.items():
            put(writer, key, value)
        for key, value in tensors.items():
            kind = gguf.GGMLQuantizationType[TYPES[kept_as(key, value, self.precision)][1]]
            writer.add_tensor(key, gguf.quants.quantize(value.contiguous().numpy(), kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        attempt.adopt(FILE)
        attempt.write_json("generation_config.json", generation_of(model))

    def open(self, folder: Path) -> Consumer:
        return Ggml(folder)


class Ggml(Ours):
    """ggml's reader, and our architecture for what it finds."""

    def __init__(self, folder: Path):
        gguf = library()
        reader = gguf.GGUFReader(folder / FILE)
        said = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {part.name: torch.from_numpy(np.array(gguf.quants.dequantize(part.data, part.tensor_type), dtype=np.float32)) for part in reader.tensors}
        config, values = gguf_layout.read(said["general.architecture"], said, tensors)
        architecture: Architecture = config.build()
        if found := mismatches(values, architecture.theta()):
            raise FolderError(f"{folder / FILE} does not fit what it says of itself:\n  " + "\n  ".join(found))
        architecture.load_theta(values)
        super().__init__(Model(architecture, gguf_vocabulary.processor_of(said), "text-generation"))
        self.generation = read_generation(folder)


def put(writer: Any, key: str, value: Any) -> None:
    """A key and its value in the type that GGUF gives it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def kept_as(name: str, value: Tensor, precision: str) -> str:
    """The precision of one tensor: vectors stay float32, matrices whose rows are no blocks of 32 are float16."""
    if value.ndim < 2 or name in WHOLE:
        return "f32"
    return "f16" if precision == "q8_0" and value.shape[-1] % BLOCK else precision


def rounded(name: str, value: Tensor, precision: str) -> Tensor:
    """A tensor as it comes back. 8 bits: w ≈ q · d with d = max|w| / 127 of 32 neighbours, q = w · 1/d rounded half away from zero, d kept as float16."""
    kind = kept_as(name, value, precision)
    if kind == "f16":
        return value.half().float()
    if kind == "f32":
        return value
    blocks = value.reshape(-1, BLOCK)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    exact = blocks * torch.where(scale > 0, 1 / scale, 0)                                  # a product, as ggml has it: a quotient may round the other way
    whole = exact.sign() * (exact.abs() + 0.5).floor()
    return (whole * scale.half().float()).view(value.shape)


def library() -> Any:
    """The package gguf. Raises MissingExtraError."""
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("gguf", "export", "a GGUF file") from None
    return gguf
