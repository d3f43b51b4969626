import itertools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from ftheta.core.contract import PADDING
from ftheta.data.clean.normalise import Normalise
from ftheta.data.corpus import reading
from ftheta.data.corpus.cleaning import Clean
from ftheta.data.corpus.executors import Local
from ftheta.data.corpus.measuring import measure
from ftheta.data.corpus.packing import cut
from ftheta.data.corpus.reading import parts
from ftheta.data.corpus.shards import read_documents
from ftheta.data.corpus.step import order_of, perform
from ftheta.data.corpus.tokenizing import Tokens, drawn
from ftheta.data.pack import Pack
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Shuffled
from ftheta.data.sources.mixture import Mixture
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text import TextFiles
from ftheta.data.split import SPLITS, Split
from ftheta.data.stream import Stream
from ftheta.data.text import as_many_as_needed, prepare_text
from ftheta.data.tokenizers.subword import BPE, WordPiece
from ftheta.data.tokenizers.trained import BOS, EOS, PAD, ByteBPE, Bytes, Characters


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PART", 4000)
    place = tmp_path / "texts"
    place.mkdir()
    draws = np.random.default_rng(0)
    for i in range(80):
        (place / f"{i:02}.txt").write_text(f"{i} " + "".join(draws.choice(list("abcdefgh 中文"), int(draws.integers(1, 400)))), encoding="utf-8")
    return place


def sections(cache, tokenizer=None, **pack):
    return Sections(tokenizer or Bytes(), cache, (Normalise(),), Split(validation=0.1, test=0.1), Pack(**pack), lookahead=1, executor=Local(1))


def pairs(batch, lookahead=1):
    """Every token that is predicted with the one before it, by row and document: what a model learns from."""
    tokens, documents = batch["tokens"].numpy(), batch["documents"].numpy()
    for row, of in zip(tokens, documents, strict=True):
        for a, b, x, y in zip(row, row[lookahead:], of, of[lookahead:], strict=False):
            if x == y != PADDING:
                yield int(a), int(b)


# rows of whole documents


def test_rows_hold_every_document_whole_and_longer_ones_in_pieces_that_predict_each_token_once(folder, tmp_path):
    given = sections(tmp_path / "cache", length=128, how="best_fit")
    text = prepare_text(TextFiles(path=str(folder)), given)
    assert len(text.fitted) == len(text.tokens) > 3
    for split in SPLITS:
        rows = text.rows(split, given)
        batch = rows.batch(torch.arange(len(rows)))
        found = []
        for tokens, documents in zip(batch["tokens"].numpy(), batch["documents"].numpy(), strict=True):
            found += [tokens[documents == number].tolist() for number in range(documents.max() + 1)]
            assert (tokens[documents == PADDING] == PAD).all() and (np.diff((documents == PADDING).astype(int)) >= 0).all()
        whole = [[BOS, *text.processor.encode(one, start=False), EOS] for one in text.texts(split)]
        expected = [one[at : at + 129] for one in whole for at in range(0, max(1, len(one) - 1), 128)]
        assert sorted(found) == sorted(expected)
        assert sorted(pairs(batch)) == sorted(pair for one in whole for pair in itertools.pairwise(one))
        account = text.account["rows"][split]
        assert account == {"rows": len(rows), "filled": round(sum(map(len, expected)) / (129 * len(rows)), 4)}
    assert text.account["rows"]["train"]["filled"] > 0.9
    ends = prepare_text(TextFiles(path=str(folder)), sections(tmp_path / "cache", length=128))
    assert ends.tokens == text.tokens and "rows" not in ends.account                      # only the rows differ
    assert ends.rows("train", given).fingerprint != text.rows("train", given).fingerprint


def test_pieces_of_documents():
    assert cut(np.array([3, 9, 10, 11, 1]), 4, 1).tolist() == [[0, 3], [3, 5], [7, 5], [12, 5], [16, 5], [20, 2], [22, 5], [26, 5], [30, 3], [33, 1]]
    assert cut(np.empty(0, np.int64), 4, 1).shape == (0, 2)


def test_a_mixture_of_fitted_rows_is_as_fitted_rows(folder, tmp_path):
    sources = {name: {"weight": weight, "source": {"kind": "text_files", "path": str(folder), "include": [pattern]}}
               for name, pattern, weight in (("even", "*[02468].txt", 3.0), ("odd", "*[13579].txt", 1.0))}
    prepared = Mixture.parse({"kind": "mixture", "sources": sources}).prepare(sections(tmp_path / "cache", length=128, how="best_fit"))
    rows = prepared.splits["train"]
    assert rows.batch(torch.tensor([0, len(rows) - 1]))["documents"].min() == PADDING and rows.visits() == pytest.approx(len(rows), rel=0.2)


# rows to training


