"""The cleaning of a shard: every rule in turn on every document, with what was dropped for which reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ftheta.core.atomic import Attempt
from ftheta.core.config import Slot
from ftheta.data.clean import RULES
from ftheta.data.clean.findings import presentable
from ftheta.data.clean.rules import Rule, judge
from ftheta.data.corpus.account import EXAMPLES, Tally, example
from ftheta.data.corpus.shards import ACCOUNT, DOCUMENTS, read_documents, shard_name, write_documents
from ftheta.data.corpus.step import Step
from ftheta.data.documents import Document


class Clean(Step):
    """Documents → those that every rule lets through, as the rules change them."""

    kind: Literal["clean"] = "clean"
    rules: tuple[Annotated[Rule, Slot(RULES)], ...] = ()
    """Applied in order."""
    learned: tuple[str, ...] = ()
    """What rules have learned that had something to learn: the addresses of it."""
    number: int
    """Which of the part's shards this is."""

    def build(self, attempt: Attempt, inputs: Sequence[Path]) -> None:
        [folder] = inputs
        kept, counts, dropped = Tally(), Counter[str](), Counter[str]()
        examples: dict[str, list[dict[str, Any]]] = {}

        def cleaned() -> Iterator[Document]:
            for document in read_documents(folder / shard_name(self.number)):
                verdict = judge(document, self.rules)
                counts.update(verdict.counts)
                if verdict.text is None:
                    dropped[verdict.reason] += 1
                    if len(found := examples.setdefault(verdict.reason, [])) < EXAMPLES:
                        found.append(example(presentable(document, self.rules)))          # the card must not tell what cleaning takes out
                else:
                    after = Document(document.name, verdict.text, verdict.facts)
                    kept.add(after)
                    yield after

        write_documents(attempt, DOCUMENTS, cleaned())
        attempt.write_json(ACCOUNT, {**kept.dump(), "dropped": dropped, "examples": examples, "counts": counts})
