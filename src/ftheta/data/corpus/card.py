"""The data card: what came in, what was left out and why, with examples, what was found, and how the rest is divided."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftheta.data.corpus.corpus import Corpus, Stage
from ftheta.data.split import SPLITS

FACTS = {
    "source": "sources", "language": "languages", "code": "programming languages", "licence": "licences", "consent": "consent", "encoding": "encodings",
    "format": "formats",
}
COLOURS = {"as read": "tab:gray", "as left": "tab:blue"}
MOST = 12
"""Values of a fact that are listed."""


def card(title: str, corpus: Corpus, account: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    stages = corpus.stages
    return "\n".join([
        f"# The data of {title}", "", *came_in(stages[0]), *left_out(stages), *found(stages), *divided(account), *ledger(account), *traced(corpus, account),
    ])


def came_in(read: Stage) -> Iterator[str]:
    account, rows = read.account, read.account["rows"]
    yield from ("## What came in", "", f"{account['documents']:,} documents, {size(account['bytes'])}, in {len(read.files):,} shards.")
    odd = {"blank rows": rows["blank"], **rows["noticed"]}
    odd |= {f"{what}: {why}": count for what, counts in (("passed over", rows["passed"]), ("bad", rows["bad"])) for why, count in counts.items()}
    yield from ["", *table(("not read as it is", "how often"), odd)]
    yield from facts(account)


def facts(account: Mapping[str, Any]) -> Iterator[str]:
    """What documents have in common."""
    for name, title in FACTS.items():
        if counts := account["facts"].get(name):
            ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            rest = sum(count for _, count in ordered[MOST:])
            yield from ["", *table((title, "documents"), dict(ordered[:MOST]) | ({"others": rest} if rest else {}))]


def left_out(stages: Sequence[Stage]) -> Iterator[str]:
    yield from ("", "## What was left out")
    before = stages[0].account
    for stage in stages[1:-1]:
        account = stage.account
        gone, less = before["documents"] - account["documents"], before["bytes"] - account["bytes"]
        yield from ("", f"**{stage.name}**: {gone:,} of {before['documents']:,} documents ({share(gone, before['documents'])}), {size(less)} of {size(before['bytes'])}"
                    + (f", by `{account['way']}`." if "way" in account else "."))
        if isinstance(account["dropped"], dict) and account["dropped"]:
            yield from ["", "| why | documents | of those that came in | for example |", "|---|---|---|---|"]
            for why, count in sorted(account["dropped"].items(), key=lambda item: -item[1]):
                yield f"| {plain(why)} | {count:,} | {share(count, before['documents'])} | {shown(account['examples'][why])} |"
        elif account["examples"]:
            yield f"For example {shown(account['examples'])}."
        if account.get("way") == "contamination":
            yield from ["", "| evaluation set | rows | looked for | found | in documents |", "|---|---|---|---|---|"]
            for path, of in account["compared"].items():
                yield f"| {plain(path)} | {of['rows']:,} | {of['looked_for']:,} | {of['found']:,} | {of['documents']:,} |"
        before = account


def found(stages: Sequence[Stage]) -> Iterator[str]:
    """What cleaning found, and what documents are like after it."""
    account = stages[1].account
    facts_found = {name: counts for name, counts in account["facts"].items() if name in FACTS and counts != stages[0].account["facts"].get(name)}
    if account["learned"] or account["counts"] or facts_found:
        yield from ("", "## What was found or changed")
    for name, report in account["learned"].items():
        learned, held = (" and ".join(f"{report[side][what]:,} {side}" for side in ("good", "bad")) for what in ("learned", "held_out"))
        yield from ["", f"`{name}` was learned from {learned} examples; on {held} held out its AUC is {report['auc']:.3f} ({report['low']:.3f} to {report['high']:.3f})."]
    if account["counts"]:
        yield from ["", *table(("what", "how often"), account["counts"])]
    yield from facts({"facts": facts_found})


def divided(account: Mapping[str, Any]) -> Iterator[str]:
    yield from ["", "## How it is divided", "", "| split | documents | size | tokens | bytes per token |", "|---|---|---|---|---|"]
    for name in SPLITS:
        part, tokens = account["splits"][name], account["tokens"][name]
        yield f"| {name} | {part['documents']:,} | {size(part['bytes'])} | {tokens['tokens']:,} | {tokens['bytes_per_token']:g} |"
    if "rows" in account:
        yield from ("", "; ".join(f"{name}: {of['rows']:,} rows, {of['filled']:.2%} filled" for name, of in account["rows"].items()) + ".")


def ledger(account: Mapping[str, Any]) -> Iterator[str]:
    """Every source with the licence and the ground on which it is used."""
    yield from ["", "## Where it is from, and who may use it", "", f"| source | licence | consent | {' | '.join(SPLITS)} |", "|---|---|---|---|---|---|"]
    for entry in account["ledger"]:
        said = (entry["source"] or "not named", entry["licence"] or "not stated", entry["consent"] or "not stated")
        parts = (entry["splits"].get(name) for name in SPLITS)
        held = ("-" if part is None else f"{part['documents']:,} documents, {size(part['bytes'])}, {part['tokens']:,} tokens" for part in parts)
        yield f"| {' | '.join([*map(plain, said), *held])} |"


def traced(corpus: Corpus, account: Mapping[str, Any]) -> Iterator[str]:
    folders = sum(len(stage.folders) for stage in corpus.stages)
    yield from ["", "## Where it is", "", f"{folders:,} folders of shards; what came of this is addressed `{account['fingerprint']}`.", ""]


def table(head: tuple[str, str], rows: Mapping[str, int]) -> Iterator[str]:
    counted = {name: count for name, count in rows.items() if count}
    if counted:
        yield from (f"| {head[0]} | {head[1]} |", "|---|---|")
        yield from (f"| {plain(name)} | {count:,} |" for name, count in counted.items())


def shown(examples: Sequence[Mapping[str, str]]) -> str:
    return "; ".join(f"`{plain(example['name'])}`: {plain(example['start'][:60])}" for example in examples[:2])


def plain(text: str) -> str:
    """As one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")


