import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from ftheta.core.atomic import commit
from ftheta.core.errors import ConfigError, DataError, UsageError
from ftheta.core.random import generator
from ftheta.data.clean.classifier import Classifier
from ftheta.data.clean.normalise import Normalise
from ftheta.data.clean.quality import Quality
from ftheta.data.corpus import executors, looking, reading
from ftheta.data.corpus.card import card, distributions
from ftheta.data.corpus.comparing import write_array
from ftheta.data.corpus.contents import content_of
from ftheta.data.corpus.executors import Local
from ftheta.data.corpus.ledger import named
from ftheta.data.corpus.reading import Read, parts
from ftheta.data.corpus.shards import StoredTexts, read_documents, write_documents
from ftheta.data.corpus.step import perform
from ftheta.data.dedup.exact import Exact
from ftheta.data.documents import Document
from ftheta.data.joined import Joined
from ftheta.data.mixed import Mixed, by_share
from ftheta.data.source import Shuffled
from ftheta.data.sources.mixture import Mixture
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text import TextFiles
from ftheta.data.split import SPLITS, Split
from ftheta.data.text import prepare_text
from ftheta.data.tokenizers.trained import Bytes
from ftheta.data.tokens import TokenDataset

WORDS = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega
中文 文本 学习""".split()  # noqa: SIM905


def sentence(i, length=60):
    draws = np.random.default_rng(i)
    return " ".join(draws.choice(WORDS, length)) + f" number {i}."


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "texts"
    place.mkdir()
    for i in range(60):
        (place / f"{i:02}.txt").write_text(sentence(i), encoding="utf-8")
    return place


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(reading, "PART", 2000)


def prepare(source, cache, executor=None, rules=(Normalise(),), ways=(), split=None):
    executor = executor or Local(1)
    try:
        return prepare_text(source, Sections(Bytes(), cache, tuple(rules), split or Split(validation=0.1, test=0.1), deduplicate=tuple(ways), executor=executor))
    finally:
        executor.close()


def stream(text, split="train"):
    return np.concatenate([np.load(file) for file in text.files(split)])


def test_any_number_of_workers_and_parts_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    whole = prepare(TextFiles(path=str(folder)), tmp_path / "one", ways=[Exact()])
    assert len(whole.tokens) == 1
    monkeypatch.setattr(reading, "PART", 2000)
    alone, both = (prepare(TextFiles(path=str(folder)), tmp_path / f"with{n}", Local(n), ways=[Exact()]) for n in (1, 2))
    assert len(both.tokens) > 8 and [place.name for place in both.tokens] == [place.name for place in alone.tokens]
    for a, b in zip(alone.tokens, both.tokens, strict=True):
        assert {file.name: file.read_bytes() for file in a.iterdir()} == {file.name: file.read_bytes() for file in b.iterdir()}
    for split in SPLITS:
        assert np.array_equal(stream(whole, split), stream(both, split)) and list(whole.texts(split)) == list(both.texts(split))
    assert both.account["splits"] == whole.account["splits"] and both.account["documents_read"] == 60


def test_a_killed_run_loses_one_step_at_most(folder, tmp_path):
    script = f"""
import ftheta.data.corpus.reading as reading
reading.PART = 2000
from pathlib import Path
from ftheta.data.clean.normalise import Normalise
from ftheta.data.corpus.executors import Local
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text import TextFiles
from ftheta.data.split import Split
from ftheta.data.text import prepare_text
from ftheta.data.tokenizers.trained import Bytes
prepare_text(TextFiles(path={str(folder)!r}), Sections(Bytes(), Path({str(tmp_path / 'cache')!r}), (Normalise(),), Split(validation=0.1, test=0.1), executor=Local(1)))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    cleaned = tmp_path / "cache" / "clean"
    while not (cleaned.is_dir() and sum(not one.name.startswith(".") for one in cleaned.iterdir()) >= 3):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {place: place.stat().st_ino for place in (tmp_path / "cache").glob("*/*") if not place.name.startswith(".")}
    assert len([place for place in before if place.parent.name == "clean"]) >= 3
    subprocess.run([sys.executable, "-c", script], check=True)
    assert {place: place.stat().st_ino for place in before} == before
    again = prepare(TextFiles(path=str(folder)), tmp_path / "other")
    left = sorted((tmp_path / "cache").glob("divide/*/*.parquet"))
    assert sum(len(StoredTexts([file])) for file in left) == again.account["documents_read"] == 60


