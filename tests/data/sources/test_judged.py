"""Judged answers: verdicts in their spellings, answers that belong to other questions, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ftheta.core.errors import DataError
from ftheta.data.pack import Pack
from ftheta.data.sources.chat import JudgedAnswers
from ftheta.data.sources.source_config import Sections
from ftheta.data.split import Split
from ftheta.data.tokenizers.trained import Bytes


def write(folder: Path, rows: list[dict]) -> str:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(folder / "rows.jsonl")


def test_rows_and_answers_to_other_questions(tmp_path: Path) -> None:
    names = ("good", "label", "kto_tag")
    rows = [{"instruction": f"q{i}", "output": f"a{i}", names[i % 3]: i % 2 == 0} for i in range(6)]
    source = JudgedAnswers(path=write(tmp_path, rows), template="plain")
    prepared = source.prepare(Sections(Bytes(), tmp_path, split=Split(validation=0, test=0), pack=Pack(length=15), lookahead=1))
    data, decode = prepared.splits["train"], prepared.processor.decode
    batch = data.batch(torch.arange(6))
    said = {name: [decode(ids[there >= 0].tolist()) for ids, there in zip(batch[name], batch[f"{name}_documents"], strict=True)] for name in ("answer", "other")}
    assert said["answer"] == [f"q{i}a{i}" for i in range(6)] and said["other"] == [f"q{i}a{(i + 1) % 6}" for i in range(6)]
    assert [decode(ids[mask].tolist()) for ids, mask in zip(batch["answer"], batch["answer_learned"], strict=True)] == [f"a{i}" for i in range(6)]
    assert batch["good"].tolist() == [True, False] * 3
    assert batch.keys() == data.ports.gives.keys() == source.ports().gives.keys()


def test_the_verdict_is_part_of_the_data(tmp_path: Path) -> None:
    prints = []
    for good in (True, False):
        rows = [{"instruction": f"q{i}", "output": "a", "good": good} for i in range(40)]
        prints.append(JudgedAnswers(path=write(tmp_path, rows)).prepare(Sections(Bytes(), tmp_path)).splits["train"].fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.parametrize(("row", "reason"), [
    ({"instruction": "q", "output": "a"}, "does not say whether the answer is good"),
    ({"instruction": "q", "output": "a", "good": "yes"}, "good: expected true or false, got 'yes'"),
    ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}], "good": True}, "no answer to judge"),
])
def test_what_cannot_be_used_is_named(tmp_path: Path, row: dict, reason: str) -> None:
    with pytest.raises(DataError, match=f"row 1: .*{reason}"):
        JudgedAnswers(path=write(tmp_path, [row])).items()
