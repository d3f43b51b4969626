"""Our models under the tasks of lm-evaluation-harness (Gao et al., doi:10.5281/zenodo.12608602): its questions and scoring, our likelihoods and intervals.

Tasks of the harness may hold Python code, which it carries out. So no recipe can name them, only a person at the command line or in Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import DataError, MissingExtraError, UsageError, suggest
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation.metrics.answered import progress
from ftheta.evaluation.metrics.metric import Measurement, Result
from ftheta.evaluation.statistics import mean, proportion, ratio
from ftheta.inference.likelihood import continuations, ensure_continues, score_texts
from ftheta.models.model import Model
from ftheta.models.tasks.text import Prompt, TextGeneration

MOST = 256
"""New tokens where a task does not say how many."""


class Answering:
    """What the harness asks of a model: log p of continuations, log p of whole texts, greedy text up to a stop string."""

    def __init__(self, model: Model):
        super().__init__()
        self.processor: TextProcessor = ensure_continues(model.architecture, model.processor)
        self.architecture = model.architecture
        self.longest = model.architecture.config.ports().sizes["T"]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(log p, whether greedy) for every (context, continuation)."""
        parts = progress([(one.args[0], one.args[1]) for one in requests], "continuations")
        scores = [scored for part in parts for scored in score_texts(self.architecture, self.processor, part)]
        return [(scored.log_p, scored.greedy) for scored in scores]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """log p of every text, in windows of the model's length that do not overlap."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        first, *_ = *self.processor.ids(self.processor.begin), self.processor.borders[0]
        found = []
        for (text,) in (one.args for one in requests):
            ids = self.processor.encode(text, start=False)
            windows = [make_disjoint_window(window) for window in get_rolling_token_windows(ids, first, self.longest, 1)]
            found.append(sum(scored.log_p for scored in continuations(self.architecture, windows, self.longest)))
        return found

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The text that goes on from every context, up to one of its stop strings."""
        task = TextGeneration(self.architecture, self.processor)
        asked = [prompt(*one.args) for one in requests]
        return [answer.text for part in progress(asked, "answers") for answer in task.run(part)]


def prompt(context: str, how: dict[str, Any]) -> Prompt:
    """A request in our words. The likeliest text, unless the task asks for sampling."""
    until = how.get("until", [])
    sampled = bool(how.get("do_sample", False)) and how.get("temperature", 1.0) > 0
    return Prompt(
        prompt=context, stop=(until,) if isinstance(until, str) else tuple(until), most=int(how.get("max_gen_toks", MOST)),
        temperature=float(how.get("temperature", 1.0)) if sampled else 0.0, top_p=float(how.get("top_p", 1.0)),
    )


def adapter(model: Model) -> Any:
    """The model as the harness takes it (an `lm_eval.api.model.LM`). Raises UsageError for a model that does not continue text."""
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise MissingExtraError("lm-eval", "harness", "tasks of lm-evaluation-harness") from None
    return type("FthetaLM", (Answering, LM), {})(model)


class Harness(Config):
    """What the harness is to measure."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Its names for them."""
    limit: int | None = Field(default=None, gt=0)
    """At most this many questions of each."""
    shots: int | None = Field(default=None, ge=0)
    """Answered examples before every question; none: as the task says."""
    include: str | None = None
    """A folder with further tasks, YAML files."""


def measure_harness(model: Model, harness: Harness, seed: int) -> Result:
    """What the harness measures. Raises UsageError, DataError."""
    lm = adapter(model)
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=harness.include, include_defaults=False)
    if not set(harness.tasks) <= set(manager.all_tasks):                                       # reading all of its own takes it many seconds
        manager = TaskManager(include_path=harness.include)
    if unknown := [task for task in harness.tasks if task not in manager.all_tasks]:
        near = [name for name in manager.all_tasks if unknown[0].lower() in name.lower() or name.lower() in unknown[0].lower()]
        raise UsageError(f"--harness {unknown[0]}: lm-evaluation-harness has no such task{suggest(unknown[0], near[:20], 'tasks like it')}")
    try:
        found: Any = evaluator.simple_evaluate(
            lm, tasks=list(harness.tasks), num_fewshot=harness.shots, limit=harness.limit, task_manager=manager, bootstrap_iters=0, random_seed=seed, numpy_random_seed=seed,
            torch_random_seed=seed, fewshot_random_seed=seed,
        )
    except (OSError, ValueError, ImportError) as error:                                        # a data set that cannot be had, a package that is missing
        raise DataError(f"lm-evaluation-harness: {error}") from None
    result = Result()
    for task, samples in found["samples"].items():
        for name, kept in {(name, sample["filter"]): None for sample in samples for name in sample["metrics"]}:
            values = [sample[name] for sample in samples if sample["filter"] == kept and name in sample]
            title, whole = f"{task} {name}" if kept == "none" else f"{task} {name} ({kept})", found["results"][task].get(f"{name},{kept}")
            better = found.get("higher_is_better", {}).get(task, {}).get(name, True)
            if values:
                result.measurements.append(measured(title, name, values, whole, "higher" if better else "lower", seed))
    return result


def measured(title: str, name: str, values: Sequence[Any], whole: Any, better: Literal["higher", "lower"], seed: int) -> Measurement:
    """What the harness found for each question, put together as it does: a mean, or a perplexity (or bits) of pairs of log p and how many words or bytes.

    What is put together in another way is given as the harness does, without interval.
    """
    numbers = [np.atleast_1d(np.array(value, dtype=float)) if isinstance(value, bool | int | float | tuple | list | np.number) else np.zeros(0) for value in values]
    sizes = {len(one) for one in numbers}
    if sizes == {1}:
        units = np.concatenate(numbers)
        found = proportion(int(units.sum()), len(units)) if np.isin(units, (0, 1)).all() else mean(units, seed)
        return Measurement(title, found.value, found.low, found.high, len(units), "question", better, found.method, seed, {"value": units})
    if sizes == {2} and name.endswith(("perplexity", "bits_per_byte")):
        log_p, count = np.stack(numbers, 1)
        found = ratio(-log_p, count, seed)
        value, low, high = (end / math.log(2) if name == "bits_per_byte" else math.exp(end) for end in found[:3])
        return Measurement(title, value, low, high, len(values), "document", better, found.method, seed)
    return Measurement(title, float(whole), math.nan, math.nan, len(values), "question", better, "none: the harness's own number", seed)
