"""The data stages of a recipe by themselves: run them, count, look into them, and the data card."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftheta.core.errors import UsageError
from ftheta.data.catalogue import place_of
from ftheta.data.corpus import looking
from ftheta.data.corpus.card import distributions
from ftheta.data.corpus.executors import Executor, Local
from ftheta.data.corpus.looking import Found
from ftheta.data.corpus.measuring import Cut, measure
from ftheta.data.processors.text import TextProcessor
from ftheta.data.sources.source_config import source_name
from ftheta.data.stages import home
from ftheta.data.text import PreparedText, TextSource, prepare_text
from ftheta.data.tokenizers.file import read_tokenizer
from ftheta.lifecycle.build import sections_of
from ftheta.lifecycle.data_card import refuse_unwritable, telling, write_data_card
from ftheta.lifecycle.executors import build_executor
from ftheta.lifecycle.lifecycle import plainly
from ftheta.lifecycle.recipe import Recipe, load
from ftheta.training.events import Listener
from ftheta.training.stopping import StopRequest

Changes = Sequence[str] | Mapping[str, Any]


@dataclass(frozen=True)
class DataOutcome:
    """What the data stages left."""

    folder: Path
    card: str
    account: dict[str, Any]


def run_data(
    recipe: str | Path | Mapping[str, Any], *, changes: Changes = (), out: str | Path | None = None, on: str = "local", workers: int | None = None,
    listeners: Sequence[Listener] = (),
) -> DataOutcome:
    """Do the data stages of a recipe, or find them done, and write the data card into `data/` of the run folder.

    `on` says who does the work: `local` processes, as many as `workers` (none: one for each core), or the tasks of a `ray` cluster. Listeners hear of
    every shard that is done. Raises FthetaError's subclasses; Stopped when asked to stop, and what is finished by then is found again.
    """
    parsed = load(recipe, changes)
    folder = Path(out) if out is not None else Path("runs") / parsed.name
    refuse_others(parsed)
    executor = build_executor(on, workers, telling(listeners))
    refuse_unwritable(folder)
    text = prepared(parsed, executor)
    said, stages = text.card(parsed.name), text.corpus.stages
    with plainly(folder):
        place = write_data_card(folder, text.account, said, {"stages": {stage.name: stage.account for stage in stages}}, {"distributions.png": distributions(stages)})
    return DataOutcome(place, said, text.account)


def prepared(recipe: Recipe, executor: Executor | None = None) -> PreparedText:
    """The stages of a recipe's documents. Raises UsageError for a source that has none, Stopped when asked to stop."""
    source = refuse_others(recipe)
    with StopRequest().installed(), plainly(home()), contextlib.closing(executor or Local()) as performing:
        return prepare_text(source, sections_of(recipe, performing))


def refuse_others(recipe: Recipe) -> TextSource:
    """The source of a recipe's documents. Raises UsageError for one of something else."""
    source = recipe.data.source
    if not isinstance(source, TextSource):
        raise UsageError(f"data.source: '{source_name(source)}' has no stages of documents to look into; `ftheta data show` shows its rows")
    return source


def sample_data(recipe: str | Path | Mapping[str, Any], *, changes: Changes = (), stage: str = "divide", rows: int = 4) -> list[Found]:
    """Some documents of a stage, drawn by the recipe's seed. Raises UsageError for a stage that is not there."""
    parsed = load(recipe, changes)
    return looking.sample(prepared(parsed).corpus, stage, rows, parsed.seed)


def search_data(recipe: str | Path | Mapping[str, Any], text: str, *, changes: Changes = (), stage: str = "divide", rows: int = 4) -> list[tuple[Found, str, list[str]]]:
    """The first documents of a stage that hold a text, or whose names do: what stands around it, and every shard the document went through."""
    corpus = prepared(load(recipe, changes)).corpus
    return [(found, around, looking.lineage(corpus, found.document.name)) for found, around in looking.search(corpus, stage, text, rows)]


def measure_tokenizers(recipe: str | Path | Mapping[str, Any], *, changes: Changes = (), beside: Sequence[str] = ()) -> list[Cut]:
    """How the recipe's tokenizer cuts the documents kept from training, beside those in other files (`data:NAME/FILE` too). Raises DataError."""
    parsed = load(recipe, changes)
    text = prepared(parsed)
    others = {path: read_tokenizer(place_of(path)) for path in beside}
    return measure(text.corpus, {parsed.name: text.processor, **{path: TextProcessor(taken.tokenizer, taken.roles) for path, taken in others.items()}})


def diff_data(recipe: str | Path | Mapping[str, Any], *, changes: Changes = (), before: str = "read", after: str = "divide", rows: int = 4) -> list[tuple[str, str]]:
    """The first documents that differ between two stages: name and difference."""
    return list(looking.changes(prepared(load(recipe, changes)).corpus, before, after, rows))
