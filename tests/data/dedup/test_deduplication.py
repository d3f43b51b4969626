"""What every way to find copies keeps: shards do not matter, memory-mapped signatures do, and cuts are sound."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftheta.core.config import Slot
from ftheta.data.dedup import DEDUPLICATIONS
from ftheta.data.dedup.deduplication import Decision, Deduplication, compact, merged
from ftheta.data.documents import Document

FIELDS: list[dict[str, Any]] = [
    {"kind": "exact"}, {"kind": "exact", "keep": "longest", "ignore": "signs"}, {"kind": "exact", "unit": "line", "shortest": 2},
    {"kind": "exact", "unit": "paragraph", "keep": "best", "fact": "score"}, {"kind": "near", "shingle": 1, "threshold": 0.5, "permutations": 32},
    {"kind": "near", "shingle": 2, "threshold": 0.5, "verify": False, "permutations": 16, "sources": ["b", "a"]}, {"kind": "substring", "length": 8},
    {"kind": "contamination", "words": 3, "least": 1.0, "found": "cut", "margin": 1}, {"kind": "contamination", "words": 2, "characters": 3},
]
PIECES = ["one two three", "two three", "four", "\n", "\n\n", "一二三四", " ", ".", "five six seven eight"]
DOCUMENTS = st.lists(st.builds(
    lambda pieces, source, score: Document("x", "".join(pieces), {"source": source, "score": score}),
    st.lists(st.sampled_from(PIECES), max_size=6), st.sampled_from("abc"), st.integers(0, 3),
), max_size=12)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("asked") / "asked.csv"
    path.write_text("question,answer\none two three four,yes\n二三四一二,no\n")
    return str(path)


def parsed(fields: dict[str, Any], asked: str) -> Deduplication:
    config = Slot(DEDUPLICATIONS).parse({**fields, "against": [{"path": asked}]} if fields["kind"] == "contamination" else fields)
    assert isinstance(config, Deduplication)
    return config


def whole(decisions: list[Decision], sizes: list[int]) -> tuple[list[bool], list[int], list[list[int]]]:
    """The decisions of all shards as that of one."""
    assert [len(one.keep) for one in decisions] == [len(one.cluster) for one in decisions] == sizes
    starts = np.cumsum([0, *sizes])[:-1]
    cuts = [[document + start, a, b] for one, start in zip(decisions, starts.tolist(), strict=True) for document, a, b in one.cuts.tolist()]
    return [x for one in decisions for x in one.keep.tolist()], [x for one in decisions for x in one.cluster.tolist()], cuts


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: "-".join(map(str, fields.values())))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=DOCUMENTS, borders=st.lists(st.integers(0, 12), max_size=4))
def test_how_documents_are_cut_into_shards_changes_nothing(fields: dict[str, Any], documents: list[Document], borders: list[int], asked: str) -> None:
    config = parsed(fields, asked)
    edges = [0, *sorted(min(border, len(documents)) for border in borders), len(documents)]
    shards = [documents[a:b] for a, b in pairwise(edges)]
    together = whole(config.decide([config.signature(documents)]), [len(documents)])
    apart = config.decide([config.signature(shard) for shard in shards])
    assert whole(apart, [len(shard) for shard in shards]) == together
    keep, cluster, cuts = together
    for number in range(len(documents)):
        stands = cluster[number]
        assert cluster[stands] == stands and (stands == number or (keep[stands] and not keep[number]))
    assert all(0 <= start < end for _, start, end in cuts)
    assert all(document < after or end < later for (document, _, end), (after, later, _) in pairwise(cuts))
    for shard, decision in zip(shards, apart, strict=True):
        for number, document in enumerate(shard):
            left = decision.apply(number, document.text)
            assert left is None or (decision.keep[number] and len(left) <= len(document.text))


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_signatures_may_lie_on_disk_and_workers_get_the_config_as_json(fields: dict[str, Any], asked: str, tmp_path: Path) -> None:
    config = parsed(fields, asked)
    texts = ["one two three four", "一二三四一二三四", "one two three four", "", "five\n" * 9] * 3
    documents = [Document(str(i), text, {"source": "a", "score": i}) for i, text in enumerate(texts)]
    mapped = []
    for number in range(3):
        signature = type(config).parse(config.dump()).signature(documents[5 * number : 5 * number + 5])
        for name, array in signature.items():
            np.save(tmp_path / f"{number}-{name}.npy", array)
        mapped.append({name: np.load(tmp_path / f"{number}-{name}.npy", mmap_mode="r", allow_pickle=False) for name in signature})
    assert whole(config.decide(mapped), [5, 5, 5]) == whole(config.decide([config.signature(documents)]), [15])
    assert config.account(mapped) == config.account([config.signature(documents)])
    assert config.decide([]) == []


def test_a_decision_cuts_and_drops() -> None:
    decision = Decision(np.array([True, False, True, True]), np.arange(4), np.array([[0, 0, 2], [0, 3, 4], [2, 0, 9], [3, 2, 99]]))
    assert [decision.apply(i, "abcdef") for i in range(4)] == ["cef", None, None, "ab"]
    assert decision.apply(2, " " + "x" * 8 + " \n") is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(1, 6)), max_size=12))
def test_cuts_are_merged_to_the_same_characters(cuts: list[tuple[int, int, int]]) -> None:
    given_ = np.array([(document, start, start + size) for document, start, size in cuts], dtype=np.int64).reshape(-1, 3)
    found = merged(given_).tolist()
    assert {(d, at) for d, a, b in found for at in range(a, b)} == {(d, at) for d, a, b in given_.tolist() for at in range(a, b)}
    assert sum(b - a for _, a, b in found) == len({(d, at) for d, a, b in found for at in range(a, b)}) and found == sorted(found)
    assert all(d != e or b < c for (d, _, b), (e, c, _) in pairwise(found))


def test_numbers_are_kept_in_32_bits_where_they_fit() -> None:
    assert compact(np.array([[2**31 - 1]])).dtype == np.int32 and compact(np.array([2**31])).dtype == np.int64
