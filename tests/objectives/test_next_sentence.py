"""Pairs as BERT learns from them: what is read, what is asked, and the loss written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import ArchitectureConfig, call
from ftheta.core.config import Slot
from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import BOS, EOS, MASK, Bytes
from ftheta.evaluation.probes.small import scatter
from ftheta.objectives.next_sentence import NextSentence
from ftheta.objectives.objective import Phase

TEXTS = ["One is here. Two is there.", "abcd", "Nothing ends"]
PROCESSOR = TextProcessor(Bytes().train([]))


def batch(rows: int = 40, texts: list[str] | None = None, width: int = 0) -> Batch:
    """Every row holds the texts end to end, each between <bos> and <eos>."""
    pieces = [[BOS, *PROCESSOR.encode(text, start=False), EOS] for text in texts or TEXTS]
    tokens, documents = [i for piece in pieces for i in piece], [i for i, piece in enumerate(pieces) for _ in piece]
    tokens, documents = (row[: width or len(row)] for row in (tokens, documents))
    return {"tokens": torch.tensor([tokens] * rows), "documents": torch.tensor([documents] * rows)}


def prepared(objective: NextSentence, given: Batch) -> Batch:
    rows = len(given["tokens"])
    return objective.with_tokens(PROCESSOR).prepare(given, Draws(torch.arange(rows), rows, "test"))


@pytest.mark.parametrize("second", ["random", "swapped"])
def test_half_of_the_pairs_follow(second: str) -> None:
    made = prepared(NextSentence.parse({"second": second, "rate": 0.3}), batch())
    seen = set()
    for row in range(40):
        real = made["documents"][row] != PADDING
        ids, segments = made["targets"][row][real].tolist(), made["segments"][row][real]
        first, rest = ids[1 : ids.index(EOS)], ids[ids.index(EOS) + 1 : -1]
        assert ids[0] == BOS and ids[-1] == EOS and len(ids) == len(first) + len(rest) + 3
        assert segments.tolist() == [0] * (len(first) + 2) + [1] * (len(rest) + 1)
        seen.add((PROCESSOR.decode(first), PROCESSOR.decode(rest), int(made["follows"][row])))
    right = ("One is here.", " Two is there.", 0)
    wrong = {("One is here.", "abcd", 1), ("One is here.", "Nothing ends", 1)} if second == "random" else {(" Two is there.", "One is here.", 1)}
    assert seen == {right, *wrong}
    assert 8 < int(made["follows"].sum()) < 32


def test_control_tokens_and_padding_are_not_guessed() -> None:
    made = prepared(NextSentence(rate=0.5), batch())
    ids = made["targets"][made["chosen"]]
    assert not torch.isin(ids, torch.tensor([BOS, EOS])).any() and bool((made["documents"][made["chosen"]] == 0).all())
    assert 0.6 < float((made["tokens"][made["chosen"]] == MASK).float().mean()) < 0.95


def test_a_single_document_changes_places_and_is_cut_to_the_row() -> None:
    made = prepared(NextSentence(), batch(texts=["abcdefghij"], width=8))
    assert made["tokens"].shape == (40, 8) and set(made["follows"].tolist()) == {0, 1}
    for row in made["targets"]:
        text = PROCESSOR.decode(row.tolist())
        assert sorted(text) == list("abcde")


def test_loss_is_written_out() -> None:
    fields = {"kind": "headed", "trunk": {"kind": "encoder", "vocab": 270, "dim": 16, "depth": 1, "context": 64, "segments": 2, "head": "transformed",
                                          "mixer": {"kind": "attention", "heads": 2, "causal": False}}, "readout": {"kind": "follows", "dropout": 0.0}}
    config = Slot(ARCHITECTURES).parse(fields)
    assert isinstance(config, ArchitectureConfig)
    model = scatter(config.build().double(), 0, 0.2)
    model.compute_dtype = torch.float64
    made = prepared(NextSentence(rate=0.3), batch(6))
    loss = NextSentence().loss(model, lambda part, **more: call(model, part, **more), made, Phase("main"))
    outputs = model(tokens=made["tokens"], documents=made["documents"], segments=made["segments"])
    total = torch.zeros((), dtype=torch.float64)
    for row in range(6):
        chosen = made["chosen"][row]
        total += F.cross_entropy(outputs["logits"][row][chosen].double(), made["targets"][row][chosen], reduction="sum")
        total += int(chosen.sum()) * F.cross_entropy(outputs["follows"][row][None], made["follows"][row][None])
    assert float(loss.total.detach()) == pytest.approx(float(total.detach()), rel=1e-6)
    assert loss.count == int(made["chosen"].sum()) and float(loss.metrics["follows_accuracy"][1]) == 6


def test_without_tokens_around_texts_it_says_so() -> None:
    tokenizer = Bytes().train([])
    with pytest.raises(ConfigError, match="no tokens around texts"):
        NextSentence(mask_id=1).with_tokens(TextProcessor(tokenizer, {"pad": "<pad>"}))
