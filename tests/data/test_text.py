import itertools
import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from ftheta.core.errors import ConfigError, DamagedError, DataError
from ftheta.data.clean.normalise import Normalise
from ftheta.data.clean.quality import Quality
from ftheta.data.corpus.shards import read_documents
from ftheta.data.pack import Pack, Ramp
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text import TextFiles
from ftheta.data.split import Split
from ftheta.data.text import prepare_text
from ftheta.data.tokenizers.file import TokenizerFile
from ftheta.data.tokenizers.trained import BOS, EOS, ByteBPE, Bytes, Characters
from ftheta.data.tokens import TokenDataset


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "corpus"
    for i in range(20):
        (place / f"part{i % 3}").mkdir(parents=True, exist_ok=True)
        (place / f"part{i % 3}" / f"{i}.txt").write_text(f"Document number {i}. 中文文本 {i} naïve café.\n" * 20, encoding="utf-8")
    return place


def prepare(folder, cache, tokenizer=None, split=None, rules=(), seed=0):
    return prepare_text(TextFiles(path=str(folder)), Sections(tokenizer or ByteBPE(vocab=300), cache, tuple(rules), split or Split(), seed=seed))


def named(text, split):
    return [document.name for folder in text.corpus.divided for document in read_documents(folder / f"{split}.parquet")]


def test_every_byte_arrives_once(folder, tmp_path):
    text = prepare(folder, tmp_path / "cache")
    names = [set(named(text, split)) for split in ("train", "validation", "test")]
    assert sum(map(len, names)) == 20 == len(set.union(*names))
    for split in ("train", "test"):
        tokens = np.load(text.tokens[0] / f"{split}.npy")
        starts = [*np.flatnonzero(tokens == BOS).tolist(), len(tokens)]
        decoded = [text.tokenizer.decode(tokens[a + 1 : b - 1].tolist(), skip_special_tokens=False) for a, b in itertools.pairwise(starts)]
        assert decoded == text.texts(split)
        assert all(tokens[b - 1] == EOS for b in starts[1:])


def test_stages_are_found_again_and_rebuilt_when_damaged(folder, tmp_path, caplog):
    first = prepare(folder, tmp_path / "cache")
    stamp = first.tokens[0].stat().st_mtime_ns
    assert prepare(folder, tmp_path / "cache").tokens[0].stat().st_mtime_ns == stamp
    place = first.corpus.divided[0] / "train.parquet"
    flip(place)
    shutil.rmtree(first.tokens[0])                                                        # so that a step reads what is damaged
    again = prepare(folder, tmp_path / "cache")
    assert f"{place} was changed after it was written" in caplog.text and again.account == first.account
    (first.corpus.stages[1].folders[0] / "account.json").write_bytes(b"{}")               # of another size: seen without reading it
    assert prepare(folder, tmp_path / "cache").account == first.account


def flip(place):
    """Change one bit in the middle of a file."""
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)


def test_damaged_tokens_are_named_when_a_row_of_them_is_read(folder, tmp_path):
    first = prepare(folder, tmp_path / "cache")
    rows = first.rows("train", Sections(Bytes(), tmp_path, lookahead=1)).batch(torch.arange(3))
    flip(first.tokens[0] / "train.npy")
    found = prepare(folder, tmp_path / "cache").rows("train", Sections(Bytes(), tmp_path, lookahead=1))
    with pytest.raises(DamagedError, match=rf"{first.tokens[0]}/train\.npy was changed after it was written .*by the same command"):
        found.batch(torch.arange(3))
    again = prepare(folder, tmp_path / "cache").rows("train", Sections(Bytes(), tmp_path, lookahead=1)).batch(torch.arange(3))
    assert all(torch.equal(again[name], rows[name]) for name in rows)


def test_a_changed_file_changes_the_fingerprint(folder, tmp_path):
    first = prepare(folder, tmp_path / "cache")
    (folder / "part0" / "0.txt").write_text("something else altogether, long enough to be kept\n")
    assert prepare(folder, tmp_path / "cache").account["fingerprint"] != first.account["fingerprint"]


def test_split_is_seeded_and_by_name(folder, tmp_path):
    a, b, c = (named(prepare(folder, tmp_path / "cache", seed=seed), "test") for seed in (0, 0, 1))
    assert a == b != c


def test_cleaning_is_counted(tmp_path):
    (tmp_path / "c").mkdir()
    for i in range(6):
        (tmp_path / "c" / f"{i}").write_text(f"line {i} with words\r\n" * 3)
    (tmp_path / "c" / "short").write_text("x")
    (tmp_path / "c" / "rep").write_text("same again and again\n" * 50)
    (tmp_path / "c" / "control").write_text("full\x00 width ｆ enough letters here\n")
    text = prepare(tmp_path / "c", tmp_path / "cache", Bytes(), Split(validation=0.2, test=0.2), [Normalise(form="NFKC"), Quality()])
    assert text.account["dropped"] == {"text characters": 1, "text repeated lines": 1}
    everything = "".join(line for split in ("train", "validation", "test") for line in text.texts(split))
    assert "\r" not in everything and "\x00" not in everything and "width f enough" in everything


