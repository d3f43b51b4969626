"""Tokenizers over characters, trained here: BPE (Sennrich et al. 2015, arXiv:1508.07909) and unigram (Kudo 2018, arXiv:1804.10959) that spell
rare characters in bytes, as SentencePiece does (arXiv:1808.06226), and WordPiece (Devlin et al. 2018, arXiv:1810.04805).

The same texts always give the same tokenizer: the library's own trainers number or weigh some pieces in the order of a hash table, so
WordPiece's continuing characters are told apart before training, and unigram's scores are rounded and sorted.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeVar

from pydantic import Field
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ftheta.data.tokenizers.trained import CODE, SPECIAL, TRAINED_ROLES, WORDS, Trained, finish, refuse_fewer

UNKNOWN = "<unk>"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
T = TypeVar("T")
NORMAL_FORMS = {"NFC": normalizers.NFC, "NFKC": normalizers.NFKC}


class CharacterTokenizer(Trained):
    """What tokenizers over characters share."""

    vocab: int = Field(default=4096, ge=16)
    """Number of tokens, special ones included."""
    normal_form: Literal["NFC", "NFKC"] | None = None
    """Unicode normal form given to every text; NFKC also folds full-width letters and punctuation, which cannot be undone. None: text stays as it is."""
    coverage: float = Field(default=0.9995, gt=0, le=1)
    """Share of the training text whose characters, the most frequent first, get tokens of their own; they take at most three quarters of the vocabulary."""

    @property
    def size(self) -> int:
        return self.vocab

    def train(self, texts: Iterable[str]) -> Tokenizer:
        normalizer = NORMAL_FORMS[self.normal_form]() if self.normal_form else None
        return finish(self.fit(texts if normalizer is None else Changed(texts, normalizer.normalize_str), normalizer))

    @abstractmethod
    def fit(self, texts: Iterable[str], normalizer: Any) -> Tokenizer:
        """Train on texts in normal form; the normalizer is to be part of what is made."""

    def frequent(self, texts: Iterable[str], most: int) -> set[str]:
        """The most frequent characters that make up `coverage` of the texts, at most `most`; of equally frequent ones the first by number."""
        counts = Counter[str]()
        for text in texts:
            counts.update(text)
        needed, covered, kept = self.coverage * counts.total(), 0, set[str]()
        for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
            if covered >= needed:
                break
            kept.add(character)
            covered += count
        return kept


class Changed(Iterable[T]):
    """What a function makes of every text, made whenever they are gone through, so that never all of it is in memory."""

    def __init__(self, texts: Iterable[str], change: Callable[[str], T]):
        self.texts = texts
        self.change = change

    def __iter__(self) -> Iterator[T]:
        return map(self.change, self.texts)


def without_rare(texts: Iterable[str], kept: set[str]) -> Iterator[str]:
    """The texts without characters that get no token: these are spelled in bytes."""
    rare = {ord(character): None for text in texts for character in set(text) - kept}
    return (text.translate(rare) for text in texts)


class ByteFallback(CharacterTokenizer):
    """Pieces of words; a character without a token of its own is spelled in bytes, so nothing is unknown and every text comes back as it was."""

    vocab: int = Field(default=4096, ge=270)
    """Number of tokens, special ones and the 256 bytes included."""
    pattern: Literal["gpt2", "code"] = "gpt2"
    """How text is cut before pieces are sought: GPT-2's words, or pieces that suit source code."""

    def fit(self, texts: Iterable[str], normalizer: Any) -> Tokenizer:
        # the pattern keeps letters, digits and signs apart, so no piece of text can equal a token such as <0x41> or <bos>
        cut = pre_tokenizers.Split(Regex(WORDS if self.pattern == "gpt2" else CODE), "isolated")
        first = self.first()
        learned = Tokenizer(self.untrained())
        learned.pre_tokenizer = cut
        room = self.vocab - len(first)
        learned.train_from_iterator(without_rare(texts, self.frequent(texts, room * 3 // 4)), self.trainer(room))
        tokenizer = Tokenizer(self.rebuilt(json.loads(learned.to_str())["model"], first))
        refuse_fewer(tokenizer.get_vocab_size(), self.vocab)
        tokenizer.add_special_tokens([name for name in first if name not in BYTES])
        tokenizer.pre_tokenizer = cut
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
        return tokenizer

    @abstractmethod
    def first(self) -> list[str]:
        """The tokens before the learned ones."""

    @abstractmethod
    def untrained(self) -> models.Model: ...

    @abstractmethod
    def trainer(self, room: int) -> trainers.Trainer: ...

    @abstractmethod
    def rebuilt(self, learned: dict[str, Any], first: list[str]) -> models.Model:
        """The model with special and byte tokens before what was learned."""


class BPE(ByteFallback):
    """Merges of characters learned on the training documents, rare characters spelled in bytes."""

    kind: Literal["bpe"] = "bpe"

    def first(self) -> list[str]:
        return [*SPECIAL, *BYTES]

    def untrained(self) -> models.Model:
        return models.BPE()

    def trainer(self, room: int) -> trainers.Trainer:
        return trainers.BpeTrainer(vocab_size=room, show_progress=False)

    def rebuilt(self, learned: dict[str, Any], first: list[str]) -> models.Model:
        pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
        vocabulary = {token: i for i, token in enumerate([*first, *pieces])}
        return models.BPE(vocabulary, [(a, b) for a, b in learned["merges"]], byte_fallback=True)


class Unigram(ByteFallback):
    """The likeliest cut into pieces, each with its own probability; pieces are learned by keeping those whose loss would cost most."""

    kind: Literal["unigram"] = "unigram"

    def first(self) -> list[str]:
        return [*SPECIAL, UNKNOWN, *BYTES]                                                # the model wants a token for the unknown; bytes leave it nothing to do

    def roles(self, tokenizer: Tokenizer) -> dict[str, str]:
        return {**TRAINED_ROLES, "unk": UNKNOWN}

    def untrained(self) -> models.Model:
        return models.Unigram()

    def trainer(self, room: int) -> trainers.Trainer:
        return trainers.UnigramTrainer(vocab_size=room + 1, show_progress=False, unk_token=UNKNOWN, special_tokens=[UNKNOWN])

    def rebuilt(self, learned: dict[str, Any], first: list[str]) -> models.Model:
        scores = {piece: score for piece, score in learned["vocab"] if piece != UNKNOWN}
        least = round(min(scores.values(), default=0.0), 4)
        # characters that are no learned piece have the least score plus 0.0001 times their place in a hash table
        chance = least + 1e-4 * sum(len(piece) == 1 for piece in scores)
        scores = {piece: least if len(piece) == 1 and score <= chance else round(score, 4) for piece, score in scores.items()}
        pieces = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
        return models.Unigram([*((token, least) for token in first), *pieces], first.index(UNKNOWN), byte_fallback=True)


class WordPiece(CharacterTokenizer):
    """Longest known pieces of words from the left, later ones written ##piece; every Chinese character is a word. A word with a
    character without a token is <unk>, and spaces are not kept: for models that read, not for models that write.
    """

    kind: Literal["wordpiece"] = "wordpiece"
    lower: bool = False
    """Whether letters lose case and accents."""

    def roles(self, tokenizer: Tokenizer) -> dict[str, str]:
        return {**TRAINED_ROLES, "unk": UNKNOWN}

    def fit(self, texts: Iterable[str], normalizer: Any) -> Tokenizer:
        bert, cut = normalizers.BertNormalizer(lowercase=self.lower), pre_tokenizers.BertPreTokenizer()
        split = Changed(texts, lambda text: [word for word, _ in cut.pre_tokenize_str(bert.normalize_str(text))])
        first = [*SPECIAL, UNKNOWN]
        kept = self.frequent(("".join(words) for words in split), (self.vocab - len(first)) // 2)
        later = {character: chr(CONTINUING + rank) for rank, character in enumerate(sorted(kept))}

        def marked(word: str) -> str:
            """The word with every character but the first as its stand-in; cut where a character has none."""
            return "".join((character if i == 0 else later[character]) if character in kept else " " for i, character in enumerate(word))

        learned = Tokenizer(models.BPE())
        learned.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.BpeTrainer(vocab_size=self.vocab - len(first), show_progress=False)
        learned.train_from_iterator((" ".join(map(marked, words)) for words in split), trainer)
        plain = {stand_in: character for character, stand_in in later.items()}
        found = learned.get_vocab()
        pieces = [("##" if token[0] in plain else "") + "".join(plain.get(c, c) for c in token) for token in sorted(found, key=found.__getitem__)]
        tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate([*first, *pieces])}, unk_token=UNKNOWN))
        refuse_fewer(tokenizer.get_vocab_size(), self.vocab)
        tokenizer.add_special_tokens(first)
        tokenizer.normalizer = bert if normalizer is None else normalizers.Sequence([normalizer, bert])
        tokenizer.pre_tokenizer = cut
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
        return tokenizer


CONTINUING = 0x100000
"""From here on stand the stand-ins of characters inside a word: private characters, which the normaliser removes from texts."""
