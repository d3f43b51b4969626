"""Equal documents, paragraphs and lines beside a dictionary of texts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.core.errors import ConfigError, DataError
from ftheta.data.dedup.exact import Exact
from ftheta.data.documents import Document

TEXT = st.lists(st.sampled_from(["Aa", "a a", "a", "b", "中。", "\n", "\n\n", " ", "."]), max_size=7).map("".join)


def config(**fields: Any) -> Exact:
    return Exact.parse({"kind": "exact", **fields})


def kept(exact: Exact, texts: list[str], facts: list[dict[str, Any]] | None = None) -> list[str | None]:
    documents = [Document(str(i), text, facts[i] if facts else {}) for i, text in enumerate(texts)]
    decision, = exact.decide([exact.signature(documents)])
    return [decision.apply(number, text) for number, text in enumerate(texts)]


def counted(text: str, ignore: str) -> str:
    if ignore == "spaces":
        return " ".join(text.split())
    return " ".join(re.findall(r"[^\W_]+", text.casefold())) if ignore == "signs" else text


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=8), st.sampled_from(["nothing", "spaces", "signs"]), st.integers(1, 3))
def test_of_equal_documents_the_first_stays(texts: list[str], ignore: str, shortest: int) -> None:
    seen, expected = set(), []
    for text in texts:
        what = counted(text, ignore)
        expected.append(None if what in seen else text)
        if len(what) >= shortest:
            seen.add(what)
    assert kept(config(ignore=ignore, shortest=shortest), texts) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=6), st.sampled_from(["nothing", "spaces", "signs"]), st.integers(1, 3))
def test_of_equal_lines_the_first_stays(texts: list[str], ignore: str, shortest: int) -> None:
    seen, expected = set(), []
    for text in texts:
        left = ""
        for line in text.splitlines(keepends=True):
            what = counted(line.removesuffix("\n"), ignore)
            left += "" if what in seen else line
            if len(what) >= shortest:
                seen.add(what)
        expected.append(left if left == text or left.strip() else None)
    assert kept(config(unit="line", ignore=ignore, shortest=shortest), texts) == expected


def test_paragraphs_go_with_the_empty_lines_after_them() -> None:
    texts = ["a line\nand one\n\nsecond\n", "before\n\na line\nand  one\n\n\nafter", "Second", "\n\nsecond\n\n"]
    assert kept(config(unit="paragraph"), texts) == [texts[0], "before\n\nafter", "Second", None]
    assert kept(config(unit="paragraph", ignore="signs"), texts) == [texts[0], "before\n\nafter", None, None]
    assert kept(config(unit="paragraph", ignore="nothing"), texts) == [texts[0], texts[1], "Second", None]


def test_the_copy_that_is_wished_for_stays() -> None:
    texts = ["a b", "a  b", "a   b", "a b"]
    facts = [{"source": "web", "score": 1}, {"source": "web", "score": 3.5}, {"source": "books"}, {"source": "books", "score": 2}]

    def which(**fields: Any) -> list[int]:
        return [i for i, text in enumerate(kept(config(**fields), texts, facts)) if text is not None]

    assert which() == [0]
    assert which(keep="longest") == [2]
    assert which(keep="best", fact="score") == [1]
    assert which(sources=["books"]) == [2]
    assert which(sources=["other", "web", "books"], keep="longest") == [1]
    assert which(sources=["books"], keep="best", fact="score") == [3]
    lines = kept(config(unit="line", keep="longest"), ["x\nsame", "longer line\nsame", "same"])
    assert lines == ["x\n", "longer line\nsame", None]


def test_what_is_best_must_be_said_and_be_a_number() -> None:
    for fields in ({"keep": "best"}, {"fact": "score"}, {"keep": "longest", "fact": "score"}):
        with pytest.raises(ConfigError, match="fact: says which copy is best"):
            config(**fields)
    with pytest.raises(DataError, match=r"page 7: fact 'licence' is 'MIT', expected a number"):
        config(keep="best", fact="licence").signature([Document("page 7", "text", {"licence": "MIT"})])
