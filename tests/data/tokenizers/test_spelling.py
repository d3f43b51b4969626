"""Words and sentences seen in token ids, for tokenizers of every sort."""

from __future__ import annotations

import numpy as np
import pytest

from ftheta.data.tokenizers.spelling import Spelling, words
from ftheta.data.tokenizers.subword import BPE, Unigram, WordPiece
from ftheta.data.tokenizers.trained import ByteBPE, Bytes, Characters, TokenizerConfig

TEXT = "The unbelievable dogs (3,14) don't stop. \"Really?\" Yes! 我爱北京。好吗？ Done."
KINDS = [ByteBPE(vocab=290), ByteBPE(vocab=262), Bytes(), Characters(), BPE(vocab=284, coverage=1.0), Unigram(vocab=284, coverage=1.0), WordPiece(vocab=80, coverage=1.0)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.kind} {kind.size}")
def test_tokens_fall_into_words_and_sentences(kind: TokenizerConfig) -> None:
    text = TEXT.replace("我爱北京。好吗？ ", "") if isinstance(kind, WordPiece) else TEXT    # it has room for half of the characters
    tokenizer = kind.train([text, text, text, "the dog stops unbelievably and really finds other doors to stand at, says one"])
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    spelling = Spelling(tokenizer)
    pieces = np.split(np.array(ids), np.flatnonzero(~spelling.continues(ids))[1:])
    found = [tokenizer.decode(piece.tolist()).strip() for piece in pieces]
    found = [word for word in found if word]                                              # a space that is a token is no word
    wanted = [text[start:stop] for start, stop in words(text)]
    if not isinstance(kind, ByteBPE):                                                     # merges may join signs, and spaces with what follows
        assert found == wanted
    assert {"The", "unbelievable", "dogs", "Really", "Done"} <= set(found)
    sentences = np.split(np.array(ids), np.flatnonzero(spelling.sentence_ends(ids))[:-1] + 1)
    told = [tokenizer.decode(piece.tolist()).replace(" ", "") for piece in sentences]
    quoted = ['"Really?', '"Yes!'] if isinstance(kind, WordPiece) else ['"Really?"', "Yes!", "我爱北京。", "好吗？"]      # its tokens do not say which side a quote is on
    assert told == ["Theunbelievabledogs(3,14)don'tstop.", *quoted, "Done."]


def test_listed_words_are_the_longest_from_the_left() -> None:
    text = "我们爱北京大学ok吗"
    assert [text[a:b] for a, b in words(text, {"我们", "北京", "北京大学", "大学"})] == ["我们", "爱", "北京大学", "ok", "吗"]
    tokenizer = Bytes().train([])
    ids = tokenizer.encode("北京a").ids
    assert Spelling(tokenizer).continues(ids).tolist() == [False, True, True] * 2 + [False]
    assert Spelling(tokenizer).continues(ids, {"北京"}).tolist() == [False] + [True] * 5 + [False]


def test_a_character_cut_at_the_border_of_a_row_is_no_matter() -> None:
    tokenizer = Bytes().train([])
    ids = tokenizer.encode("京a b").ids
    assert Spelling(tokenizer).continues(ids[1:]).tolist()[-3:] == [False] * 3
    assert Spelling(tokenizer).continues([0, *ids[3:4], 2, *ids[3:4]]).tolist() == [False] * 4       # nothing goes on across a control token
