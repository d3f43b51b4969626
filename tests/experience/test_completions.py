"""Completions: what is learned is what was drawn, advantages by hand, continuing, processes, refusals."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch

from ftheta.architectures.architecture import Architecture
from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.tokenizers.trained import Characters
from ftheta.experience.completions import Completions, CompletionsConfig, advantages, generalised

EOS = 2


def config(**fields: Any) -> CompletionsConfig:
    source = {"prompts": {"kind": "arithmetic", "digits": 1, "count": 60}, "asked": 6, "group": 4, "most": 3, "longest": 12, "epochs": 2, **fields}
    return CompletionsConfig.parse({"kind": "completions", **source})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return config().prepare(Sections(Characters(), tmp_path_factory.mktemp("cache")))


def policy(prepared: Prepared, seed: int = 0) -> Architecture:
    sizes = {"vocab": prepared.ports.sizes["V"], "context": 12}
    model = DecoderConfig.parse({"kind": "decoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}, **sizes}).build()
    model.initialise(seed)
    for parameter in model.parameters():
        parameter.data.mul_(5)
    return model


def source(prepared: Prepared, batch: int = 24, **fields: Any) -> Completions:
    return config(**fields).source(batch, 0, prepared)


WHOLE = torch.arange(24)


def test_rows_are_prompts_with_their_completions(prepared: Prepared) -> None:
    acting = source(prepared)
    acting.batch(0, WHOLE, policy(prepared))
    rollout, processor = acting.rollout, acting.writer.processor
    for row in range(24):
        learned, real = rollout["learned"][row], rollout["documents"][row] == 0
        places = learned.nonzero()[:, 0].tolist()
        assert places == list(range(places[0], places[-1] + 1)) and places[-1] == int(real.sum()) - 1
        assert processor.decode(rollout["tokens"][row, : places[0]].tolist()) == acting.questions[acting.numbers(0)[row // 4]].text
        assert 1 <= len(places) <= 3
        assert len(places) == 3 or rollout["tokens"][row, places[-1]] == EOS
        assert EOS not in rollout["tokens"][row, places[0] : places[-1]].tolist()


def test_log_probabilities_are_those_of_the_draw(prepared: Prepared) -> None:
    model = policy(prepared)
    batch = source(prepared, temperature=0.6).batch(0, WHOLE, model)
    for row in range(24):
        end = int((batch["documents"][row] == 0).sum())
        logs = (model(tokens=batch["tokens"][row : row + 1, :end])["logits"][0] / 0.6).log_softmax(-1)
        for t in range(1, end):
            expected = logs[t - 1, batch["tokens"][row, t]].item() if batch["learned"][row, t] else 0.0
            assert batch["log_probability"][row, t].item() == pytest.approx(expected, abs=1e-5)


def test_draws_follow_the_policy(prepared: Prepared) -> None:
    """Of many first tokens after one prompt, each comes as often as its probability says, control tokens included."""
    model = policy(prepared)
    acting = source(prepared, 1000, asked=1, group=1000, most=1)
    acting.batch(0, torch.arange(1), model)
    first = int(acting.rollout["learned"][0].nonzero()[0, 0])
    p = model(tokens=acting.rollout["tokens"][:1, :first])["logits"][0, -1].softmax(-1)
    seen = acting.rollout["tokens"][:, first].bincount(minlength=len(p)) / 1000
    assert (seen - p).abs().max() < 0.05 and p.max() > 0.1


def test_advantages_by_hand() -> None:
    reward = torch.tensor([[1.0, 0.0, 0.0, 0.5], [1.0, 1.0, 1.0, 1.0]])
    values = reward[0].tolist()
    torch.testing.assert_close(advantages(reward, "normalised")[0], torch.tensor([(r - mean(values)) / (stdev(values) + 1e-4) for r in values]))
    torch.testing.assert_close(advantages(reward, "centred")[0], torch.tensor([r - mean(values) for r in values]))
    alone = [r - mean(values[:i] + values[i + 1 :]) for i, r in enumerate(values)]
    torch.testing.assert_close(advantages(reward, "leave_one_out")[0], torch.tensor(alone))
    assert not any(advantages(reward, kind)[1].any() for kind in ("normalised", "centred", "leave_one_out"))


def critic(prepared: Prepared) -> Architecture:
    """A writer that also says what it expects."""
    trunk = {"kind": "decoder", "head": "linear", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}, "vocab": prepared.ports.sizes["V"], "context": 12}
    model = HeadedConfig.parse({"kind": "headed", "readout": "values", "trunk": trunk}).build()
    model.initialise(0)
    for parameter in model.parameters():
        parameter.data.mul_(5)
    return model


def test_generalised_advantages_equal_the_definition() -> None:
    """Sums of discounted errors, completion by completion, and returns that are what was earned after each token when λ = 1."""
    draws = torch.Generator().manual_seed(0)
    learned = torch.zeros(3, 7, dtype=torch.bool)
    learned[0, 2:6] = learned[1, 1:2] = learned[2, 3:7] = True
    reward, value = torch.randn(3, generator=draws, dtype=torch.float64), torch.randn(3, 7, generator=draws, dtype=torch.float64) * learned
    for gamma, trace in ((1.0, 0.95), (0.9, 0.7), (0.8, 1.0), (0.9, 0.0)):
        expected, returns = torch.zeros(3, 7, dtype=torch.float64), torch.zeros(3, 7, dtype=torch.float64)
        for row in range(3):
            places = learned[row].nonzero()[:, 0].tolist()
            last = places[-1]
            error = {t: (reward[row] if t == last else gamma * value[row, t + 1]) - value[row, t] for t in places}
            for t in places:
                expected[row, t] = sum((gamma * trace) ** (k - t) * error[k] for k in places if k >= t)
                returns[row, t] = gamma ** (last - t) * reward[row] if trace == 1 else expected[row, t] + value[row, t]
        each = expected[learned]
        advantage, found = generalised(reward, value, learned, gamma, trace)
        torch.testing.assert_close(found, returns, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(advantage, torch.where(learned, (expected - each.mean()) / (each.std() + 1e-8), 0.0), atol=1e-7, rtol=1e-7)


def test_the_writers_own_values_stand_beside_every_token(prepared: Prepared) -> None:
    model = critic(prepared)
    acting = source(prepared, asked=24, group=1, advantage="generalised", gamma=0.9)
    batch = acting.batch(0, WHOLE, model)
    assert acting.ports.takes == {} or set(acting.config.ports().gives) == set(batch)
    assert "level_groups" not in acting.statistics()
    for row in range(24):
        end = int((batch["documents"][row] == 0).sum())
        values = model(tokens=batch["tokens"][row : row + 1, :end])["values"][0]
        for t in range(1, end):
            expected = values[t - 1].item() if batch["learned"][row, t] else 0.0
            assert batch["value"][row, t].item() == pytest.approx(expected, abs=1e-5)
    chosen = batch["advantage"][batch["learned"]]
    assert chosen.mean().abs() < 1e-5 and chosen.std().item() == pytest.approx(1, abs=1e-4)
    assert not batch["advantage"][~batch["learned"]].any() and not batch["return"][~batch["learned"]].any()


def test_one_completion_is_compared_with_nothing() -> None:
    with pytest.raises(ConfigError, match="leaves nothing to compare it with"):
        config(group=1)


def test_rewards_become_advantages_and_statistics(prepared: Prepared) -> None:
    """With the right answers likelier, right completions have the better advantages."""
    acting = source(prepared, rewards=[{"kind": "regex", "pattern": "\\d"}, {"kind": "length", "free": 1, "most": 3}], asked=12, group=2)
    acting.batch(0, WHOLE, policy(prepared))
    facts, processor = acting.statistics(), acting.writer.processor
    worth = []
    for row in range(24):
        new = acting.rollout["tokens"][row, acting.rollout["learned"][row]].tolist()
        text = processor.decode(new)
        worth.append((len(text) == 1 and text.isdigit()) - (len(new) - 1) / 2)
    assert facts["reward"] == pytest.approx(mean(worth)) and {"reward_regex", "reward_length"} <= facts.keys()
    pairs = [worth[i : i + 2] for i in range(0, 24, 2)]
    assert facts["level_groups"] == pytest.approx(mean(a == b for a, b in pairs))
    for row, (a, b) in enumerate(pairs):
        assert (acting.rollout["advantage"][2 * row, 0] > acting.rollout["advantage"][2 * row + 1, 0]) == (a > b)
    assert [shown["reward"] for shown in acting.exhibits()] == pytest.approx([worth[0], worth[2], worth[4]])


def test_every_prompt_comes_once_an_epoch(prepared: Prepared) -> None:
    acting = source(prepared)
    count = len(acting.questions)
    taken = [number for iteration in range(count) for number in acting.numbers(iteration)]
    for epoch in range(6):
        assert sorted(taken[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert taken[:count] != taken[count : 2 * count]


def test_train_and_test_prompts_are_apart(prepared: Prepared) -> None:
    acting = source(prepared)
    seen = {name: {question.text for question in acting.writer.questions(split, 12)} for name, split in prepared.prompts.items()}
    assert not seen["train"] & seen["test"] and sum(map(len, seen.values())) == 60


def test_continuing_and_parts_equal_the_whole(prepared: Prepared) -> None:
    straight = source(prepared, 12)
    whole = torch.arange(12)
    batches = [straight.batch(step, whole, policy(prepared, step // 4)) for step in range(12)]
    for stop in (0, 3, 4, 6):
        first, second = source(prepared, 12), source(prepared, 12)
        for step in range(stop):
            first.batch(step, whole, policy(prepared, step // 4))
        second.restore(*first.state())
        for step in range(stop, 12):
            parts = [second.batch(step, slots, policy(prepared, step // 4)) for slots in whole.split(5)]
            assert all(torch.equal(torch.cat([part[name] for part in parts]), batches[step][name]) for name in batches[step])
        assert second.statistics() == straight.statistics() and second.exhibits() == straight.exhibits()


def test_acting_leaves_the_model_learning(prepared: Prepared) -> None:
    model = policy(prepared).train()
    source(prepared).batch(0, WHOLE, model)
    assert model.training


def test_what_cannot_be_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train.batch is 7, which does not divide the 24 completions of an iteration \(data.source.asked · group = 6 · 4\)"):
        source(prepared, 7)
    with pytest.raises(ConfigError, match="most: 12 new tokens leave no room for a prompt in rows of 12"):
        config(most=12)
    with pytest.raises(DataError, match="no prompt is left"):
        source(prepared, longest=5, most=4)
    with pytest.raises(ConfigError, match=r"prompts.kind: 'arithmetics' is not a known prompt source; did you mean 'arithmetic'"):
        config(prompts="arithmetics")
    with pytest.raises(ConfigError, match="only 100 different problems"):
        config(prompts={"kind": "arithmetic", "digits": 1, "count": 101})
    assert source(prepared).fingerprint != source(prepared, temperature=0.5).fingerprint
