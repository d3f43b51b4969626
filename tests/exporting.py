"""Models to export, of several families, made in milliseconds."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer

from ftheta.architectures import ARCHITECTURES
from ftheta.core.config import Slot
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.processor import Processor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers import sentencepiece
from ftheta.data.tokenizers.trained import ByteBPE
from ftheta.models.model import Model
from tiny import GPT2, LLAMA, WORDS

NORM = {"kind": "rmsnorm", "eps": 1e-5}
LLAMA_64 = {"kind": "decoder", **LLAMA, "vocab": 300, "dim": 64}
DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {"kind": "decoder", **GPT2, "vocab": 300, "dim": 64},
    "llama": LLAMA_64,
    "llama-tied": {**LLAMA_64, "tie": True, "mixer": {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 32}},
    "mistral": {**LLAMA_64, "mixer": {"kind": "attention", "heads": 4, "window": 48}},
    "qwen2": {**LLAMA_64, "mixer": {"kind": "attention", "heads": 4, "bias": True, "output_bias": False}},
    "qwen3": {**LLAMA_64, "mixer": {"kind": "attention", "heads": 4, "kv_heads": 2, "qk_norm": NORM}},
}
ENCODER = {"kind": "encoder", "vocab": 300, "dim": 32, "depth": 2, "context": 48, "mixer": {"kind": "attention", "heads": 2, "causal": False}}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("text-generation", {"kind": "decoder", "vocab": 300, "dim": 32, "depth": 1, "context": 48, "positions": "none", "mixer": "lstm"}),
    "gru both ways": ("fill-mask", {**ENCODER, "positions": "none", "mixer": {"kind": "gru", "hidden": 20, "bidirectional": True}}),
    "dynamic": ("text-generation", {**LLAMA_64, "positions": {"kind": "rotary", "scaling": {"kind": "dynamic", "factor": 4, "original": 16}}}),
    "scored": ("text-generation", {**LLAMA_64, "vocab": 480}),
    "headed": ("text-classification", {"kind": "headed", "trunk": ENCODER, "classes": 3, "readout": {"kind": "classify", "dropout": 0.0}}),
    "encoder": ("fill-mask", ENCODER),
    "translator": ("translation", {
        "kind": "encoder_decoder", "vocab": 300, "dim": 32, "depth": 1, "context": 48, "mixer": {"kind": "attention", "heads": 2}, "positions": "relative",
    }),
    "resnet": ("image-classification", {"kind": "resnet", "channels": 3, "classes": 4, "depths": [1, 1], "widths": [8, 16], "stem_width": 8}),
}
BYTES = [(f"<0x{byte:02X}>", 0.0, sentencepiece.BYTE) for byte in range(256)]
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% generation %}{{ eos_token }}{% endgeneration %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@cache
def tokenizer() -> str:
    return ByteBPE(vocab=290).train([" ".join(WORDS) + ". "] * 40).to_str()


def scored(prefix: bool = True) -> TextProcessor:
    """A tokenizer of pieces with scores: the signs of all words, what they begin with, 256 bytes."""
    first = [("<unk>", 0.0, sentencepiece.UNKNOWN), ("<s>", 0.0, sentencepiece.CONTROL), ("</s>", 0.0, sentencepiece.CONTROL)]
    known = dict.fromkeys([*sorted({*"".join(WORDS), sentencepiece.SPACE}), *(f"{sentencepiece.SPACE}{word}"[:n] for word in WORDS for n in range(2, len(word) + 2))])
    known |= dict.fromkeys(word[n:] for word in WORDS for n in range(1, len(word)))
    normal = [(piece, -float(i), sentencepiece.NORMAL) for i, piece in enumerate(known)]
    found = sentencepiece.SentencePiece([*first, *BYTES, *normal], sentencepiece.BPE, dummy_prefix=prefix, remove_spaces=False)
    tokenizer, roles = sentencepiece.build(found)
    made = TextProcessor(tokenizer, roles, ["<s>"])
    made.chat_template = TEMPLATE
    return made


def processor(chat: bool = True) -> TextProcessor:
    made = TextProcessor(Tokenizer.from_str(tokenizer()))
    made.chat_template = TEMPLATE if chat else None
    return made


def model(name: str, seed: int = 0) -> Model:
    """A random model of this family, its weights far from where they start, so that nothing is hidden behind zeros."""
    task, fields = ("text-generation", DECODERS[name]) if name in DECODERS else OTHERS[name]
    architecture = Slot(ARCHITECTURES).parse(fields).build()
    architecture.initialise(seed)
    draws = torch.Generator().manual_seed(seed)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.15, generator=draws)
    reads: Processor = ImageProcessor((14, 12), 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)) if task == "image-classification" else processor(task == "text-generation")
    if name == "scored":
        reads = scored()
    return Model(architecture.eval(), reads, task)


def changed(data: bytes, **fields: Any) -> bytes:
    """A JSON file with other fields."""
    return json.dumps({**json.loads(data), **fields}).encode()
