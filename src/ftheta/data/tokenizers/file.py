"""Tokenizers taken from files: `tokenizer.json`, GPT-2's `vocab.json` and `merges.txt`, BERT's `vocab.txt`, SentencePiece's `.model`, MarianMT's
`source.spm` with the files it belongs to, tiktoken's ranks. What a file is, is seen from its content; what its control tokens are for, is said by it and by the files beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from tokenizers import Tokenizer

from ftheta.core.errors import DataError
from ftheta.data.stages import digest
from ftheta.data.tokenizers import controls, marian, sentencepiece, vocabularies
from ftheta.data.tokenizers.controls import CONFIGS, Role
from ftheta.data.tokenizers.marian import TwoCutters
from ftheta.data.tokenizers.trained import TokenizerConfig

NAMES = ("tokenizer.json", marian.FILES[0], "vocab.json", "encoder.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""What a folder's tokenizer may be called, the fullest first; after these any `.model` and `.tiktoken` file."""
MERGES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Two files that belong together; what stands before these names in the one stands in the other as well."""


@dataclass(frozen=True)
class Taken:
    """A tokenizer with its control tokens by role and what it puts before and after every text."""

    tokenizer: Tokenizer
    roles: dict[str, str]
    begin: list[str]
    end: list[str]
    cutters: TwoCutters | None = None
    """What cuts sources and answers, where that is not one."""


class TokenizerFile(TokenizerConfig):
    """A tokenizer made elsewhere."""

    kind: Literal["file"] = "file"
    path: str
    """A file, or a folder that holds it."""
    lower: bool | None = None
    """Whether a BERT vocabulary is of lower-cased text without accents; none: as tokenizer_config.json beside it says, else yes."""
    pattern: vocabularies.Pattern = "gpt4"
    """How text is cut before merging, which tiktoken's ranks do not say; other files do."""
    special: dict[Role, str] = Field(default_factory=dict)
    """Role → token, where the files do not say or say something else; a token that is not in the vocabulary gets the next id."""

    @property
    def size(self) -> None:
        return None

    def read(self) -> Taken:
        return read_tokenizer(Path(self.path).expanduser(), lower=self.lower, pattern=self.pattern, special=self.special)

    def train(self, texts: Sequence[str]) -> Tokenizer:
        taken = self.read()
        if taken.cutters is not None:
            raise DataError(f"data.tokenizer.path: {self.path} cuts sources and answers in two ways; such a model can be used, but not trained on")
        return taken.tokenizer

    def roles(self, tokenizer: Tokenizer) -> dict[str, str]:
        return self.read().roles

    def chat_template(self) -> str | None:
        return controls.chat_template(find(Path(self.path).expanduser()).parent)

    def key(self) -> Mapping[str, Any]:
        place = find(Path(self.path).expanduser())
        together = [place, *(place.parent / name for name in (*CONFIGS, controls.TEMPLATE)), *partners(place)]
        return {**self.dump(), "path": [digest(each.read_bytes()) for each in together if each.exists()]}


def read_tokenizer(
    path: Path, *, lower: bool | None = None, pattern: vocabularies.Pattern = "gpt4", special: Mapping[Any, str] | None = None,
) -> Taken:
    """Read a tokenizer from a file or a folder. Raises DataError naming the file and what is wrong with it."""
    place = find(path)
    facts = controls.beside(place.parent)
    cutters = None
    try:
        if place.name == marian.FILES[0]:
            tokenizer, found, cutters = marian.read(place)
        else:
            tokenizer, found = open_file(place, facts, lower, pattern)
    except OSError as error:
        raise DataError(f"{place} cannot be read: {error.strerror}") from None
    except Exception as error:                                                            # the library raises bare Exception for bad files
        raise DataError(f"{place} is no tokenizer that can be read: {error}") from None
    roles = {**found, **controls.decoder_start(place.parent, tokenizer), **controls.said(facts), **(special or {})}
    controls.add_roles(tokenizer, roles)
    begin, end = controls.frame(tokenizer)
    if not begin and facts.get("add_bos_token") and "bos" in roles:
        begin = [roles["bos"]]
    if not end and facts.get("add_eos_token") and "eos" in roles:
        end = [roles["eos"]]
    return Taken(tokenizer, roles, begin, end, cutters)


