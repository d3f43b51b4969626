"""Which copies near-duplicate removal finds: real texts, a copy of each with one kind of edit, at three thresholds; the table and the picture of
docs/stages/deduplicate.md.

English classics in pieces of a hundred words or a little more, Chinese reviews of 150 characters or more. A copy is found when it is in the cluster of its original. The
picture is of copies with any share of their words changed: how often they share a band, beside the S-curve, and how often they are joined.
"""

from __future__ import annotations

import functools
import random
import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import ROOT, Row, arguments, publish
from benchmarks.near_copies import EDITS, changed, classics, reviews
from ftheta.data.dedup.hashes import runs_of_words, words_of
from ftheta.data.dedup.minhash import candidate
from ftheta.data.dedup.near import Near
from ftheta.data.documents import Document

THRESHOLDS = (0.6, 0.7, 0.8)
COLOURS = ("#1f77b4", "#2ca02c", "#d62728")
Edit = Callable[[str, random.Random], str]
KINDS: dict[str, Edit] = {
    "other spaces, capitals, signs": EDITS["retyped"], "notices before and after": EDITS["inserted"], "last eighth missing": EDITS["truncated"],
    "a tenth missing": EDITS["part lost"],
    **{f"{share:.0%} of the words changed": functools.partial(lambda text, draws, share: changed(text, share, draws), share=share) for share in (0.01, 0.02, 0.05, 0.1)},
}


def runs(texts: list[str]) -> list[set[int]]:
    """Every text's set of runs of five words."""
    found, _, counts = runs_of_words(words_of(texts), 5)
    return [set(part.tolist()) for part in np.split(found, np.cumsum(counts)[:-1])]


def similarities(originals: list[str], copies: list[str]) -> np.ndarray:
    """The exact Jaccard similarity of each copy and its original."""
    return np.array([len(a & b) / len(a | b) for a, b in zip(runs(originals), runs(copies), strict=True)])


def same_cluster(near: Near, originals: list[str], copies: list[str]) -> tuple[np.ndarray, int]:
    """Whether each copy is in its original's cluster, and how many originals are dropped as copies of others."""
    decision, = near.decide([near.signature([Document("", text) for text in [*originals, *copies]])])
    half = len(originals)
    return decision.cluster[half:] == decision.cluster[:half], int((~decision.keep[:half]).sum())


def by_kind(texts: list[str]) -> dict[str, Any]:
    """For every kind of edit the median similarity and the share found at every threshold; and wrong ones."""
    draws, kinds = random.Random(0), list(KINDS)
    copies = [KINDS[kinds[i % len(kinds)]](text, draws) for i, text in enumerate(texts)]
    exact = similarities(texts, copies)
    found: dict[str, Any] = {kind: {"copies": len(exact[at :: len(kinds)]), "jaccard": statistics.median(exact[at :: len(kinds)]), "found": {}} for at, kind in enumerate(kinds)}
    wrong = {}
    for threshold in THRESHOLDS:
        joined, wrong[threshold] = same_cluster(Near(threshold=threshold), texts, copies)
        above = exact >= threshold + 0.05
        found.setdefault("all at least 0.05 above the threshold", {"found": {}})["found"][threshold] = float(joined[above].mean())
        for at, kind in enumerate(kinds):
            found[kind]["found"][threshold] = float(joined[at :: len(kinds)].mean())
    return {"texts": len(texts), "kinds": found, "wrong": wrong}


def curves(texts: list[str]) -> dict[str, Any]:
    """Copies with any share of their words changed, by similarity: how many share a band and how many are joined."""
    draws = random.Random(1)
    copies = [changed(text, draws.random() ** 2 * 0.25, draws) for text in texts]
    exact, edges = similarities(texts, copies), np.linspace(0, 1, 21)
    found: dict[str, Any] = {}
    for threshold in THRESHOLDS:
        near = Near(threshold=threshold)
        signature = near.signature([Document("", text) for text in [*texts, *copies]])
        share_band = (signature["bands"][:, : len(texts)] == signature["bands"][:, len(texts) :]).any(axis=0)
        joined, _ = same_cluster(near, texts, copies)
        points = []
        for low, high in pairwise(edges):
            here = (exact >= low) & (exact < high)
            if here.sum() >= 10:
                expected = float(np.mean(candidate(exact[here], *near.bands_and_rows)))
                points.append([float(exact[here].mean()), float(share_band[here].mean()), expected, float(joined[here].mean()), int(here.sum())])
        found[str(threshold)] = {"bands_and_rows": near.bands_and_rows, "points": points}
    return found


