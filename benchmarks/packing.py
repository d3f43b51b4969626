"""Best-fit packing beside TRL's: the same lengths, the same tokens laid into rows, share of the rows that is filled and time.

TRL's function is the one behind `pack_dataset(..., strategy="bfd")`, on an Arrow table in memory; ours finds the rows and lays the tokens into them with numpy.
"""

from __future__ import annotations

import functools
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.common import Row, alternate, arguments, arm, publish, ratio
from ftheta.core.best_fit import best_fit

ROOM = 2048


def documents(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths like those of web texts (log-normal, median 250 tokens), none longer than a row, and all tokens."""
    draws = np.random.default_rng(0)
    lengths = draws.lognormal(5.5, 1, count).astype(np.int64).clip(1, ROOM)
    return lengths, draws.integers(1 << 15, size=lengths.sum(), dtype=np.int32)


def ours(lengths: np.ndarray, tokens: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends]
    return [np.concatenate([tokens[starts[index] : ends[index]] for index in row]) for row in best_fit(lengths, ROOM)]


def trl(lengths: np.ndarray, tokens: np.ndarray) -> list[np.ndarray]:
    import pyarrow as pa
    from trl.data_utils import _pack_bfd

    table = pa.table({"input_ids": pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), tokens)})
    packed = _pack_bfd(table, ROOM).column("input_ids").combine_chunks()
    return np.split(packed.values.to_numpy(), packed.offsets.to_numpy()[1:-1])


SIDES = {"ftheta": ours, "TRL": trl}


def side(name: str, count: int) -> dict[str, Any]:
    lengths, tokens = documents(count)
    SIDES[name](lengths[:9], tokens[: lengths[:9].sum()])                                     # imports
    start = time.perf_counter()
    rows = SIDES[name](lengths, tokens)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    best_fit(lengths, ROOM)
    finding = time.perf_counter() - start
    assert max(map(len, rows)) <= ROOM and sum(map(len, rows)) == len(tokens)
    assert np.array_equal(np.sort(np.concatenate(rows)), np.sort(tokens)), "not the same tokens"
    return {"seconds": seconds, "finding": finding, "filled": len(tokens) / (len(rows) * ROOM), "rows": len(rows)}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=100_000, help="documents (default: %(default)s)")
    options = parser.parse_args()
    count, passes = (10_000, 1) if options.quick else (options.count, options.pairs)
    found = alternate({name: functools.partial(arm, side, name=name, count=count) for name in SIDES}, passes, lambda r: f"{r['seconds']:.3f} s, {r['filled']:.4%} filled")
    first = {name: results[0] for name, results in found.items()}
    share = ratio([r["seconds"] for r in found["ftheta"]], [r["seconds"] for r in found["TRL"]])
    finding = ratio([r["finding"] for r in found["ftheta"]], [r["seconds"] for r in found["TRL"]])
    times = {name: statistics.median(r["seconds"] for r in results) for name, results in found.items()}
    rows = [
        Row(f"share of rows of {ROOM:,} that is filled, {count:,} documents", "≥ 99.5 %, as TRL's", f"{first['ftheta']['filled']:.3%}; TRL {first['TRL']['filled']:.3%}",
            first["ftheta"]["filled"] >= 0.995 and first["ftheta"]["rows"] <= first["TRL"]["rows"]),
        Row("time to find rows and lay the tokens into them", "≤ 0.10× TRL's", f"{share}: {times['ftheta']:.2f} against {times['TRL']:.2f} s", share.median <= 0.1),
        Row("time to find rows, all that is done before training, beside that", "", str(finding)),
    ]
    publish("packing", "Packing", rows, {"results": found}, options.quick)


if __name__ == "__main__":
    main()
