"""Text ↔ token ids, by a `tokenizers` tokenizer that keeps text that spells a control token as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer

from ftheta.core.errors import FolderError
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers.trained import SPECIAL


class TextProcessor(Processor):
    """Encodes text after `<bos>`, decodes ids without control tokens."""

    kind = "text"

    def __init__(self, tokenizer: Tokenizer):
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer

    @property
    def vocab(self) -> int:
        return self.tokenizer.get_vocab_size()

    def id(self, token: str) -> int | None:
        """The id of a control token such as `<eos>`."""
        return self.tokenizer.token_to_id(token)

    def encode(self, text: str, start: bool = True) -> list[int]:
        """Token ids, after `<bos>` when `start`."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        first = self.id("<bos>")
        return [first, *ids] if start and first is not None else ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def dump(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def files(self) -> dict[str, bytes]:
        names = {name.strip("<>"): name for name in SPECIAL if self.id(name) is not None}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "add_prefix_space": False,
            **{f"{short}_token": name for short, name in names.items()},
        }
        return {"tokenizer.json": self.tokenizer.to_str(pretty=True).encode(), "tokenizer_config.json": (json.dumps(config, indent=1) + "\n").encode()}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        place = folder / "tokenizer.json"
        try:
            return cls(Tokenizer.from_str(place.read_text(encoding="utf-8")))
        except OSError as error:
            raise FolderError(f"{place} cannot be read: {error.strerror}") from None
        except Exception as error:                                                        # the library raises bare Exception for bad files
            raise FolderError(f"{place} is not a tokenizer: {error}") from None
