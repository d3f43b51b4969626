"""Control tokens by the part they play: begin and end of a text, padding, the hidden token. Said by the files beside a tokenizer, else
known by their usual spellings.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from ftheta.core.errors import DataError

Role = Literal["bos", "eos", "pad", "mask", "cls", "sep", "unk", "decoder_start"]
SPELLINGS: dict[str, tuple[str, ...]] = {
    "bos": ("<bos>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]"),
    "eos": ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>", "[EOS]", "<eod>"),
    "pad": ("<pad>", "[PAD]"),
    "mask": ("<mask>", "[MASK]"),
    "cls": ("[CLS]", "<cls>"),
    "sep": ("[SEP]", "<sep>"),
    "unk": ("<unk>", "[UNK]"),
    "decoder_start": (),
}
TEMPLATE = "chat_template.jinja"
CONFIGS = ("special_tokens_map.json", "tokenizer_config.json")
"""Files that name roles; what the later one says counts."""
MODEL_CONFIGS = ("config.json", "generation_config.json")
"""Files of a model that say by its id which token a decoder with a source begins with."""


def beside(folder: Path) -> dict[str, Any]:
    """What the files beside a tokenizer say. Raises DataError when one is no JSON object."""
    facts: dict[str, Any] = {}
    for name in CONFIGS:
        place = folder / name
        if place.exists():
            try:
                facts |= json.loads(place.read_bytes())
            except (OSError, ValueError, TypeError) as error:
                raise DataError(f"{place} cannot be read: {error}") from None
    return facts


def decoder_start(folder: Path, tokenizer: Tokenizer) -> dict[str, str]:
    """The token a decoder with a source begins with, as a role, where a model's files beside the tokenizer say it."""
    for name in reversed(MODEL_CONFIGS):
        place = folder / name
        try:
            found = json.loads(place.read_bytes()).get("decoder_start_token_id") if place.exists() else None
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{place} cannot be read: {error}") from None
        if isinstance(found, int) and (token := tokenizer.id_to_token(found)) is not None:
            return {"decoder_start": token}
    return {}


def chat_template(folder: Path) -> str | None:
    """How a model's conversations are written: a file of its own, or, as older folders have it, a field of `tokenizer_config.json`."""
    place = folder / TEMPLATE
    if place.exists():
        return place.read_text(encoding="utf-8")
    found = beside(folder).get("chat_template")
    return found if isinstance(found, str) else None


def said(facts: Mapping[str, Any]) -> dict[str, str]:
    """Role → token, as `bos_token: "<s>"` or `bos_token: {"content": "<s>"}` say."""
    found = {}
    for role in SPELLINGS:
        value = facts.get(f"{role}_token")
        content = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(content, str) and content:
            found[role] = content
    return found


def spelled(tokens: Collection[str]) -> dict[str, str]:
    """Role → token, by the usual spellings that are among these tokens."""
    found = {role: next((spelling for spelling in spellings if spelling in tokens), None) for role, spellings in SPELLINGS.items()}
    return {role: token for role, token in found.items() if token is not None}


def frame(tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """The control tokens that the tokenizer itself puts before and after a text."""
    encoding = tokenizer.encode("a")
    marks, tokens = encoding.special_tokens_mask, encoding.tokens
    before = next((i for i, mark in enumerate(marks) if not mark), len(marks))
    after = next((i for i, mark in enumerate(reversed(marks)) if not mark), 0)
    return tokens[:before], tokens[len(tokens) - after :]


def add_roles(tokenizer: Tokenizer, roles: Mapping[str, str]) -> None:
    """Make the roles' tokens control tokens: text that spells one stays text, decoding leaves it out. New ones get the next ids."""
    tokenizer.add_special_tokens(list(dict.fromkeys(roles.values())))
    tokenizer.encode_special_tokens = True


def opening(roles: Mapping[str, str]) -> str | None:
    """The token that begins a document."""
    return first_of(roles, ("bos", "cls", "eos"))


def closing(roles: Mapping[str, str]) -> str | None:
    """The token that ends a document."""
    return first_of(roles, ("eos", "sep", "bos"))


def first_of(roles: Mapping[str, str], order: Iterable[str]) -> str | None:
    return next((roles[role] for role in order if role in roles), None)
