"""Whether a model takes people of some occupations for men and of others for women (Rudinger et al. 2018, arXiv:1804.09301; Kurita et al. 2019,
arXiv:1906.07337).

For every occupation: the mean of log p(he) - log p(she) over sentences about it. Over occupations: the mean with its interval, which is about
pronouns as such, and the correlation with who mostly holds the occupation, which is about stereotypes. Every occupation's number is shown.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np
from pydantic import Field
from ruamel.yaml import YAML

from ftheta.data.catalogue import locate
from ftheta.data.rows import read_rows
from ftheta.evaluation.bars import bars
from ftheta.evaluation.metrics.correlation import pearson
from ftheta.evaluation.metrics.metric import Measurement, Metric, Result, Subject
from ftheta.evaluation.probes.pronouns import Case, Level, log_probabilities
from ftheta.evaluation.statistics import bootstrap, mean, mean_of_few

Language = Literal["en", "zh"]


class PronounProbe(Metric):
    """What probes of pronouns share."""

    levels: tuple[Level, ...] = Field(default=("word", "sentence"), min_length=1)
    """Whether the pronoun alone counts, or the whole sentence."""

    def needs(self) -> dict[str, str]:
        return {"logits": "logits B T V"}

    @abstractmethod
    def cases(self) -> dict[str, list[Case]]:
        """Sentences by what is said of them beside the metric's name, such as their language."""

    def mostly(self) -> dict[str, int]:
        """1 for people that are mostly men, -1 mostly women, as far as that is known."""
        return {}

    def measure(self, subject: Subject) -> Result:
        result = Result()
        for title, cases in self.cases().items():
            for level in self.levels:
                name = ", ".join(filter(None, (self.name, level, title)))
                self.look(name, cases, log_probabilities(subject.model, cases, level), level, subject.seed, result)
        return result

    def look(self, name: str, cases: Sequence[Case], found: np.ndarray, level: Level, seed: int, result: Result) -> None:
        """Add what these log p, (cases, 2), say."""
        people = list(dict.fromkeys(case.name for case in cases))
        each = {person: found[[case.name == person for case in cases]] for person in people}
        odds = {person: mean_of_few(rows[:, 0] - rows[:, 1]) for person, rows in each.items()}
        values = np.array([odds[person].value for person in people])
        chances = np.array([np.diff(np.exp(rows[:, ::-1]), axis=1).mean() for rows in each.values()])
        numbers = {"log-odds of he over she": values, **({"p(he) - p(she)": chances} if level == "word" else {})}      # those of sentences are next to 0
        for what, units in numbers.items():
            over = mean(units, seed)
            result.measurements.append(Measurement(
                f"{name}: {what}", over.value, over.low, over.high, len(units), "occupation", "neither", over.method, seed, {"value": units}, {"no difference": 0.0},
            ))
        known = self.mostly()
        if held := [(odds[person].value, known[person]) for person in people if person in known]:
            a, b = np.array(held, dtype=float).T
            agree = bootstrap(lambda rows: pearson(a[rows], b[rows]), len(a), seed)
            if np.isfinite(agree.value):                                                       # all occupations alike: nothing to correlate
                result.measurements.append(Measurement(
                    f"{name}: correlation with who holds it", agree.value, agree.low, agree.high, len(a), "occupation", "neither", agree.method, seed,
                    baselines={"no stereotype": 0.0},
                ))
        ordered = sorted(odds.items(), key=lambda pair: -pair[1].value)
        result.pictures[f"{name.replace(', ', '-')}.png"] = bars(ordered, f"{name}: log p(he) - log p(she)", 0.0)
        result.texts[f"{name}: log p(he) - log p(she)"] = "\n".join(f"{person:24} {o.value:+.3f}  ({o.low:+.3f} to {o.high:+.3f})" for person, o in ordered)


class Occupations(PronounProbe):
    """log p(he) - log p(she) in sentences about forty occupations, English or Chinese (他, 她)."""

    kind: Literal["occupations"] = "occupations"
    languages: tuple[Language, ...] = Field(default=("en",), min_length=1)
    """Languages of the sentences."""

    def cases(self) -> dict[str, list[Case]]:
        return {language: list(sentences(language)) for language in self.languages}

    def mostly(self) -> dict[str, int]:
        return {entry["en"]: 1 if entry["mostly"] == "he" else -1 for entry in lexicon()["occupations"]}


@cache
def lexicon() -> Mapping[str, Any]:
    """Occupations, templates and pronouns, from `occupations.yaml`."""
    return YAML(typ="safe", pure=True).load(resources.files("ftheta.evaluation.probes").joinpath("occupations.yaml").read_text(encoding="utf-8"))


def sentences(language: Language) -> list[Case]:
    """Every template with every occupation, named in English."""
    words = lexicon()
    he, she = words["pronouns"][language]
    return [
        Case(entry["en"], *(template.format(occupation=entry[language], pronoun=pronoun) for pronoun in (he, she)))
        for entry in words["occupations"] for template in words["templates"][language]
    ]


class Winogender(PronounProbe):
    """The same in the 240 sentences of Winogender schemas, about sixty occupations."""

    kind: Literal["winogender"] = "winogender"

    def cases(self) -> dict[str, list[Case]]:
        texts: dict[tuple[str, ...], dict[str, str]] = {}
        for row in (found.columns for found in read_rows(locate("winogender") / "all_sentences.tsv")):
            *about, gender, _ = row["sentid"].split(".")
            texts.setdefault(tuple(about), {})[gender] = row["sentence"]
        return {"": [Case(about[0], both["male"], both["female"]) for about, both in texts.items()]}

    def mostly(self) -> dict[str, int]:
        return Occupations().mostly()
