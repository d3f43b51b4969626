"""A tokenizer that joins neighbours by the score of what they give, as SentencePiece's byte-pair encoding does, in GGUF's words (`tokenizer.ggml.model: llama`).

llama.cpp joins the two neighbours whose piece has the highest score, whatever they are. A tokenizer.json says which pairs are joined, in order, so it can be
said by scores only if every pair is there that gives a known piece, and all pairs of one piece stand together; that is what `told` finds out, by making the
pairs again out of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from ftheta.data.tokenizers.sentencepiece import BPE, BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, UNUSED, USER_DEFINED, SentencePiece, build, merges

Steps = list[Mapping[str, Any]]


def steps(said: Mapping[str, Any] | None, inner: str) -> Steps:
    """The parts of a normalizer, pre-tokenizer or decoder of tokenizer.json, in order."""
    if said is None:
        return []
    return [step for part in said[inner] for step in steps(part, inner)] if said["type"] == "Sequence" else [said]


def replaces(step: Mapping[str, Any], old: str, new: str) -> bool:
    """Whether a step does this, and only this."""
    return step["type"] == "Replace" and step["pattern"] == {"String": old} and step["content"] == new


def told(said: Mapping[str, Any], special: set[int], rows: int) -> SentencePiece | str:
    """A tokenizer.json as `rows` pieces with scores; or why it cannot be said so."""
    first, last = steps(said["normalizer"], "normalizers"), steps(said["decoder"], "decoders")
    prefix = bool(first) and first[0]["type"] == "Prepend" and first[0]["prepend"] in (" ", SPACE)
    first = first[prefix:]
    visible = bool(first) and replaces(first[0], " ", SPACE)
    if first[visible:] or said["pre_tokenizer"] is not None:
        step = (first[visible:] or [said["pre_tokenizer"]])[0]
        return f"its tokenizer changes or cuts text first ({step['type']}), which GGUF cannot say of pieces with scores"
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    last = last[1:] if visible and last and replaces(last[0], SPACE, " ") else last
    if last != [{"type": "ByteFallback"}, {"type": "Fuse"}, *strip]:
        return "its tokenizer joins pieces to a text in a way that GGUF cannot say"
    pairs = [tuple(pair if isinstance(pair, list) else pair.split(" ", 1)) for pair in said["model"]["merges"]]
    order = {piece: place for place, piece in enumerate(dict.fromkeys(a + b for a, b in pairs))}
    names = {i: piece for piece, i in [*said["model"]["vocab"].items(), *((token["content"], token["id"]) for token in said["added_tokens"])]}
    own = {token["id"]: CONTROL if token["id"] in special else USER_DEFINED for token in said["added_tokens"]}
    if said["model"]["unk_token"] is None:
        return "its tokenizer has no token for what it does not know, which readers of pieces with scores want"
    own[said["model"]["vocab"][said["model"]["unk_token"]]] = UNKNOWN
    spelled = {f"<0x{byte:02X}>" for byte in range(256)}
    pieces: list[tuple[str, float, int]] = []
    for i in range(rows):
        name = names.get(i, f"[PAD{i}]")
        kind = own.get(i, BYTE if name in spelled else NORMAL if i in names else UNUSED)
        score = -float(order.get(name, len(order))) if kind == NORMAL else 0.0
        pieces.append((name if visible else name.replace(" ", SPACE), score, kind))
    if len({piece for piece, _, _ in pieces}) < len(pieces) or not spelled <= set(names.values()):
        return f"two of its pieces differ only in {SPACE} and a space, or one of the 256 bytes has no piece"
    if merges(pieces) != [(a, b) if visible else (a.replace(" ", SPACE), b.replace(" ", SPACE)) for a, b in pairs]:
        return "its tokenizer joins some neighbours and not others that give the same piece; pieces with scores, as llama.cpp has them, cannot say which"
    return SentencePiece(pieces, BPE, {}, b"", dummy_prefix=prefix, remove_spaces=False, escape_spaces=True)


def fields(found: SentencePiece) -> dict[str, Any]:
    """GGUF's values by the last part of their keys."""
    names, scores, kinds = zip(*found.pieces, strict=True)
    return {
        "model": "llama", "tokens": list(names), "scores": list(scores), "token_type": list(kinds), "add_space_prefix": found.dummy_prefix,
        "unknown_token_id": kinds.index(UNKNOWN),
    }


def tokenizer_of(said: Mapping[str, Any], prefix: str) -> Tokenizer:
    """The tokenizer that a file's metadata describe."""
    pieces = list(zip(*(said[prefix + key] for key in ("tokens", "scores", "token_type")), strict=True))
    while pieces[-1][2] == UNUSED:
        pieces.pop()
    ids = {"unk": said[f"{prefix}unknown_token_id"]}
    return build(SentencePiece(pieces, BPE, ids, b"", bool(said[f"{prefix}add_space_prefix"]), remove_spaces=False))[0]
