"""`ftheta data`: make the data of a recipe, and look into it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

import ftheta
from ftheta.cli.arguments import OnOption, RecipeArgument, SetOption, WorkersOption
from ftheta.cli.progress import Progress

if TYPE_CHECKING:
    from ftheta.data.corpus.looking import Found

data = typer.Typer(name="data", no_args_is_help=True, rich_markup_mode=None, help="Make the data of a recipe, and look into it.\n\nExample: ftheta data run python-lm")


@data.callback()
def group() -> None:
    """Make the data of a recipe, and look into it."""


StageOption = Annotated[str, typer.Option(help="Which stage: read, clean, deduplicate N or divide.")]


@data.command("run")
def run_(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="The run folder, whose data/ gets the card; runs/<name> unless given.")] = None,
    on: OnOption = "local",
    workers: WorkersOption = None,
) -> None:
    """Read, clean, de-duplicate, divide and tokenize documents, and write the data card; what was done before is found again.

    Example: ftheta data run python-lm --workers 2
    """
    with Progress() as progress:
        found = ftheta.run_data(recipe, changes=set_, out=out, on=on, workers=workers, listeners=[progress])
    print(found.card)
    print(f"card  {found.folder}/card.md")


@data.command()
def stats(recipe: RecipeArgument, set_: SetOption = []) -> None:  # noqa: B006
    """Count what came in, what was left out and why, and what is left, without writing anything.

    Example: ftheta data stats python-lm
    """
    with TemporaryDirectory() as folder:
        print(ftheta.run_data(recipe, changes=set_, out=folder).card)


@data.command()
def sample(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    stage: StageOption = "divide",
    rows: Annotated[int, typer.Option(min=1, help="How many documents.")] = 4,
    characters: Annotated[int, typer.Option(min=1, help="How much of each.")] = 400,
) -> None:
    """Show some documents of a stage, drawn by the recipe's seed.

    Example: ftheta data sample python-lm --stage clean --rows 2
    """
    for found in ftheta.sample_data(recipe, changes=set_, stage=stage, rows=rows):
        print(f"== {described(found)}\n{found.document.text[:characters]}\n")


@data.command()
def search(
    recipe: RecipeArgument,
    text: Annotated[str, typer.Argument(help="What documents are to hold, or be called.")],
    set_: SetOption = [],  # noqa: B006
    stage: StageOption = "divide",
    rows: Annotated[int, typer.Option(min=1, help="How many documents at most.")] = 4,
) -> None:
    """Find documents that hold a text, and say where each came from: the file, its hash, and every shard on the way.

    Example: ftheta data search python-lm "class Fraction"
    """
    all_found = ftheta.search_data(recipe, text, changes=set_, stage=stage, rows=rows)
    if not all_found:
        print(f"no document of '{stage}' holds {text!r} or is called so; `--stage read` looks at all that came in")
    for found, around, lineage in all_found:
        print(f"== {described(found)}\n... {around} ...")
        print("\n".join(f"   {line}" for line in lineage) + "\n")


@data.command()
def diff(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    before: Annotated[str, typer.Option("--from", help="The earlier stage.")] = "read",
    after: Annotated[str, typer.Option("--to", help="The later stage.")] = "divide",
    rows: Annotated[int, typer.Option(min=1, help="How many documents at most.")] = 4,
) -> None:
    """Show what stages changed: documents that differ or are gone.

    Example: ftheta data diff python-lm --from read --to clean
    """
    found = ftheta.diff_data(recipe, changes=set_, before=before, after=after, rows=rows)
    for name, difference in found:
        print(f"== {name}\n{difference}\n")
    if not found:
        print(f"every document is the same in '{before}' and '{after}'")


@data.command()
def tokenizers(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    beside: Annotated[list[str], typer.Option(help="A file of another tokenizer, as often as wished.")] = [],  # noqa: B006
) -> None:
    """Show how the recipe's tokenizer, and others, cut the documents kept from training, for each source and language.

    Example: ftheta data tokenizers python-lm --beside data:tokenizers/bert_base_uncased_vocab.txt
    """
    cuts = ftheta.measure_tokenizers(recipe, changes=set_, beside=beside)
    print("| documents | tokenizer | bytes a token | tokens a word | unknown |\n|---|---|---|---|---|")
    for cut in cuts:
        print(f"| {cut.group} | {cut.tokenizer} | {cut.bytes_per_token:.2f} | {cut.fertility:.2f} | {cut.share_unknown:.2%} |")


@data.command()
def ablate(
    recipe: RecipeArgument,
    without: Annotated[list[str], typer.Option(metavar="RULE", help="Leave this out: a rule, several joined by +, or everything; may be given several times.")] = [],  # noqa: B006
    add: Annotated[list[str], typer.Option("--with", metavar="RULE", help="Have this besides, as a recipe says it; may be given several times.")] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="How often each is trained, with other seeds.")] = 3,
    set_: SetOption = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="The folder of the runs; runs/<name>-data unless given.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes for the documents; none: one for each core.")] = None,
) -> None:
    """Train with and without each cleaning rule and de-duplication at equal compute, and say what each is worth; run again, it continues.

    Example: ftheta data ablate bilingual-corpus --without near --set train.flops=1e13
    """
    print(ftheta.ablate_data(recipe, without=without, add=add, seeds=seeds, changes=set_, out=out, workers=workers).show())


def described(found: Found) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in found.document.facts.items())
    return found.document.name + (f" ({found.split})" if found.split else "") + (f": {facts}" if facts else "")


@data.command()
def show(
    recipe: RecipeArgument,
    set_: SetOption = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="Which split: train, validation or test.")] = "train",
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Where pictures are written; none: NAME-SPLIT.png here.")] = None,
) -> None:
    """Show rows as the model is fed them; what the loss is about in colour, or in [[...]] where there is no terminal.

    Example: ftheta data show python-lm --split test --rows 2
    """
    found = ftheta.show_data(recipe, changes=set_, split=split, rows=rows)
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        print(found.plain())
    else:
        console.print(f"{found.split}: {len(found.rows)} of {found.total:,} rows", markup=False)
        for name, value in found.shared.items():
            console.print(f"  {name}: {value}", markup=False)
        for number, row in enumerate(found.rows):
            console.print(Text(f"row {number}", style="bold"))
            for name, spans in row.texts.items():
                line, before = Text(f"  {name}: "), None
                for span in spans:
                    if before is not None and before.document != span.document:
                        line.append("│", style="bold red")
                    line.append(span.text, style="black on green" if span.learned else "dim")
                    before = span
                console.print(line)
            for name, value in row.facts.items():
                console.print(f"  {name}: {value}", markup=False)
    if found.picture is not None:
        place = out or Path(f"{Path(recipe).stem}-{split}.png")
        place.write_bytes(found.picture)
        print(f"pictures: {place}")