def find(path: Path) -> Path:
    """The file that is meant. Raises DataError when there is none."""
    if not path.exists():
        raise DataError(f"data.tokenizer.path: {path} does not exist")
    if not path.is_dir():
        return path
    known = [path / name for name in NAMES] + sorted(path.glob("*.model")) + sorted(path.glob("*.tiktoken"))
    if (place := next((place for place in known if place.exists()), None)) is None:
        raise DataError(f"data.tokenizer.path: {path} holds no tokenizer ({', '.join(NAMES)}, *.model or *.tiktoken)")
    return place


def partners(place: Path) -> list[Path]:
    """The files that belong with a vocabulary, with merges, or with what cuts sources."""
    if place.name == marian.FILES[0]:
        return [place.with_name(name) for name in marian.FILES[1:]]
    for pair in MERGES:
        for own, other in (pair, pair[::-1]):
            if place.name.endswith(own):
                return [place.with_name(place.name.removesuffix(own) + other)]
    return []


def open_file(place: Path, facts: Mapping[str, Any], lower: bool | None, pattern: vocabularies.Pattern) -> tuple[Tokenizer, dict[str, str]]:
    """The tokenizer and those control tokens that it names itself."""
    data = place.read_bytes()
    if data.startswith(b"{") or place.name.endswith(tuple(name for _, name in MERGES)):
        if place.name == NAMES[0] or (b'"added_tokens"' in data and b'"model"' in data):
            tokenizer = Tokenizer.from_str(data.decode())
            return tokenizer, controls.spelled([token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special])
        return byte_level(place)
    if re.match(rb"[A-Za-z0-9+/=]+ \d+\r?\n", data):
        return vocabularies.tiktoken(data.splitlines(), pattern), {}
    if is_text(data):
        lines = data.decode().split("\n")
        lines = [line.rstrip("\r") for line in (lines[:-1] if not lines[-1] else lines)]
        roles = {**controls.spelled(lines), **controls.said(facts)}
        if missing := [role for role in ("unk", "cls", "sep") if roles.get(role) not in lines]:
            raise DataError(f"as a BERT vocabulary it lacks a token for {', '.join(missing)} ([UNK], [CLS], [SEP])")
        small = facts.get("do_lower_case", True) if lower is None else lower
        return vocabularies.bert(lines, small, facts.get("tokenize_chinese_chars", True), facts.get("strip_accents"), roles), roles
    return sentencepiece.build(sentencepiece.parse(data))


def byte_level(place: Path) -> tuple[Tokenizer, dict[str, str]]:
    """GPT-2's two files, given either."""
    other = partners(place)
    if not other or not other[0].exists():
        pairs = " or ".join(" and ".join(pair) for pair in MERGES)
        raise DataError(f"a vocabulary needs its merges and merges their vocabulary: {pairs} side by side" + (f"; {other[0].name} is missing" if other else ""))
    vocabulary, merges = (place, other[0]) if place.suffix == ".json" else (other[0], place)
    known = json.loads(vocabulary.read_bytes())
    roles = controls.spelled(known)
    if "bos" not in roles and "eos" in roles:
        roles["bos"] = roles["eos"]                                                       # GPT-2 has one token for both
    return vocabularies.gpt2(known, merges.read_text(encoding="utf-8").split("\n")), roles


def is_text(data: bytes) -> bool:
    """Whether the bytes are text of many lines, without the control characters that protobuf has everywhere."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\x00-\x08\x0e-\x1f]", text) and "\n" in text
