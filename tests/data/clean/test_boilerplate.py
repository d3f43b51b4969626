"""Lines that say nothing: C4's, as datatrove takes them out, and those of Chinese pages."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clean.texts import noisy, real
from ftheta.data.clean.lines import Lines
from ftheta.data.clean.measures import Measures
from ftheta.data.clean.quality import Quality
from ftheta.data.clean.rules import judge
from ftheta.data.documents import Document

PAGE = (
    "Home | News\nThe first sentence of a page.\nWe use cookies to make this better.\n\nPlease enable JavaScript to read on.\n"
    "It has [1] a second one.[edit]\nThe end..."
)


def test_the_kept_texts_of_c4_are_those_of_datatrove():
    """Both rules together, with the same sentences: which documents are kept, and what is left of them."""
    pytest.importorskip("datatrove")
    from datatrove.data import Document as Theirs
    from datatrove.pipeline.filters import c4_filters

    draws = random.Random(0)
    phrases = ["lorem ipsum.", "Use javascript {here}.", "{ a brace.", "Our Privacy Policy applies here.",
               "x" * 1001 + " a b.", "Some [12] words [edit].", "no[1]"]
    pages = [draws.sample(phrases, 3) + [f"A sentence of words, number {i}." for i in range(draws.randint(2, 9))] for _ in range(100)]
    texts = real() + noisy(200) + ["\n".join(page) for page in pages]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c4_filters, "split_into_sentences", lambda line, language: [line] * Measures(line).sentences)
        peer, mine, theirs = c4_filters.C4QualityFilter(), [], []
        for text in texts:
            other = Theirs(text=text, id="")
            theirs.append(other.text if peer.filter(other) is True else None)
            mine.append(judge(Document("a", text), [Lines(), Quality(rules="c4")]).text)
    assert mine == theirs
    assert 0.05 < sum(text is not None for text in mine) / len(mine) < 0.95


def test_lines_taken_out_are_counted():
    verdict = Lines().apply(Document("a", PAGE))
    assert verdict.text == "The first sentence of a page.\nIt has  a second one."
    assert verdict.counts == {"lines without an end": 2, "boilerplate lines": 2}
    kept = Lines(rules="boilerplate").apply(Document("a", PAGE))
    assert kept.text == "Home | News\nThe first sentence of a page.\n\nIt has [1] a second one.[edit]\nThe end..." and kept.counts == {"boilerplate lines": 2}


def test_a_phrase_can_drop_the_document():
    verdict = judge(Document("a", "Some words before.\nLorem Ipsum dolor sit amet."), [Lines()])
    assert verdict[:3] == (None, "lines c4 forbidden", {"why": "a line contains 'lorem ipsum'"})


def test_chinese_lines():
    page = "首页 新闻 体育\n今天天气很好，我们去公园。\n好。\n版权所有：某某公司，保留一切权利。\n他说：“我也去。”\n京ICP备12345678号-1。\n上一篇：昨天的新闻。"
    verdict = Lines(rules="c4_chinese").apply(Document("a", page))
    assert verdict.text == "今天天气很好，我们去公园。\n他说：“我也去。”" and verdict.counts == {"lines without an end": 1, "short lines": 1, "boilerplate lines": 3}


def test_own_thresholds():
    text = "one two three\nfour five six seven"
    assert Lines(rules="none").apply(Document("a", text)).text == text
    assert Lines(rules="none", fewest_words=4).apply(Document("a", text)).text == "four five six seven"
    assert Lines(ends="e").apply(Document("a", text)).text == "one two three"


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("ab .\n[1]{。"), max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_it(text):
    for rules in ("c4", "c4_chinese", "boilerplate", "none"):
        once = Lines(rules=rules).apply(Document("a", text))
        assert once == Lines(rules=rules).apply(Document("a", text)) and (once.text is None or len(once.text) <= len(text))
