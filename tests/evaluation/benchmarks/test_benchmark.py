"""Benchmarks: questions are made as the file says, answers chosen by likelihood, and the share of right ones has its interval."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from ftheta.core.errors import ConfigError, DataError, UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.evaluation.benchmarks.benchmark import read_benchmark, shipped
from ftheta.evaluation.benchmarks.measure import BenchmarkMetric, counted
from ftheta.evaluation.metrics.metric import Subject
from ftheta.evaluation.statistics import proportion
from ftheta.models.model import Model
from planted import looks_up, speaks, spells

mirror = pytest.mark.skipif("FTHETA_MIRROR" not in os.environ, reason="needs the data sets")


def model() -> Model:
    """After a colon, x is likeliest, then y, then z."""
    processor = TextProcessor(Bytes().train([]))
    table = torch.zeros(processor.vocab, processor.vocab)
    (colon,) = processor.encode(":", start=False)
    for letter, logit in (("x", 3.0), ("y", 2.0), ("z", 1.0)):
        table[colon, processor.encode(letter, start=False)[0]] = logit
    return looks_up(table, processor)


def written(folder: Path, rows: list[dict], **fields) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = {"about": "a test", "files": ["rows.jsonl"], "prompt": "{{ q }}:", "choices": ["{{ a }}", "{{ b }}"], "answer": "{{ right }}", **fields}
    (folder / "small.yaml").write_text(json.dumps(facts))
    return str(folder / "small.yaml")


ROWS = [
    {"q": "one", "a": "x", "b": "y", "right": 0, "sort": "p"}, {"q": "two", "a": "z", "b": "x", "right": 1, "sort": "p"},
    {"q": "three", "a": "y", "b": "z", "right": 1, "sort": "q"},
    {"q": "four", "a": "x", "b": "z", "right": 0, "sort": "q"}, {"q": "five", "a": "y", "b": "x", "right": 0, "sort": "q"},
]


def test_the_likeliest_choice_is_taken(tmp_path):
    which = written(tmp_path, ROWS, group="{{ sort }}")
    found = BenchmarkMetric(which=which).measure(Subject(model(), {}, {}, 0))
    picked = [0, 1, 0, 0, 1]                                                                # by hand: x before y before z
    right = [row["right"] for row in ROWS]
    overall, p, q = found.measurements
    assert overall.name == "small accuracy" and overall.value == accuracy_score(right, picked)
    assert (overall.low, overall.high) == proportion(3, 5)[1:3] and list(overall.per_unit["value"]) == [1, 1, 0, 1, 0]
    assert (p.name, p.value, p.n, q.value, q.n) == ("small, p accuracy", 1.0, 2, 1 / 3, 3)
    assert overall.baselines == {"guessing": 0.5, "always the same choice": 0.6}
    assert "one:" in found.texts["Questions of small"]


def test_limit_and_shots(tmp_path):
    which = written(tmp_path, ROWS, examples=["rows.jsonl"], shots=1)
    benchmark = read_benchmark(which)
    questions = benchmark.questions(2, 1, 0)
    assert len(questions) == 2 and len({question.prompt.split("\n\n")[0] for question in questions}) == 1
    shot = questions[0].prompt.split("\n\n")[0]
    row = next(row for row in ROWS if shot.startswith(row["q"]))
    assert shot == f"{row['q']}:{(row['a'], row['b'])[row['right']]}"
    assert [question.prompt for question in benchmark.questions(None, 0, 0)] == [f"{row['q']}:" for row in ROWS]
    assert benchmark.questions(2, 1, 0) == questions != benchmark.questions(2, 1, 3)


def test_rows_can_be_left_out_and_gzipped(tmp_path):
    which = written(tmp_path, ROWS, keep="{{ sort == 'q' }}", files=["rows.jsonl.gz"])
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress((tmp_path / "rows.jsonl").read_bytes()))
    assert [question.prompt for question in read_benchmark(which).questions(None, 0, 0)] == ["three:", "four:", "five:"]


def test_written_answers_must_match(tmp_path):
    rows = [{"q": "b", "right": "12,34"}, {"q": "t", "right": "99"}]
    which = written(tmp_path, rows, prompt="{{ q }}", choices=[], find=r"[\d,]+", ignore=",", most=20)
    speaker = speaks({**spells("both 12345"), "4": ""})
    found = BenchmarkMetric(which=which).measure(Subject(speaker, {}, {}, 0))
    assert list(found.measurements[0].per_unit["value"]) == [1, 0] and found.measurements[0].name == "small exact match"
    assert counted(read_benchmark(which), "it is 1,000 or 2,500.") == "2500" and counted(read_benchmark(which), "none") == ""


@pytest.mark.parametrize(("fields", "error", "why"), [
    ({"choices": ["a"]}, ConfigError, "one choice is none"), ({"prompt": "{{ q "}, UsageError, "prompt: .*line 1"),
    ({"prompt": "{{ nothing }}"}, DataError, "'nothing' is undefined"),
    ({"answer": "{{ q }}"}, DataError, "no number from 0 to 1"), ({"files": ["other.jsonl"]}, DataError, "other.jsonl cannot be read"), ({"shots": 2}, UsageError, "no examples"),
    ({"promt": "x"}, ConfigError, "did you mean 'prompt'"), ({"prompt": "{% for i in range(10 ** 9) %}x{% endfor %}"}, DataError, "Range too big|steps|larger"),
])
def test_mistakes_are_named(tmp_path, fields, error, why):
    with pytest.raises(error, match=why):
        BenchmarkMetric(which=written(tmp_path, ROWS, **fields)).measure(Subject(model(), {}, {}, 0))


def test_unknown_names_are_told():
    with pytest.raises(UsageError, match="did you mean 'gsm8k'"):
        read_benchmark("gsm8")


def test_shipped_benchmarks_parse():
    assert {"gsm8k", "eprstmt", "bustm", "ocnli", "bbq_6cat", "cbbq_zh", "sst2"} <= shipped().keys()
    for name in shipped():
        assert read_benchmark(name).about


@mirror
@pytest.mark.parametrize(("name", "rows", "shares"), [
    ("gsm8k", 1319, None), ("eprstmt", 610, 2), ("bustm", 1772, 2), ("ocnli", 2520, 3), ("bbq_6cat", 11956, 3), ("cbbq_zh", 20444, 3), ("sst2", 1821, 2),
])
def test_shipped_benchmarks_ask_about_the_published_rows(name, rows, shares):
    benchmark = read_benchmark(name)
    kept = benchmark.rows(benchmark.files)
    assert len(kept) == rows
    asked = [benchmark.question(row) for row in kept[:: max(1, rows // 60)]]
    if shares is None:
        assert all(re.fullmatch(r"-?\d+", counted(benchmark, str(question.right))) for question in asked)
    else:
        assert all(len(set(question.choices)) == shares for question in asked) and len({question.right for question in asked}) == shares
        assert np.all([question.prompt.strip() for question in asked])
