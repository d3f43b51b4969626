import base64
import random
import re
import sys

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from ftheta.data.tokenizers import TOKENIZERS, quick
from ftheta.data.tokenizers.quick import SPREAD, WINDOW, DifferentIdsError, Plain, Quick, encoder, looked_at
from ftheta.data.tokenizers.subword import BPE, Unigram, WordPiece
from ftheta.data.tokenizers.trained import ByteBPE, Bytes, Characters
from ftheta.data.tokenizers.vocabularies import tiktoken

WORDS = re.findall(r"\S+", "the quick brown fox doesn't jump over 12345 lazy dogs, naïve café; 中文 文字 没有 空格 def return x[1:] {} != 😀")
RANGES = (
    (0, 0x80), (0x80, 0x250), (0x300, 0x370), (0x590, 0x700), (0x900, 0x980), (0x2000, 0x2070), (0x3000, 0x3100), (0x4E00, 0x4F00), (0xFF00, 0xFFF0),
    (0x1F300, 0x1F700),
)


def texts(count, seed=0):
    """Words as they come and characters of all kinds, with the spellings of control tokens among them."""
    draws = random.Random(seed)
    odd = ["".join(chr(draws.randrange(*draws.choice(RANGES))) for _ in range(draws.randrange(60))) for _ in range(count)]
    plain = [draws.choice(" \n").join(draws.choices([*WORDS, "<eos>", "<bos>", " "], k=draws.randrange(60))) for _ in range(count)]
    return odd + plain


TRAINED = {
    "gpt2": ByteBPE(vocab=400), "code": ByteBPE(vocab=400, pattern="code"), "bytes": Bytes(), "bpe": BPE(vocab=400), "unigram": Unigram(vocab=300),
    "wordpiece": WordPiece(vocab=200), "characters": Characters(),
}


def other(pattern):
    """A vocabulary of another kind: the pairs of letters that a trained one has, as tiktoken's ranks."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"th", b"he", b"the", b" t", b" the", b"an", b"\n\n", "中".encode()[:2], "中".encode()]
    return tiktoken([base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens)], pattern)


def test_every_tokenizer_of_ours_is_in_the_comparison():
    assert {config.kind for config in TRAINED.values()} | {"file"} == set(TOKENIZERS.names())


@pytest.mark.parametrize("kind", [*TRAINED, "tiktoken gpt2", "tiktoken gpt4", "tiktoken qwen"])
def test_ids_are_those_of_tokenizers_for_all_kinds_of_characters_and_spelled_control_tokens(kind):
    tokenizer = other(kind.split()[1]) if " " in kind else TRAINED[kind].train(texts(100, seed=1))
    tokenizer.encode_special_tokens = True
    given = texts(400)
    found = encoder(tokenizer)
    assert isinstance(found, Quick) == (kind in ("gpt2", "bytes") or "tiktoken" in kind)
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in given]
    assert [list(ids) for ids in found.encode(given)] == expected


def test_control_tokens_are_found_in_text_where_the_tokenizer_finds_them():
    tokenizer = ByteBPE(vocab=300).train(texts(100))
    tokenizer.encode_special_tokens = False
    [ids] = Quick(tokenizer).encode(["a<eos>b"])
    assert len(ids) == 3 and list(ids) == tokenizer.encode("a<eos>b").ids


def test_beginning_anew_and_the_pieces_that_both_encode_change_nothing(monkeypatch):
    tokenizer, given = ByteBPE(vocab=400).train(texts(100)), texts(50)
    expected = [ids.tolist() for ids in Quick(tokenizer).encode(given)]
    loaded, compared, load = [], [], quick.load
    monkeypatch.setattr(quick, "load", lambda described: loaded.append(1) or load(described))
    monkeypatch.setattr(quick, "RENEWED", 1000)
    monkeypatch.setattr(quick, "SPREAD", 100)
    one = Quick(tokenizer)
    monkeypatch.setattr(one, "compare", compared.append)
    assert [ids.tolist() for ids in one.encode(given)] == expected
    size = sum(map(len, given))
    assert len(loaded) == pytest.approx(1 + size / 1000, abs=size / 4000) and len(compared) > len(given) // 2


def test_pieces_are_drawn_evenly_by_what_texts_say():
    draws = random.Random(0)
    short, long = (["".join(draws.choices("abcdef", k=size)) for _ in range(count)] for size, count in ((400, 20_000), (40_000, 200)))
    for group in (short, long):
        chosen = [looked_at(text) is not None for text in group]
        expected = sum(map(len, group)) / SPREAD                                          # 61 of each, each with a chance of its own
        assert abs(sum(chosen) - expected) < 4 * expected**0.5 and chosen == [looked_at(text) is not None for text in group]
    huge = [("".join(draws.choices("abcdef", k=100)) * (SPREAD // 100 + 1)) for _ in range(20)]
    places = [looked_at(text) for text in huge]
    assert all(place is not None and 0 <= place <= len(text) - WINDOW for place, text in zip(places, huge, strict=True)) and len(set(places)) == 20


@pytest.mark.parametrize("text", ["wrong", "panic"])
def test_a_library_that_gives_other_ids_or_fails_is_found_out(monkeypatch, text):
    """Something that is like the library until it meets a certain word."""
    tokenizer = ByteBPE(vocab=400).train(texts(100))

    class Panic(BaseException): ...

    class Faulty:
        def encode(self, given):
            if "panic" in given:
                raise Panic("index out of bounds")
            return np.array(tokenizer.encode(given).ids[: 3 if "wrong" in given else None], np.uint32)

    monkeypatch.setattr(quick, "load", lambda described: Faulty())
    faulty = encoder(tokenizer)
    assert isinstance(faulty, Quick) and len(list(faulty.encode(["a good text"]))) == 1
    with pytest.raises(DifferentIdsError, match="gigatoken"):
        list(faulty.encode([f"a text with a {text} word " * (SPREAD // 20)]))             # so long that a piece of it is surely looked at


def test_what_the_library_does_not_have_is_done_by_tokenizers(monkeypatch):
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Split(Regex("b+"), "isolated")
    assert isinstance(encoder(tokenizer), Plain) and [list(ids) for ids in encoder(tokenizer).encode(["ABab", ""])] == [[0, 1, 0, 1], []]
    monkeypatch.setitem(sys.modules, "gigatoken.gigatoken_rs", None)
    assert isinstance(encoder(ByteBPE(vocab=400).train(texts(100))), Plain)
