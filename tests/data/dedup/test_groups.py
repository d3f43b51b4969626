"""Equal hashes are found together in any memory, and joined clusters are the connected components."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.data.dedup.groups import Clusters, groups


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=12), max_size=5), st.integers(1, 40))
def test_groups_are_those_of_a_dictionary(shards: list[list[int]], most: int) -> None:
    spread = np.concatenate([[0], np.random.default_rng(0).integers(1, 1 << 64, size=12, dtype=np.uint64)]).astype(np.uint64)
    expected: dict[int, list[int]] = {}
    for number, value in enumerate(value for shard in shards for value in shard):
        if value:
            expected.setdefault(value, []).append(number)
    found = []
    for numbers, begins in groups([spread[np.array(shard, dtype=np.int64)] for shard in shards], most):
        found += [part.tolist() for part in np.split(numbers, np.flatnonzero(begins)[1:])]
    assert sorted(found) == sorted(group for group in expected.values() if len(group) > 1)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 30), st.data())
def test_clusters_are_connected_components(count: int, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40))
    cut = data.draw(st.integers(0, len(pairs)))
    clusters = Clusters(count)
    for some in (pairs[:cut], pairs[cut:]):
        both = np.array(some, dtype=np.int64).reshape(-1, 2)
        clusters.join(both[:, 0], both[:, 1])
    least = list(range(count))
    for _ in range(count):                                                                    # the definition: labels spread until nothing changes
        for a, b in pairs:
            least[a] = least[b] = min(least[a], least[b])
    assert clusters.all().tolist() == least


def test_a_long_chain_takes_few_steps() -> None:
    chain = np.arange(200_000)
    clusters = Clusters(len(chain))
    clusters.join(chain[1:], chain[:-1])
    assert not clusters.all().any()
