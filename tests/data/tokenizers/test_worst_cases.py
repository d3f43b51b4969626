"""R28: texts that are the worst for a tokenizer take no more time than their length is worth, and come back whole."""

import time

import pytest
from tests.data.tokenizers.test_subword import CORPUS

from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.subword import BPE, Unigram, WordPiece
from ftheta.data.tokenizers.trained import ByteBPE, Bytes, Characters

LENGTH = 40_000
GROWTH = 4.0
"""How much longer the double length may take: two times is in proportion, four is with the square; noise of a busy machine comes on top."""
WORST = {
    "one letter": "a", "two letters": "ab", "spaces": " ", "lines": "\n", "lines and spaces": "\n ", "one character": "中",
    "marks on a letter": "\u0301", "joined signs": "\U0001f468\u200d",
    "digits": "1234567890", "signs": "!?", "a control token": "<eos>", "half of one": "<eos", "unknown": "\U000e0001", "words": "the ", "no width": "\u200b", "backslashes": "\\n",
}
KINDS = [Bytes(), ByteBPE(vocab=500), BPE(vocab=400), BPE(vocab=400, pattern="code"), Unigram(vocab=400, coverage=0.98), WordPiece(vocab=300), Characters()]


def seconds(processor: TextProcessor, text: str) -> float:
    """The shortest of two tries, in time of this process alone."""
    taken = []
    for _ in range(2):
        start = time.process_time()
        processor.encode(text)
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: f"{config.kind}-{getattr(config, 'pattern', '')}")
def test_time_grows_with_the_length(config):
    made = config.train(CORPUS)
    processor = TextProcessor(made, config.roles(made))
    for name, unit in WORST.items():
        whole = (unit * LENGTH)[:LENGTH]
        half, full = seconds(processor, whole[: LENGTH // 2]), seconds(processor, whole)
        assert full < max(GROWTH * half, 0.1), f"{name}: {half:.3f} s for half of it, {full:.3f} s for all"
        assert full < 5, name
        if config.kind in ("bytes", "byte_bpe", "bpe", "unigram"):
            assert processor.decode(processor.encode(whole, start=False)) == whole, name