def test_rows_overlap_by_the_lookahead_and_name_their_documents(folder, tmp_path):
    text = prepare(folder, tmp_path / "cache")
    dataset = TokenDataset([text.tokens[0] / "train.npy"], text.fingerprint("train"), 300, 16, 1)
    batch = dataset.batch(torch.arange(len(dataset)))
    stream = np.load(text.tokens[0] / "train.npy").astype(np.int64)
    assert torch.equal(batch["tokens"][:, :-1].flatten(), torch.from_numpy(stream[: len(dataset) * 16]))
    assert torch.equal(batch["tokens"][:-1, -1], batch["tokens"][1:, 0])
    borders = (batch["documents"][:, 1:] != batch["documents"][:, :-1])
    assert torch.equal(borders, batch["tokens"][:, 1:] == BOS)


def test_one_token_may_both_begin_and_end_documents(folder, tmp_path):
    made = Bytes().train([])
    made.add_special_tokens(["<|endoftext|>"])
    (tmp_path / "tokenizer.json").write_text(made.to_str())
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}')
    text = prepare(folder, tmp_path / "cache", TokenizerFile(path=str(tmp_path)))
    both = made.token_to_id("<|endoftext|>")
    assert text.processor.borders == (both, both) and text.processor.encode("a")[0] == both
    tokens = np.load(text.tokens[0] / "train.npy")
    assert len(np.flatnonzero(tokens == both)) == 2 * len(text.texts("train"))
    usual = prepare(folder, tmp_path / "cache", Bytes())
    for length in (16, 301):
        ours = TokenDataset([text.tokens[0] / "train.npy"], "", 300, length, 1, text.processor.borders)
        other = TokenDataset([usual.tokens[0] / "train.npy"], "", 300, length, 1)
        rows = torch.arange(len(ours))
        assert torch.equal(ours.batch(rows)["documents"], other.batch(rows)["documents"])


def test_a_tokenizer_that_cannot_end_documents_is_refused(folder, tmp_path):
    (tmp_path / "tokenizer.json").write_text(Tokenizer(models.BPE({"a": 0}, [])).to_str())
    with pytest.raises(DataError, match="name one, as in special"):
        prepare(folder, tmp_path / "cache", TokenizerFile(path=str(tmp_path)))


def test_ramp_cuts_rows_and_keeps_every_target():
    ramp = Ramp(Pack(length=8, ramp=({"until": 0.25, "length": 2}, {"until": 0.5, "length": 4})), 1)  # type: ignore[arg-type]
    tokens = torch.arange(18).reshape(2, 9)
    pieces = ramp({"tokens": tokens}, 0.1)["tokens"]
    assert pieces.shape == (8, 3)
    assert torch.equal(pieces[:, :-1].flatten(), tokens[:, :-1].flatten()) and torch.equal(pieces[:, 1:].flatten(), tokens[:, 1:].flatten())
    assert ramp({"tokens": tokens}, 0.3)["tokens"].shape == (4, 5)
    assert ramp({"tokens": tokens}, 0.5)["tokens"] is tokens


@pytest.mark.parametrize("ramp", [[{"until": 0.5, "length": 3}], [{"until": 0.5, "length": 4}, {"until": 0.4, "length": 2}]])
def test_impossible_ramps_are_refused(ramp):
    with pytest.raises(ConfigError, match="ramp"):
        Pack.parse({"length": 8, "ramp": ramp})


@pytest.mark.parametrize("tokenizer", [ByteBPE(vocab=300), ByteBPE(vocab=300, pattern="code"), Bytes(), Characters()])
def test_tokenizers_give_back_the_text_and_take_control_tokens_as_text(tokenizer):
    sample = "def f(x):\n    return '中文 é' # <bos><mask>\n"
    made = tokenizer.train([sample * 8, "other words and letters 0123456789 " * 9])
    ids = made.encode(sample).ids
    assert made.decode(ids, skip_special_tokens=False) == sample
    assert not {0, 1, 2, 3} & set(ids)
    assert tokenizer.size in (None, made.get_vocab_size())


def test_bad_input_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        list(TextFiles(path=str(tmp_path / "nowhere")).documents())
    with pytest.raises(DataError, match="no file below"):
        list(TextFiles(path=str(tmp_path), include=("*.py",)).documents())
    (tmp_path / "a.txt").write_text("good text " * 30)
    (tmp_path / "b.txt").write_bytes(b"bad \xff byte")
    with pytest.raises(DataError, match=r"b\.txt: is not UTF-8: byte 0xff at offset 4.*on_bad: skip"):
        list(TextFiles(path=str(tmp_path)).documents())
    assert [d.name for d in TextFiles(path=str(tmp_path), on_bad="skip", most_bad=0.5).documents()] == ["a.txt"]
    with pytest.raises(DataError, match=r"more than data\.source\.largest"):
        list(TextFiles(path=str(tmp_path), largest=20).documents())
    with pytest.raises(DataError, match="cannot be split"):
        prepare_text(TextFiles(path=str(tmp_path), on_bad="skip", most_bad=0.5), Sections(Bytes(), tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x").write_text("  \n")
    with pytest.raises(DataError, match="nothing is left"):
        prepare(tmp_path / "empty", tmp_path / "cache")


def test_a_vocabulary_larger_than_the_text_allows(folder, tmp_path):
    with pytest.raises(DataError, match=r"allows only [\d,]+ tokens, 60,000 were asked for; use vocab"):
        prepare(folder, tmp_path / "cache", ByteBPE(vocab=60000))


def test_fewer_tokens_than_a_row(folder, tmp_path):
    text = prepare(folder, tmp_path / "cache")
    with pytest.raises(DataError, match="fewer than one row"):
        TokenDataset([text.tokens[0] / "train.npy"], "x", 300, 10**6, 1)
