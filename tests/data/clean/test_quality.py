"""Rule sets by counting: formulas written out, datatrove's filters, every threshold, and what is said of a dropped document."""

import re
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clean.texts import CHINESE, noisy, real, words
from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.clean import RULES
from ftheta.data.clean.measures import LONGEST, Measures
from ftheta.data.clean.quality import MEASURES, SETS, Quality, rule_set
from ftheta.data.clean.rules import judge
from ftheta.data.documents import Document

ANY = st.text(st.characters(exclude_categories=()) | st.sampled_from("ab。中的 \n.#"), max_size=80)
"""Every character a str can hold, lone surrogates too, and some more often."""


def keeps(text, **fields):
    return judge(Document("a", text), [Slot(RULES).parse({"kind": "quality", **fields})]).text is not None


# the measures, by naive formulas


@given(ANY)
@settings(max_examples=300, deadline=None)
def test_words_are_those_of_the_formula(text):
    found, expected = Measures(text), words(text)
    assert [text[a:b] for a, b in zip(found.begin, found.end, strict=True)] == expected
    same = {word: int(value) for word, value in zip(expected, found.hashes, strict=True)}
    assert len(set(same.values())) == len(same) and [same[word] for word in expected] == found.hashes.tolist()
    assert Measures(text).alphabetic_words() == (sum(any(c.isalpha() for c in word) for word in expected) / len(expected) if expected else 0)


def test_long_texts_give_words_the_same_hashes():
    text = " ".join(noisy(3)) + " x" + "y" * 200 + " "
    assert len(text) < LONGEST < len(text * 100)
    short, long = Measures(text), Measures(text * 100)
    assert long.hashes.tolist() == short.hashes.tolist() * 100 and long.repeats(3).most == 100 * short.repeats(3).most


def naive_top(text, size):
    grams = Counter(tuple(words(text)[i : i + size]) for i in range(len(words(text)) - size + 1))
    return grams.most_common(1)[0][1] if grams else 1


def naive_duplicates(text, size):
    """Characters in grams that equal an earlier one, as Gopher's authors count them."""
    pieces, seen, i, total = words(text), set(), 0, 0
    while i + size <= len(pieces):
        gram = tuple(pieces[i : i + size])
        if gram in seen:
            total, i = total + len("".join(gram)), i + size
        else:
            seen.add(gram)
            i += 1
    return total / len(text)


@given(st.text("ab \n中", min_size=1, max_size=120))
@settings(max_examples=300, deadline=None)
def test_grams_are_those_of_the_formula(text):
    chained, alone = Measures(text), Measures(text)
    for size in range(1, 6):
        assert chained.duplicate_grams(size) == naive_duplicates(text, size)
        assert chained.repeats(size).most == naive_top(text, size)
    for size in (5, 3, 1):
        assert alone.duplicate_grams(size) == naive_duplicates(text, size)


@given(st.text("ab \n中", min_size=1, max_size=120), st.floats(0, 1), st.permutations([2, 3, 4, 6]))
@settings(max_examples=300, deadline=None)
def test_a_bound_instead_of_the_value_changes_no_verdict(text, limit, sizes):
    quick = Measures(text)
    for size in sizes:
        assert (quick.top_gram(size, limit) > limit) == (Measures(text).top_gram(size) > limit)
        assert (quick.duplicate_grams(size, limit) > limit) == (naive_duplicates(text, size) > limit)


@given(st.text("a \n\t-", max_size=40))
@settings(max_examples=200, deadline=None)
def test_lines_and_paragraphs_are_those_of_the_formula(text):
    def repeats(pieces):
        again = [piece for i, piece in enumerate(pieces) if piece in pieces[:i]]
        return len(again) / len(pieces), len("".join(again)) / max(1, len(text))

    assert Measures(text).line_repeats == repeats(re.split("\n+", text))
    if text.strip():
        assert Measures(text).paragraph_repeats == repeats(re.split(r"\n{2,}", text.strip()))


def test_letters_need_no_table_beyond_the_assigned_planes():
    assert not any(chr(code).isalpha() or chr(code).isspace() for code in range(0x34000, 0x110000))


@pytest.mark.parametrize(("text", "count"), [
    ("", 0), ("One. Two! Three?", 3), ("One line\nanother one.\n\n", 2), ("3.5 is a number. So is 4.2.", 2), ('"Why?" he said. "No."', 3),
    ("今天很好。你呢？我也是！", 3), ("他说：“好。”然后走了。", 2), ("等一等。。。好！", 2),
])
def test_sentences(text, count):
    assert Measures(text).sentences == count


HOSTILE = ["a", "a ", ". ", "的", "的。", "。", "...", "\ud800", "[1", "{", "- \n", "x = 1\n", "import x:\n", ".\"", "Ã©", "&amp", "ab ba ", "1 "]
LINEAR = [{"kind": "quality", "rules": name} for name in SETS.__args__] + [
    {"kind": "normalise", "form": "NFKC", "width": "half", "invisible": True}, {"kind": "lines"}, {"kind": "lines", "rules": "c4_chinese"}, {"kind": "language"},
    {"kind": "quality", "rules": "gopher_repetition", "duplicate_lines": [None, None], "duplicate_paragraphs": [None, None]},
]


