"""Evaluation texts are found in documents as a loop over words finds them, and told of by set."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftheta.core.errors import DataError
from ftheta.data.dedup.contamination import Contamination, runs_wanted
from ftheta.data.documents import Document
from ftheta.data.rows import read_rows

mirror = pytest.mark.skipif("FTHETA_MIRROR" not in os.environ, reason="needs the data sets")
WORDS = st.lists(st.sampled_from("abcd"), max_size=10).map(" ".join)
CHINESE = st.text("一二三", max_size=9)


def config(path: Path | str, **fields: Any) -> Contamination:
    return Contamination.parse({"kind": "contamination", "against": [{"path": str(path)}], **fields})


def decided(contamination: Contamination, texts: list[str]) -> list[str | None]:
    decision, = contamination.decide([contamination.signature([Document(str(i), text) for i, text in enumerate(texts)])])
    return [decision.apply(i, text) for i, text in enumerate(texts)]


def runs(words: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(WORDS | CHINESE, min_size=1, max_size=4), st.lists(WORDS | CHINESE, max_size=4), st.integers(2, 5), st.integers(2, 6), st.sampled_from([0.4, 0.75, 1.0]),
)
def test_documents_dropped_are_those_of_a_loop(tmp_path: Path, asked: list[str], texts: list[str], words: int, characters: int, least: float) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in asked))
    runs_wanted.cache_clear()
    contamination = config(path, words=words, characters=characters, least=least)

    def split(text: str) -> list[str]:
        return text.split() if text.isascii() else list(text)

    wanted = []
    for text in asked:
        whole, count = words if text.isascii() else characters, len(split(text))
        wanted.append(runs(split(text), min(whole, count)) if count and count >= least * whole else set())
    found = [{run for run in set().union(*wanted) if run in runs(split(text), len(run))} for text in texts]
    assert decided(contamination, texts) == [None if some else text for text, some in zip(texts, found, strict=True)]
    signature = contamination.signature([Document("", text) for text in texts])
    account = contamination.account([signature])[str(path)]
    assert account == {
        "rows": len(asked), "looked_for": sum(map(bool, wanted)), "found": sum(bool(run & set().union(*found, set())) for run in wanted),
        "documents": sum(map(bool, found)),
    }


def test_found_texts_are_cut_with_a_margin(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("question,answer\nHow many apples are in the red box of Ann?,seven\n")
    text = "Before it. how MANY apples - are in the (red) box of ann? And after."
    other = "How many apples are in the box?"
    assert decided(config(path, found="cut", margin=0), [text, other]) == ["Before it. ? And after.", other]
    assert decided(config(path, found="cut", margin=5), [text]) == ["Before after."]
    assert decided(config(path, found="cut"), [text]) == [None]
    assert decided(config(path), [text, "fine"]) == [None, "fine"]


def test_rows_columns_and_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("question,answer\nwhat is it?,that\n")
    with pytest.raises(DataError, match=r"asked.csv, line 2: no text in column 'quesion' \(data.deduplicate.against.columns\); did you mean 'question'"):
        Contamination.parse({"kind": "contamination", "against": [{"path": str(path), "columns": ["quesion"]}]}).signature([Document("", "a")])
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no row"):
        config(tmp_path / "empty.jsonl").signature([Document("", "a")])
    with pytest.raises(DataError, match="no data set called 'gsm9k'; did you mean 'gsm8k'"):
        config("data:gsm9k/test.jsonl").signature([])


@mirror
def test_questions_of_real_benchmarks_planted_in_real_documents_are_all_found() -> None:
    sets = [
        {"path": "data:gsm8k/test.jsonl", "columns": ["question"]},
        {"path": "data:fewclue/eprstmt/test_public.json", "format": "jsonl", "columns": ["sentence"]},
    ]
    contamination = Contamination.parse({"kind": "contamination", "against": sets})
    english, chinese = ([row.columns[one["columns"][0]] for row in read_rows(one["path"], one.get("format"))] for one in sets)  # type: ignore[arg-type,index]
    prose = (Path(os.environ["FTHETA_MIRROR"]) / "tinyshakespeare" / "input.txt").read_text().split("\n\n")[:600]
    chinese = [text for text in chinese if len(text) > 40][:100]
    asked = [f"{prose[i]} {question.upper()} {prose[i + 1]}" for i, question in enumerate(english[:100])] + [prose[i] + text for i, text in enumerate(chinese)]
    texts = [*prose, *asked]
    signature = contamination.signature([Document("", text) for text in texts])
    decision, = contamination.decide([signature])
    assert decision.keep[:600].all() and not decision.keep[600:].any()
    account = contamination.account([signature])
    assert [one["documents"] for one in account.values()] == [100, len(chinese)]
    assert account["data:gsm8k/test.jsonl"]["rows"] == 1319 and account["data:gsm8k/test.jsonl"]["found"] >= 100
