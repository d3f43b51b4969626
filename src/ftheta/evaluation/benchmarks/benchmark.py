"""What a benchmark's file says, and its questions made of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ftheta.core.config import Config
from ftheta.core.errors import ConfigError, DataError, Problem, UsageError, suggest
from ftheta.core.random import generator
from ftheta.core.template import Template
from ftheta.data.catalogue import locate
from ftheta.data.rows import Format, read_rows
from ftheta.inference.likelihood import Normalise


class Question(NamedTuple):
    """One row as it is asked."""

    prompt: str
    choices: tuple[str, ...]
    right: int | str
    """The number of the right choice, or, without choices, the right answer."""
    group: str | None


class Benchmark(Config):
    """Rows, how they are asked, and how answers are counted. Texts are Jinja over a row's fields, and row is the whole of it."""

    about: str
    """What it asks, and where it is from."""
    data: str | None = None
    """The catalogue's name of the data set; none: files beside this one."""
    files: tuple[str, ...] = Field(min_length=1)
    """The files that hold the rows."""
    format: Format = "jsonl"
    """How they are written: JSON lines, a table, or lines that begin with a label."""
    examples: tuple[str, ...] = ()
    """Files that shots are taken from."""
    prompt: str
    """What a row asks."""
    choices: tuple[str, ...] = ()
    """What is chosen from, each scored as it goes on from the prompt; none: the model writes an answer."""
    answer: str
    """The number of the right choice, from 0, or, without choices, the right answer."""
    shown: str | None = None
    """Without choices: what a shot shows as its answer; none: the right one."""
    keep: str | None = None
    """Which rows count: those for which this gives true; none: all."""
    group: str | None = None
    """What rows are counted by besides all together."""
    shots: int = Field(default=0, ge=0)
    """Answered examples before the question."""
    separator: str = "\n\n"
    """What stands between shots."""
    normalise: Normalise = "bytes"
    """What log p of a choice is divided by."""
    find: str | None = None
    """A regular expression whose last match in a written answer is what counts; none: all of it."""
    ignore: str = ""
    """Characters of answers that do not count."""
    most: int = Field(default=64, gt=0)
    """Tokens of a written answer."""
    stop: tuple[str, ...] = ("\n\n",)
    """What ends a written answer."""

    @model_validator(mode="after")
    def asks_something(self) -> Benchmark:
        if len(self.choices) == 1:
            raise ConfigError([Problem(("choices",), "one choice is none: give two or more, or leave it out for written answers")])
        for name in self.templates:
            self.template(name)
        return self

    @property
    def score(self) -> Literal["likelihood", "written"]:
        return "likelihood" if self.choices else "written"

    @cached_property
    def templates(self) -> dict[str, str]:
        """Every text of this file that is a template, by the field it stands in."""
        single = {name: getattr(self, name) for name in ("prompt", "answer", "shown", "keep", "group")}
        return {**{name: text for name, text in single.items() if text is not None}, **{f"choices.{i}": text for i, text in enumerate(self.choices)}}

    @cached_property
    def compiled(self) -> dict[str, Template]:
        return {}

    def template(self, name: str) -> Template:
        if name not in self.compiled:
            self.compiled[name] = Template(self.templates[name], name, strict=True)
        return self.compiled[name]

    def says(self, name: str, row: Mapping[str, Any]) -> str:
        return self.template(name).render({**row, "row": row})

    def rows(self, files: tuple[str, ...]) -> list[Mapping[str, Any]]:
        """The rows that count. Raises DataError."""
        place = locate(self.data) if self.data is not None else Path()
        found = [row.columns for file in files for row in read_rows(place / file, self.format)]
        return found if self.keep is None else [row for row in found if self.says("keep", row).strip().lower() == "true"]

    def question(self, row: Mapping[str, Any]) -> Question:
        """Raises DataError for a row whose right choice is none of them."""
        choices = tuple(self.says(f"choices.{i}", row) for i in range(len(self.choices)))
        right: int | str = self.says("answer", row).strip()
        if choices:
            if not right.isdigit() or int(right) >= len(choices):
                raise DataError(f"answer: '{right}' is no number from 0 to {len(choices) - 1}")
            right = int(right)
        return Question(self.says("prompt", row), choices, right, None if self.group is None else self.says("group", row).strip())

    def questions(self, limit: int | None, shots: int, seed: int) -> list[Question]:
        """At most so many questions (drawn, where there are more), the same shots before each. Raises DataError, UsageError."""
        rows = self.rows(self.files)
        if not rows:
            raise DataError(f"{', '.join(self.files)}: no row counts")
        picked = torch.randperm(len(rows), generator=generator(seed, "questions"))[:limit].sort().values.tolist()
        opening = self.opening(shots, seed)
        found = [self.question(rows[i]) for i in picked]
        return [question._replace(prompt=opening + question.prompt) for question in found]

    def opening(self, shots: int, seed: int) -> str:
        """Answered examples."""
        if not shots:
            return ""
        if not self.examples:
            raise UsageError("shots: this benchmark has no examples to show: use 0")
        rows = self.rows(self.examples)
        if len(rows) < shots:
            raise UsageError(f"shots: there are only {len(rows)} examples")
        parts = []
        for i in torch.randperm(len(rows), generator=generator(seed, "shots"))[:shots].tolist():
            question = self.question(rows[i])
            answer = question.choices[question.right] if isinstance(question.right, int) else self.says("shown", rows[i]) if self.shown is not None else question.right
            parts.append(question.prompt + answer + self.separator)
        return "".join(parts)


def shipped() -> dict[str, Path]:
    """The benchmarks that come with the package, by name."""
    folder = Path(str(resources.files("ftheta.evaluation.benchmarks"))) / "files"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_benchmark(which: str) -> Benchmark:
    """A shipped benchmark by name, or a file. Raises UsageError, ConfigError."""
    known = shipped()
    path = known.get(which, Path(which))
    if not path.is_file():
        raise UsageError(f"benchmark '{which}': no such file, and none of that name comes with ftheta{suggest(which, known, 'benchmarks')}")
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a mapping of fields")
    benchmark = Benchmark.parse(data, str(path))
    if benchmark.data is not None:
        return benchmark
    beside = {name: [str(path.parent / file) for file in getattr(benchmark, name)] for name in ("files", "examples")}
    return benchmark.replace(**beside)
