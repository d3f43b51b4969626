"""log p of texts: that of transformers, whatever stands beside them in a batch, and every token of the whole text counts once."""

from __future__ import annotations

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import ByteBPE, Bytes
from ftheta.evaluation.probes.small import scatter
from ftheta.inference.likelihood import continuations, hidden_tokens, normalised, score_texts
from ftheta.models.folder import save
from ftheta.models.model import Model

BASE = {
    "kind": "decoder", "vocab": 260, "dim": 24, "depth": 2, "context": 32, "positions": "rotary", "norm": {"kind": "rmsnorm", "eps": 1e-5},
    "mixer": {"kind": "attention", "heads": 3}, "feedforward": {"kind": "gated", "hidden": 40},
}
ROWS = [([5, 6, 7], [8, 9]), ([3], [4]), (list(range(20, 40)), list(range(40, 50))), ([0], list(range(100, 120)))]


def decoder(**changes) -> torch.nn.Module:
    model = DecoderConfig.parse({**BASE, **changes}).build()
    model.initialise(0)
    return scatter(model, 0, 0.3)


def test_continuations_are_scored_as_by_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = decoder()
    save(Model(model, TextProcessor(Bytes().train([])), "text-generation"), tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for (before, after), found in zip(ROWS, continuations(model, ROWS, 32), strict=True):
        ids = torch.tensor([[*before, *after]])
        with torch.no_grad():
            logits = theirs(input_ids=ids).logits[0, len(before) - 1 : -1].log_softmax(-1)
        assert found.log_p == pytest.approx(logits.gather(-1, torch.tensor(after)[:, None]).sum().item(), abs=1e-4)
        assert found.tokens == len(after) and found.greedy == (logits.argmax(-1).tolist() == after)


@pytest.mark.parametrize("mixer", [{"kind": "attention", "heads": 3}, {"kind": "lstm"}])
def test_neither_batch_nor_padding_changes_a_score(mixer):
    model = decoder(mixer=mixer, positions="none" if mixer["kind"] == "lstm" else "rotary")
    for row, found in zip(ROWS, continuations(model, ROWS, 32), strict=True):
        assert found.log_p == pytest.approx(continuations(model, [row], 32)[0].log_p, abs=1e-4)


def test_what_the_model_says_itself_is_greedy():
    model = decoder()
    row = [7, 8, 9]
    for _ in range(5):
        row.append(int(model(tokens=torch.tensor([row]))["logits"][0, -1].argmax()))
    assert continuations(model, [(row[:3], row[3:])], 32)[0].greedy
    assert not continuations(model, [(row[:3], [*row[3:-1], (row[-1] + 1) % 260])], 32)[0].greedy


def test_long_rows_are_looked_at_in_windows():
    model = decoder()
    before, after = list(range(50)), list(range(60, 130))
    found = continuations(model, [(before, after)], 32)[0]
    total = 0.0
    for start in range(0, 70, 16):                                                          # by hand: 16 new tokens after as many as fit
        window = (before + after)[: 50 + min(start + 16, 70)][-33:]
        fresh = min(16, 70 - start)
        logits = model(tokens=torch.tensor([window[:-1]]))["logits"][0, -fresh:].log_softmax(-1)
        total += logits.gather(-1, torch.tensor(window[-fresh:])[:, None]).sum().item()
    assert found.log_p == pytest.approx(total, abs=1e-3) and found.tokens == 70
    short = continuations(model, [(before, [60, 61])], 32)[0]
    assert short.log_p == pytest.approx(continuations(model, [(before[-31:], [60, 61])], 32)[0].log_p, abs=1e-4)


def test_hidden_tokens_are_guessed_one_at_a_time():
    config = {**BASE, "kind": "encoder", "mixer": {"kind": "attention", "heads": 3, "causal": False}}
    model = EncoderConfig.parse(config).build()
    model.initialise(0)
    scatter(model, 0, 0.3)
    rows = [([5, 6, 7, 8, 9], [1, 3]), ([9, 8, 7], [0, 1, 2])]
    for (ids, places), found in zip(rows, hidden_tokens(model, rows, 2), strict=True):
        for place, value in zip(places, found, strict=True):
            shown = torch.tensor([[2 if i == place else token for i, token in enumerate(ids)]])
            assert value == pytest.approx(model(tokens=shown)["logits"][0, place].log_softmax(-1)[ids[place]].item(), abs=1e-4)


def test_two_texts_are_cut_as_the_whole_is():
    processor = TextProcessor(ByteBPE(vocab=272).train(["the cat sat on the mat and the other cat"] * 20))
    for before, after in (("the cat", " sat"), ("the c", "at"), ("", "the cat"), ("the cat ", "sat"), ("the", "re")):
        start, rest = processor.goes_on(before, after)
        whole = processor.encode(before + after)
        assert start + rest == whole and rest
        assert processor.decode(rest).endswith(after.strip())
    assert processor.decode(processor.goes_on("the cat ", "sat")[1]) == " sat"


def test_lengths_divide():
    model = decoder()
    (scored,) = score_texts(model, TextProcessor(Bytes().train([])), [("a", "é!")])
    assert [normalised(scored, "é!", by) for by in ("none", "tokens", "bytes", "characters")] == [scored.log_p, scored.log_p / 3, scored.log_p / 3, scored.log_p / 2]
