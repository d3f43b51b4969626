"""`ftheta generate`: continue a text."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

import ftheta
from ftheta.cli.arguments import AcceptOption, AdapterOption, ModelArgument, PrecisionOption, with_adapter


def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    most: Annotated[int, typer.Option(min=1, help="At most this many new tokens.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="Divides the logits; 0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Choose among this many likeliest tokens.")] = None,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest tokens that together hold this probability.")] = 0.95,
    min_p: Annotated[float, typer.Option(min=0, max=1, help="Choose among tokens at least this share as likely as the likeliest.")] = 0.0,
    typical: Annotated[float, typer.Option(help="Choose among tokens of typical surprise that together hold this probability.")] = 1.0,
    repetition: Annotated[float, typer.Option(help="Divides logits of tokens in the prompt or the new text.")] = 1.0,
    presence: Annotated[float, typer.Option(help="Taken from logits of tokens in the new text.")] = 0.0,
    frequency: Annotated[float, typer.Option(help="Taken from a token's logit each time it is in the new text.")] = 0.0,
    no_repeat: Annotated[int | None, typer.Option(min=1, help="No run of this many tokens comes twice.")] = None,
    least: Annotated[int, typer.Option(min=0, help="At least this many new tokens.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="How many continuations.")] = 1,
    beams: Annotated[int, typer.Option(min=1, help="Search for the likeliest continuation with so many kept at every step.")] = 1,
    lookup: Annotated[int, typer.Option(min=0, help="Guess at most this many tokens ahead: the same text, sooner where it repeats itself.")] = 0,
    draft: Annotated[str | None, typer.Option(help="A smaller model with the same tokenizer that guesses ahead: the same text, sooner.")] = None,
    ahead: Annotated[int, typer.Option(min=1, help="With --draft: tokens guessed before each look of the larger model.")] = 4,
    seed: Annotated[int, typer.Option(help="Same seed, same text.")] = 0,
    stop: Annotated[list[str], typer.Option(help="End before this text; may be given several times.")] = [],  # noqa: B006
    bias: Annotated[list[str], typer.Option(metavar="ID=X", help="Added to the logit of a token; may be given several times.")] = [],  # noqa: B006
    regex: Annotated[str | None, typer.Option(help="A regular expression that the whole new text matches.")] = None,
    json_schema: Annotated[str | None, typer.Option(metavar="JSON", help="A JSON Schema that the new text is JSON of.")] = None,
    adapter: AdapterOption = None,
    precision: PrecisionOption = "float32",
    accept: AcceptOption = None,
) -> None:
    """Continue a text with a language model, printing as it goes.

    Example: ftheta generate runs/python-lm/model "def "
    """
    opened = with_adapter(ftheta.load(model, accept=accept), adapter).compute_in(precision)
    if draft is not None:
        opened.draft(ftheta.load(draft).compute_in(precision), ahead)
    fields = {
        "prompt": prompt, "most": most, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical": typical,
        "repetition": repetition, "presence": presence, "frequency": frequency, "no_repeat": no_repeat, "least": least, "samples": samples,
        "beams": beams, "lookup": lookup, "seed": seed, "stop": stop, "regex": regex,
        "bias": dict(added(pair) for pair in bias), "json_schema": None if json_schema is None else schema_of(json_schema),
    }
    if samples > 1:
        answer = opened.predict(fields)
        for sample in [answer, *answer.more]:
            print(f"{prompt}{sample.text}\n")
        return
    pieces = opened.stream(fields)
    first = next(pieces, "")                                                              # a model of another kind says so here, before anything is printed
    print(prompt, end=first, flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def added(pair: str) -> tuple[str, float]:
    """A token id and what is added to its logit. Raises BadParameter."""
    name, _, value = pair.partition("=")
    try:
        return str(int(name)), float(value)
    except ValueError:
        raise typer.BadParameter(f"expected ID=X, such as 7=-2.5, got '{pair}'", param_hint="'--bias'") from None


def schema_of(text: str) -> Any:
    """What a JSON text holds. Raises BadParameter."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="'--json-schema'") from None
