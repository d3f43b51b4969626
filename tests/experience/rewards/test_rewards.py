"""Rewards: every rule on completions whose worth is plain to see, and sums of several."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError, UsageError
from ftheta.experience import REWARDS
from ftheta.experience.rewards.reward import Completion, worth


def completion(text: str, answer: str = "", tokens: int = 1) -> Completion:
    return Completion([1, 2], [3] * tokens, "?", text, answer, True)


def score(reward: dict[str, Any], *completions: Completion) -> list[float]:
    return Slot(REWARDS).parse(reward).scores(completions, None)


@pytest.mark.parametrize(("text", "answer", "worth"), [
    ("46", "46", 1), ("45", "46", 0), ("-46", "46", 0), ("12+34 is 46", "46", 1), ("46 or 47", "46", 0), ("", "46", 0), ("1,234.50", "so #### 1234.5", 1),
    ("46", "no number", 0), ("046", "46", 1),
])
def test_arithmetic(text: str, answer: str, worth: int) -> None:
    assert score({"kind": "arithmetic"}, completion(text, answer)) == [worth]


def test_exact_match() -> None:
    both = completion(" Paris\n", "Paris"), completion("paris", "Paris"), completion("Paris.", "Paris")
    assert score({"kind": "exact_match"}, *both) == [1, 0, 0]
    assert score({"kind": "exact_match", "case": False}, *both) == [1, 1, 0]


def test_regex() -> None:
    assert score({"kind": "regex", "pattern": r"\d+"}, completion("12"), completion("12a"), completion("")) == [1, 0, 0]
    with pytest.raises(ConfigError, match="is no regular expression"):
        Slot(REWARDS).parse({"kind": "regex", "pattern": "("})


def test_format() -> None:
    texts = "<think>a\nb</think> <answer>c</answer>", "<think>a</think>", "x<think>a</think><answer>c</answer>", "<think>a<think></think><answer>c</answer>"
    assert score({"kind": "format"}, *map(completion, texts)) == [1, 0, 0, 0]
    assert score({"kind": "format", "tags": ["think"]}, *map(completion, texts)) == [0, 1, 0, 0]


def test_length() -> None:
    assert score({"kind": "length", "free": 4, "most": 8}, *(completion("", tokens=n) for n in (1, 4, 5, 8, 20))) == [0, 0, -0.25, -1, -1]
    with pytest.raises(ConfigError, match="must be more than free"):
        Slot(REWARDS).parse({"kind": "length", "free": 4, "most": 4})


def test_model_asks_the_judge() -> None:
    reward = Slot(REWARDS).parse({"kind": "model", "path": "somewhere"})
    assert reward.scores([completion("a"), completion("b", tokens=2)], lambda folder, rows: [len(row) + len(folder) for row in rows]) == [12, 13]
    with pytest.raises(UsageError, match="nobody is there to ask somewhere"):
        reward.scores([completion("a")], None)


def test_several_are_weighted() -> None:
    rewards = [Slot(REWARDS).parse(fields) for fields in ({"kind": "exact_match", "weight": 2.0}, {"kind": "length", "free": 0, "most": 4, "weight": 0.5})]
    total, each = worth(rewards, [completion("a", "a", 2), completion("b", "a", 4)], None)
    assert total.tolist() == [2 - 0.25, -0.5]
    assert {name: values.tolist() for name, values in each.items()} == {"exact_match": [1, 0], "length": [-0.5, -1]}
    assert torch.equal(worth(rewards, [], None)[0], torch.zeros(0))
