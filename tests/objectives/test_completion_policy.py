"""The loss of rewarded completions, against its formula in loops over whole logits; exact under micro-batches."""

from __future__ import annotations

import math

import pytest
import torch

from ftheta.architectures.architecture import Architecture, call
from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.contract import Batch, Loss, check
from ftheta.core.errors import ConfigError
from ftheta.experience.completions import CompletionsConfig
from ftheta.objectives.completion_policy import CompletionPolicy, log_probabilities
from ftheta.objectives.objective import Phase
from sharp import sharp_decoder

ROWS, WIDTH = 5, 9


def batch() -> Batch:
    """Completions of unlike lengths after a prompt of three tokens, padded on the right, written by another model at temperature 0.7."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, 30, (ROWS, WIDTH), generator=draw)
    documents, learned = torch.full((ROWS, WIDTH), -1), torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    for row in range(ROWS):
        documents[row, : 5 + row] = 0
        learned[row, 3 : 5 + row] = True
    data = {"tokens": tokens, "documents": documents, "learned": learned, "temperature": torch.full((ROWS,), 0.7, dtype=torch.float64)}
    writer = sharp_decoder(0)
    for parameter in writer.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    data["log_probability"] = log_probabilities(writer, lambda b: call(writer, b), data)
    return {**data, "advantage": torch.randn(ROWS, 1, generator=draw, dtype=torch.float64).expand(ROWS, WIDTH)}


def formula(f: Architecture, start: Architecture, data: Batch, objective: CompletionPolicy) -> tuple[torch.Tensor, float]:
    """The mean loss by the textbook, and the share of tokens whose ratio is clipped."""
    sums, lengths, clipped = [], [], 0
    for row in range(ROWS):
        end = int((data["documents"][row] >= 0).sum())
        mine, theirs = (m(tokens=data["tokens"][row : row + 1, :end])["logits"][0] / 0.7 for m in (f, start))
        each = []
        for t in range(1, end):
            if data["learned"][row, t]:
                p = mine[t - 1].softmax(-1)
                y, a = data["tokens"][row, t], data["advantage"][row, t]
                ratio = p[y] / data["log_probability"][row, t].exp()
                above = objective.clip if objective.clip_above is None else objective.clip_above
                bounded = min(max(float(ratio), 1 - objective.clip), 1 + above)
                clipped += float(ratio * a) > bounded * float(a)
                gain = ratio * a if float(ratio * a) <= bounded * float(a) else torch.tensor(bounded, dtype=torch.float64) * a
                away = theirs[t - 1].softmax(-1)[y] / p[y]
                each.append(-gain + objective.kl * (away - away.log() - 1) + objective.entropy * (p * p.log()).sum())
        sums.append(torch.stack(each).sum())
        lengths.append(len(each))
    if objective.normalise == "sequence":
        mean = sum(s / n for s, n in zip(sums, lengths, strict=True)) / ROWS
    elif objective.normalise == "token":
        mean = sum(sums) / sum(lengths)
    else:
        mean = sum(sums) / ROWS / objective.length
    return mean, clipped / sum(lengths)


def loss(f: Architecture, objective: CompletionPolicy, data: Batch) -> Loss:
    return objective.loss(f, lambda b: call(f, b), data, Phase("main"))


CASES = [
    {"normalise": "sequence", "kl": 0.0}, {"normalise": "sequence", "kl": 0.3}, {"normalise": "token", "clip_above": 0.4, "entropy": 0.1},
    {"normalise": "constant", "length": 7, "kl": 0.0},
]


@pytest.mark.parametrize("options", CASES)
def test_equal_to_the_formula(options: dict[str, float]) -> None:
    mine, start, data = sharp_decoder(0), sharp_decoder(1), batch()
    objective = CompletionPolicy.parse({"kind": "completion_policy", "clip": 0.05, **options})
    data |= objective.reference(start, lambda b: call(start, b), data) if objective.compares else {}
    found = loss(mine, objective, data)
    (found.total / float(found.count)).backward()
    gradients = {name: p.grad.clone() for name, p in mine.named_parameters() if p.grad is not None}
    mine.zero_grad()
    expected, clipped = formula(mine, start, data, objective)
    assert math.isclose(float(found.total.detach()) / float(found.count), float(expected.detach()), rel_tol=1e-9)
    assert 0 < clipped < 1 and math.isclose(float(found.metrics["clipped"][0]) / float(found.metrics["clipped"][1]), clipped)
    expected.backward()
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-9, rtol=1e-7)


def critic() -> Architecture:
    """The sharp decoder with a value at every token."""
    trunk = sharp_decoder(0)
    made = HeadedConfig.parse({"kind": "headed", "readout": "values", "trunk": {**trunk.config.dump(), "head": "linear"}}).build().double()
    made.compute_dtype = torch.float64
    draw = torch.Generator().manual_seed(3)
    made.load_theta({f"trunk.{name}": value for name, value in trunk.theta().items()} | {
        "readout.output.weight": 0.02 * torch.randn(1, 16, generator=draw, dtype=torch.float64), "readout.output.bias": torch.ones(1, dtype=torch.float64),
    })
    return made


@pytest.mark.parametrize("bound", [None, 0.3])
@pytest.mark.parametrize("normalise", ["sequence", "token"])
def test_values_are_learned_beside_it(normalise: str, bound: float | None) -> None:
    """The policy's part is that of the decoder alone, and errors of values are added in a loop, with their gradients."""
    mine, start, data, draw = critic(), sharp_decoder(1), batch(), torch.Generator().manual_seed(4)
    data["value"], data["return"] = (torch.randn(ROWS, WIDTH, generator=draw, dtype=torch.float64) for _ in range(2))
    options = {"clip": 0.05, "normalise": normalise, "kl": 0.3}
    objective = CompletionPolicy.parse({"kind": "completion_policy", "value": 0.7, "value_clip": bound, **options})
    data |= objective.reference(start, lambda b: call(start, b), data)
    found = loss(mine, objective, data)
    (found.total / float(found.count)).backward()
    gradients = {name: p.grad.clone() for name, p in mine.named_parameters() if p.grad is not None}
    mine.zero_grad()
    policy, _ = formula(mine, start, data, CompletionPolicy.parse({"kind": "completion_policy", **options}))
    means, errors, away = [], [], 0
    for row in range(ROWS):
        end = int((data["documents"][row] >= 0).sum())
        values = mine(tokens=data["tokens"][row : row + 1, :end])["values"][0]
        row_errors = []
        for t in range(1, end):
            if data["learned"][row, t]:
                v, old, goal = values[t - 1], float(data["value"][row, t]), float(data["return"][row, t])
                error = (v - goal) ** 2
                if bound is not None and abs(float(v) - old) > bound:
                    limit = old + bound if float(v) > old else old - bound
                    away += (limit - goal) ** 2 > float(error)
                    error = error if float(error) >= (limit - goal) ** 2 else torch.tensor((limit - goal) ** 2, dtype=torch.float64)
                row_errors.append(error)
        means.append(torch.stack(row_errors).mean())
        errors += row_errors
    expected = policy + 0.7 * (torch.stack(means).mean() if normalise == "sequence" else torch.stack(errors).mean())
    assert math.isclose(float(found.total.detach()) / float(found.count), float(expected.detach()), rel_tol=1e-9) and (away > 0) == (bound is not None)
    assert math.isclose(float(found.metrics["value_loss"][0]), float(sum(error.detach() for error in errors)), rel_tol=1e-9)
    expected.backward()
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-9, rtol=1e-7)