def test_a_worker_that_dies_is_begun_again_and_one_that_always_dies_is_named(folder, tmp_path, small_parts, caplog):
    source, executor = TextFiles(path=str(folder)), Local(2)
    stop = threading.Event()

    def kill_one() -> None:
        while not stop.is_set():
            for worker in executor.started:
                if worker.process is not None:
                    os.kill(worker.process.pid, signal.SIGKILL)
                    return

    killer = threading.Thread(target=kill_one)
    killer.start()
    found = prepare(source, tmp_path / "cache", executor)
    killer.join()
    assert "once more" in caplog.text and found.account["documents_read"] == 60

    class Dying(executors.Worker):
        def perform(self, order):
            raise BrokenPipeError("killed by signal 9, perhaps for want of memory")

    executor = Local(2)
    executor.started = [Dying(), Dying()]
    for worker in executor.started:
        executor.idle.put(worker)
    with pytest.raises(DataError, match=r"had to read 00\.txt and \d+ more files died 2 times .*want of memory"):
        prepare(source, tmp_path / "another", executor)


def test_a_process_that_holds_too_much_is_replaced_and_nothing_changes(folder, tmp_path, small_parts, monkeypatch):
    renewed = "from ftheta.data.corpus import worker; worker.HELD = 0; worker.main()"
    seen = set()

    class Renewed(executors.Worker):
        command = (sys.executable, "-c", renewed)

        def perform(self, order):
            answer = super().perform(order)
            assert self.process is None and "ended" not in answer
            seen.add(order["step"]["kind"])
            return answer

    source = TextFiles(path=str(folder))
    expected = prepare(source, tmp_path / "cache", Local(2)).account
    monkeypatch.setattr(executors, "Worker", Renewed)
    assert prepare(source, tmp_path / "another", Local(2)).account == expected
    assert {"read", "clean", "divide", "tokens"} <= seen


def test_what_a_worker_says_is_wrong_is_raised_here(folder, tmp_path, small_parts):
    (folder / "59.txt").write_bytes(b"\x00\xff\xfe not text \xff")
    with pytest.raises(DataError, match=r"59\.txt"):
        prepare(TextFiles(path=str(folder)), tmp_path / "cache", Local(2))


def test_a_file_that_changes_while_it_is_read_is_named(folder, tmp_path):
    source = TextFiles(path=str(folder / "00.txt"))
    [(_, step)] = parts(source)
    (folder / "00.txt").write_text("another text altogether")
    with pytest.raises(DataError, match=r"00\.txt changed while it was read"):
        perform(step, [], tmp_path / "cache")
    assert not list((tmp_path / "cache" / "read").glob("[!.]*"))
    gone = Read(source=source.dump(), files=step.files, contents=(content_of(step.files[0].path),))
    (folder / "00.txt").unlink()
    with pytest.raises(DataError, match=r"00\.txt"):
        perform(gone, [], tmp_path / "cache")


def test_where_files_lie_does_not_matter(folder, tmp_path):
    first = prepare(TextFiles(path=str(folder)), tmp_path / "cache")
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "texts").symlink_to(tmp_path / "elsewhere")
    assert prepare(TextFiles(path=str(folder)), tmp_path / "cache").account == first.account


def test_equal_documents_are_in_one_part_and_like_ones_if_wished(tmp_path):
    place = tmp_path / "texts"
    place.mkdir()
    for i in range(40):
        for copy in range(3):
            (place / f"{i:02}-{copy}.txt").write_text(sentence(i))
        (place / f"{i:02}-like.txt").write_text(sentence(i).replace("number", "and number"))
    for near, leaks in ((None, True), (0.6, False)):
        text = prepare(TextFiles(path=str(place)), tmp_path / "cache", split=Split(validation=0.2, test=0.2, near=near))
        part_of = {document.name: split for folder in text.corpus.divided for split in SPLITS for document in read_documents(folder / f"{split}.parquet")}
        assert all(len({part_of[f"{i:02}-{copy}.txt"] for copy in range(3)}) == 1 for i in range(40))
        assert any(part_of[f"{i:02}-0.txt"] != part_of[f"{i:02}-like.txt"] for i in range(40)) == leaks
        assert all(text.account["splits"][split]["documents"] for split in SPLITS)


def test_nothing_left_says_which_rule_dropped_it(folder, tmp_path):
    with pytest.raises(DataError, match=r"nothing is left of 60 documents.*text characters': 60"):
        prepare(TextFiles(path=str(folder)), tmp_path / "cache", rules=[Quality(characters=(10**6, None))])


