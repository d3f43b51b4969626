"""Tokenizers made here from the training documents: byte-level BPE (Sennrich et al. 2015, arXiv:1508.07909), bytes, characters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ftheta.core.config import Config
from ftheta.core.errors import DataError

SPECIAL = ("<bos>", "<mask>", "<eos>", "<pad>")
BOS, MASK, EOS, PAD = range(4)
TRAINED_ROLES = {name.strip("<>"): name for name in SPECIAL}

WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pattern, as the library's byte-level pre-tokenizer has it built in."""

CODE = (
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+(?:[\r\n]+ *(?= \S|$)|)|\s*[\r\n]+ *(?= \S|$)|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""GPT-4's pattern, with a line break and the indentation after it kept in one piece: fewer tokens for source code."""


class TokenizerConfig(Config, ABC):
    """How text becomes token ids. In those trained here ids 0 to 3 are <bos>, <mask>, <eos> and <pad>; text that spells one stays text."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Number of ids, when it is known before training."""

    @property
    def enough(self) -> int | None:
        """Bytes of text that it is made from where there are more; None: it reads none."""
        return None

    @abstractmethod
    def train(self, texts: Iterable[str]) -> Tokenizer:
        """Make the tokenizer from the training documents, gone through as often as need be. Raises DataError when they cannot give it."""

    def roles(self, tokenizer: Tokenizer) -> dict[str, str]:
        """Which token of the made tokenizer plays which part (bos, eos, pad, mask, ...)."""
        return dict(TRAINED_ROLES)

    def chat_template(self) -> str | None:
        """How conversations are written, where that is known."""
        return None

    def key(self) -> Mapping[str, Any]:
        """What decides the result beside the documents."""
        return self.dump()


class Trained(TokenizerConfig):
    """A tokenizer that is learned from text."""

    sample: int = Field(default=50_000_000, ge=1)
    """Bytes of training documents that it is learned from, all of them where there are fewer; which ones depends on hashes of their texts alone."""

    @property
    def enough(self) -> int:
        return self.sample


def finish(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True                  # user text can never become a control token
    return tokenizer


def refuse_fewer(found: int, asked: int) -> None:
    """Raise DataError when the text gave fewer tokens than asked for."""
    if found < asked:
        raise DataError(f"data.tokenizer.vocab: the text allows only {found:,} tokens, {asked:,} were asked for; use vocab: {found} or less")


class ByteBPE(Trained):
    """Byte-pair merges learned on the training documents; every byte has a token, so nothing is unknown."""

    kind: Literal["byte_bpe"] = "byte_bpe"
    vocab: int = Field(default=4096, ge=260)
    """Number of tokens: 4 special ones, 256 bytes, the rest merges."""
    pattern: Literal["gpt2", "code"] = "gpt2"
    """How text is cut before merging: GPT-2's words, or pieces that suit source code."""

    @property
    def size(self) -> int:
        return self.vocab

    def train(self, texts: Iterable[str]) -> Tokenizer:
        tokenizer = Tokenizer(models.BPE())
        if self.pattern == "gpt2":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Split(Regex(CODE), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
            )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        refuse_fewer(tokenizer.get_vocab_size(), self.vocab)
        return finish(tokenizer)


class Bytes(TokenizerConfig):
    """Every UTF-8 byte is a token."""

    kind: Literal["bytes"] = "bytes"

    @property
    def size(self) -> int:
        return 256 + len(SPECIAL)

    def train(self, texts: Iterable[str]) -> Tokenizer:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*SPECIAL, *alphabet])}, []))
        tokenizer.add_special_tokens(list(SPECIAL))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        return finish(tokenizer)


class Characters(Trained):
    """Every character of the training documents is a token; others become <unk>."""

    kind: Literal["characters"] = "characters"

    @property
    def size(self) -> None:
        return None

    def train(self, texts: Iterable[str]) -> Tokenizer:
        alphabet = sorted({character for text in texts for character in text})
        vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet, "<unk>"])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.add_special_tokens(list(SPECIAL))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
        return finish(tokenizer)
