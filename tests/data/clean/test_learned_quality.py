"""The quality classifier: what it learns, that it learns nothing from noise, its figures, and its files."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clean.texts import CHINESE, real
from ftheta.core.atomic import commit
from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.clean import RULES
from ftheta.data.clean.classifier import PIECE, auc, auc_interval, cut, features, read_quality, train_quality
from ftheta.data.clean.rules import judge
from ftheta.data.documents import Document


def shuffled(text, draws):
    pieces = text.split() if " " in text else list(text)
    draws.shuffle(pieces)
    return (" " if " " in text else "").join(pieces)


@pytest.fixture(scope="module")
def prose():
    return [piece for page in real()[:79] for piece in cut(page)]


@pytest.fixture(scope="module")
def chinese():
    draws, parts = random.Random(1), [part + "。" for part in CHINESE.replace("！", "。").replace("？", "。").split("。") if part]
    return ["".join(draws.sample(parts, 3)) + str(i) for i in range(120)]


def test_prose_is_told_from_shuffled_words_in_both_languages(prose, chinese):
    for texts in (prose, chinese):
        draws = random.Random(0)
        model = train_quality(texts, [shuffled(text, draws) for text in texts])
        assert model.report["auc"] > 0.97 and model.report["low"] < model.report["auc"] <= model.report["high"]


def test_nothing_is_learned_where_there_is_nothing():
    draws = random.Random(0)
    noise = [" ".join(draws.choices("abcdefgh", k=60)) for _ in range(400)]
    report = train_quality(noise[:200], noise[200:]).report
    assert report["low"] < 0.5 < report["high"] and 0.25 < report["auc"] < 0.75


def test_the_same_examples_give_the_same_classifier(prose):
    bad = [shuffled(text, random.Random(0)) for text in prose]
    first, second = train_quality(prose, bad), train_quality(prose, bad)
    assert np.array_equal(first.weights, second.weights) and first.bias == second.bias and first.report == second.report
    assert not np.array_equal(first.weights, train_quality(prose, bad, seed=1).weights)


def test_features_are_counts_of_words_and_pairs():
    found = features("A cat, a cat a", (1, 2))                                          # a ×3, cat, ×1, cat ×1; a-cat, ×1, cat,-a ×1, a-cat ×1, cat-a ×1
    assert sorted(np.round(found.values**2 * 9, 6)) == [1, 1, 1, 1, 1, 1, 3] and np.isclose((found.values**2).sum(), 1)
    assert len(features("", (1, 2)).places) == 0


def test_auc_is_the_share_of_pairs_in_order():
    draws = random.Random(0)
    good, bad = [draws.randint(0, 9) for _ in range(30)], [draws.randint(0, 7) for _ in range(40)]
    assert auc(good, bad) == sum((g > b) + (g == b) / 2 for g in good for b in bad) / len(good) / len(bad)


def test_the_interval_covers():
    """95 % of intervals hold the true area, over draws from two normals one apart (area Φ(1/√2) = 0.7602)."""
    draws, covered = np.random.default_rng(0), 0
    for _ in range(400):
        low, high = auc_interval(auc(draws.normal(1, 1, 40), draws.normal(0, 1, 60)), 40, 60)
        covered += low <= 0.7602 <= high
    assert 0.92 <= covered / 400 <= 0.985
    low, high = auc_interval(1.0, 50, 50)
    assert 0.9 < low < 1 and high == 1


def test_pieces_are_short_and_lose_nothing(prose):
    text = "\n\n".join(real()[:20])
    pieces = list(cut(text))
    assert all(0 < len(piece) <= PIECE for piece in pieces) and "".join("".join(pieces).split()) == "".join(text.split())
    assert list(cut(" \n ")) == []


@pytest.fixture
def files(tmp_path, prose, monkeypatch):
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "home"))
    draws = random.Random(0)
    (tmp_path / "good.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in prose) + "\n")
    (tmp_path / "bad.txt").write_text("\n\n".join(shuffled(text, draws) for text in prose))
    return tmp_path


def test_the_rule_learns_once_and_keeps_what_reads_well(files, prose, monkeypatch):
    fields = {"kind": "classifier", "good": [str(files / "good.jsonl")], "bad": [str(files / "b*.txt")]}
    rule = Slot(RULES).parse(fields)
    verdict, bad = judge(Document("a", prose[3]), [rule]), judge(Document("a", shuffled(prose[3], random.Random(5))), [rule])
    assert verdict.text == prose[3] and verdict.facts["quality"] > 0.5
    assert (bad.text, bad.reason) == (None, "classifier") and bad.facts["quality"] < 0.5 and bad.facts["why"].endswith("< 0.5")
    monkeypatch.setattr("ftheta.data.clean.classifier.train_quality", None)             # a second rule finds it
    assert judge(Document("a", prose[3]), [Slot(RULES).parse(fields)]) == verdict
    given = Slot(RULES).parse({"kind": "classifier", "model": str(rule.folder())})
    assert judge(Document("a", prose[3]), [given]) == verdict


def test_a_written_classifier_is_the_same(tmp_path, prose):
    model = train_quality(prose, [shuffled(text, random.Random(0)) for text in prose])
    with commit(tmp_path / "m") as attempt:
        model.write(attempt)
    found = read_quality(tmp_path / "m")
    assert found.report == model.report and [found.score(text) for text in prose[:5]] == [model.score(text) for text in prose[:5]]


def test_mistakes_are_named(tmp_path, prose):
    with pytest.raises(ConfigError, match="either 'good' and 'bad' examples or a 'model'"):
        Slot(RULES).parse({"kind": "classifier", "good": ["a"]})
    with pytest.raises(DataError, match=r"classifier.bad: 3 examples .* expected 40 at least"):
        train_quality(prose, ["one", "two", "three"])
    with pytest.raises(DataError, match="holds no quality model"):
        read_quality(tmp_path)
    (tmp_path / "folder.txt").mkdir()
    for good in ("*.txt", "none.txt"):
        with pytest.raises(DataError, match=r"data\.clean\.classifier: nothing matches .*\.txt, which `good` or `bad` names"):
            Slot(RULES).parse({"kind": "classifier", "good": [str(tmp_path / good)], "bad": ["b"]}).folder()
    (tmp_path / "rows.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(DataError, match=r"no column 'text' \(data\.clean\.classifier\.field\)"):
        Slot(RULES).parse({"kind": "classifier", "good": [str(tmp_path / "rows.jsonl")], "bad": ["b"]}).folder()


@given(st.text(st.characters(exclude_categories=()), max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_text_breaks_it(text):
    found = features(text, (1, 2, 3))
    assert np.isfinite(found.values).all() and (found.places >= 0).all()