def test_shards_are_cut_and_texts_are_found_in_them(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(reading, "SHARD", 3000)
    text = prepare(TextFiles(path=str(folder)), tmp_path / "cache")
    assert len(text.corpus.stages[0].folders) == 1 and len(text.corpus.stages[0].files) == len(text.tokens) > 3
    texts = text.texts("train")
    everything = list(texts)
    assert len(texts) == len(everything) == 48 and texts[0] == everything[0] and texts[-1] == everything[-1] and texts[3:9:2] == everything[3:9:2] and texts[:0] == []
    with pytest.raises(IndexError):
        texts[48]


def test_documents_come_back_as_they_were_written(tmp_path):
    documents = [Document(f"{i}", f"text {i} 中文\n\t\x01", {"url": f"u{i}", "score": i / 7, "n": i} if i % 2 else {}) for i in range(9)]
    with commit(tmp_path / "shard") as attempt:
        write_documents(attempt, "a.parquet", documents)
    assert list(read_documents(tmp_path / "shard" / "a.parquet")) == documents


def test_arrays_end_to_end(tmp_path):
    edges = [0, 0, 7, 8, 30]
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        with commit(tmp_path / str(number)) as attempt:
            write_array(attempt, "train.npy", np.arange(start, end, dtype=np.uint16))
    joined = Joined([tmp_path / str(number) / "train.npy" for number in range(4)], [end - start for start, end in itertools.pairwise(edges)])
    assert not joined.mapped                                                              # nothing is read before something is taken
    index = np.random.default_rng(0).integers(0, 30, (5, 6))
    assert len(joined) == 30 and np.array_equal(joined.take(index), index)


def test_rows_cross_the_borders_of_shards(folder, tmp_path, monkeypatch):
    whole = prepare(TextFiles(path=str(folder)), tmp_path / "one")
    monkeypatch.setattr(reading, "PART", 2000)
    cut = prepare(TextFiles(path=str(folder)), tmp_path / "many")
    one, many = (TokenDataset(text.files("train"), "", 260, 37, 1, text.processor.borders) for text in (whole, cut))
    rows = torch.randperm(len(one), generator=generator("rows"))
    assert len(one) == len(many) and all(torch.equal(one.batch(rows)[name], many.batch(rows)[name]) for name in ("tokens", "documents"))


# mixtures


def mixture(folder, **fields):
    sides = {"even": "*[02468].txt", "odd": "*[13579].txt"}
    given = {name: {"source": {"kind": "text_files", "path": str(folder), "include": [pattern]}, **fields.get(name, {})} for name, pattern in sides.items()}
    return Mixture.parse({"kind": "mixture", "sources": given, **{name: value for name, value in fields.items() if name not in sides}})


def test_sources_of_a_mixture_keep_their_names_and_are_divided_alike(folder, tmp_path):
    text = prepare(mixture(folder), tmp_path / "cache")
    found = [(document, split) for place in text.corpus.divided for split in SPLITS for document in read_documents(place / f"{split}.parquet")]
    assert all(document.name == f"{document.facts['source']}/{document.name.partition('/')[2]}" for document, _ in found)
    for name in ("even", "odd"):
        assert [sum(document.facts["source"] == name and split == part for document, split in found) for part in SPLITS] == [24, 3, 3]
    assert text.corpus.stages[0].account["facts"]["source"] == {"even": 30, "odd": 30}
    assert sum(text.sizes.values()) == text.account["tokens"]["train"]["tokens"]


def test_the_source_of_a_mixture_that_is_not_there_is_named(folder):
    there, gone = {"kind": "text_files", "path": str(folder)}, {"kind": "text_files", "path": str(folder / "nowhere")}
    with pytest.raises(DataError, match=r"data\.source\.sources\.odd\.source\.path: .*nowhere"):
        Mixture.parse({"kind": "mixture", "sources": {"even": {"source": there}, "odd": {"source": gone}}}).files()


def test_weights_temperature_and_epochs_decide_what_is_seen(folder, tmp_path):
    sizes = {"even": 300, "odd": 100}
    assert mixture(folder).epochs(sizes) is None
    assert mixture(folder, even={"weight": 1.0}, odd={"weight": 3.0}).epochs(sizes) == pytest.approx({"even": 1 / 3, "odd": 3.0})
    assert mixture(folder, even={"epochs": 0.5}, odd={"epochs": 4.0}).epochs(sizes) == {"even": 0.5, "odd": 4.0}
    hot = mixture(folder, temperature=2.0).epochs(sizes)
    assert hot is not None
    seen = {name: sizes[name] * hot[name] for name in sizes}
    assert seen["even"] / seen["odd"] == pytest.approx(3**0.5) and sum(seen.values()) == pytest.approx(400)
    for wrong, message in (({"even": {"weight": 1.0}}, "odd.weight: is missing"), ({"even": {"weight": 1.0, "epochs": 1.0}, "odd": {"weight": 1.0, "epochs": 1.0}}, "both")):
        with pytest.raises(ConfigError, match=message):
            mixture(folder, **wrong)
    with pytest.raises(ConfigError, match="source of documents"):
        Mixture.parse({"kind": "mixture", "sources": {"a": {"source": {"kind": "arithmetic"}}}})


def test_a_mixed_pass_visits_every_row_as_often_as_it_should(folder, tmp_path):
    text = prepare(mixture(folder), tmp_path / "cache")
    sections = Sections(Bytes(), tmp_path, lookahead=1)
    sides = {name: text.rows("train", Sections(Bytes(), tmp_path, pack=sections.pack.replace(length=32), lookahead=1), name) for name in ("even", "odd")}
    mixed = Mixed(sides, {"even": 2.5, "odd": 0.5})
    source = Shuffled(mixed, 4, 0)
    for epoch in range(2):
        seen = torch.cat([source.rows(step + epoch * source.steps_per_epoch, torch.arange(4)) for step in range(source.steps_per_epoch)])
        counts = torch.bincount(seen, minlength=len(mixed))
        even, odd = counts[: len(sides["even"])], counts[len(sides["even"]) :]
        assert abs(int(even.sum()) - 2.5 * len(even)) <= 4 and even.max() == 3 and even.min() >= 1 and abs(int(odd.sum()) - 0.5 * len(odd)) <= 4 and odd.max() == 1
    assert not torch.equal(source.arranged(0).sort().values, source.arranged(1).sort().values)     # another half each time
    rows = torch.tensor([0, len(sides["even"]), 1, len(mixed) - 1])
    expected = torch.stack([sides["even"].batch(torch.tensor([0]))["tokens"][0], sides["odd"].batch(torch.tensor([0]))["tokens"][0],
                            sides["even"].batch(torch.tensor([1]))["tokens"][0], sides["odd"].batch(torch.tensor([len(sides["odd"]) - 1]))["tokens"][0]])
    assert torch.equal(mixed.batch(rows)["tokens"], expected)
    assert Mixed(sides, {"even": 1.0, "odd": 1.0}).fingerprint != mixed.fingerprint
    assert by_share({"a": 1, "b": 1}, {"a": 10, "b": 30}) == {"a": 2.0, "b": 20 / 30}


# looking


@pytest.fixture
def looked(folder, tmp_path):
    (folder / "short.txt").write_text("too little")
    (folder / "copy.txt").write_text(sentence(7))
    (folder / "wide.txt").write_text(sentence(99) + " ｆｕｌｌ width\r\n")
    return prepare(TextFiles(path=str(folder)), tmp_path / "cache", rules=[Normalise(form="NFKC"), Quality()], ways=[Exact()])


def test_the_card_says_what_came_in_and_what_was_left_out(looked):
    said = card("texts", looked.corpus, looked.account)
    assert "63 documents" in said and "| text characters | 1 |" in said and "`short.txt`: too little" in said
    assert "**deduplicate 1**: 1 of 62 documents" in said and f"| train | {looked.account['splits']['train']['documents']} |" in said
    assert distributions(looked.corpus.stages).startswith(b"\x89PNG")
    assert json.loads(json.dumps(looked.account)) == looked.account


def test_stages_can_be_sampled_searched_and_compared(looked):
    corpus = looked.corpus
    drawn = looking.sample(corpus, "read", 5)
    assert [found.document.name for found in drawn] == [found.document.name for found in looking.sample(corpus, "read", 5)] and len({f.document.name for f in drawn}) == 5
    assert {found.document.name for found in drawn} != {found.document.name for found in looking.sample(corpus, "read", 5, seed=1)}
    [(found, around)] = looking.search(corpus, "read", "ｆｕｌｌ", 3)
    assert found.document.name == "wide.txt" and "ｆｕｌｌ width" in around
    assert [name for name, _ in looking.changes(corpus, "read", "divide", 9)] == ["copy.txt", "short.txt", "wide.txt"] or \
        {name for name, _ in looking.changes(corpus, "read", "divide", 9)} == {"07.txt", "short.txt", "wide.txt"}
    changed = dict(looking.changes(corpus, "read", "clean", 9))
    assert changed["short.txt"] == "left out" and "+" in changed["wide.txt"] and "full width" in changed["wide.txt"] and set(changed) == {"short.txt", "wide.txt"}
    with pytest.raises(UsageError, match="did you mean 'clean'"):
        looking.sample(corpus, "cleen", 1)


def test_a_document_is_traced_from_its_file_to_its_shard(looked, folder):
    lines = looking.lineage(looked.corpus, "wide.txt")
    assert lines[0].startswith("file wide.txt: content ") and [line.partition(":")[0] for line in lines[1:]] == ["read", "clean", "deduplicate 1", "divide"]
    assert looking.lineage(looked.corpus, "short.txt")[-1] == "clean: left out"


def test_neighbouring_parts_never_mix_sources(folder, monkeypatch):
    monkeypatch.setattr(reading, "PART", 10**9)
    source = mixture(folder)
    assert [origin for origin, _ in parts(source)] == ["even", "odd"]
    assert list(itertools.chain.from_iterable(step.files for _, step in parts(source))) == source.files()


# where it is from


def test_the_ledger_has_every_source_with_its_licence_and_how_much_of_it_each_split_holds(folder, tmp_path):
    text = prepare(Mixture.parse({"kind": "mixture", "sources": {
        "even": {"source": {"kind": "text_files", "path": str(folder), "include": ["*[02468].txt"], "licence": "CC0", "consent": "asked | written"}},
        "odd": {"source": {"kind": "text_files", "path": str(folder), "include": ["*[13579].txt"]}},
    }}), tmp_path / "cache")
    entries = text.account["ledger"]
    assert [(entry["source"], entry["licence"], entry["consent"]) for entry in entries] == [("even", "CC0", "asked | written"), ("odd", None, None)]
    assert [[entry["splits"][split]["documents"] for split in SPLITS] for entry in entries] == [[24, 3, 3]] * 2
    for split in SPLITS:
        for what in ("bytes", "tokens"):
            assert sum(entry["splits"][split][what] for entry in entries) == text.account["tokens"][split][what]
        counted = {name: sum(len(d.text.encode()) for place in text.corpus.divided for d in read_documents(place / f"{split}.parquet") if d.facts["source"] == name)
                   for name in ("even", "odd")}
        assert [entry["splits"][split]["bytes"] for entry in entries] == list(counted.values())
    said = text.card("texts")
    assert "| even | CC0 | asked \\| written | 24 documents" in said and "| odd | not stated | not stated | 24 documents" in said
    assert [named(entry) for entry in entries] == ["even (CC0, asked | written)", "odd (licence not stated)"]


def test_a_rule_is_learned_once_before_the_work_and_its_report_is_on_the_card(folder, tmp_path, monkeypatch, small_parts):
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "home"))
    for name, words in (("good", WORDS), ("bad", WORDS[::-1][:9])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": " ".join(np.random.default_rng([len(name), i]).choice(words, 40))}) for i in range(120)))
    rule = Classifier(good=(str(tmp_path / "good.jsonl"),), bad=(str(tmp_path / "bad.jsonl"),), least=0.1)
    found = prepare(TextFiles(path=str(folder)), tmp_path / "cache", Local(2), rules=[rule])
    report = found.corpus.stage("clean").account["learned"]["classifier"]
    assert report == rule.learned.report and f"its AUC is {report['auc']:.3f} ({report['low']:.3f} to {report['high']:.3f})" in found.card("texts")
    assert len(list((tmp_path / "home" / "stages" / "quality").glob("[!.]*"))) == 1
    (tmp_path / "bad.jsonl").write_text("\n".join(json.dumps({"text": f"buy {i} now " * 9}) for i in range(120)))
    again = prepare(TextFiles(path=str(folder)), tmp_path / "cache", rules=[Classifier.parse(rule.dump())])
    assert not {folder.name for folder in again.corpus.stage("clean").folders} & {folder.name for folder in found.corpus.stage("clean").folders}


def test_who_listens_hears_of_every_shard(folder, tmp_path, small_parts):
    for workers in (1, 2):
        heard = []
        prepare(TextFiles(path=str(folder)), tmp_path / f"cache{workers}", Local(workers, lambda *told, heard=heard: heard.append(told)))
        reads = [(done, total) for what, done, total in heard if what == "read"]
        assert len(reads) > 3 and reads == [(number + 1, len(reads)) for number in range(len(reads))]
        assert list(dict.fromkeys(what for what, _, _ in heard)) == ["read", "clean", "split", "divide", "tokenize"]
