"""A tokenizer as GGUF's metadata say it, and back: a byte-level one by its tokens, merges and how text is cut before merging, one that joins pieces by
score (`gguf_pieces`) by these; control tokens and the chat template.

Both ways follow https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the names of cuts are llama.cpp's (`tokenizer.ggml.pre`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.sentencepiece import CONTROL, NORMAL, UNUSED, SentencePiece
from ftheta.data.tokenizers.trained import WORDS
from ftheta.data.tokenizers.vocabularies import GPT4, QWEN
from ftheta.export import gguf_pieces

PREFIX = "tokenizer.ggml."
CUTS = {"gpt-2": WORDS, "llama-bpe": GPT4, "qwen2": QWEN}
"""llama.cpp's name of a cut → its pattern. What spells bytes one by one is cut by any."""
NO_MERGE = "\u2581 \u2581"
"""A merge of signs that bytes are never spelled with: readers want at least one."""
ROLES = {
    "unk": "unknown_token_id", "bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "mask": "mask_token_id", "cls": "cls_token_id",
    "sep": "seperator_token_id",
}
"""Role → GGUF's key, spelled as there."""


def reasons(processor: TextProcessor) -> list[str]:
    """Why llama.cpp could not read texts as this tokenizer does; empty when it can."""
    said = json.loads(processor.tokenizer.to_str())
    if processor.cutters is not None or said["model"]["type"] != "BPE":
        return [f"its tokenizer is no BPE ({said['model']['type']}), the only sort written here"]
    if said["model"].get("byte_fallback"):
        found = gguf_pieces.told(said, special_of(processor), processor.vocab)
        if isinstance(found, str):
            return [found]
    elif reason := byte_level(said):
        return [reason]
    if processor.begin not in ([], [processor.roles.get("bos")]) or processor.end:
        return [f"it puts {processor.begin} before and {processor.end} after a text, and GGUF knows only bos"]
    return []


def byte_level(said: Mapping[str, Any]) -> str | None:
    """Why a tokenizer.json without bytes as pieces cannot be said; none when it can."""
    if (said["decoder"] or {}).get("type") != "ByteLevel":
        return "its tokenizer neither reads bytes nor spells in bytes what it does not know"
    if said["normalizer"] is not None:
        return f"its tokenizer changes text first ({said['normalizer']['type']}), which GGUF cannot say"
    if cut_of(said) is None:
        known = "GPT-2's, Llama 3's and Qwen 2's patterns; of tokenizers made here byte_bpe with pattern: gpt2, and bytes"
        return f"llama.cpp has no name for how its tokenizer cuts text before merging (known: {known})"
    return None


def special_of(processor: TextProcessor) -> set[int]:
    """Control tokens, which no text spells."""
    return {i for i, token in processor.tokenizer.get_added_tokens_decoder().items() if token.special}


def cut_of(said: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for how a tokenizer.json cuts text."""
    if not said["model"]["merges"]:
        return "gpt-2"
    parts = gguf_pieces.steps(said["pre_tokenizer"], "pretokenizers")
    if not parts or parts[-1]["type"] != "ByteLevel" or parts[-1].get("add_prefix_space"):
        return None
    level = parts[-1]
    if len(parts) == 1:
        return "gpt-2" if level["use_regex"] else None
    if len(parts) != 2 or parts[0]["type"] != "Split" or level["use_regex"] or parts[0]["behavior"] != "Isolated" or parts[0]["invert"]:
        return None
    return next((name for name, pattern in CUTS.items() if parts[0]["pattern"].get("Regex") == pattern), None)


def fields(processor: TextProcessor, rows: int) -> dict[str, Any]:
    """GGUF's keys and values for a tokenizer of a model that knows `rows` tokens."""
    said, special = json.loads(processor.tokenizer.to_str()), special_of(processor)
    pieces = gguf_pieces.told(said, special, rows) if said["model"].get("byte_fallback") else None
    if isinstance(pieces, SentencePiece):
        found = gguf_pieces.fields(pieces)
    else:
        names = {i: token for token, i in processor.tokenizer.get_vocab().items()}
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in said["model"]["merges"]]
        found = {
            "model": "gpt2", "pre": cut_of(said), "tokens": [names.get(i, f"[PAD{i}]") for i in range(rows)],
            "token_type": [CONTROL if i in special else NORMAL if i in names else UNUSED for i in range(rows)], "merges": merges or [NO_MERGE],
        }
    found |= {"add_bos_token": bool(processor.begin), **{key: processor.id(role) for role, key in ROLES.items() if processor.id(role) is not None}}
    found = {f"{PREFIX}{name}": value for name, value in found.items()}
    return found if processor.chat_template is None else {**found, "tokenizer.chat_template": processor.chat_template}


def processor_of(said: Mapping[str, Any]) -> TextProcessor:
    """The tokenizer that a file's metadata describe."""
    tokens, kinds = said[f"{PREFIX}tokens"], said[f"{PREFIX}token_type"]
    tokenizer = gguf_pieces.tokenizer_of(said, PREFIX) if said[f"{PREFIX}model"] == "llama" else byte_level_of(said, tokens, kinds)
    roles = {role: tokens[said[PREFIX + key]] for role, key in ROLES.items() if PREFIX + key in said}
    processor = TextProcessor(tokenizer, roles, [roles["bos"]] if said.get(f"{PREFIX}add_bos_token") else [])
    processor.chat_template = said.get("tokenizer.chat_template")
    return processor


def byte_level_of(said: Mapping[str, Any], tokens: Sequence[str], kinds: Sequence[int]) -> Tokenizer:
    """The tokenizer of bytes that a file's metadata describe."""
    known = {token: i for i, token in enumerate(tokens) if kinds[i] != UNUSED}
    merges = [tuple(pair.split(" ", 1)) for pair in said[f"{PREFIX}merges"] if pair != NO_MERGE]
    tokenizer = Tokenizer(models.BPE(known, merges))                                      # type: ignore[arg-type]
    cut = pre_tokenizers.Split(Regex(CUTS[said[f"{PREFIX}pre"]]), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for i, token in enumerate(tokens) if kinds[i] == CONTROL])
    return tokenizer
