import subprocess
import sys
from pathlib import Path

import pytest

LEARNED = """
import random
from pathlib import Path
from ftheta.core.memory import give_back
from ftheta.data.tokenizers.trained import ByteBPE

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

draws = random.Random(0)
texts = [" ".join("".join(draws.choices("etaoinshrdlu", k=draws.randrange(2, 12))) for _ in range(1000)) for _ in range(300)]
made = ByteBPE(vocab=1000).train(texts)
before = held()
give_back()
print(before, held(), made.get_vocab_size())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_what_learning_a_tokenizer_took_is_given_back():
    done = subprocess.run([sys.executable, "-c", LEARNED], capture_output=True, text=True, check=True)
    before, after, size = map(float, done.stdout.split())
    assert size == 1000 and after < before - 50
