"""How tokens spell text, byte by byte: which of them go on with a word, and where sentences end.

A word is a run of letters and digits, every Chinese character and every other sign by itself; a list of words joins Chinese characters, the longest
listed word first. A sentence ends after . ! ? … before a space, after 。！？ anywhere, and takes closing quotes along.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

CHINESE = "\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{CHINESE}]|[^\W{CHINESE}]+|[^\w\s]")
LISTED = re.compile(rf"[{CHINESE}]+|[^\W{CHINESE}]+|[^\w\s]")
SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s|$)|[。！？]+["'”’）」』》]*""")
BREAK = b"\n"
"""What a control token is read as: nothing goes on across it."""


class Spelling:
    """What each token of a tokenizer is in UTF-8."""

    def __init__(self, tokenizer: Tokenizer):
        written = {i: token for token, i in tokenizer.get_vocab().items()}
        special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        bytewise = all(tokenizer.token_to_id(character) is not None for character in byte_of())
        pieces = isinstance(tokenizer.model, models.WordPiece)
        self.bytes = [BREAK if i in special else read(written.get(i, ""), bytewise, pieces) for i in range(1 + max(written, default=-1))]

    def text(self, ids: Sequence[int] | np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
        """The text of tokens (N,), the byte at which each token begins (N + 1,) and the byte at which each character begins (characters + 1,)."""
        spelled = [self.bytes[i] for i in ids]
        text = b"".join(spelled).decode("utf-8", "surrogateescape")                       # a character cut in two stays its bytes
        sizes = [len(character.encode("utf-8", "surrogateescape")) for character in text]
        return text, np.cumsum([0, *map(len, spelled)]), np.cumsum([0, *sizes])

    def continues(self, ids: Sequence[int] | np.ndarray, listed: Collection[str] = ()) -> np.ndarray:
        """(N,) whether a token goes on with the word of the token before it."""
        text, tokens, characters = self.text(ids)
        inside = np.zeros(tokens[-1] + 1, dtype=bool)
        for start, stop in words(text, listed):
            inside[characters[start] + 1 : characters[stop]] = True
        inside[np.setdiff1d(np.arange(tokens[-1] + 1), characters)] = True                # inside a character
        return inside[tokens[:-1]]

    def sentence_ends(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N,) whether a sentence ends with a token."""
        text, tokens, characters = self.text(ids)
        ends = [characters[match.end()] for match in SENTENCE_END.finditer(text)]
        found = np.zeros(len(tokens) - 1, dtype=bool)
        found[np.searchsorted(tokens[1:], ends)] = True                                   # the token that the last byte is of
        return found


def words(text: str, listed: Collection[str] = ()) -> Iterator[tuple[int, int]]:
    """Where the words of a text stand."""
    if not listed:
        yield from (match.span() for match in WORD.finditer(text))
        return
    longest = max(map(len, listed))
    for match in LISTED.finditer(text):
        start, stop = match.span()
        if not re.match(f"[{CHINESE}]", text[start]):
            yield start, stop
            continue
        while start < stop:
            length = next((n for n in range(min(longest, stop - start), 1, -1) if text[start : start + n] in listed), 1)
            yield start, start + length
            start += length


@functools.cache
def byte_of() -> dict[str, int]:
    """The byte that GPT-2 writes each character for: printable ones stand for themselves, the others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (chr(256 + i) for i in range(256))
    found = {chr(byte) if byte in printable else next(others): byte for byte in range(256)}
    assert found.keys() == set(pre_tokenizers.ByteLevel.alphabet())
    return found


def read(token: str, bytewise: bool, pieces: bool) -> bytes:
    """The text of a token; a WordPiece token that begins a word has a space before it."""
    if bytewise and all(character in byte_of() for character in token):
        return bytes(byte_of()[character] for character in token)
    if match := re.fullmatch(r"<0x([0-9A-F]{2})>", token):
        return bytes([int(match[1], 16)])
    if pieces:
        return token.removeprefix("##").encode() if token.startswith("##") else f" {token}".encode()
    return token.replace("▁", " ").encode()
