"""Characters made regular and text repaired."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.data.clean.normalise import Normalise
from ftheta.data.clean.repair import Repair
from ftheta.data.documents import Document

ANY = st.text(st.characters(exclude_categories=()), max_size=60)


def normalised(text, **fields):
    return Normalise.parse(fields).apply(Document("a", text)).text


@given(ANY)
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_written_afterwards(text):
    for fields in ({}, {"form": "NFKC", "width": "half", "invisible": True}, {"width": "full"}, {"width": "letters"}):
        found = normalised(text, **fields)
        found.encode()
        assert "\r" not in found and "\x00" not in found
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    if not any(unicodedata.category(c) in ("Cc", "Cs") for c in expected if c not in "\t\n"):
        assert normalised(text) == unicodedata.normalize("NFC", expected)


def test_halves_of_surrogate_pairs_become_the_sign_for_unknown():
    assert normalised("a\ud83dbc") == "a\ufffdbc"


@pytest.mark.parametrize(("width", "text", "expected"), [
    ("keep", "ＡＢ，１２！", "ＡＢ，１２！"),
    ("letters", "ＡＢ，１２！　中", "AB，12！　中"),
    ("half", "ＡＢ，１２！　中。", "AB,12! 中。"), ("full", "AB,12! 中", "ＡＢ，１２！　中"),
])
def test_widths(width, text, expected):
    assert normalised(text, width=width) == expected


def test_what_has_no_width_goes_if_asked():
    text = "so\u00adft \u200bzero\ufeff \u202aright\u202c\x85"
    assert normalised(text) == text and normalised(text, invisible=True) == "soft zero right\x85"


def test_chinese_in_one_script():
    pytest.importorskip("opencc")
    assert normalised("漢語繁體字，頭髮和發展", script="simplified") == "汉语繁体字，头发和发展"
    assert normalised("汉语简体字，头发和发展", script="traditional") == "漢語簡體字，頭髮和發展"
    assert normalised("plain", script="simplified") == "plain"


@pytest.fixture
def repaired():
    pytest.importorskip("ftfy")
    return lambda text, **fields: Repair.parse(fields).apply(Document("a", text))


def test_wrongly_decoded_text_is_repaired_and_counted(repaired):
    for right, codec in (("It’s naïve – a café", "cp1252"), ("今天天气很好，我们一起去公园吧", "latin-1"), ("Übergröße für Schüler", "cp1252")):
        verdict = repaired(right.encode().decode(codec))
        assert verdict.text == right and verdict.counts == {"repaired documents": 1}


def test_what_is_right_stays(repaired):
    for text in ("It’s “fine”, ﬁne and ，！ＡＢ", "plain text, nothing to do", "今天天气很好，“对”吗？", "<b>AT&amp;T</b>"):
        assert repaired(text) == (text, "", {}, {})
    assert repaired("AT&amp;T").text == "AT&T" and repaired("AT&amp;T", entities="never").text == "AT&amp;T"
    assert repaired("<b>AT&amp;T</b>", entities="always").text == "<b>AT&T</b>"
    assert repaired("“ﬁne”", quotes=True).text == '"ﬁne"' and repaired("“ﬁne”", ligatures=True).text == "“fine”"


@given(ANY)
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_repairing(text):
    pytest.importorskip("ftfy")
    assert Repair().apply(Document("a", text)) == Repair().apply(Document("a", text))
