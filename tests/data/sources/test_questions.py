"""Questions about texts: answers become the right tokens in every window, articles stay together, files are refused with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ftheta
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.questions import AskedTexts, place_in
from ftheta.data.sources.questions import Questions, questions
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.tokenizers.subword import WordPiece
from ftheta.data.tokenizers.trained import ByteBPE, Bytes, Characters, TokenizerConfig

CHINESE = "邹游（1982年8月4日－），中国足球运动员，司职中场。邹游在2004年正式进入大连实德一线队。"
ENGLISH = "The Panthers gave up just 308 points. Josh Norman led the team with four interceptions, and Jared Allen had 136 sacks."


def asked(question: str, context: str, *answers: str) -> dict[str, Any]:
    return {"question": question, "answers": [{"text": text, "answer_start": context.find(text)} for text in answers]}


def article(title: str, context: str, *qas: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": context, "qas": [{"id": f"{title}-{i}", **qa} for i, qa in enumerate(qas)]}]}


def write(folder: Path, *articles: dict[str, Any], name: str = "asked.json") -> str:
    (folder / name).write_text(json.dumps({"data": list(articles)}), encoding="utf-8")
    return str(folder / name)


def two(folder: Path) -> str:
    return write(
        folder, article("邹游", CHINESE, asked("邹游司职什么？", CHINESE, "司职中场", "中场"), asked("邹游哪年进入一线队？", CHINESE, "2004年")),
        article("Panthers", ENGLISH, asked("How many sacks had Allen?", ENGLISH, "136"), {"question": "Who lost?", "answers": [], "is_impossible": True}),
    )


def prepared(path: str, folder: Path, tokenizer: TokenizerConfig, **fields: Any) -> Prepared:
    return Questions.parse({"kind": "questions", "path": path, "validation": 0.0, "test": 0.0, **fields}).prepare(Sections(tokenizer, folder / "cache"))


@pytest.mark.parametrize("tokenizer", [Bytes(), Characters(), WordPiece(vocab=170)], ids=lambda tokenizer: tokenizer.kind)
@pytest.mark.parametrize(("longest", "stride"), [(400, 0), (96, 40), (64, 20)])
def test_the_tokens_pointed_at_are_the_answer_or_the_window_does_not_hold_it(tmp_path: Path, tokenizer: TokenizerConfig, longest: int, stride: int) -> None:
    found = prepared(two(tmp_path), tmp_path, tokenizer, longest=longest, stride=stride)
    train, processor = found.splits["train"], found.processor
    assert isinstance(train, AskedTexts) and isinstance(processor, TextProcessor) and processor.longest == longest
    row = held = 0
    for question in train.asked:
        windows = processor.windows(question.question, question.context, longest, stride)
        texts = []
        for encoding in windows:
            batch = train.batch(torch.tensor([row]))
            assert batch["tokens"][0].tolist() == encoding.ids and len(encoding.ids) <= longest
            first, last = int(batch["first"]), int(batch["last"])
            places = [t for t, number in enumerate(encoding.sequence_ids) if number == 1]
            seen = question.context[encoding.offsets[places[0]][0] : encoding.offsets[places[-1]][1]]
            if (first, last) == (0, 0):
                texts.append(None)
                inner = seen[1:-1] if tokenizer.kind == "bytes" else seen                 # a window may begin or end inside a character
                assert question.taught == "" or question.taught not in inner or question.context.find(seen) > question.start
            else:
                texts.append(question.context[encoding.offsets[first][0] : encoding.offsets[last][1]])
                assert encoding.sequence_ids[first] == encoding.sequence_ids[last] == 1
                held += 1
            row += 1
        assert {text for text in texts if text} == ({question.taught} if question.answers else set()), (question, texts)
    assert row == len(train) and held >= 3 and "dropped" in found.account and found.account["splits"]["train"] == {"questions": 4, "windows": row}


def test_several_answers_and_none(tmp_path: Path) -> None:
    first, second, third, fourth = questions(two(tmp_path))
    assert first.answers == ("司职中场", "中场") and first.taught == "司职中场" and second.answers == ("2004年",)
    assert third.article == "Panthers" and third.name == "Panthers-0" and (fourth.answers, fourth.start) == ((), None)


def test_an_answer_said_to_stand_elsewhere_is_looked_for() -> None:
    assert place_in("a b a b", "b", 2) == 2 and place_in("a b a b", "b", 5) == 6 and place_in("a b a b", "b", -1) == 2 and place_in("a b", "c", 0) is None
    assert place_in("a b", "", 0) is None


def test_questions_whose_answer_is_not_in_the_text_are_asked_but_not_taught(tmp_path: Path) -> None:
    lost = {"question": "？", "answers": [{"text": "不在", "answer_start": -1}]}
    found = prepared(write(tmp_path, article("a", CHINESE, lost, asked("？", CHINESE, "中场"))), tmp_path, Characters())
    train = found.splits["train"]
    assert isinstance(train, AskedTexts) and len(train) == 1 and [question.answers for question in train.asked] == [("不在",), ("中场",)]
    assert found.account["dropped"] == {"questions whose answer is not in the text": 1}
    with pytest.raises(DataError, match="no question of the train split"):
        prepared(write(tmp_path, article("a", CHINESE, lost)), tmp_path, Characters())


def test_what_tokens_cannot_name_exactly_is_counted(tmp_path: Path) -> None:
    found = prepared(write(tmp_path, article("a", "cats sat " * 4, asked("?", "cats sat " * 4, "ca"))), tmp_path, ByteBPE(vocab=261))      # its only merge is "at"
    assert found.account["dropped"] == {"answers that are part of a token": 1}
    longer = prepared(write(tmp_path, article("a", ENGLISH, asked("who?", ENGLISH, ENGLISH[:100]))), tmp_path, Bytes(), longest=64, stride=8)
    assert longer.account["dropped"] == {"answers that no window holds": 1} and int(longer.splits["train"].batch(torch.arange(2))["last"].sum()) == 0


def test_an_article_is_in_one_part_and_measured_articles_do_not_train(tmp_path: Path) -> None:
    many = [article(f"t{i}", f"{CHINESE} {i}", asked("？", CHINESE, "中场"), asked("何年？", CHINESE, "2004年")) for i in range(20)]
    path = write(tmp_path, *many, *many[:2])
    found = prepared(path, tmp_path, Characters(), validation=0.2, test=0.1).splits
    titles = {name: {question.article for question in split.asked} for name, split in found.items() if isinstance(split, AskedTexts)}
    assert {name: len(set_) for name, set_ in titles.items()} == {"train": 14, "validation": 4, "test": 2} and len(set.union(*titles.values())) == 20
    other = write(tmp_path, *many[:3], article("new", ENGLISH, asked("?", ENGLISH, "136")), name="test.json")
    apart = prepared(path, tmp_path, Characters(), test=other, more=(other,))
    train = apart.splits["train"]
    assert isinstance(train, AskedTexts) and {question.article for question in train.asked} == {f"t{i}" for i in range(3, 20)}
    assert apart.account["dropped"] == {"questions of articles that are kept for measuring": 17}


@pytest.mark.parametrize(("data", "why"), [
    ("{", "not JSON"), ("{}", "list of JSON objects called 'data'"), ('{"data": []}', "holds no questions"), ('{"data": [{"paragraphs": 1}]}', r"data\[0\]: expected a list"),
    ('{"data": [{"paragraphs": [{"context": 1}]}]}', r"paragraphs\[0\].context: expected text"),
    ('{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "b"}]}]}]}', r"qas\[0\]: expected a list of JSON objects called 'answers'"),
    ('{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "b", "answers": [{"text": "a", "answer_start": "0"}]}]}]}]}', "answer_start: expected a whole"),
])
def test_bad_files_are_named(tmp_path: Path, data: str, why: str) -> None:
    (tmp_path / "bad.json").write_text(data)
    with pytest.raises(DataError, match=why):
        list(questions(str(tmp_path / "bad.json")))


def test_shares_and_files() -> None:
    with pytest.raises(ConfigError, match="leaves none to train on"):
        Questions.parse({"kind": "questions", "path": "a", "validation": 0.5, "test": 0.5})
    with pytest.raises(ConfigError, match=r"test: expected a share \(0 or more, below 1\) or a file, got 1.5"):
        Questions.parse({"kind": "questions", "path": "a", "test": 1.5})


def test_a_reader_learns_to_point(tmp_path: Path) -> None:
    """Which stretch is meant, the number or the capitals, only the question says."""
    draw = torch.Generator().manual_seed(0)

    def one(name: str) -> dict[str, Any]:
        number, capitals = (torch.randint(10, 99, (2,), generator=draw).tolist())
        words = [str(number), "ABCDEFGHIJ"[capitals // 10] * 2, "one", "two", "six"]
        context = " ".join(words[i] for i in torch.randperm(5, generator=draw).tolist())
        return article(name, context, asked("number", context, words[0]), asked("capitals", context, words[1]))

    path, test = (write(tmp_path, *(one(f"{part}{i}") for i in range(count)), name=f"{part}.json") for part, count in (("train", 150), ("test", 20)))
    outcome = ftheta.run({
        "format": 1, "name": "numbers", "objective": "span", "evaluate": [{"kind": "answers", "language": "english", "most": 2}],
        "data": {"source": {"kind": "questions", "path": path, "validation": 0.0, "test": test, "longest": 48}, "tokenizer": "characters"},
        "model": {"kind": "headed", "readout": "span", "trunk": {
            "kind": "encoder", "dim": 32, "depth": 2, "segments": 2, "embed_std": 0.3, "mixer": {"kind": "attention", "heads": 4, "causal": False}}},
        "train": {"steps": 150, "batch": 32, "optimizer": "muon", "precision": "float32", "threads": 1},
    }, out=tmp_path / "run")
    exact, overlap = outcome.results["measurements"]
    assert (exact["name"], overlap["name"]) == ("exact match", "answer F1") and exact["value"] > 0.9 and exact["low"] < exact["value"] <= overlap["value"] <= 1
    model = ftheta.load(outcome.model_folder)
    assert model.task.name == "question-answering" and [model.predict({"question": q, "context": "two FF one 42 six"}).answer for q in ("number", "capitals")] == ["42", "FF"]
