"""From conversations to rows of tokens that say which of them are learned: read → split → tokenizer → template → tokens, kept as a cached stage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ftheta.core.atomic import Attempt
from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.data.chat.conversations import Message
from ftheta.data.chat.rows import Conversations, Encoded, Judged, Pairs
from ftheta.data.chat.template import ChatTemplate, Piece, named
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.split import SPLITS, assign
from ftheta.data.stages import digest, stage
from ftheta.data.text import made_processor


class Item(NamedTuple):
    """One row of a source: a conversation, or a question with the answer preferred and the other."""

    name: str
    talks: tuple[list[Message], ...]
    good: bool | None = None
    """What was said of the answer, where somebody said something."""


def prepare_chat(items: Sequence[Item], template: str | None, sections: Sections, answered: bool = True) -> Prepared:
    """Run or find every stage. Raises DataError for conversations that cannot be learned from, unless they need not be `answered`."""
    split, length, lookahead, cache, seed = sections.split, sections.pack.length, sections.lookahead, sections.cache, sections.split_seed
    parts = assign([item.name for item in items], split, seed)
    content = digest([[item.name, [[list(message) for message in talk] for talk in item.talks], *([] if item.good is None else [item.good])] for item in items])

    def training_texts() -> list[str]:
        return [message.content for i in parts["train"] for talk in items[i].talks for message in talk]

    key = {"conversations": content, "split": split.dump(), "seed": seed}
    processor = made_processor(digest(key), training_texts, sections)
    processor.chat_template = named(template) if template is not None else processor.chat_template or named("simple")
    rendering = processor.template()

    def encode(attempt: Attempt) -> None:
        logger.info("rendering %s conversations ...", f"{len(items):,}")
        for part in SPLITS:
            talks = [talk for i in parts[part] for talk in items[i].talks]
            write(attempt, part, (processor.spoken(pieces(rendering, talk, items, part)) for talk in talks))

    place = stage(cache, "chat", {**key, "template": processor.chat_template, "vocabulary": digest(processor.tokenizer.to_str())}, encode)
    pairs, judged = len(items[0].talks) == 2, items[0].good is not None
    splits: dict[str, Dataset] = {}
    account: dict[str, Any] = {"splits": {}, "fingerprint": content, "cut": {}}
    for part in SPLITS:
        found = Encoded.read(place, part)
        if not len(found.offsets):
            continue
        facts = (found, digest([content, part, json.loads((place / f"{part}.json").read_text())]), processor.vocab, length, lookahead, processor.id("pad") or 0)
        splits[part] = Pairs(*facts) if pairs else Judged(*facts, [bool(items[i].good) for i in parts[part]]) if judged else Conversations(*facts)
        learned = int(found.learned.sum())
        if answered and not learned:
            raise DataError(f"data: no token of the {part} split is learned: there must be answers, and the template must let the assistant's be told apart")
        account["splits"][part] = {"conversations": len(found.offsets) // (1 + pairs), "tokens": len(found.tokens), "learned tokens": learned}
        longer = np.flatnonzero(found.lengths > length + lookahead).tolist()
        if longer:
            account["cut"][part] = len(longer)
            count = f"{len(found.offsets):,}"
            logger.warning("%s of %s conversations (%s) are longer than a row of %s tokens and lose their end: see data.pack.length",
                           f"{len(longer):,}", count, part, f"{length:,}")
            mute = sum(not found.talk(i, length + lookahead)[1].any() for i in longer) if answered else 0
            if mute == len(found.offsets):
                raise DataError(f"data.pack.length: {length:,} tokens end before an answer begins in every conversation of the {part} split: nothing would be learned")
            if mute:
                logger.warning("%s of %s conversations (%s) end there before an answer begins: nothing of them is learned", f"{mute:,}", count, part)
    return Prepared(splits["train"].ports, processor, splits, account=account, prompts={} if pairs else splits)


def pieces(template: ChatTemplate, talk: Sequence[Message], items: Sequence[Item], part: str) -> list[Piece]:
    """A rendered conversation. Raises DataError naming it when the template cannot render it."""
    try:
        return template.pieces(talk, ask=talk[-1].role != "assistant")
    except DataError as error:
        name = next((item.name for item in items if any(talk is each for each in item.talks)), part)
        raise DataError(f"{name}: {error}") from None


def write(attempt: Attempt, part: str, talks: Iterable[tuple[list[int], list[int]]]) -> None:
    """Tokens, which of them are learned, and offsets of a split as .npy files, and what they amount to."""
    tokens: list[int] = []
    learned: list[int] = []
    offsets: list[int] = []
    for ids, said in talks:
        offsets.append(len(tokens))
        tokens += ids
        learned += said
    arrays = {"tokens": np.array(tokens, np.uint32), "learned": np.array(learned, bool), "offsets": np.array(offsets, np.int64)}
    for name, array in arrays.items():
        sink = io.BytesIO()
        np.save(sink, array)
        attempt.write(f"{part}.{name}.npy", sink.getbuffer())
    attempt.write_json(f"{part}.json", {name: digest(array.tobytes()) for name, array in arrays.items()})
