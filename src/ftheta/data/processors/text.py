"""Text ↔ token ids, by a `tokenizers` tokenizer that keeps text that spells a control token as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer

from ftheta.core.errors import DataError, FolderError
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers import controls
from ftheta.data.tokenizers.file import read_tokenizer
from ftheta.data.tokenizers.trained import TRAINED_ROLES

CONTEXT = 8
"""Tokens before new ones that decide how these are shown: whether a space comes first, which bytes belong to a character begun before."""


class TextProcessor(Processor):
    """Encodes text after the token that begins one, decodes ids without control tokens.

    `roles` says which token is `bos`, `eos`, `pad`, `mask`, `cls`, `sep` or `unk`; `begin` and `end` are put around every text (`begin`
    by itself is what begins a document). Left out, they are those of tokenizers trained here.
    """

    kind = "text"

    def __init__(
        self, tokenizer: Tokenizer, roles: Mapping[str, str] | None = None, begin: Sequence[str] | None = None, end: Sequence[str] = (),
    ):
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.roles = {role: token for role, token in (TRAINED_ROLES if roles is None else roles).items() if tokenizer.token_to_id(token) is not None}
        opening = controls.opening(self.roles)
        self.begin = ([opening] if opening else []) if begin is None else list(begin)
        self.end = list(end)

    @property
    def vocab(self) -> int:
        """One more than the highest id."""
        return 1 + max(self.tokenizer.get_vocab().values(), default=-1)

    def id(self, role: str) -> int | None:
        """The id of the token that plays a part, such as `eos`."""
        return self.tokenizer.token_to_id(self.roles[role]) if role in self.roles else None

    def ids(self, tokens: Sequence[str]) -> list[int]:
        return [i for i in map(self.tokenizer.token_to_id, tokens) if i is not None]

    @property
    def borders(self) -> tuple[int, int]:
        """The ids that begin and end a document in rows of tokens. Raises DataError when no token can."""
        found = self.ids([token for token in (controls.opening(self.roles), controls.closing(self.roles)) if token])
        if len(found) < 2:
            raise DataError("data.tokenizer: no token begins or ends a document; name one, as in special: {eos: '<|endoftext|>'}")
        return found[0], found[1]

    def encode(self, text: str, start: bool = True) -> list[int]:
        """Token ids, after those that begin a text when `start`."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [*self.ids(self.begin), *ids] if start else ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def decode_after(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """The text of `ids` as it goes on from that of `before`: with the space between words, if there is one."""
        tail = list(before[-CONTEXT:])
        return self.decode([*tail, *ids])[len(self.decode(tail)) :]

    def dump(self) -> dict[str, Any]:
        return {"kind": self.kind, "begin": self.begin, "end": self.end}

    def files(self) -> dict[str, bytes]:
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "add_prefix_space": False,
            **{f"{role}_token": token for role, token in self.roles.items()},
        }
        return {"tokenizer.json": self.tokenizer.to_str(pretty=True).encode(), "tokenizer_config.json": (json.dumps(config, indent=1) + "\n").encode()}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        """From what `dump` and `files` gave, or, without facts, from any tokenizer's files."""
        try:
            taken = read_tokenizer(folder / "tokenizer.json" if facts else folder)
        except DataError as error:
            raise FolderError(str(error).removeprefix("data.tokenizer.path: ")) from None
        if not facts:
            return cls(taken.tokenizer, taken.roles, taken.begin, taken.end)
        return cls(taken.tokenizer, taken.roles, facts.get("begin"), facts.get("end", ()))
