"""Tokenizers: bytes a token on text that was held out, and seconds to train, for every kind at an equal vocabulary, on English and on Chinese.

The texts are those of FTHETA_MIRROR: tinyshakespeare (the last tenth held out) and titles of Chinese news (trained on one file, measured on
another). WordPiece keeps no spaces and gives whole words as unknown, so its figure is not of the same text; how many of its tokens are
unknown is said beside it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from benchmarks.common import Row, alternate, arguments, arm, publish
from ftheta.core.config import Slot
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers import TOKENIZERS
from ftheta.data.tokenizers.trained import TokenizerConfig

KINDS: dict[str, dict[str, Any]] = {
    "byte_bpe": {"kind": "byte_bpe"}, "byte_bpe, code": {"kind": "byte_bpe", "pattern": "code"}, "bpe": {"kind": "bpe"}, "unigram": {"kind": "unigram"},
    "wordpiece": {"kind": "wordpiece"}, "characters": {"kind": "characters"}, "bytes": {"kind": "bytes"},
}


def texts(language: str) -> tuple[list[str], list[str]]:
    """Documents to train on and documents held out."""
    mirror = Path(os.environ["FTHETA_MIRROR"])
    if language == "English":
        parts = (mirror / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8").split("\n\n")
        return parts[: len(parts) * 9 // 10], parts[len(parts) * 9 // 10 :]
    train, held = ((mirror / "thucnews_titles" / f"{name}.txt").read_text(encoding="utf-8").splitlines() for name in ("dev", "test"))
    return [line.rsplit("\t", 1)[0] for line in train], [line.rsplit("\t", 1)[0] for line in held]


def measure(language: str, fields: dict[str, Any], vocab: int) -> dict[str, Any]:
    """Train one tokenizer and count."""
    train, held = texts(language)
    config = Slot(TOKENIZERS).parse({**fields, "vocab": vocab} if fields["kind"] not in ("bytes", "characters") else fields)
    assert isinstance(config, TokenizerConfig)
    start = time.perf_counter()
    made = config.train(train)
    seconds = time.perf_counter() - start
    processor = TextProcessor(made, config.roles(made))
    unknown, ids = made.token_to_id("<unk>"), [processor.encode(text, start=False) for text in held]
    count = sum(map(len, ids))
    exact = sum(processor.decode(row) == text for row, text in zip(ids, held, strict=True)) / len(held)
    return {
        "seconds": seconds, "vocab": processor.vocab, "tokens": count, "bytes_per_token": sum(len(text.encode()) for text in held) / count,
        "unknown": sum(row.count(unknown) for row in ids) / count, "exact": exact,
    }


def main() -> None:
    parser = arguments(__doc__ or "", pairs=1)
    parser.add_argument("--vocab", type=int, default=4096, help="tokens of each (default: %(default)s)")
    options = parser.parse_args()
    arms = {
        f"{language}: {name}": (lambda language=language, fields=fields: arm(measure, language=language, fields=fields, vocab=options.vocab))
        for language in ("English", "Chinese") for name, fields in KINDS.items()
    }
    found = alternate(arms, 1 if options.quick else options.pairs, lambda result: f"{result['bytes_per_token']:.2f} bytes a token")
    rows = []
    for name, results in found.items():
        first = results[0]
        more = f", {first['unknown']:.1%} unknown" if first["unknown"] else ""
        figures = f"{first['bytes_per_token']:.2f} bytes a token, {first['exact']:.0%} of texts come back exactly{more}"
        rows.append(Row(f"{name} ({first['vocab']:,} tokens)", "", figures))
    publish("tokenizers", "Tokenizers", rows, {"results": found}, options.quick)


if __name__ == "__main__":
    main()
