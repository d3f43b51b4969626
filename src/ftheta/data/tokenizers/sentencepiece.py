"""SentencePiece `.model` files (Kudo & Richardson 2018, arXiv:1808.06226), read from the protobuf wire format: pieces with scores, what kind of
model they are of, and how text is normalised. Nothing in the file is executed.

Fields and defaults: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ftheta.core.errors import DataError
from ftheta.data.tokenizers.controls import spelled

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
SPACE = "▁"


@dataclass
class SentencePiece:
    """What a file says."""

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    """(piece, score, type); a piece's id is its place."""
    model: int = UNIGRAM
    ids: dict[str, int] = field(default_factory=lambda: {"unk": 0, "bos": 1, "eos": 2, "pad": -1})
    charsmap: bytes = b""
    dummy_prefix: bool = True
    remove_spaces: bool = True
    escape_spaces: bool = True


def wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) of one protobuf message: whole numbers, 4 or 8 raw bytes, or the bytes of strings and messages.

    Raises ValueError where the bytes are none.
    """
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError(f"broken number at byte {at}")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            value = varint()
            yield number, value - (1 << 64) if value >> 63 else value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None and kind != 2:
            raise ValueError(f"field of unknown type {kind} before byte {at}")
        size = varint() if size is None else size
        if size > len(data) - at:
            raise ValueError(f"a field of {size} bytes runs past the end")
        yield number, data[at : at + size]
        at += size


def parse(data: bytes) -> SentencePiece:
    """Read the bytes of a `.model` file. Raises ValueError when they are none."""
    found = SentencePiece()
    for number, value in wire(data):
        if number == 1:
            entry = {1: b"", 2: bytes(4), 3: NORMAL, **dict(wire(value))}
            found.pieces.append((entry[1].decode(), struct.unpack("<f", entry[2])[0], entry[3]))
        elif number == 2:
            trainer = dict(wire(value))
            found.model = trainer.get(3, UNIGRAM)
            found.ids |= {role: trainer[at] for role, at in {"unk": 40, "bos": 41, "eos": 42, "pad": 43}.items() if at in trainer}
        elif number == 3:
            rules = dict(wire(value))
            found.charsmap = rules.get(2, b"")
            found.dummy_prefix, found.remove_spaces, found.escape_spaces = (bool(rules.get(at, 1)) for at in (3, 4, 5))
    if not found.pieces:
        raise ValueError("it holds no pieces")
    return found


def build(found: SentencePiece) -> tuple[Tokenizer, dict[str, str]]:
    """The tokenizer that cuts as SentencePiece does, and its control tokens by role."""
    pieces = found.pieces
    fallback = any(kind == BYTE for _, _, kind in pieces)
    unknown = next((i for i, (_, _, kind) in enumerate(pieces) if kind == UNKNOWN), found.ids["unk"])
    if found.model == UNIGRAM:
        model: Any = models.Unigram(scores(pieces), unknown, byte_fallback=fallback)
    elif found.model == BPE:
        if any(kind == UNUSED for _, _, kind in pieces):
            raise DataError("it is a BPE model with unused pieces, which is not supported")
        vocabulary = {piece: i for i, (piece, _, _) in enumerate(pieces)}
        model = models.BPE(vocabulary, merges(pieces), unk_token=pieces[unknown][0], fuse_unk=True, byte_fallback=fallback)
    else:
        raise DataError(f"its model is of type {found.model}; only unigram (1) and BPE (2) are supported")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(normal_form(found))
    if found.model == UNIGRAM and (never := spelled_out(pieces, unknown)):
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(never), "merged_with_previous")
    last: list[Any] = [decoders.Strip(" ", 1, 0)] if found.dummy_prefix else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    own = [piece for piece, _, kind in pieces if kind in (CONTROL, UNKNOWN, USER_DEFINED)]
    roles = spelled(own) | {role: pieces[i][0] for role, i in found.ids.items() if 0 <= i < len(pieces) and pieces[i][2] in (CONTROL, UNKNOWN, USER_DEFINED)}
    tokenizer.add_special_tokens([piece for piece, _, kind in pieces if kind in (CONTROL, UNKNOWN)])
    if found.model == BPE:
        tokenizer.add_tokens([piece for piece, _, kind in pieces if kind == USER_DEFINED and piece not in roles.values()])
    return tokenizer, roles


def spelled_out(pieces: list[tuple[str, float, int]], unknown: int) -> str:
    """A pattern that cuts text which spells a control or byte piece, so that it cannot become one: these stand in the same list as all others.

    The cut is made where the other pieces would end the first of theirs.
    """
    hidden = [(piece if pieces[i][2] in (NORMAL, USER_DEFINED) else f"\0{i}", score) for i, (piece, score) in enumerate(scores(pieces))]
    plain = Tokenizer(models.Unigram(hidden, unknown))
    heads = []
    for piece in (piece for piece, _, kind in pieces if kind not in (NORMAL, USER_DEFINED) and len(piece) > 1):
        end = min(plain.encode(piece).offsets[0][1], len(piece) - 1)
        heads.append(f"{re.escape(piece[:end])}(?={re.escape(piece[end:])})")
    return "|".join(heads)


def scores(pieces: list[tuple[str, float, int]]) -> list[tuple[str, float]]:
    """Pieces with the scores that a cut counts: those the user defined are better than whatever else covers their bytes."""
    normal = [score for _, score, kind in pieces if kind == NORMAL]
    best, least = max(normal, default=0.0), min(normal, default=0.0)
    special = {USER_DEFINED: lambda piece: len(piece.encode()) * best - 0.1}
    return [(piece, score if kind == NORMAL else special.get(kind, lambda _: least)(piece)) for piece, score, kind in pieces]


def normal_form(found: SentencePiece) -> list[Any]:
    """The steps from raw text to text that is cut: characters mapped, spaces joined, one put in front, all made visible."""
    steps: list[Any] = [normalizers.Precompiled(found.charsmap)] if found.charsmap else []
    if found.remove_spaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if found.dummy_prefix:
        steps.append(normalizers.Prepend(" "))
    if found.escape_spaces:
        steps.append(normalizers.Replace(" ", SPACE))
    return steps


def merges(pieces: list[tuple[str, float, int]]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, best score first: SentencePiece merges the neighbours that give the best piece."""
    known = {piece: i for i, (piece, _, kind) in enumerate(pieces) if kind in (NORMAL, USER_DEFINED)}
    found = []
    for piece, i in known.items():
        for at in range(1, len(piece)):
            a, b = piece[:at], piece[at:]
            if a in known and b in known:
                found.append((-pieces[i][1], known[a], known[b], a, b))
    return [(a, b) for *_, a, b in sorted(found)]
