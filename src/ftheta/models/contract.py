"""The prompt contract: everything between what a user gives and what the model reads, as hashes in `ftheta.json`.

A chat template that was lost, a token put before a text twice, padding that is the token which ends a text, pictures made another size: none of these is
seen in the weights, and each makes answers quietly worse. So what the files make of fixed inputs is hashed, not the files: a folder copied, reformatted or
read by a newer library keeps its contract as long as it reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftheta.data.processors.processor import Processor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.stages import digest
from ftheta.data.tokenizers import controls

GENERATION = "generation_config.json"
PROMPT_FILES = ("tokenizer.json", "tokenizer_config.json", controls.TEMPLATE, GENERATION, "preprocessor_config.json")
"""Files that only say how inputs are read and texts are written, and that may be changed on purpose."""
ROLES = ("bos", "eos", "pad", "mask", "cls", "sep")
TEXTS = (
    "The quick brown fox jumps over the lazy dog.", "def f(x):\n    return {'a': x[0] + 1.5e-3}\n", " two  spaces, a\ttab and an end ",
    "naïve café, Ünïcödé, \u00a0",
    "床前明月光，疑是地上霜。", "🙂👩\u200d🔬 e\u0301", "<bos><eos><pad> <s></s> [CLS][SEP] <|im_start|>", "",
)


def contract(processor: Processor, generation: Mapping[str, Any] | None) -> dict[str, str]:
    """The parts of the contract and, as `hash`, the whole."""
    parts: dict[str, Any] = {"preprocessing": processor.dump()}
    if isinstance(processor, TextProcessor):
        parts |= {
            "special tokens": {**{role: processor.id(role) for role in ROLES}, **{side: processor.ids(getattr(processor, side)) for side in ("begin", "end")}},
            "answer": processor.answer_start,
            "tokens": [tokens(processor, text) for text in TEXTS], "chat template": processor.chat_template,
        }
    if generation is not None:
        parts["generation defaults"] = dict(generation)
    hashes = {name: digest(value)[:16] for name, value in parts.items()}
    return {**hashes, "hash": digest(hashes)[:16]}


def tokens(processor: TextProcessor, text: str) -> list[list[int]]:
    """A text as it is continued, as it stands between control tokens, and as it is answered to."""
    return [processor.encode(text), list(processor.frame(text, None, 4096).ids), processor.source(text, 4096)]


def differences(written: Mapping[str, str] | None, kept: Mapping[str, str]) -> list[str]:
    """Which parts of a contract are not what was written, in words; none for folders from before there were contracts."""
    if written is None:
        return []
    names = [name for name in {**written, **kept} if name != "hash" and written.get(name) != kept.get(name)]
    return [f"{name}: the folder reads as {kept.get(name, 'nothing')}; it was written as {written.get(name, 'nothing')}" for name in names]
