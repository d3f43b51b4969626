"""What is said of a corpus: which way dropped what, where a document came from, what differs between two stages."""

import json

import numpy as np
import pytest

from ftheta.core.errors import DataError, UsageError
from ftheta.data.clean.language import Language
from ftheta.data.clean.normalise import Normalise
from ftheta.data.clean.personal import Personal
from ftheta.data.clean.quality import Quality
from ftheta.data.clean.secrets import Secrets
from ftheta.data.corpus import looking
from ftheta.data.corpus.card import card
from ftheta.data.corpus.executors import Local
from ftheta.data.dedup.contamination import Contamination
from ftheta.data.dedup.exact import Exact
from ftheta.data.sources import text as text_source
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text import TextFiles
from ftheta.data.split import Split
from ftheta.data.text import prepare_text
from ftheta.data.tokenizers.trained import Bytes

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega".split()  # noqa: SIM905


def sentence(i):
    return " ".join(np.random.default_rng(i).choice(WORDS, 60)) + f" number {i}."


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "texts"
    place.mkdir()
    for i in range(60):
        (place / f"{i:02}.txt").write_text(sentence(i))
    return place


def prepare(folder, rules=(Normalise(),), ways=(), split=Split(validation=0.1, test=0.1)):
    executor = Local(1)
    try:
        return prepare_text(TextFiles(path=str(folder)), Sections(
            Bytes(), folder.parent / "cache", tuple(rules), split, deduplicate=tuple(ways), executor=executor,
        ))
    finally:
        executor.close()


@pytest.fixture
def benchmark(tmp_path):
    place = tmp_path / "asked.jsonl"
    place.write_text("\n".join(json.dumps({"question": text}) for text in (sentence(3), sentence(1000), "too short")))
    return place


def against(*places):
    return Contamination.parse({"kind": "contamination", "against": [{"path": str(place)} for place in places]})


def test_the_card_says_which_way_dropped_and_what_of_every_evaluation_set_was_found(folder, benchmark):
    text = prepare(folder, ways=[Exact(), against(benchmark)])
    said = card("texts", text.corpus, text.account)
    assert "**deduplicate 1**: 0 of 60 documents" in said and "by `exact`." in said and "**deduplicate 2**: 1 of 60 documents" in said and "by `contamination`." in said
    assert f"| {benchmark} | 3 | 2 | 1 | 1 |" in said


def test_what_was_found_stands_below_its_own_heading(folder):
    text = prepare(folder, rules=[Language()])
    said = card("texts", text.corpus, text.account)
    assert said.index("## What was left out") < said.index("## What was found or changed") < said.index("| languages | documents |") < said.index("## How it is divided")
    plain = prepare(folder)
    assert "## What was found or changed" not in card("texts", plain.corpus, plain.account)


@pytest.mark.parametrize("action, shown", [("mask", "write to <email> and <phone>"), ("drop", "write to <email> and <phone>"), ("count", "write to john.doe@example.com")])
def test_examples_on_the_card_do_not_show_what_cleaning_takes_out(folder, action, shown):
    (folder / "short.txt").write_text("write to john.doe@example.com and +1 415 555 2671")
    text = prepare(folder, rules=[Quality(characters=(60, None)), Personal(action=action)])  # dropped before `personal` sees it
    said = card("texts", text.corpus, text.account) + json.dumps({stage.name: stage.account for stage in text.corpus.stages})
    assert shown in said and ("john.doe" in said) == (action == "count")
    if action == "drop":
        (folder / "key.txt").write_text("password = 'hunter2xYz!9Q' " + sentence(1))
        text = prepare(folder, rules=[Secrets(action="drop")])
        assert "| secrets assigned | 1 |" in card("texts", text.corpus, text.account) and "hunter2" not in json.dumps(text.corpus.stage("clean").account)


def test_nothing_left_names_every_rule_and_what_to_do(folder, benchmark):
    benchmark.write_text("\n".join(json.dumps({"question": sentence(i)}) for i in range(60)))
    (folder / "short.txt").write_text("too little")
    with pytest.raises(DataError, match=r"nothing is left of 61 documents after deduplicate 1; dropped were 'contamination': 60, 'text characters': 1\. .*data\.clean or"):
        prepare(folder, rules=[Quality()], ways=[against(benchmark)])


def test_a_split_that_leaves_nothing_to_train_on_says_how_large_its_parts_are(folder):
    with pytest.raises(DataError, match=r"data\.split: 60 documents cannot be split into validation 42 and test 30 and some to train on; give more documents or smaller shares"):
        prepare(folder, split=Split(validation=0.7, test=0.5))


def test_an_evaluation_set_that_is_not_there_is_named_with_its_field(folder, tmp_path):
    with pytest.raises(DataError, match=r"data\.deduplicate\.against\.path: .*none\.jsonl cannot be read \(No such file"):
        prepare(folder, ways=[against(tmp_path / "none.jsonl")])


def test_stages_are_compared_from_the_earlier_to_the_later_only(folder):
    (folder / "copy.txt").write_text(sentence(7))
    corpus = prepare(folder, ways=[Exact()]).corpus
    assert len(list(looking.changes(corpus, "clean", "divide", 9))) == 1 and not list(looking.changes(corpus, "deduplicate 1", "divide", 9))
    for before, after in (("divide", "clean"), ("clean", "read"), ("read", "read")):
        with pytest.raises(UsageError, match=f"--from {before} --to {after}: the second stage has to come later; in order they are read, clean, deduplicate 1, divide"):
            list(looking.changes(corpus, before, after, 9))
    with pytest.raises(UsageError, match="did you mean 'clean'"):
        list(looking.changes(corpus, "read", "cleen", 9))


def test_a_document_is_traced_to_its_own_file_once(folder, monkeypatch):
    (folder / "note").write_text(sentence(100))
    (folder / "note.md").write_text(sentence(101))
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"text": sentence(i)}) for i in range(200, 240)))
    monkeypatch.setattr(text_source, "PART", 4000)                                        # the rows are read in several ranges, of one file
    corpus = prepare(folder).corpus
    last = [found.document.name for found in looking.documents_of(corpus, "read") if found.document.name.startswith("rows.jsonl:")][-1]
    for name, file in (("note.md", "note.md"), ("note", "note"), (last, "rows.jsonl")):
        lines = looking.lineage(corpus, name)
        assert [line.partition(":")[0] for line in lines if line.startswith("file ")] == [f"file {file}"], lines
