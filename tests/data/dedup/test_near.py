"""Near copies: beside exact Jaccard similarity of all pairs, beside datasketch, and planted in real text."""

from __future__ import annotations

import json
import os
import random
import re
import sysconfig
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from benchmarks.near_copies import EDITS
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.data.dedup.minhash import alike, candidate
from ftheta.data.dedup.near import NEIGHBOURS, Near
from ftheta.data.documents import Document


def near(**fields: object) -> Near:
    return Near.parse({"kind": "near", **fields})


def documents(texts: list[str]) -> list[Document]:
    return [Document(str(i), text) for i, text in enumerate(texts)]


def shingles(text: str, length: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[一-鿿]|[^\W_一-鿿]+", text.lower())
    return {tuple(words[at : at + length]) for at in range(max(1, len(words) - length + 1))}


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)


def prose() -> list[str]:
    """Docstrings and comments of the standard library: real text that is always there."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    modules = [(folder / f"{name}.py").read_text() for name in ("argparse", "doctest", "inspect", "tarfile", "typing", "subprocess")]
    texts = [text for module in modules for text in re.findall(r'"""(.+?)"""', module, re.S)]
    return sorted({text for text in texts if 40 <= len(text.split()) < 400})


def reviews() -> list[str]:
    lines = (Path(os.environ["FTHETA_MIRROR"]) / "chnsenticorp" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return sorted({line.split("\t")[1] for line in lines if len(line) > 150})[:600]


def planted(texts: list[str]) -> tuple[list[str], list[int]]:
    """Every text, and after them one copy of each with an edit; and which text each is of."""
    draws = random.Random(0)
    edits = list(EDITS.values())
    return [*texts, *(edits[i % len(edits)](text, draws) for i, text in enumerate(texts))], [*range(len(texts)), *range(len(texts))]


@pytest.mark.parametrize("source", [prose, pytest.param(reviews, marks=pytest.mark.skipif("FTHETA_MIRROR" not in os.environ, reason="needs the data sets"))])
def test_planted_copies_of_real_texts_are_found_and_hardly_anything_else(source) -> None:
    """Beside the exact similarity of all pairs: of those a little above the threshold 98 % are joined, of those below it hardly any."""
    texts, _ = planted(source())
    sets = [shingles(text, 5) for text in texts]
    exact = {(i, j): jaccard(sets[i], sets[j]) for i, j in combinations(range(len(texts)), 2) if not sets[i].isdisjoint(sets[j])}
    copies = [pair for pair, value in exact.items() if value >= 0.75]
    config = near(threshold=0.7)
    decision, = config.decide([config.signature(documents(texts))])
    joined = {pair for pair in exact if decision.cluster[pair[0]] == decision.cluster[pair[1]]}
    assert len(copies) > 0.75 * len(texts) / 2
    assert sum(pair in joined for pair in copies) / len(copies) >= 0.98
    assert sum(exact[pair] >= 0.65 for pair in joined) / len(joined) >= 0.98
    assert sum(exact[pair] >= 0.55 for pair in joined) == len(joined)


def test_clusters_are_those_of_all_pairs_when_bands_let_every_pair_through() -> None:
    """With many bands of few rows every pair near the threshold is a candidate, so the estimate alone decides."""
    texts, _ = planted(prose()[:60])
    config = near(threshold=0.5, permutations=256, balance=0.0001)
    assert candidate(0.45, *config.bands_and_rows) > 0.999
    signature = config.signature(documents(texts))
    decision, = config.decide([signature])
    count = len(texts)
    parent = list(range(count))
    for i, j in combinations(range(count), 2):
        if alike(signature["sketch"][[i]], signature["sketch"][[j]])[0] >= 0.5:
            a, b = parent[i], parent[j]
            parent = [min(a, b) if label in (a, b) else label for label in parent]
    assert decision.cluster.tolist() == parent


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_documents_changes_who_stays_but_not_the_clusters(draws: random.Random, verify: bool) -> None:
    texts, _ = planted(prose()[:25])
    order = draws.sample(range(len(texts)), len(texts))
    config = near(threshold=0.6, permutations=64, verify=verify)
    straight, = config.decide([config.signature(documents(texts))])
    mixed, = config.decide([config.signature(documents([texts[i] for i in order]))])
    parts = {frozenset(np.flatnonzero(straight.cluster == c).tolist()) for c in straight.cluster}
    assert parts == {frozenset(order[i] for i in np.flatnonzero(mixed.cluster == c).tolist()) for c in mixed.cluster}


def test_as_many_planted_copies_as_datasketch_finds_at_the_same_bands() -> None:
    texts, _ = planted(prose())
    config = near(threshold=0.7, permutations=128, balance=0.5, verify=False)
    bands, rows = config.bands_and_rows
    decision, = config.decide([config.signature(documents(texts))])
    lsh, hashes = MinHashLSH(params=(bands, rows), num_perm=128), []
    for number, text in enumerate(texts):
        hashes.append(MinHash(num_perm=128))
        hashes[-1].update_batch([" ".join(shingle).encode() for shingle in shingles(text, 5)])
        lsh.insert(str(number), hashes[-1])
    half = len(texts) // 2
    theirs = [str(i) in lsh.query(hashes[half + i]) for i in range(half)]
    signature = config.signature(documents(texts))["bands"]
    ours = (signature[:, :half] == signature[:, half:]).any(axis=0)
    likely = np.array([candidate(jaccard(shingles(texts[i], 5), shingles(texts[half + i], 5)), bands, rows) for i in range(half)])
    spread = (likely * (1 - likely)).sum() ** 0.5 / half
    for found in (ours, theirs):
        assert abs(np.mean(found) - likely.mean()) < 3.5 * spread
    assert (decision.cluster[half:] == decision.cluster[:half]).mean() >= ours.mean()


def test_many_copies_of_one_text_are_one_cluster() -> None:
    texts = [f"{prose()[0]} and {i}" for i in range(5 * NEIGHBOURS)] + [prose()[1]]
    config = near()
    decision, = config.decide([config.signature(documents(texts))])
    assert decision.keep.nonzero()[0].tolist() == [0, len(texts) - 1]


def test_texts_without_words_are_no_copies() -> None:
    config = near()
    decision, = config.decide([config.signature(documents(["...", "", "!!!", "a b", "a  b"]))])
    assert decision.keep.tolist() == [True, True, True, True, False]


def test_looser_clusters_hold_the_tighter_ones() -> None:
    texts, _ = planted(prose())
    found = {}
    for threshold in (0.5, 0.8):
        config = near(threshold=threshold)
        decisions = config.decide([config.signature(documents(texts[:100])), config.signature(documents(texts[100:]))])
        found[threshold] = [decision.cluster for decision in decisions]
        assert [len(one) for one in found[threshold]] == [100, len(texts) - 100]
    loose, tight = (np.concatenate(found[threshold]) for threshold in (0.5, 0.8))
    together = [(i, j) for i, j in enumerate(tight.tolist()) if i != j]
    assert np.mean([loose[i] == loose[j] for i, j in together]) > 0.99
    assert len(np.unique(loose)) < len(np.unique(tight))


def test_what_the_card_says_and_a_worker_gets() -> None:
    config = near(threshold=0.8, keep="longest", sources=["books"])
    assert Near.parse(json.loads(json.dumps(config.dump()))) == config
    assert config.account([]) == dict(zip(("bands", "rows"), config.bands_and_rows, strict=True))