def picture(found: dict[str, Any]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    line = np.linspace(0, 1, 200)
    for colour, (threshold, one) in zip(COLOURS, found.items(), strict=True):
        bands, rows = one["bands_and_rows"]
        similarity, share_band, _, joined, count = np.array(one["points"]).T
        left.plot(line, candidate(line, bands, rows), color=colour, linewidth=1)
        error = 2 * (share_band * (1 - share_band) / count) ** 0.5
        left.errorbar(similarity, share_band, error, fmt="o", markersize=4, color=colour, linewidth=1, label=f"{bands} bands of {rows}")
        right.plot(similarity, joined, "o-", markersize=4, color=colour, linewidth=1, label=f"threshold {threshold}")
        right.axvline(float(threshold), color=colour, linewidth=0.6, linestyle=":")
    left.set(title="share a band (line: 1 - (1 - s^r)^b)", xlabel="Jaccard similarity s of the copy and its original", ylabel="share of copies")
    right.set(title="are joined", xlabel="Jaccard similarity s of the copy and its original")
    for axes in (left, right):
        axes.legend(fontsize=8, loc="upper left")
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "images" / "deduplicate.png", dpi=110, metadata={"Software": ""})


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """The page's table."""
    lines = ["| edit | " + " | ".join(f"{language}: J | " + " | ".join(map(str, THRESHOLDS)) for language in found) + " |"]
    lines.append("| --- |" + " --- |" * (len(found) * (1 + len(THRESHOLDS))))
    for kind in next(iter(found.values()))["kinds"]:
        cells = [kind]
        for one in found.values():
            facts = one["kinds"][kind]
            shares = [f"{100 * facts['found'][threshold]:.1f} %".replace("100.0", "100") for threshold in THRESHOLDS]
            cells += [f"{facts['jaccard']:.2f}" if "jaccard" in facts else "", *shares]
        lines.append("| " + " | ".join(cells) + " |")
    wrong = [cell for one in found.values() for cell in ["", *(str(one["wrong"][threshold]) for threshold in THRESHOLDS)]]
    return "\n".join([*lines, "| " + " | ".join(["originals dropped", *wrong]) + " |"])


def main() -> None:
    parser = arguments(__doc__ or "", pairs=1)
    options = parser.parse_args()
    count = 160 if options.quick else 2400
    texts = {"English": classics(count), "Chinese": reviews(count)}
    found = {language: by_kind(some) for language, some in texts.items()}
    print(markdown(found))
    drawn = curves(texts["English"])
    rows = []
    for language, one in found.items():
        share = one["kinds"]["all at least 0.05 above the threshold"]["found"]
        rows.append(Row(f"{language}: copies found that are 0.05 or more above the threshold ({', '.join(map(str, THRESHOLDS))})", "≥ 98 %",
                        ", ".join(f"{value:.1%}" for value in share.values()), min(share.values()) >= 0.98))
        wrong = ", ".join(map(str, one["wrong"].values()))
        rows.append(Row(f"{language}: originals dropped of {one['texts']:,}", "", wrong))
    points = [point for one in drawn.values() for point in one["points"]]
    total = sum(point[4] for point in points)
    away = [sum(sign(point[1] - point[2]) * point[4] for point in points) / total for sign in (abs, float)]
    rows.append(Row("shares that have a band in common, away from the S-curve: mean size, mean", "≤ 2 %", f"{away[0]:.1%}, {away[1]:+.1%}", away[0] <= 0.02))
    if not options.quick:
        picture(drawn)
    publish("dedup_study", "Which copies are found", rows, {"kinds": found, "curves": drawn}, options.quick)


if __name__ == "__main__":
    main()
