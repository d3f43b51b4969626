"""Tokenizers from files give the ids that the files' own programs give."""

import base64
import importlib
import itertools
import json
import os
from pathlib import Path

import pytest
import regex
from tokenizers import normalizers

from ftheta.core.errors import DataError, FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers import sentencepiece as sp
from ftheta.data.tokenizers.file import TokenizerFile, read_tokenizer
from ftheta.data.tokenizers.trained import ByteBPE, Bytes
from ftheta.data.tokenizers.vocabularies import QWEN, byte_letters

transformers = pytest.importorskip("transformers")
FILES = Path(os.environ.get("FTHETA_MIRROR") or "/nowhere") / "tokenizers"
needs_files = pytest.mark.skipif(not FILES.is_dir(), reason="FTHETA_MIRROR is not set or holds no folder tokenizers/")
SPELLED = "a <s> </s> <unk> <pad> [CLS] [MASK] <0x0A> <|endoftext|> <eod> <sep> b"
TEXTS = [
    "Hello world", "It's the cat's; we'll see they've 12,345.67 items!", "  two  spaces \n\n\t tab \r\n end  ", "中文分词，龘鱻。繁體字与１２３全角！",
    "日本語テキスト 한국어 العربية हिन्दी",
    "def f(x):\n    return [x[0] + 1, {}]  # (ok)",
    "🙂👨‍👩‍👧 é e\u0301 naïve ﬁ ①", "x" * 50 + "internationalisation", "▁under ▁", SPELLED, "wide\u3000space\u00a0nbsp\u200b", "",
]


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def theirs(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


@needs_files
@pytest.mark.parametrize("name", ["gpt2_encoder.json", "gpt2_vocab.bpe"])
def test_gpt2(name):
    taken = read_tokenizer(FILES / name)
    merges = [tuple(line.split(" ")) for line in (FILES / "gpt2_vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]]
    other = transformers.GPT2Tokenizer(vocab=json.loads((FILES / "gpt2_encoder.json").read_text()), merges=merges)
    assert ids(taken.tokenizer, "Hello world") == [15496, 995]
    assert taken.roles == {"bos": "<|endoftext|>", "eos": "<|endoftext|>"} and not taken.begin
    for text in TEXTS:
        assert ids(taken.tokenizer, text) == theirs(other, text)
        assert taken.tokenizer.decode(ids(taken.tokenizer, text)) == text


@needs_files
@pytest.mark.parametrize("name, lower", [("bert_base_uncased_vocab.txt", None), ("bert_base_uncased_vocab.txt", False), ("bert_base_chinese_vocab.txt", None)])
def test_bert(name, lower):
    taken = read_tokenizer(FILES / name, lower=lower)
    vocabulary = {line: i for i, line in enumerate((FILES / name).read_text(encoding="utf-8").rstrip("\n").split("\n"))}
    other = transformers.BertTokenizer(vocab=vocabulary, do_lower_case=lower is None)
    assert taken.roles == {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]", "unk": "[UNK]"}
    assert (taken.begin, taken.end) == (["[CLS]"], ["[SEP]"])
    for text in TEXTS:
        assert ids(taken.tokenizer, text) == theirs(other, text)


def merged(parts, rank):
    """Plain BPE: while any two neighbours make a known piece, join the leftmost pair of those that make the best one."""
    while True:
        best = min(((rank[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in rank), default=None)
        if best is None:
            return parts
        i = best[1]
        parts = [*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]]


@needs_files
def test_tiktoken():
    """Against the published algorithm: cut by the pattern, join the pair of lowest rank."""
    lines = [line.split() for line in (FILES / "qwen.tiktoken").read_bytes().splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    taken = read_tokenizer(FILES / "qwen.tiktoken", pattern="qwen", special={"eos": "<|endoftext|>"})
    assert taken.tokenizer.token_to_id("<|endoftext|>") == len(ranks) == 151643
    for text in TEXTS:
        normal = normalizers.NFC().normalize_str(text)
        expected = [ranks[part] for word in regex.findall(QWEN, normal) for part in merged([bytes([b]) for b in word.encode()], ranks)]
        assert ids(taken.tokenizer, text) == expected
    model = json.loads(taken.tokenizer.to_str())["model"]
    other = transformers.Qwen2Tokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    assert all(ids(taken.tokenizer, text) == theirs(other, text) for text in TEXTS)


def normal(found, text):
    """SentencePiece's own steps: map characters, join spaces, put one in front, make them visible."""
    if found.charsmap:
        text = normalizers.Precompiled(found.charsmap).normalize_str(text)
    if found.remove_spaces:
        text = regex.sub(" {2,}", " ", text.strip(" "))
    return (" " + text if found.dummy_prefix and text else text).replace(" ", "▁")


def best_cut(found, text):
    """The cut of highest summed score (Viterbi); characters that no piece covers cost 10 more than the worst piece."""
    scores = [score for _, score, kind in found.pieces if kind == sp.NORMAL]
    unknown = next(i for i, (_, _, kind) in enumerate(found.pieces) if kind == sp.UNKNOWN)
    known = {piece: (i, score if kind == sp.NORMAL else len(piece.encode()) * max(scores) - 0.1)
             for i, (piece, score, kind) in enumerate(found.pieces) if kind in (sp.NORMAL, sp.USER_DEFINED)}
    longest = max(map(len, known))
    best = [(0.0, 0, -1)] + [(-1e9, 0, -1)] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - longest), end):
            i, score = known.get(text[start:end], (unknown, min(scores) - 10) if end - start == 1 else (None, 0))
            if i is not None and best[start][0] + score > best[end][0]:
                best[end] = (best[start][0] + score, start, i)
    found_ids, at = [], len(text)
    while at:
        found_ids.append(best[at][2])
        at = best[at][1]
    return [i for n, i in enumerate(found_ids[::-1]) if not (i == unknown and n and found_ids[::-1][n - 1] == unknown)]


@needs_files
@pytest.mark.parametrize("name", ["albert_en_spiece.model", "xlnet_zh_spiece.model"])
def test_sentencepiece_unigram(name):
    """Against the published algorithm; ids of the pieces are their places in the file."""
    found = sp.parse((FILES / name).read_bytes())
    taken = read_tokenizer(FILES / name)
    control = {i for i, (_, _, kind) in enumerate(found.pieces) if kind == sp.CONTROL}
    for text in TEXTS:
        assert ids(taken.tokenizer, text) == best_cut(found, normal(found, text)), text
        assert not control & set(ids(taken.tokenizer, text))
    assert taken.roles["cls"] in ("[CLS]", "<cls>") and taken.roles["unk"] == "<unk>"


@needs_files
@pytest.mark.parametrize("name, hello", [("llama2_tokenizer.model", [15043, 3186]), ("mistral_tokenizer.model.v1", [22557, 1526])])
def test_sentencepiece_bpe(name, hello):
    """Against the published algorithm, and against transformers with the merges that it makes itself."""
    found = sp.parse((FILES / name).read_bytes())
    taken = read_tokenizer(FILES / name)
    assert taken.roles == {"bos": "<s>", "eos": "</s>", "unk": "<unk>"} and ids(taken.tokenizer, "Hello world") == hello
    number = {piece: i for i, (piece, _, _) in enumerate(found.pieces)}
    rank = {piece: (-score, 0) for piece, score, kind in found.pieces if kind == sp.NORMAL}
    for text in TEXTS:
        parts = merged(list(normal(found, text)), rank)
        expected = [i for part in parts for i in ([number[part]] if part in rank else [number[f"<0x{byte:02X}>"] for byte in part.encode()])]
        assert ids(taken.tokenizer, text) == expected
        assert taken.tokenizer.decode(expected) == text.replace("▁", " ")
    vocabulary = {piece: i for i, (piece, _, _) in enumerate(found.pieces)}
    merges = importlib.import_module("transformers.convert_slow_tokenizer").generate_merges(vocabulary, {piece: score for piece, score, kind in found.pieces if kind == sp.NORMAL})
    other = transformers.LlamaTokenizer(vocab=vocabulary, merges=merges)
    assert all(ids(taken.tokenizer, text) == theirs(other, text) for text in TEXTS if not text.startswith((" ", "▁")))


def test_a_saved_tokenizer_comes_back(tmp_path):
    made = ByteBPE(vocab=270).train(["some words and others " * 9])
    for name, data in TextProcessor(made).files().items():
        (tmp_path / name).write_bytes(data)
    taken = TokenizerFile(path=str(tmp_path)).read()
    assert taken.tokenizer.to_str() == made.to_str()
    assert taken.roles == {"bos": "<bos>", "mask": "<mask>", "eos": "<eos>", "pad": "<pad>"}


def test_roles_are_said_by_the_files_beside(tmp_path):
    made = Bytes().train([])
    made.add_special_tokens(["<|im_end|>", "<|x|>"])
    (tmp_path / "tokenizer.json").write_text(made.to_str())
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "<pad>", "pad_token": {"content": "<|x|>"}}')
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|im_end|>"}, "add_bos_token": true}')
    taken = read_tokenizer(tmp_path)
    assert taken.roles == {"bos": "<bos>", "mask": "<mask>", "eos": "<|im_end|>", "pad": "<|x|>"} and taken.begin == ["<bos>"]
    assert read_tokenizer(tmp_path, special={"cls": "<mask>"}).roles["cls"] == "<mask>"


def test_its_content_decides_the_address_not_its_path(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(Bytes().train([]).to_str())
    first, second = (TokenizerFile(path=str(tmp_path / name)).key() for name in ("a", "b"))
    assert first == second
    (tmp_path / "b" / "tokenizer_config.json").write_text('{"eos_token": "<pad>"}')
    assert TokenizerFile(path=str(tmp_path / "b")).key() != first


def test_bad_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.tokenizer\.path: .*nowhere does not exist"):
        read_tokenizer(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no tokenizer"):
        read_tokenizer(tmp_path)
    with pytest.raises(FolderError, match="holds no tokenizer"):
        TextProcessor.load({}, tmp_path)
    cases = {
        "vocab.json": (b'{"a": 0}', r"merges\.txt is missing"), "words.txt": (b"one\ntwo\n", r"lacks a token for unk, cls, sep"),
        "x.tiktoken": (b"IQ== 0\nIg==\n", "line 2 is not 'base64 rank'"), "x.model": (b"\x0a\x05\x0a\xff", "runs past the end"),
        "tokenizer.json": (b'{"added_tokens": [], "model": 3}', "no tokenizer that can be read"), "empty.model": (b"\x12\x00", "holds no pieces"),
        "broken/tokenizer.json": (b'{"model": ', "no tokenizer that can be read: .*line 1"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_tokenizer(tmp_path / name)
    (tmp_path / "tokenizer.json").write_text(Bytes().train([]).to_str())
    (tmp_path / "tokenizer_config.json").write_text("[1")
    with pytest.raises(DataError, match="tokenizer_config"):
        read_tokenizer(tmp_path / "tokenizer.json")


def test_letters_of_bytes_are_those_of_the_library():
    for byte, letter in byte_letters().items():
        assert Bytes().train([]).token_to_id(letter) is not None, byte
    assert len(set(byte_letters().values())) == 256


ENGLISH = ["the old man walked to the sea", "a cat sat by the window", "she reads books about ships", "rain fell on the town", "what is your name?", "I'll be there at ten."]
CHINESE = ["老人走向大海", "一只猫坐在窗边", "她读关于船的书", "雨落在城里", "你叫什么名字？", "我十点到那里。"]


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    """A folder as MarianMT's: two unigram models of a few sentences, and the ids of the pieces of both."""
    trainer = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("marian")
    pieces = []
    for name, texts in (("source", ENGLISH), ("target", CHINESE)):
        (folder / name).write_text("\n".join(texts * 3))
        trainer.SentencePieceTrainer.train(input=str(folder / name), model_prefix=str(folder / name), vocab_size=66, hard_vocab_limit=False, minloglevel=2)
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        pieces += [piece for piece, _, kind in sp.parse((folder / f"{name}.spm").read_bytes()).pieces if kind == sp.NORMAL]
    names = ["</s>", "<unk>", *dict.fromkeys(pieces), ">>zh<<", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(names)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "zh"}))
    (folder / "config.json").write_text(json.dumps({"decoder_start_token_id": len(names) - 1}))
    return folder


@pytest.mark.filterwarnings("ignore:Recommended")
def test_sources_and_answers_are_cut_as_marian_cuts_them(marian, tmp_path):
    other = transformers.MarianTokenizer.from_pretrained(marian)
    texts = [*ENGLISH, *CHINESE, *(text for text in TEXTS if text != SPELLED), "the ship 船 Zürich ﬁsh", "the cat  老人 。", ">>zh<< the cat", ">>none<<the cat", ">> the <<"]
    ours = TextProcessor.load({}, marian)
    for folder in (marian, tmp_path):                                                     # theirs, and as it is saved here
        ours = ours if folder == marian else TextProcessor.load(ours.dump(), folder)
        assert (ours.vocab, ours.roles) == (len(other), {"eos": "</s>", "unk": "<unk>", "pad": "<pad>", "decoder_start": "<pad>"})
        assert ours.answer_start == [len(other) - 1]
        for text in texts:
            source, answer = other(text).input_ids, other(text_target=text).input_ids
            assert ours.source(text, 999) == source and ours.encode(text) == answer[:-1], text
            for ids in (source, answer):
                assert ours.decode(ids).strip() == other.decode(ids, skip_special_tokens=True), text
        controls = {ours.id(role) for role in ("eos", "pad")}
        assert not controls & set(ours.encode("</s> <pad>")) and len(controls & set(ours.source("a </s> <pad>", 99))) == 1      # what a user writes is text
        for name, data in {**ours.files(), "config.json": (marian / "config.json").read_bytes()}.items():
            (tmp_path / name).write_bytes(data)
    again = transformers.MarianTokenizer.from_pretrained(tmp_path)
    assert all(again(text).input_ids == other(text).input_ids for text in texts)
    with pytest.raises(DataError, match="in two ways"):
        TokenizerFile(path=str(marian)).train([])


def test_what_a_folder_of_marian_must_hold(marian, tmp_path):
    for name in ("source.spm", "vocab.json"):
        (tmp_path / name).write_bytes((marian / name).read_bytes())
    with pytest.raises(DataError, match=r"it belongs with source\.spm, target\.spm, vocab\.json; target\.spm is missing"):
        read_tokenizer(tmp_path)
    (tmp_path / "target.spm").write_bytes((marian / "target.spm").read_bytes())
    (tmp_path / "vocab.json").write_text(json.dumps({"</s>": 0, "a": 5}))
    with pytest.raises(DataError, match=r"vocab\.json beside it lacks <unk>, <pad>"):
        read_tokenizer(tmp_path)
