"""Texts as token ids by `gigatoken`, many times as fast as by `tokenizers`, for the tokenizers that it can read: byte-level BPE whose pattern it knows, and
SentencePiece's BPE. That its ids are the same is not believed but looked at: on odd texts before anything else, then on pieces of the texts themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xxhash
from tokenizers import Tokenizer

WINDOW = 2048
"""Characters of a piece that both encode."""
SPREAD = 64 * WINDOW
"""Characters of text for each such piece, on average: a few per cent of the time go into it."""
RENEWED = 32 << 20
"""Characters after which the library begins anew, so that what it has learned by heart takes 250 MB at the very worst."""
ODD = (
    "", " ", "  \n\n \t x \r\n", "don't DON'T we'll I'M 'tis ſ'ſ", "a" * 300, " " * 300 + "x", "12345678 1,000.00 ½²Ⅷ٣", "def f(x):\n    return {'a': x[1:]}  # ??!\n\n\n",
    "中文，没有空格。「引号」　１２３ＡＢＣ", "e\u0301 é ﬁ Å \u212b \u1e9b\u0323 क्षि 한국어 ภาษา עברית العربية", "😀👩‍👩‍👧🇩🇪️",
    "\x00\x01\x1c\x1f\x7f\x85\xa0\u2028\u200b\u200d\ufeff\ufffd\U0010ffff",
    "<0x41><unk><s></s><bos>[CLS]##a▁b Ġc",
)


class DifferentIdsError(Exception):
    """A text has other ids here than by `tokenizers`, or none; what has been encoded so far is not to be used."""


class Plain:
    """Texts by `tokenizers` itself."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Iterator[Sequence[int]]:
        """The ids of each text, without control tokens."""
        return (encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False))


class Quick:
    """Texts by `gigatoken`, in this thread. Raises DifferentIdsError where it cannot stand for the tokenizer."""

    def __init__(self, tokenizer: Tokenizer):
        self.plain = Plain(tokenizer)
        self.described = described(tokenizer)
        self.encoded = 0
        self.backend: Any = load(self.described)
        tokens = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        for text in (*ODD, *(f"a{token} {token}b" for token in tokens[:100])):
            self.compare(text)

    def encode(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """The ids (n,) of each text, without control tokens."""
        for text in texts:
            if self.encoded > RENEWED:
                self.backend, self.encoded = load(self.described), 0
            self.encoded += len(text)
            if (at := looked_at(text)) is not None:
                self.compare(text[at : at + WINDOW])
            yield self.ids(text)

    def compare(self, text: str) -> None:
        [ids] = self.plain.encode([text])
        if not np.array_equal(self.ids(text), ids):
            raise DifferentIdsError(f"gigatoken gives {text[:60]!r} other ids than tokenizers")

    def ids(self, text: str) -> np.ndarray:
        try:
            return self.backend.encode(text)
        except BaseException as error:
            raise failed(error) from None


def encoder(tokenizer: Tokenizer) -> Plain | Quick:
    """The quicker of the two that can encode these texts as the tokenizer does."""
    try:
        return Quick(tokenizer)
    except DifferentIdsError:
        return Plain(tokenizer)


def looked_at(text: str) -> int | None:
    """Where the piece of a text begins that both encode, by a hash of the text: in as many texts of a length as makes one piece in SPREAD characters."""
    drawn = xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), seed=2)
    return None if drawn * SPREAD >= len(text) << 64 else drawn % max(1, len(text) - WINDOW + 1)


def described(tokenizer: Tokenizer) -> str:
    """The tokenizer in JSON, without control tokens where text that spells them stays text, since the library would find these."""
    found = json.loads(tokenizer.to_str())
    if tokenizer.encode_special_tokens:
        found["added_tokens"] = [token for token in found["added_tokens"] if not token["special"]]
    return json.dumps({**found, "post_processor": None, "truncation": None, "padding": None})


def load(described: str) -> Any:
    """The library's tokenizer. Raises DifferentIdsError where the library is missing or cannot read it."""
    try:
        from gigatoken.gigatoken_rs import load_hf_json  # the package's own wrapper has nothing that is needed here

        return load_hf_json(described)
    except BaseException as error:
        raise failed(error) from None


def failed(error: BaseException) -> BaseException:
    """What to raise for what the library raised: its panics are no Exception."""
    return error if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)) else DifferentIdsError(f"gigatoken: {error}")
