"""Cleaning rules: MB/s on one core, and beside datatrove's filters where these do the same work.

Both sides get the same documents (the English classics of FTHETA_MIRROR in pieces of 4,000 characters, and pages of C4) and must keep the same ones;
of C4 the kept texts must be equal too. datatrove's own words come from spaCy, its sentences from punkt; here it is given words at white space, split once
a document, and our sentences, so that only the filters are compared: with its own it is slower than shown. Times are of one process and one thread.
"""

from __future__ import annotations

import functools
import json
import os
import random
import tarfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.common import Row, alternate, arguments, arm, publish, ratio, spread
from ftheta.core.config import Slot
from ftheta.data.clean import RULES
from ftheta.data.clean.measures import SENTENCE_END
from ftheta.data.clean.normalise import Normalise
from ftheta.data.clean.rules import judge
from ftheta.data.documents import Document
from ftheta.data.stages import digest

FILTERS = {
    "Gopher's quality": (["gopher"], [{"kind": "quality", "rules": "gopher"}]),
    "Gopher's repetition": (["repetition"], [{"kind": "quality", "rules": "gopher_repetition"}]),
    "FineWeb's": (["fineweb"], [{"kind": "quality", "rules": "fineweb"}]),
    "C4's, lines and pages": (["c4"], [{"kind": "lines"}, {"kind": "quality", "rules": "c4"}]),
    "Gopher's both and FineWeb's": (["gopher", "repetition", "fineweb"], [{"kind": "quality", "rules": ["gopher", "gopher_repetition", "fineweb"]}]),
}
"""datatrove's filters, and the rules that do the same."""
ALONE: dict[str, tuple[dict[str, Any], ...]] = {
    "English": (
        {"kind": "normalise"}, {"kind": "repair"}, {"kind": "language"}, {"kind": "lines"}, {"kind": "lines", "rules": "boilerplate"},
        *({"kind": "quality", "rules": name} for name in ("text", "code", "gopher", "gopher_repetition", "c4", "fineweb")),
        {"kind": "personal"}, {"kind": "secrets"}, {"kind": "classifier"},
    ),
    "Chinese": (
        {"kind": "normalise"}, {"kind": "normalise", "width": "letters"}, {"kind": "normalise", "script": "simplified"}, {"kind": "repair"}, {"kind": "language"},
        {"kind": "lines", "rules": "c4_chinese"}, *({"kind": "quality", "rules": f"{name}_chinese"} for name in ("gopher", "gopher_repetition", "c4", "fineweb")),
        {"kind": "personal"}, {"kind": "secrets"}, {"kind": "classifier"},
    ),
}


def documents(language: str, quick: bool) -> list[str]:
    """Real texts with regular characters, in pieces of some thousand characters."""
    mirror = Path(os.environ["FTHETA_MIRROR"])
    if language == "Chinese":
        files = [mirror / "drcd" / "DRCD_dev.json", mirror / "drcd" / "DRCD_test.json", mirror / "cmrc2018" / "cmrc2018_dev.json"]
        texts = [p["context"] for file in files if file.exists() for article in json.loads(file.read_text())["data"] for p in article["paragraphs"]]
        texts = ["\n".join(texts[i : i + 3]) for i in range(0, len(texts), 3)]
    else:
        texts = []
        with tarfile.open(mirror / "english_classics" / "books_small.tar.xz") as archive:
            for member in archive:
                if member.isfile() and len(texts) < 1500:
                    book = Normalise().apply(Document("", archive.extractfile(member).read().decode("utf-8", "replace"))).text or ""       # type: ignore[union-attr]
                    texts += [book[i : i + 4000] for i in range(0, len(book), 4000)][:100]
        with (mirror / "llm_sft_dpo_demo" / "c4_demo.jsonl").open(encoding="utf-8") as rows:
            texts += [json.loads(row)["text"] for row in rows]
    return texts[:: 8 if quick else 1]


def ours(rules: list[dict[str, Any]], language: str, quick: bool) -> dict[str, Any]:
    """Seconds for all documents, and what was kept."""
    texts = documents(language, quick)
    if rules[0]["kind"] == "classifier":
        rules = [{**rules[0], **examples(texts, language)}]
    parsed: Any = [Slot(RULES).parse(rule) for rule in rules]
    for text in texts[:20]:
        judge(Document("", text), parsed)
    start = time.process_time()
    kept = [judge(Document("", text), parsed).text for text in texts]
    seconds = time.process_time() - start
    return summary(texts, kept, seconds, "lines" in (rule["kind"] for rule in rules))


