"""Tokenizers from plain lists: GPT-2's vocabulary and merges, BERT's vocabulary, tiktoken's ranks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

Pattern = Literal["gpt2", "gpt4", "qwen"]
GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = GPT4.replace(r"\p{N}{1,3}", r"\p{N}")


def gpt2(vocabulary: Mapping[str, int], lines: Sequence[str]) -> Tokenizer:
    """Byte-level BPE; `lines` are those of the merges file, best first. Raises ValueError for a line that is no pair."""
    pairs = [tuple(line.split(" ")) for line in lines if line.strip() and not line.startswith("#version")]
    if wrong := next((pair for pair in pairs if len(pair) != 2), None):
        raise ValueError(f"merge {' '.join(wrong)!r} is no pair")
    tokenizer = Tokenizer(models.BPE(dict(vocabulary), [(pair[0], pair[1]) for pair in pairs]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def bert(lines: Sequence[str], lower: bool, chinese: bool, accents: bool | None, roles: Mapping[str, str]) -> Tokenizer:
    """WordPiece over BERT's words; a token's id is its line. `chinese`: every Chinese character is a word; `accents`: whether they go."""
    vocabulary = {token: i for i, token in enumerate(lines)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=roles["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=chinese, strip_accents=accents, lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    first, last = roles["cls"], roles["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0", pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
        special_tokens=[(token, vocabulary[token]) for token in (first, last)],
    )
    return tokenizer


def tiktoken(lines: Sequence[bytes], pattern: Pattern) -> Tokenizer:
    """Byte-level BPE from lines `base64 rank`: of all neighbours those are merged first that give the token of lowest rank.

    Raises ValueError for a line that is none.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        if line:
            try:
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except (ValueError, binascii.Error):
                raise ValueError(f"line {number} is not 'base64 rank'") from None
    letter = byte_letters()
    spell = {token: "".join(letter[byte] for byte in token) for token in ranks}
    pairs = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) > 1:
            parts = cut(token, ranks, ranks[token])
            if len(parts) == 2:                                                           # others cannot be reached by merging
                pairs.append((spell[parts[0]], spell[parts[1]]))
    tokenizer = Tokenizer(models.BPE({spell[token]: rank for token, rank in ranks.items()}, pairs, ignore_merges=True))
    if pattern == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(GPT4 if pattern == "gpt4" else QWEN), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if pattern == "qwen":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def cut(token: bytes, ranks: Mapping[bytes, int], below: int) -> list[bytes]:
    """The token as merges of rank less than `below` put it together: its two halves."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        rank, at = min((ranks.get(parts[i] + parts[i + 1], below), i) for i in range(len(parts) - 1))
        if rank >= below:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in byte-level vocabularies: itself where it is printable, else the next from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}
