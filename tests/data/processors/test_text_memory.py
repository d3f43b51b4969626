"""Texts that were tokenized are not remembered: a server that reads any number of different ones does not grow."""

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
READING = """
import sys
from pathlib import Path
from tokenizers import Tokenizer, models
from ftheta.data.processors.text import TextProcessor

def resident():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024

tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz0123456789 ")}, []))
if sys.argv[1] == "ours":
    tokenizer = TextProcessor(tokenizer).tokenizer
ids, before = tokenizer.encode("0 a").ids, resident()
for number in range(6000):
    tokenizer.encode(f"{number} a text that nobody has asked for before ".ljust(220, "x"))
print(ids, resident() - before, sep="|")
"""


def read(whose: str) -> tuple[str, float]:
    """What a text is as ids, and the megabytes that a process of its own grows by when it reads thousands."""
    ids, grown = subprocess.run([sys.executable, "-c", READING, whose], capture_output=True, text=True, check=True).stdout.split("|")
    return ids, float(grown)


@pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")
def test_whole_texts_are_not_kept() -> None:
    (ids, grown), (plain_ids, plain) = read("ours"), read("plain")
    assert ids == plain_ids
    assert grown < 4 < plain                                                              # without a cutter of words the library keeps 10,000 texts
