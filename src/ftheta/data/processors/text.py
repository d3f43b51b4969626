"""Text ↔ token ids, by a `tokenizers` tokenizer that keeps text that spells a control token as text; class numbers ↔ names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from tokenizers import Encoding, Tokenizer

from ftheta.core.contract import Batch
from ftheta.core.errors import FolderError
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers.trained import SPECIAL

CONFIG = "tokenizer_config.json"
PADDING = -1
"""The document that padding belongs to, and the segment number of no text."""


class TextProcessor(Processor):
    """Encodes text after `<bos>`, decodes ids without control tokens; `frame` puts texts between the tokenizer's own control tokens."""

    kind = "text"

    def __init__(self, tokenizer: Tokenizer, labels: Sequence[str] = (), special: Mapping[str, str] | None = None, longest: int | None = None):
        """`special` says what this tokenizer calls `bos`, `mask`, `eos` and `pad`, where not `<bos>`, `<mask>`, `<eos>` and `<pad>`.

        `longest` is how many tokens of a text are read, where that is less than the model could.
        """
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.special = dict(special or {})
        self.longest = longest

    @property
    def vocab(self) -> int:
        return self.tokenizer.get_vocab_size()

    def id(self, token: str) -> int | None:
        """The id of a control token such as `<eos>`, whatever this tokenizer calls it."""
        return self.tokenizer.token_to_id(self.special.get(token.strip("<>"), token))

    def label(self, index: int) -> str:
        """The name of a class; its number where it has none."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def encode(self, text: str, start: bool = True) -> list[int]:
        """Token ids, after `<bos>` when `start`."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        first = self.id("<bos>")
        return [first, *ids] if start and first is not None else ids

    def batch(self, encodings: Sequence[Encoding]) -> Batch:
        """tokens, documents and segments (B, T) of texts of unequal length, padded on the right with document -1."""
        rows, width = len(encodings), max((len(encoding.ids) for encoding in encodings), default=0)
        tokens = torch.full((rows, width), self.id("<pad>") or 0)
        documents, segments = torch.full((rows, width), PADDING), torch.zeros(rows, width, dtype=torch.int64)
        for row, encoding in enumerate(encodings):
            length = len(encoding.ids)
            tokens[row, :length] = torch.tensor(encoding.ids, dtype=torch.int64)
            segments[row, :length] = torch.tensor(encoding.type_ids, dtype=torch.int64)
            documents[row, :length] = 0
        return {"tokens": tokens, "documents": documents, "segments": segments}

    def frame(self, first: str, second: str | None, longest: int) -> Encoding:
        """A text, or a pair of texts, with the control tokens the tokenizer puts around them (`[CLS] a [SEP] b [SEP]`).

        What is too long for `longest` tokens loses its end; of a pair the longer text does.
        """
        a = self.tokenizer.encode(first, add_special_tokens=False)
        b = None if second is None else self.tokenizer.encode(second, add_special_tokens=False)
        room = longest - self.tokenizer.num_special_tokens_to_add(b is not None)
        if b is None:
            a.truncate(room)
        else:
            small, large = sorted((a, b), key=lambda encoding: len(encoding.ids))
            small.truncate(max(room // 2, room - len(large.ids)))
            large.truncate(room - len(small.ids))
        return self.tokenizer.post_process(a, b, True)

    def windows(self, first: str, second: str, longest: int, stride: int) -> list[Encoding]:
        """A pair as often as it takes for every token of a long second text to be seen; neighbours share `stride` tokens."""
        a, b = (self.tokenizer.encode(text, add_special_tokens=False) for text in (first, second))
        room = longest - self.tokenizer.num_special_tokens_to_add(True)
        a.truncate(room // 2)
        b.truncate(room - len(a.ids), min(stride, (room - len(a.ids)) // 2))
        rest = b.overflowing
        return [self.tokenizer.post_process(a, piece, True) for piece in (b, *rest)]

    def blanks(self, text: str) -> list[int]:
        """Token ids of a text in which `<mask>` stands for a hidden token, between the tokenizer's control tokens or after `<bos>`."""
        mask = self.special.get("mask", "<mask>")
        self.tokenizer.encode_special_tokens = False
        hidden = self.tokenizer.encode(mask, add_special_tokens=False)
        self.tokenizer.encode_special_tokens = True
        pieces: list[Encoding] = []
        for i, piece in enumerate(text.split("<mask>")):
            pieces += [hidden] * bool(i) + [self.tokenizer.encode(piece, add_special_tokens=False)]
        ids = self.tokenizer.post_process(Encoding.merge(pieces, True), None, True).ids
        first = self.id("<bos>")
        return ids if first is None or first in ids else [first, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def dump(self) -> dict[str, Any]:
        facts = {"labels": self.labels, "special": self.special, "longest": self.longest}
        return {"kind": self.kind, **{name: value for name, value in facts.items() if value}}

    def files(self) -> dict[str, bytes]:
        names = {name.strip("<>"): self.special.get(name.strip("<>"), name) for name in SPECIAL if self.id(name) is not None}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "add_prefix_space": False,
            **{f"{short}_token": name for short, name in names.items()},
            **{other: self.special[short] for short, other in (("bos", "cls_token"), ("eos", "sep_token")) if short in self.special},
        }
        return {"tokenizer.json": self.tokenizer.to_str(pretty=True).encode(), CONFIG: (json.dumps(config, indent=1) + "\n").encode()}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        """From our own facts; what they do not say of control tokens is read from `tokenizer_config.json` where there is one."""
        place = folder / "tokenizer.json"
        special = facts.get("special") if "kind" in facts else foreign_special(folder / CONFIG)
        try:
            return cls(Tokenizer.from_str(place.read_text(encoding="utf-8")), facts.get("labels", ()), special, facts.get("longest"))
        except OSError as error:
            raise FolderError(f"{place} cannot be read: {error.strerror}") from None
        except Exception as error:                                                        # the library raises bare Exception for bad files
            raise FolderError(f"{place} is not a tokenizer: {error}") from None


def foreign_special(path: Path) -> dict[str, str]:
    """What a Hugging Face tokenizer calls its control tokens, where not as we do.

    A BERT's first and last tokens are `cls` and `sep`; a `bos` that it does not put before texts is not counted.
    """
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    found, first = {}, ("cls_token", "bos_token") if facts.get("add_bos_token") else ("cls_token",)
    for ours, theirs in (("bos", first), ("eos", ("eos_token", "sep_token")), ("mask", ("mask_token",)), ("pad", ("pad_token",))):
        said = next((facts[name] for name in theirs if facts.get(name)), None)
        name = said.get("content") if isinstance(said, Mapping) else said
        if name and name != f"<{ours}>":
            found[ours] = name
    return found
