import itertools
import random

import numpy as np

from ftheta.core.atomic import Attempt
from ftheta.data.corpus.shards import ACCOUNT, write_documents
from ftheta.data.corpus.step import perform
from ftheta.data.corpus.tokenizing import Tokens
from ftheta.data.documents import Document
from ftheta.data.processors.text import TextProcessor
from ftheta.data.split import SPLITS
from ftheta.data.stages import stage
from ftheta.data.tokenizers import quick
from ftheta.data.tokenizers.quick import Plain
from ftheta.data.tokenizers.trained import BOS, EOS, ByteBPE


def texts(count, seed):
    draws = random.Random(seed)
    return [" ".join(draws.choices(["the", "quick", "don't", "中文", "<eos>", "\n\n", "12345", "naïve"], k=draws.randrange(400))) for _ in range(count)]


def folders(cache):
    """A shard of divided documents and a tokenizer, as they lie in a cache."""
    def divided(attempt: Attempt) -> None:
        for number, name in enumerate(SPLITS):
            write_documents(attempt, f"{name}.parquet", (Document(str(i), text) for i, text in enumerate(texts(60, number))))

    def tokenizer(attempt: Attempt) -> None:
        for name, data in TextProcessor(ByteBPE(vocab=290).train(texts(50, 9))).files().items():
            attempt.write(name, data)

    return [stage(cache, name, {}, build) for name, build in (("divide", divided), ("tokenizer", tokenizer))]


def test_tokens_are_the_same_bytes_whoever_encodes_and_when_one_is_found_wrong_halfway(tmp_path, monkeypatch, caplog):
    encoded, encode = [], Plain.encode
    monkeypatch.setattr(Plain, "encode", lambda plain, given: encoded.extend(given) or encode(plain, given))
    monkeypatch.setattr(quick, "SPREAD", 5000)

    def made(name):
        encoded.clear()
        folder = perform(Tokens(), folders(tmp_path / name), tmp_path / name)
        return folder.name, {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix == ".npy" or file.name == ACCOUNT}

    right = made("right")
    assert 0 < sum(map(len, encoded)) < 0.7 * sum(len(text) for number in range(3) for text in texts(60, number)) and not caplog.records

    class Wrong:
        """The library, until it has seen so much that its cache is spoiled."""

        def __init__(self, described):
            self.library, self.seen = load(described), 0

        def encode(self, text):
            self.seen += len(text)
            return self.library.encode(text)[: -1 if self.seen > 60_000 else None]

    load = quick.load
    monkeypatch.setattr(quick, "load", Wrong)
    assert made("wrong") == right and "other ids than tokenizers" in caplog.text

    def missing(described):
        raise quick.DifferentIdsError("No module named 'gigatoken'")

    monkeypatch.setattr(quick, "load", missing)
    assert made("missing") == right
    processor = TextProcessor.load({"kind": TextProcessor.kind}, folders(tmp_path / "missing")[1])
    for number, name in enumerate(SPLITS):
        expected = [[BOS, *processor.encode(text, start=False), EOS] for text in texts(60, number)]
        folder = tmp_path / "missing" / "tokens" / right[0]
        assert np.load(folder / f"{name}.npy").tolist() == list(itertools.chain(*expected)) and np.load(folder / f"{name}-lengths.npy").tolist() == list(map(len, expected))