@pytest.mark.parametrize("how", ["concatenated", "best_fit"])
def test_workers_and_processes_see_every_row_once_and_a_resumed_run_the_same(folder, tmp_path, how):
    sources = {name: {"weight": weight, "source": {"kind": "text_files", "path": str(folder), "include": [pattern]}}
               for name, pattern, weight in (("even", "*[02468].txt", 3.0), ("odd", "*[13579].txt", 1.0))}
    source = Mixture.parse({"kind": "mixture", "sources": sources})
    train = source.prepare(sections(tmp_path / "cache", length=64, how=how)).splits["train"]

    def steps(processes, workers, first=0):
        streams = [Stream(Shuffled(train, 8, 3), torch.arange(rank, 8, processes), workers) for rank in range(processes)]
        batches = []
        for step in range(first, first + count):
            parts = [stream.get(step, None) for stream in streams]
            batches.append({name: torch.stack([part[name] for part in parts], 1).flatten(0, 1) for name in parts[0]})
        for stream in streams:
            stream.close()
        return batches

    count = Shuffled(train, 8, 3).steps_per_epoch
    alone = steps(1, 0)
    for processes, workers in ((1, 1), (1, 4), (2, 0), (2, 4)):
        assert all(torch.equal(a[name], b[name]) for a, b in zip(alone, steps(processes, workers), strict=True) for name in a)
    after = source.prepare(sections(tmp_path / "cache", length=64, how=how)).splits["train"]      # as a process that goes on finds it
    assert after.fingerprint == train.fingerprint
    resumed = Shuffled(after, 8, 3).batch(count // 2, torch.arange(8), None)
    assert all(torch.equal(resumed[name], alone[count // 2][name]) for name in resumed)
    plain = TextFiles(path=str(folder)).prepare(sections(tmp_path / "cache", length=64, how=how)).splits["train"]
    order = Shuffled(plain, 1, 3)
    seen = torch.cat([order.rows(step, torch.arange(1)) for step in range(order.steps_per_epoch)])
    assert torch.equal(seen.sort().values, torch.arange(len(plain)))


# workers


def test_a_worker_that_reads_cleans_and_tokenizes_has_not_imported_torch(folder, tmp_path):
    cache = tmp_path / "cache"
    text = prepare_text(TextFiles(path=str(folder)), sections(cache))
    made = next((cache / "tokenizer").glob("[!.]*"))
    [(_, read), *_] = parts(TextFiles(path=str(folder)))
    orders = [
        order_of(read, [], cache), order_of(Clean(rules=(Normalise(),), number=0), [text.corpus.stages[0].folders[0]], cache),
        order_of(Tokens(), [text.corpus.divided[0], made], cache),
    ]
    for kind in ("read", "clean", "tokens"):
        shutil.rmtree(cache / kind)
    perform(read, [], cache)
    script = """
import json, sys
from pathlib import Path
from ftheta.data.corpus.step import answer
for order in json.loads(sys.stdin.read()):
    assert "folder" in answer(order), answer(order)
print([name for name in ("torch", "transformers", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], input=json.dumps(orders), capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# samples


def test_a_sample_is_drawn_by_hashes_of_texts_whatever_the_shards(folder, tmp_path, monkeypatch):
    tokenizer = ByteBPE(vocab=300, sample=4000)
    some = prepare_text(TextFiles(path=str(folder)), sections(tmp_path / "one", tokenizer))
    monkeypatch.setattr(reading, "PART", 10**9)
    other = prepare_text(TextFiles(path=str(folder)), sections(tmp_path / "two", tokenizer))
    assert some.tokenizer.to_str() == other.tokenizer.to_str()
    texts = list(some.texts("train"))
    there = sum(len(text.encode()) for text in texts)
    kept = [text for text in texts if drawn(text, 4000 / there)]
    assert 2000 < sum(len(text.encode()) for text in kept) < 6000 and as_many_as_needed(texts, 4000) == kept
    assert some.tokenizer.to_str() == TextProcessor(tokenizer.train(kept)).tokenizer.to_str()
    whole = prepare_text(TextFiles(path=str(folder)), sections(tmp_path / "one", ByteBPE(vocab=300)))
    assert whole.tokenizer.to_str() == TextProcessor(ByteBPE(vocab=300).train(texts)).tokenizer.to_str() != some.tokenizer.to_str()


@pytest.mark.parametrize("config", [BPE(vocab=320, normal_form="NFKC"), WordPiece(vocab=120, normal_form="NFKC", lower=True)])
def test_texts_are_gone_through_and_never_held(config):
    class Passing:
        """Gives texts one at a time, as often as it is asked."""

        def __init__(self):
            self.passes = 0

        def __iter__(self):
            self.passes += 1
            yield from (f"Words {i} of Ｔｅｘｔ number {i * i} 中文文本" for i in range(300))

    passing = Passing()
    assert config.train(passing).to_str() == config.train(list(passing)).to_str() and passing.passes >= 3


def test_tokenizers_are_measured_by_source_on_what_was_kept_from_training(folder, tmp_path):
    sources = {name: {"source": {"kind": "text_files", "path": str(folder), "include": [pattern]}} for name, pattern in (("even", "*[02468].txt"), ("odd", "*[13579].txt"))}
    text = prepare_text(Mixture.parse({"kind": "mixture", "sources": sources}), sections(tmp_path / "cache"))
    letters = Characters().train(["abcdefgh 0123456789"])                                 # knows no Chinese
    cuts = {(cut.group, cut.tokenizer): cut for cut in measure(text.corpus, {"bytes": text.processor, "letters": TextProcessor(letters, {"unk": "<unk>"})})}
    assert list(cuts) == [("even", "bytes"), ("even", "letters"), ("odd", "bytes"), ("odd", "letters")]
    kept = {name: [d.text for place in text.corpus.divided for split in ("validation", "test") for d in read_documents(place / f"{split}.parquet") if d.facts["source"] == name]
            for name in ("even", "odd")}
    for name, texts in kept.items():
        one, other = cuts[name, "bytes"], cuts[name, "letters"]
        assert one.bytes_per_token == 1 and one.unknown == 0 and one.tokens == sum(len(text.encode()) for text in texts)
        assert other.tokens == sum(map(len, texts)) and other.unknown == sum(text.count("中") + text.count("文") for text in texts)
        assert other.words == sum(len(re.findall("[中文]|[a-h0-9]+", text)) for text in texts) and other.fertility == other.tokens / other.words
