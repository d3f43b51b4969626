"""Texts that were tokenized are not remembered: a server that reads any number of different ones does not grow."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from ftheta.data.processors.text import TextProcessor

STATUS = Path("/proc/self/status")


def resident() -> float:
    """Megabytes that this process holds."""
    return int(next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024


@pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")
def test_whole_texts_are_not_kept() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789 "
    vocab = {letter: i for i, letter in enumerate(letters)}

    def growth(tokenizer: Tokenizer) -> float:
        before = resident()
        for number in range(6000):
            tokenizer.encode(f"{number} a text that nobody has asked for before ".ljust(220, "x"))
        return resident() - before

    plain = Tokenizer(models.BPE(vocab, []))
    ours = TextProcessor(Tokenizer(models.BPE(vocab, []))).tokenizer
    assert ours.encode("0 a").ids == plain.encode("0 a").ids
    assert growth(ours) < 4 < growth(plain)                                               # without a cutter of words the library keeps 10,000 texts
