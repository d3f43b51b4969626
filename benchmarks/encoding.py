"""Encoding: MB/s on one core of what the tokens of a corpus are made by, beside `tokenizers` and `tiktoken`, with GPT-2's vocabulary, Qwen's and one of ours.

All sides get the same documents and must give the same ids. Each has read its vocabulary and encoded the beginnings of twenty documents before the clock runs, in a process of
its own with one thread, since a corpus has a process for each core. Ours knows next to no word by heart when it starts, and its own comparisons with `tokenizers` are
within the time. Of the peers whole batches and single texts are timed, and the quicker counts. Texts are those of FTHETA_MIRROR and the Python library's source.
"""

from __future__ import annotations

import os
import sysconfig
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from tokenizers import Tokenizer

from benchmarks.common import Row, alternate, arguments, arm, publish, ratio, spread
from benchmarks.filters import documents
from ftheta.data.tokenizers.file import read_tokenizer
from ftheta.data.tokenizers.quick import Quick, encoder
from ftheta.data.tokenizers.spelling import Spelling
from ftheta.data.tokenizers.subword import BPE, Unigram, WordPiece
from ftheta.data.tokenizers.trained import WORDS, ByteBPE, TokenizerConfig
from ftheta.data.tokenizers.vocabularies import QWEN

OURS: dict[str, TokenizerConfig] = {
    "byte_bpe of 8,192": ByteBPE(vocab=8192), "byte_bpe for code": ByteBPE(vocab=8192, pattern="code"), "bpe": BPE(vocab=8192), "unigram": Unigram(vocab=8192),
    "wordpiece": WordPiece(vocab=8192),
}
VOCABULARIES = {"GPT-2": "gpt2_vocab.bpe", "Qwen": "qwen.tiktoken"}
COMPARED = [("GPT-2", "English"), ("GPT-2", "code"), ("Qwen", "Chinese"), ("byte_bpe of 8,192", "English"), ("byte_bpe of 8,192", "Chinese")]
ELSE = [("byte_bpe for code", "code"), ("bpe", "English"), ("unigram", "English"), ("wordpiece", "English")]
"""What the library behind ours cannot read."""


def texts(language: str, quick: bool) -> list[str]:
    """Whole books, paragraphs or files, some megabytes."""
    if language == "Chinese":
        return documents(language, quick)
    if language == "English":
        with tarfile.open(Path(os.environ["FTHETA_MIRROR"]) / "english_classics" / "books_small.tar.xz") as archive:
            books = [archive.extractfile(member).read().decode("utf-8", "replace") for member in archive if member.isfile()]         # type: ignore[union-attr]
        return books[:: 16 if quick else 8]
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:: 8 if quick else 1]
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def tokenizer_of(name: str) -> Tokenizer:
    """A vocabulary of the mirror, or one learned from English and Chinese texts once and kept beside the results of other benchmarks."""
    if name in VOCABULARIES:
        return read_tokenizer(Path(os.environ["FTHETA_MIRROR"]) / "tokenizers" / VOCABULARIES[name], pattern="qwen").tokenizer
    kept = Path(os.environ.get("FTHETA_HOME", "/tmp")) / "benchmark-encoding" / f"{name}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        OURS[name].train([*documents("English", True), *documents("Chinese", True), *texts("code", True)]).save(str(kept))
    made = Tokenizer.from_file(str(kept))
    made.encode_special_tokens = True
    return made


def timed(encode: Callable[[Sequence[str]], Iterable[Any]], given: list[str]) -> dict[str, Any]:
    """MB of text a second, and a hash of all ids."""
    list(encode([text[:500] for text in given[:20]]))                                    # not more, or words of the texts would be known by heart
    start = time.process_time()
    found = list(encode(given))
    seconds = time.process_time() - start
    hashed = xxhash.xxh3_128(b"".join(np.array(ids, np.uint32).tobytes() + b"\xff" * 4 for ids in found)).hexdigest()
    size = sum(len(text.encode()) for text in given)
    return {"rate": size / seconds / 1e6, "seconds": seconds, "ids": hashed, "bytes_per_token": size / sum(map(len, found))}


def ours(name: str, language: str, quick: bool) -> dict[str, Any]:
    found = encoder(tokenizer_of(name))
    part = quick or (name, language) in ELSE                                              # nothing is learned by heart there, so any part has the rate of all
    return {**timed(found.encode, texts(language, part)), "by": type(found).__name__, "quick": isinstance(found, Quick)}


def huggingface(name: str, language: str, quick: bool) -> dict[str, Any]:
    made, given = tokenizer_of(name), texts(language, quick)
    one = timed(lambda texts: (made.encode(text, add_special_tokens=False).ids for text in texts), given)
    many = timed(lambda texts: (each.ids for each in made.encode_batch_fast(list(texts), add_special_tokens=False)), given)
    return max(one, many, key=lambda result: result["rate"])


def tiktoken(name: str, language: str, quick: bool) -> dict[str, Any]:
    from tiktoken import Encoding

    made, given = tokenizer_of(name), texts(language, quick)
    special = {token.content: i for i, token in made.get_added_tokens_decoder().items() if token.special}
    ranks = {spelled: i for i, spelled in enumerate(Spelling(made).bytes) if i not in special.values()}
    encoding = Encoding(name, pat_str=QWEN if name == "Qwen" else WORDS, mergeable_ranks=ranks, special_tokens=special)
    one = timed(lambda texts: map(encoding.encode_ordinary, texts), given)
    many = timed(lambda texts: encoding.encode_ordinary_batch(list(texts), num_threads=1), given)
    return max(one, many, key=lambda result: result["rate"])


def main() -> None:
    options = arguments(__doc__ or "", pairs=3).parse_args()
    quick, passes = options.quick, 1 if options.quick else options.pairs
    rows, details = [], {}
    for name, language in [*COMPARED, *ELSE]:
        facts = {"name": name, "language": language, "quick": quick}
        tokenizer_of(name)
        arms = {"ours": lambda facts=facts: arm(ours, **facts)}
        if (name, language) in COMPARED:
            arms |= {"tokenizers": lambda facts=facts: arm(huggingface, **facts), "tiktoken": lambda facts=facts: arm(tiktoken, **facts)}
        found = alternate(arms, passes, lambda result: f"{result['rate']:.1f} MB/s")
        if len({result["ids"] for results in found.values() for result in results}) > 1:
            raise SystemExit(f"{name}, {language}: the sides do not give the same ids")
        details[f"{name}, {language}"] = found
        mine = [result["rate"] for result in found["ours"]]
        for peer in list(arms)[1:]:
            times = ratio(mine, [result["rate"] for result in found[peer]])
            rows.append(Row(f"{name}'s vocabulary, {language}, beside {peer}", "≥ 5×", f"{times} ({spread(mine, ' MB/s')})", times.median >= 5))
        if len(arms) == 1:
            by = "gigatoken" if found["ours"][0]["quick"] else "tokenizers, which alone knows it"
            rows.append(Row(f"{name}, {language}, by {by}", "", spread(mine, " MB/s", ".1f")))
    publish("encoding", "Encoding a corpus on one core, with equal ids", rows, details, quick)


if __name__ == "__main__":
    main()
