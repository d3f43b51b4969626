"""Text ↔ token ids, by a `tokenizers` tokenizer that keeps text that spells a control token as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from tokenizers import Encoding, Tokenizer

from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import DataError, FolderError, UsageError
from ftheta.core.late import torch
from ftheta.data.chat.calls import Calling, calling
from ftheta.data.chat.conversations import Message
from ftheta.data.chat.template import ChatTemplate, Piece
from ftheta.data.processors.processor import Processor
from ftheta.data.tokenizers import controls
from ftheta.data.tokenizers.file import read_tokenizer
from ftheta.data.tokenizers.marian import TwoCutters
from ftheta.data.tokenizers.spelling import Spelling, words
from ftheta.data.tokenizers.trained import TRAINED_ROLES

CONTEXT = 8
"""Tokens before new ones that decide how these are shown: whether a space comes first, which bytes belong to a character begun before."""


class Framed(Protocol):
    """The tokens of a row and the segment of each, as an `Encoding` has them."""

    @property
    def ids(self) -> Any: ...

    @property
    def type_ids(self) -> Any: ...


class Nothing(NamedTuple):
    """A row without tokens."""

    ids: tuple[int, ...] = ()
    type_ids: tuple[int, ...] = ()


class TextProcessor(Processor):
    """Encodes text after the token that begins one, decodes ids without control tokens; `frame` puts texts between the tokenizer's own.

    `roles` says which token is `bos`, `eos`, `pad`, `mask`, `cls`, `sep`, `unk` or `decoder_start`; `begin` and `end` are put around every text (`begin`
    by itself is what begins a document). Left out, they are those of tokenizers trained here. `longest` is how many tokens of a text are
    read, where that is less than the model could. `by_words` says that texts are cut into words before they are tokenized (see `words`).
    `cutters` cut sources and answers where these are cut in two ways; the tokenizer knows the pieces of both.
    """

    kind = "text"

    def __init__(
        self, tokenizer: Tokenizer, roles: Mapping[str, str] | None = None, begin: Sequence[str] | None = None, end: Sequence[str] = (),
        labels: Sequence[str] = (), longest: int | None = None, by_words: bool = False, cutters: TwoCutters | None = None,
    ):
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if tokenizer.pre_tokenizer is None:                                               # where nothing cuts words it would remember 10,000 whole texts
            tokenizer.model._resize_cache(0)
        self.tokenizer = tokenizer
        self.cutters = cutters
        self.labels = list(labels)
        self.longest = longest
        self.by_words = by_words
        self.chat_template: str | None = None
        """How conversations are written, as Jinja."""
        self.roles = {role: token for role, token in (TRAINED_ROLES if roles is None else roles).items() if tokenizer.token_to_id(token) is not None}
        opening = controls.opening(self.roles)
        self.begin = ([opening] if opening else []) if begin is None else list(begin)
        self.end = list(end)

    @property
    def vocab(self) -> int:
        """One more than the highest token."""
        return 1 + max(self.tokenizer.get_vocab().values(), default=-1)

    def id(self, role: str) -> int | None:
        """The id of the token that plays a part, such as `eos`, or of a control token as it is written, such as `<extra_id_0>`."""
        if role in self.roles:
            return self.tokenizer.token_to_id(self.roles[role])
        return next((i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special and token.content == role), None)

    def spelling(self) -> Spelling:
        return Spelling(self.tokenizer)

    def ids(self, tokens: Sequence[str]) -> list[int]:
        return [i for i in map(self.tokenizer.token_to_id, tokens) if i is not None]

    @property
    def borders(self) -> tuple[int, int]:
        """The ids that begin and end a document in rows of tokens. Raises DataError when no token can."""
        found = self.ids([token for token in (controls.opening(self.roles), controls.closing(self.roles)) if token])
        if len(found) < 2:
            raise DataError("data.tokenizer: no token begins or ends a document; name one, as in special: {eos: '<|endoftext|>'}")
        return found[0], found[1]

    def label(self, index: int) -> str:
        """The name of a class; its number where it has none."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def encode(self, text: str, start: bool = True) -> list[int]:
        """Token ids, after those that begin a text when `start`."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids if self.cutters is None else self.cutters.answers([text])[0]
        return [*self.ids(self.begin), *ids] if start else ids

    def source(self, text: str, longest: int) -> list[int]:
        """Token ids of a text that is to be answered to, between those that begin and end a text; what is too long loses its end."""
        return self.sources([text], longest)[0]

    def sources(self, texts: Sequence[str], longest: int | None = None) -> list[list[int]]:
        """The same of many texts."""
        begin, end = self.ids(self.begin), self.ids(self.end)
        if self.cutters is None:
            found = [each.ids for each in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        else:
            found = self.cutters.sources(texts)
        return [[*begin, *ids[: None if longest is None else longest - len(begin) - len(end)], *end] for ids in found]

    @property
    def answer_start(self) -> list[int]:
        """The token ids that an answer to a source begins with: `decoder_start`, or what begins a document, then what begins a text."""
        begin, opening = self.ids(self.begin), self.id("decoder_start")
        opening = next(iter(self.ids([token for token in [controls.opening(self.roles)] if token])), None) if opening is None else opening
        return begin if opening is None or begin[:1] == [opening] else [opening, *begin]

    def goes_on(self, before: str, after: str) -> tuple[list[int], list[int]]:
        """Token ids of a text and of what goes on from it, cut as the whole text is; the token where both meet belongs to the second, and so does a
        space between them. An empty first text is the token that begins a document."""
        stripped = before.rstrip(" ")
        before, after = stripped, before[len(stripped) :] + after
        start, whole = self.encode(before), self.encode(before + after)
        if not start:
            start, whole = [self.borders[0]], [self.borders[0], *whole]
        same = next((i for i, (a, b) in enumerate(zip(start, whole, strict=False)) if a != b), min(len(start), len(whole)))
        same = max(1, min(same, len(whole) - 1))
        return whole[:same], whole[same:]

    def batch(self, encodings: Sequence[Framed]) -> Batch:
        """tokens, documents and segments (B, T) of texts of unequal length, padded on the right with document -1."""
        rows, width = len(encodings), max((len(encoding.ids) for encoding in encodings), default=0)
        tokens = torch.full((rows, width), self.id("pad") or 0)
        documents, segments = torch.full((rows, width), PADDING), torch.zeros(rows, width, dtype=torch.int64)
        for row, encoding in enumerate(encodings):
            length = len(encoding.ids)
            tokens[row, :length] = torch.tensor(encoding.ids, dtype=torch.int64)
            segments[row, :length] = torch.tensor(encoding.type_ids, dtype=torch.int64)
            documents[row, :length] = 0
        return {"tokens": tokens, "documents": documents, "segments": segments}

    def choices(self, rows: Sequence[Sequence[Framed]]) -> Batch:
        """As `batch`, for several texts a row: tensors (B, K, T); a row with fewer has texts that are all padding."""
        most = max((len(row) for row in rows), default=0)
        flat = [text for row in rows for text in (*row, *[Nothing()] * (most - len(row)))]
        return {name: value.view(len(rows), most, -1) for name, value in self.batch(flat).items()}

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

    def words(self, text: str) -> list[tuple[int, int]]:
        """Where the words of a text stand: runs of letters and digits, Chinese characters and other signs one by one."""
        return list(words(text))

    def frame_words(self, words: Sequence[str], longest: int) -> Encoding:
        """A text given as words, with the control tokens the tokenizer puts around it; `word_ids` say which word a token is of."""
        encoding = self.tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        encoding.truncate(longest - self.tokenizer.num_special_tokens_to_add(False))
        return self.tokenizer.post_process(encoding, None, True)

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
        mask = self.roles["mask"]
        self.tokenizer.encode_special_tokens = False
        hidden = self.tokenizer.encode(mask, add_special_tokens=False)
        self.tokenizer.encode_special_tokens = True
        pieces: list[Encoding] = []
        for i, piece in enumerate(text.split("<mask>")):
            pieces += [hidden] * bool(i) + [self.tokenizer.encode(piece, add_special_tokens=False)]
        ids = self.tokenizer.post_process(Encoding.merge(pieces, True), None, True).ids
        first = self.ids(self.begin)
        return ids if ids[: len(first)] == first else [*first, *ids]

    def template(self) -> ChatTemplate:
        """What writes conversations. Raises UsageError when there is none, or it is no template."""
        if self.chat_template is None:
            raise UsageError("this model has no chat template: it was not trained on conversations; use generate")
        return ChatTemplate(self.chat_template, self.roles.get("bos", ""), self.roles.get("eos", ""))

    def calling(self) -> Calling | None:
        """How calls of tools are written; None where there is no template, or it writes none, or not as JSON."""
        if self.chat_template is None:
            return None
        return calling(self.template(), [token.content for token in self.tokenizer.get_added_tokens_decoder().values() if token.special])

    def spoken(self, pieces: Iterable[Piece]) -> tuple[list[int], list[int]]:
        """Token ids of a rendered conversation and whether each is learned: contents as plain text, the template's own words with control tokens."""
        ids: list[int] = []
        learned: list[int] = []
        for piece in pieces:
            self.tokenizer.encode_special_tokens = piece.content
            found = self.tokenizer.encode(piece.text, add_special_tokens=False).ids
            ids += found
            learned += [int(piece.learned)] * len(found)
        self.tokenizer.encode_special_tokens = True
        return ids, learned

    def ensure_plain(self, value: Any, field: str) -> None:
        """Raise UsageError where texts inside of a value, which a template writes as its own words, spell a control token."""
        together = "".join(texts_of(value))
        if any(token.content in together for token in self.tokenizer.get_added_tokens_decoder().values() if token.special and token.content):
            raise UsageError(f"{field}: they spell one of the model's control tokens, which only a template may use")

    def turn_end(self) -> int | None:
        """The token that ends what the assistant says."""
        pieces = self.template().pieces([Message("user", "a"), Message("assistant", "b")])
        after = [piece for piece in pieces[[piece.content for piece in pieces].index(True) + 1 :] if piece.learned and not piece.content]
        return next(iter(self.spoken(after)[0]), None)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def decode_after(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """The text of `ids` as it goes on from that of `before`: with the space between words, if there is one."""
        tail = list(before[-CONTEXT:])
        return self.decode([*tail, *ids])[len(self.decode(tail)) :]

    def dump(self) -> dict[str, Any]:
        facts = {"labels": self.labels, "longest": self.longest, "by_words": self.by_words}
        return {"kind": self.kind, "begin": self.begin, "end": self.end, **{name: value for name, value in facts.items() if value}}

    def files(self) -> dict[str, bytes]:
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "add_prefix_space": False,
            **{f"{role}_token": token for role, token in self.roles.items()},
        }
        files = {"tokenizer.json": self.tokenizer.to_str(pretty=True).encode()}
        if self.cutters is not None:                                                      # a tokenizer.json has room for one way to cut
            config["tokenizer_class"], files = "MarianTokenizer", dict(self.cutters.files)
        files["tokenizer_config.json"] = (json.dumps(config, indent=1) + "\n").encode()
        return files if self.chat_template is None else {**files, controls.TEMPLATE: self.chat_template.encode()}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        """From what `dump` and `files` gave, or, without facts, from any tokenizer's files."""
        try:
            taken = read_tokenizer(folder)
        except DataError as error:
            raise FolderError(str(error).removeprefix("data.tokenizer.path: ")) from None
        labels = facts.get("labels", ())
        begin, end = (facts.get("begin"), facts.get("end", ())) if "kind" in facts else (taken.begin, taken.end)
        roles = controls.said(controls.beside(folder)) if "kind" in facts else taken.roles       # ours says all of them, so a usual spelling says nothing more
        loaded = cls(taken.tokenizer, roles, begin, end, labels, facts.get("longest"), facts.get("by_words", False), taken.cutters)
        loaded.chat_template = controls.chat_template(folder)
        return loaded


def texts_of(value: Any) -> Iterator[str]:
    """All texts inside of a value as JSON has them, names of fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield str(name)
            yield from texts_of(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from texts_of(part)
