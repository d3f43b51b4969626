"""Tokenizers over characters: texts come back, control tokens stay text, and the same texts give the same tokenizer in any process."""

import argparse
import hashlib
import inspect
import subprocess
import sys

import pytest

from ftheta.core.errors import DataError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.subword import BPE, Unigram, WordPiece

CORPUS = [
    "def add(a, b):\n    return a + b  # sum of two numbers\n",
    "the quick brown fox jumps over the lazy dog and the lazy cat sleeps. " * 3,
    "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。",
    "寒来暑往，秋收冬藏。闰余成岁，律吕调阳。" * 2, "a naïve café — déjà vu! 1234 5678\n\n\tindented\n",
    "some more words, that are long enough to learn pieces from: internationalisation, tokenisation, normalisation, realisation",
] * 40 + [inspect.getsource(argparse)[:10000]]
ODD = [
    "", " ", "  two  spaces \n\t tab\u00a0\u3000wide", "龘鱻 are rare", "🙂👨‍👩‍👧 é e\u0301 ﬁ ①，！",
    "<bos><mask> </eos> <unk> <0x41> [CLS] ##ing ▁a", "\x00\x01\x7f",
    "def f(x):\r\n        return x[0]\n",
]
KINDS = [BPE(vocab=400, coverage=0.99), BPE(vocab=400, pattern="code"), Unigram(vocab=400, coverage=0.98), Unigram(vocab=400, pattern="code")]


@pytest.mark.parametrize("config", KINDS, ids=lambda config: f"{config.kind}-{config.pattern}")
def test_every_text_comes_back_and_no_text_becomes_a_control_token(config):
    made = config.train(CORPUS)
    assert made.get_vocab_size() == config.vocab == config.size
    processor = TextProcessor(made, config.roles(made))
    for text in [*ODD, *CORPUS]:
        ids = processor.encode(text, start=False)
        assert processor.decode(ids) == text
        assert not {0, 1, 2, 3} & set(ids) and (config.kind == "bpe" or 4 not in ids)
    known = "天地" + "0" * 3
    assert len(processor.encode(known, start=False)) < len(known.encode()) < len(processor.encode("龘鱻鱻", start=False)) + 1


def test_wordpiece_cuts_chinese_into_characters_and_knows_pieces():
    config = WordPiece(vocab=300, lower=True)
    made = config.train(CORPUS)
    words = made.encode("Jumping 天地，dog", add_special_tokens=False).tokens
    assert words[-4:] == ["天", "地", "，", "dog"] and words[0].startswith("j") and all(piece.startswith("##") for piece in words[1:-4])
    assert "".join(words[:-4]).replace("##", "") == "jumping"
    assert made.encode("龘", add_special_tokens=False).tokens == ["<unk>"]
    assert made.decode(made.encode("the quick, brown fox", add_special_tokens=False).ids) == "the quick , brown fox"
    processor = TextProcessor(made, config.roles(made))
    assert processor.id("unk") == 4 and "<bos>" not in made.encode("<bos>", add_special_tokens=False).tokens
    cased = WordPiece(vocab=300).train(CORPUS)
    assert made.encode("Dog", add_special_tokens=False).tokens == ["dog"] and cased.encode("Dog", add_special_tokens=False).tokens[0] == "D"


@pytest.mark.parametrize("kind", [BPE, Unigram])
def test_normal_forms(kind):
    text = "ﬁ Ａ e\u0301"
    for form, expected in ((None, text), ("NFC", "ﬁ Ａ é"), ("NFKC", "fi A é")):
        made = kind(vocab=400, normal_form=form).train(CORPUS)
        assert made.decode(made.encode(text).ids) == expected


@pytest.mark.parametrize("kind", [BPE, Unigram, WordPiece])
def test_a_vocabulary_larger_than_the_text_allows(kind):
    with pytest.raises(DataError, match=r"allows only [\d,]+ tokens, 9,000 were asked for"):
        kind(vocab=9000).train(CORPUS)


MAKE = """
import hashlib, sys
sys.path.insert(0, {here!r})
from test_subword import CORPUS
from ftheta.data.tokenizers.subword import BPE, Unigram, WordPiece
print(*[hashlib.md5(kind(vocab=400).train(CORPUS).to_str().encode()).hexdigest() for kind in (BPE, Unigram, WordPiece)])
"""


def test_another_process_makes_the_same_tokenizers():
    here = __file__.rsplit("/", 1)[0]
    ours = [hashlib.md5(kind(vocab=400).train(CORPUS).to_str().encode()).hexdigest() for kind in (BPE, Unigram, WordPiece)]
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", MAKE.format(here=here)], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ours