@pytest.mark.parametrize("fields", LINEAR, ids=lambda fields: "-".join(map(str, list(fields.values())[:2])))
def test_four_times_the_text_takes_about_four_times_as_long(fields):
    """Quadratic time would be a factor of 16."""
    rule = Slot(RULES).parse({**fields, "top_ngrams": {"2": 1e9}} if "duplicate_lines" in fields else fields)

    def seconds(text):
        start = time.process_time()
        rule.apply(Document("a", text))
        return time.process_time() - start

    seconds("libraries and tables are loaded")
    for piece in HOSTILE:
        short, long = (piece * (size // len(piece)) for size in (40_000, 160_000))
        assert seconds(long) < 8 * seconds(short) + 0.3, piece


# datatrove's filters


@pytest.fixture(scope="module")
def peers():
    pytest.importorskip("datatrove")
    from datatrove.pipeline.filters import fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter

    with pytest.MonkeyPatch.context() as patch:
        for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
            patch.setattr(module, "split_into_words", lambda text, language: words(text))
        yield {
            "gopher": gopher_quality_filter.GopherQualityFilter(), "gopher_repetition": gopher_repetition_filter.GopherRepetitionFilter(),
            "fineweb": fineweb_quality_filter.FineWebQualityFilter(),
        }


@pytest.mark.parametrize("name", ["gopher", "gopher_repetition", "fineweb"])
def test_the_kept_are_those_of_datatrove(peers, name):
    """With the same words. datatrove counts a bullet or a dash alone as more than punctuation; here no word of symbols is."""
    from datatrove.data import Document as Theirs

    texts = [text for text in real() + noisy(300) + [CHINESE * k for k in range(1, 8)] if text.strip()]
    if name == "gopher":
        texts = [text.replace("•", "-").replace("–", "-") for text in texts]
    mine = [keeps(text, rules=name) for text in texts]
    theirs = [peers[name].filter(Theirs(text=text, id="")) is True for text in texts]
    assert mine == theirs
    assert 0.02 < sum(mine) / len(mine) < 0.98


# what a user writes and reads


def test_a_dropped_document_says_why():
    verdict = judge(Document("a", "word " * 60), [Quality(rules="gopher")])
    assert (verdict.text, verdict.reason, verdict.facts) == (None, "gopher stop words", {"why": "stop words 0 < 2"})


def test_thresholds_given_replace_those_of_the_set():
    text = "the of words " * 20
    assert keeps(text, rules="gopher") and not keeps(text, rules="gopher", words=[61, None]) and not keeps(text, rules="gopher", mean_word_length=[4, 10])
    assert keeps("a few words", rules="gopher", words=[None, None], stop_words=[None, None])
    verdict = judge(Document("a", text), [Quality.parse({"rules": ["gopher", "text"], "sentences": [2, None]})])
    assert verdict.reason == "own sentences"


def test_several_sets_are_asked_in_turn():
    both = Quality(rules=("text", "gopher"))
    assert judge(Document("a", "short"), [both]).reason == "text characters"
    assert judge(Document("a", "short but of more than sixteen characters"), [both]).reason == "gopher words"


@pytest.mark.parametrize(("fields", "message"), [
    ({"mean_word_length": [10, 3]}, r"mean_word_length: expected \[least, most\], got \[10"),
    ({"mean_word_lenght": [3, 10]}, "did you mean 'mean_word_length'"),
    ({"rules": "gofer"}, "did you mean 'gopher'"),
    ({"bullet_lines": [None, 0.5]}, "'bullet_lines' needs 'bullets'"),
    ({"top_ngrams": {"0": 0.1}}, "1 word at least"),
])
def test_bad_thresholds_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Slot(RULES).parse({"kind": "quality", **fields})


def test_a_rule_for_one_language_leaves_others_alone():
    rule = Quality(rules="gopher", languages=("en",))
    assert judge(Document("a", "kurz", {"language": "de"}), [rule]).text == "kurz"
    assert judge(Document("a", "short", {"language": "en"}), [rule]).reason == "gopher words"
    with pytest.raises(DataError, match="nothing says which language a is in"):
        judge(Document("a", "short"), [rule])


@pytest.mark.parametrize("name", SETS.__args__)
@given(text=ANY)
@settings(max_examples=40, deadline=None)
def test_no_text_breaks_a_set(name, text):
    rule = Quality(rules=name)
    assert rule.apply(Document("a", text)) == rule.apply(Document("a", text))


def test_every_measure_is_a_field_and_in_a_set():
    assert MEASURES.keys() <= Quality.model_fields.keys()
    assert all(any(getattr(rule_set(name), measure) for name in SETS.__args__) for measure in MEASURES)


def test_chinese_pages_are_kept_and_lists_of_links_are_not():
    page = "\n".join(CHINESE.replace("三", number) for number in "一二四五六七八九")
    links = "\n".join(f"首页 新闻{i} 体育{i} 联系我们" for i in range(40))
    for name in ("gopher_chinese", "c4_chinese"):
        assert keeps(page, rules=name), name
    assert keeps("\n".join(dict.fromkeys(CHINESE.replace("。", "。\n").splitlines())) , rules="fineweb_chinese")
    assert not keeps(links, rules="fineweb_chinese") and not keeps(CHINESE * 20, rules="gopher_repetition_chinese")