def theirs(filters: list[str], quick: bool) -> dict[str, Any]:
    from datatrove.data import Document as Theirs
    from datatrove.pipeline.filters import c4_filters, fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter

    texts, words = documents("English", quick), functools.lru_cache(5)(str.split)
    with mock.patch.object(c4_filters, "split_into_sentences", lambda line, language: range(1 + len(SENTENCE_END.findall(line)))):
        for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
            module.split_into_words = lambda text, language: words(text)
        made = {
            "gopher": gopher_quality_filter.GopherQualityFilter, "repetition": gopher_repetition_filter.GopherRepetitionFilter,
            "fineweb": fineweb_quality_filter.FineWebQualityFilter, "c4": c4_filters.C4QualityFilter,
        }
        chain = [made[name]() for name in filters]
        seconds, kept = 0.0, []
        for timed in (texts[:20], texts):
            pages = [Theirs(text=text, id="") for text in timed]
            start = time.process_time()
            verdicts = [all(one.filter(page) is True for one in chain) for page in pages]
            seconds = time.process_time() - start
            kept = [page.text if verdict else None for page, verdict in zip(pages, verdicts, strict=True)]
    return summary(texts, kept, seconds, "c4" in filters)


def examples(texts: list[str], language: str) -> dict[str, list[str]]:
    """Files of good and bad examples: texts, and texts whose words (or characters) are shuffled."""
    folder, draws = Path(os.environ.get("FTHETA_HOME", "/tmp")) / "benchmark-filters", random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    good, bad = folder / f"good-{language}.jsonl", folder / f"bad-{language}.jsonl"
    chosen = texts[:200]
    pieces = [text.split() if language == "English" else list(text) for text in chosen]
    good.write_text("".join(json.dumps({"text": text}) + "\n" for text in chosen))
    bad.write_text("".join(json.dumps({"text": (" " if language == "English" else "").join(draws.sample(piece, len(piece)))}) + "\n" for piece in pieces))
    return {"good": [str(good)], "bad": [str(bad)]}


def summary(texts: list[str], kept: list[str | None], seconds: float, whole: bool) -> dict[str, Any]:
    size = sum(len(text.encode()) for text in texts)
    answer = digest([text if whole else text is not None for text in kept])
    return {"rate": size / seconds / 1e6, "kept": sum(text is not None for text in kept) / len(kept), "documents": len(texts), "bytes": size, "answer": answer}


def main() -> None:
    options = arguments(__doc__ or "", pairs=3).parse_args()
    quick, passes = options.quick, 1 if options.quick else options.pairs
    rows, details = [], {}
    for name, (filters, rules) in FILTERS.items():
        sides = {
            "ours": lambda rules=rules: arm(ours, rules=rules, language="English", quick=quick),
            "datatrove": lambda filters=filters: arm(theirs, filters=filters, quick=quick),
        }
        found = alternate(sides, passes, lambda result: f"{result['rate']:.1f} MB/s, {result['kept']:.1%} kept")
        if len({result["answer"] for results in found.values() for result in results}) > 1:
            raise SystemExit(f"{name}: the two sides do not keep the same documents")
        mine, other = ([result["rate"] for result in found[side]] for side in ("ours", "datatrove"))
        times = ratio(mine, other)
        rows.append(Row(f"{name} filters, {found['ours'][0]['kept']:.0%} kept by both", "≥ 10×", f"{times} ({spread(mine, ' MB/s', '.1f')})", times.median >= 10))
        details[name] = found
    for language, rules in ALONE.items():
        arms = {" ".join(rule.values()): (lambda rule=rule, language=language: arm(ours, rules=[rule], language=language, quick=quick)) for rule in rules}
        for name, results in alternate(arms, passes, lambda result: f"{result['rate']:.1f} MB/s").items():
            rows.append(Row(f"{name}, {language}", "", spread([result["rate"] for result in results], " MB/s", ".1f")))
            details[f"{name}, {language}"] = results
    publish("filters", "Cleaning rules on one core", rows, details, quick)


if __name__ == "__main__":
    main()