def test_values_need_a_source_and_a_model_that_have_them() -> None:
    decoder = {"kind": "decoder", "vocab": 30, "dim": 16, "depth": 1, "context": 256, "mixer": {"kind": "attention", "heads": 2}}
    valued = HeadedConfig.parse({"kind": "headed", "readout": "values", "trunk": {**decoder, "head": "linear"}}).ports()
    plain, groups, own = DecoderConfig.parse(decoder).ports(), CompletionsConfig().ports(), CompletionsConfig(advantage="generalised").ports()
    assert check(own, valued, CompletionPolicy(value=0.5).needs()) == [] == check(groups, valued, CompletionPolicy().needs())
    assert any("the source asks the model for 'values'" in reason for reason in check(own, plain, CompletionPolicy().needs()))
    assert any("reads 'return'" in reason for reason in check(groups, valued, CompletionPolicy(value=0.5).needs()))
    with pytest.raises(ConfigError, match="there is no value function to bound"):
        CompletionPolicy.parse({"kind": "completion_policy", "value_clip": 0.2})


@pytest.mark.parametrize("normalise", ["sequence", "token", "constant"])
def test_parts_add_up_to_the_whole(normalise: str) -> None:
    mine, data, objective = sharp_decoder(0), batch(), CompletionPolicy.parse({"kind": "completion_policy", "kl": 0.0, "normalise": normalise, "length": 4})
    whole = loss(mine, objective, data)
    parts = [loss(mine, objective, {name: value[rows] for name, value in data.items()}) for rows in (slice(0, 2), slice(2, 5))]
    assert math.isclose(float(whole.total.detach()), sum(float(part.total.detach()) for part in parts), rel_tol=1e-12)
    assert whole.count == sum(int(part.count or 0) for part in parts)


def test_the_policy_that_wrote_has_ratio_one() -> None:
    mine, data = sharp_decoder(0), batch()
    data["log_probability"] = log_probabilities(mine, lambda b: call(mine, b), data)
    found = loss(mine, CompletionPolicy(kl=0.0, normalise="token"), data)
    assert float(found.metrics["kl"][0]) == 0 and float(found.metrics["clipped"][0]) == 0
    assert math.isclose(float(found.total.detach()), -float(data["advantage"][data["learned"]].sum()), rel_tol=1e-12)


def test_fits_completions_and_a_decoder_only() -> None:
    ports = CompletionsConfig().ports()
    decoder = {"kind": "decoder", "vocab": 30, "dim": 16, "depth": 1, "context": 256, "mixer": {"kind": "attention", "heads": 2}}
    assert check(ports, DecoderConfig.parse(decoder).ports(), CompletionPolicy().needs()) == []
    both = DecoderConfig.parse({**decoder, "mixer": {"kind": "attention", "heads": 2, "causal": False}})
    assert any("cannot have written" in reason for reason in check(ports, both.ports(), CompletionPolicy().needs()))