def share(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.2%}"


def size(count: int) -> str:
    """Bytes as people read them."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 1000:
            break
        value, unit = value / 1000, larger
    return f"{count:,} bytes" if unit == "bytes" else f"{value:.3g} {unit}"


def distributions(stages: Sequence[Stage]) -> bytes:
    """A picture of every number that documents have, as read and as left; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first, last = stages[0].account["numbers"], stages[-2].account["numbers"]
    names = sorted({*first, *last}, key=lambda name: (name != "bytes", name))
    columns = min(3, len(names))
    figure = Figure(figsize=(4.2 * columns, 2.8 * -(-len(names) // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // columns), columns, place + 1)
        draw(axes, {label: numbers[name] for numbers, label in ((first, "as read"), (last, "as left")) if name in numbers})
        axes.set_title("size of documents in bytes" if name == "bytes" else name.replace("_", " "), fontsize=9)
        axes.set_ylabel("documents", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110)
    return sink.getvalue()


def draw(axes: Any, counted: Mapping[str, Mapping[str, int]]) -> None:
    """Counted numbers as histograms with the same bins, on a logarithmic axis where they span more than two powers of ten."""
    import numpy as np

    every = np.array([float(value) for counts in counted.values() for value in counts] or [0.0])
    low, high = every.min(), every.max()
    if low >= 0 and high > 100 * max(low, 1e-9) and high > 100:
        low = max(1.0, every[every > 0].min())
        edges = np.geomspace(low, high * 1.05, 33)
        axes.set_xscale("log")
    else:
        edges = np.linspace(low, high if high > low else low + 1, 33)
    for label, counts in counted.items():
        values = np.clip([float(value) for value in counts], edges[0], edges[-1])
        axes.hist(values, bins=edges, weights=list(counts.values()), histtype="stepfilled", alpha=0.45, color=COLOURS[label], label=label)
