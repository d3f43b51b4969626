"""Near-duplicate removal beside rensa in a loop, datasketch and datatrove: all on one thread, with 126 permutations in 21 bands of 6 rows over runs of five words.

The texts are pieces of English classics, and after them edited copies of half of them (`near_copies.py`). Every side reads the same strings
and ends with the numbers of the documents it keeps. Before any speed the planted copies that each side finds are compared. rensa's runs of words are
joined strings, made by the fastest loop found; datatrove splits at spaces, since its usual word tokenizer (spaCy) takes many times as long.
"""

from __future__ import annotations

import functools
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import Row, alternate, arguments, arm, publish, ratio, spread
from benchmarks.near_copies import EDITS, classics

PERMUTATIONS, BANDS, ROWS, SHINGLE, THRESHOLD = 126, 21, 6, 5, 0.7
WORD = re.compile(r"\w+")


def texts(count: int) -> tuple[list[str], int]:
    """Originals, then a copy of each of the first half; and how many originals."""
    originals, draws, edits = classics(count), random.Random(0), list(EDITS.values())
    return [*originals, *(edits[i % len(edits)](text, draws) for i, text in enumerate(originals[: count // 2]))], count


def runs(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    return [" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))]


def ours(documents: list[str]) -> list[int]:
    from ftheta.data.dedup.near import Near
    from ftheta.data.documents import Document

    near = Near(threshold=THRESHOLD, permutations=PERMUTATIONS, shingle=SHINGLE)
    assert near.bands_and_rows == (BANDS, ROWS)
    decision, = near.decide([near.signature([Document("", text) for text in documents])])
    return decision.keep.nonzero()[0].tolist()


def rensa(documents: list[str]) -> list[int]:
    from rensa import RMinHash, RMinHashLSH

    index, sketches, kept = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=BANDS), [], []
    for number, text in enumerate(documents):
        sketch = RMinHash(num_perm=PERMUTATIONS, seed=42)
        sketch.update(runs(text))
        sketches.append(sketch)
        if not any(sketch.jaccard(sketches[other]) >= THRESHOLD for other in index.query(sketch)):
            kept.append(number)
        index.insert(number, sketch)
    return kept


def datasketch(documents: list[str]) -> list[int]:
    from datasketch import MinHash, MinHashLSH

    index, sketches, kept = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS)), [], []
    for number, text in enumerate(documents):
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([run.encode() for run in runs(text)])
        sketches.append(sketch)
        if not any(sketch.jaccard(sketches[int(other)]) >= THRESHOLD for other in index.query(sketch)):
            kept.append(number)
        index.insert(str(number), sketch)
    return kept


def datatrove(documents: list[str]) -> list[int]:
    """Its four steps as its example has them; candidates are not compared further."""
    import struct
    from pathlib import Path
    from types import SimpleNamespace
    from unittest import mock

    import xxhash
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash

    config = minhash.MinhashConfig(n_grams=SHINGLE, num_buckets=BANDS, hashes_per_bucket=ROWS)
    words = mock.patch.object(minhash, "load_word_tokenizer", lambda language: SimpleNamespace(word_tokenize=str.split))
    hashes = mock.patch.object(minhash, "create_hash_func", lambda config: lambda run: xxhash.xxh64_intdigest(run.encode()))       # xxhash 4 takes no strings
    with tempfile.TemporaryDirectory() as folder, words, hashes:
        places = [f"{folder}/{name}" for name in ("signatures", "buckets", "remove")]
        minhash.MinhashDedupSignature(places[0], config).run(Document(text=text, id=str(number)) for number, text in enumerate(documents))
        for bucket in range(BANDS):
            minhash.MinhashDedupBuckets(places[0], places[1], config=config).run(None, bucket, BANDS)
        minhash.MinhashDedupCluster(places[1], places[2], config=config).run(None, 0, 1)
        removed = {number for path in Path(places[2]).glob("*.remove") for number, in struct.iter_unpack("<I", path.read_bytes())}
    return [number for number in range(len(documents)) if number not in removed]


SIDES: dict[str, Callable[[list[str]], list[int]]] = {"ftheta": ours, "rensa in a loop": rensa, "datasketch": datasketch, "datatrove": datatrove}


def side(name: str, count: int) -> dict[str, Any]:
    """One side on all texts: how many bytes a second, and what it finds."""
    documents, originals = texts(count)
    SIDES[name](documents[:20] + documents[originals : originals + 20])                          # tables and imports
    start = time.perf_counter()
    kept = SIDES[name](documents)
    seconds = time.perf_counter() - start
    planted = len(documents) - originals
    dropped = len(documents) - len(kept)
    both = sum((number in kept_set) + (originals + number in kept_set) < 2 for kept_set in (set(kept),) for number in range(planted))
    return {
        "megabytes_per_second": sum(len(text.encode()) for text in documents) / 1e6 / seconds, "seconds": seconds, "documents": len(documents),
        "recall": both / planted, "others": dropped - both,
    }


OTHERS: dict[str, dict[str, Any]] = {
    "exact, documents": {"kind": "exact"}, "exact, lines": {"kind": "exact", "unit": "line", "shortest": 30}, "substrings of 200": {"kind": "substring"},
    "evaluation set (gsm8k)": {"kind": "contamination", "against": [{"path": "data:gsm8k/test.jsonl"}]},
}


def rate(fields: dict[str, Any], count: int) -> dict[str, Any]:
    """Bytes a second of another way to find copies."""
    from ftheta.core.config import Slot
    from ftheta.data.dedup import DEDUPLICATIONS
    from ftheta.data.dedup.deduplication import Deduplication
    from ftheta.data.documents import Document

    documents = [Document("", text) for text in texts(count)[0]]
    config = Slot(DEDUPLICATIONS).parse(fields)
    assert isinstance(config, Deduplication)
    config.signature(documents[:20])
    start = time.perf_counter()
    config.decide([config.signature(documents)])
    return {"megabytes_per_second": sum(len(document.text.encode()) for document in documents) / 1e6 / (time.perf_counter() - start)}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=4000, help="texts before the copies (default: %(default)s)")
    options = parser.parse_args()
    count, passes = (600, 1) if options.quick else (options.count, options.pairs)
    arms = {name: functools.partial(arm, side, name=name, count=count) for name in SIDES}
    found = alternate(arms, passes, lambda result: f"{result['megabytes_per_second']:.1f} MB/s, recall {result['recall']:.4f}")
    recalls = {name: statistics.median(result["recall"] for result in results) for name, results in found.items()}
    rows = [Row("planted copies found", "≥ 0.98, as the others", ", ".join(f"{name} {recall:.4f}" for name, recall in recalls.items()),
                recalls["ftheta"] >= max(0.98, *(recall - 0.01 for recall in recalls.values())))]
    rows.append(Row("documents dropped besides", "", ", ".join(f"{name} {results[0]['others']}" for name, results in found.items())))
    speeds = {name: [result["megabytes_per_second"] for result in results] for name, results in found.items()}
    for name, target in (("rensa in a loop", 1.5), ("datasketch", None), ("datatrove", 50)):
        quotient = ratio(speeds["ftheta"], speeds[name])
        figures = f"{quotient}: {statistics.median(speeds['ftheta']):.1f} against {statistics.median(speeds[name]):.2f} MB/s a core"
        rows.append(Row(f"speed beside {name}", f"≥ {target}×" if target else "", figures, quotient.median >= target if target else None))
    others = alternate({name: functools.partial(arm, rate, fields=fields, count=count) for name, fields in OTHERS.items()}, passes,
                       lambda result: f"{result['megabytes_per_second']:.1f} MB/s")
    rows += [Row(f"{name}, MB/s a core", "", spread([result["megabytes_per_second"] for result in results])) for name, results in others.items()]
    publish("dedup", "Near-duplicate removal", rows, {"results": found, "others": others}, options.quick)


if __name__ == "__main__":
    main()
