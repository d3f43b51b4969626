"""Languages and source code told apart."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clean.texts import CHINESE, real
from ftheta.core.errors import ConfigError, MissingExtraError
from ftheta.data.clean import language
from ftheta.data.clean.language import Language, language_of, looks_like_code
from ftheta.data.clean.quality import Quality
from ftheta.data.clean.rules import judge
from ftheta.data.documents import Document

ENGLISH = "The committee will meet again on Thursday to decide about the new building."
GERMAN = "Der Ausschuss trifft sich am Donnerstag wieder, um über das neue Gebäude zu entscheiden."
CODE = "import os\n\nclass A:\n    def f(self, x):\n        return x[0] + 1\n\nprint(A().f([1]))\n"


@pytest.mark.parametrize(("text", "code"), [
    (CHINESE, "zh"), ("今年北京GDP增长5%", "zh"), ("これは日本語の文章です。", "ja"), ("한국어 문장입니다.", "ko"),
    ("漢語繁體字的文章", "zh"), ("123 456 -- !", "und"), ("", "und"),
])
def test_scripts_are_counted(text, code):
    assert language_of(text)[0] == code


def test_others_are_told_by_py3langid():
    pytest.importorskip("py3langid")
    french, russian = "Le comité se réunira de nouveau jeudi pour décider.", "Комитет снова соберётся в четверг."
    for text, code in ((ENGLISH, "en"), (GERMAN, "de"), (french, "fr"), (russian, "ru")):
        found, score = language_of(text)
        assert found == code and score > 0.65
        assert language_of(text * 300) == language_of(text * 300) and language_of(text * 300)[0] == code


def test_documents_are_kept_by_language_and_say_it():
    pytest.importorskip("py3langid")
    rule = Language(keep=("en", "zh"))
    kept = judge(Document("a", ENGLISH), [rule])
    assert kept.text == ENGLISH and kept.facts["language"] == "en" and kept.facts["language_score"] > 0.65
    dropped = judge(Document("a", GERMAN), [rule])
    assert (dropped.text, dropped.reason) == (None, "language de") and str(dropped.facts["why"]).startswith("language de, sure to")
    assert judge(Document("a", "12 34"), [rule]).reason == "language und" and judge(Document("a", "12 34"), [Language()]).text == "12 34"
    assert judge(Document("a", ENGLISH), [Language(least=1.0)]).facts["language"] == "und"


def test_a_rule_for_the_language_found():
    pytest.importorskip("py3langid")
    rules = [Language(), Quality(rules="gopher", languages=("en",)), Quality(rules="gopher_chinese", languages=("zh",))]
    assert judge(Document("a", ENGLISH), rules).reason == "gopher words" and judge(Document("a", CHINESE[:20]), rules).reason == "gopher_chinese words"
    assert judge(Document("a", GERMAN), rules).text == GERMAN


def test_paragraphs_in_another_language_are_taken_out():
    pytest.importorskip("py3langid")
    verdict = Language(keep=("en", "zh"), paragraphs=True).apply(Document("a", f"{ENGLISH}\n\n{GERMAN}\n{CHINESE}\n42\n{ENGLISH * 3}"))
    assert verdict.text == f"{ENGLISH}\n\n{CHINESE}\n42\n{ENGLISH * 3}" and verdict.counts == {"paragraphs in de": 1}


def test_code_is_no_language():
    named = Language(keep=("en",)).apply(Document("package/module.py", ENGLISH))
    assert named.reason == "language code" and named.facts["code"] == "python"
    assert Language().apply(Document("a", CODE)).facts["language"] == "code"
    pytest.importorskip("py3langid")
    assert Language(code=False).apply(Document("a.py", ENGLISH)).facts["language"] == "en"


def test_code_is_told_from_prose_by_its_lines():
    pages = real()[:79]
    modules = [path.read_text(encoding="utf-8") for path in sorted(Path(language.__file__).parents[2].glob("*/*.py"))]
    assert sum(map(looks_like_code, modules)) > 0.95 * len(modules) and sum(map(looks_like_code, pages)) < 0.05 * len(pages)
    assert not looks_like_code(ENGLISH * 20) and not looks_like_code("# A heading\n\n" + ENGLISH + "\n- a point\n- another\n")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "py3langid.langid", None)
    language.identifier.cache_clear()
    with pytest.raises(MissingExtraError, match=r"py3langid.*ftheta\[data\]"):
        language_of(ENGLISH)


@given(st.text(st.characters(exclude_categories=()), max_size=60))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_it(text):
    pytest.importorskip("py3langid")
    rule = Language(keep=("en",), paragraphs=True)
    assert rule.apply(Document("a", text)) == rule.apply(Document("a", text))


def test_a_language_that_is_none_is_refused_with_the_nearest_code():
    with pytest.raises(ConfigError, match=r"keep\.1.*'eng'; did you mean 'en'"):
        Language.parse({"kind": "language", "keep": ["zh", "eng"]})
    assert Language(keep=("code", "und", "ja")).keep
