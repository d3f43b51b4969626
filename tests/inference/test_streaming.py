"""What is shown piece by piece is what all tokens say together, however long it is and however it is cut."""

import random

import pytest

from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers import TOKENIZERS
from ftheta.inference.streaming import SETTLED, TextStream

TEXTS = ["the old ship holds a light, and the sea. It's 12,5 miles!", "中文的字也要一个一个地出来，不能只有一半。🙂👍🏽", "def f(x):\n    return x  # naïve café"] * 3
WORDS = ["".join(random.Random(seed).choices("aeiourstlnm", k=5)) for seed in range(300)]
KINDS = {"bytes": {}, "byte_bpe": {"vocab": 300}, "bpe": {"vocab": 340}, "unigram": {"vocab": 300}, "wordpiece": {"vocab": 300}, "characters": {}}
BYTEWISE = ("bpe", "unigram")
"""Of several bytes in a row, tokens by themselves, one that is wrong makes all of them wrong: what was shown before cannot be taken back."""


def processor(kind: str) -> TextProcessor:
    return TextProcessor(TOKENIZERS.load(kind).parse({"kind": kind, **KINDS[kind]}).train([*TEXTS, *WORDS]))


@pytest.mark.parametrize("stop", [(), ("sea. It", "never")])
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_the_whole(kind: str, stop: tuple[str, ...]) -> None:
    made, draws = processor(kind), random.Random(3)
    size = made.tokenizer.get_vocab_size()
    written = made.encode(" ".join(TEXTS))
    drawn = [draws.randrange(size) for _ in range(5 * SETTLED)]                            # bytes that are no characters among them
    for prompt, new in ((made.encode("so"), written), (made.encode("so"), drawn), ([], drawn[::-1]))[: 1 if kind in BYTEWISE else 3]:
        whole, stream, pieces = made.decode_after(prompt, new), TextStream(made, prompt, stop), []
        cut = min((at for text in stop if (at := whole.find(text)) >= 0), default=len(whole))
        at = 0
        while at < len(new) and not stream.stopped:
            at = min(len(new), at + draws.choice([1, 1, 1, 5, 90]))
            pieces.append(stream.add(new[:at], last=at == len(new)))
            if not stream.stopped:
                assert whole.startswith(stream.shown)
        assert "".join(pieces) == stream.shown == whole[:cut]
        assert new is not written or stream.read > len(new) - 3 * SETTLED or stream.stopped
