"""Replaced tokens: the loss written out with transformers' discriminator, what is drawn, and that parts of a batch add up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import call
from ftheta.architectures.generator_discriminator import GeneratorDiscriminator
from ftheta.core.config import Slot
from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.data.tokenizers.trained import MASK
from ftheta.evaluation.probes.small import scatter
from ftheta.objectives.objective import Phase
from ftheta.objectives.replaced_token import ReplacedToken, drawn

ENCODER = {"kind": "encoder", "vocab": 40, "dim": 16, "depth": 1, "context": 12, "mixer": {"kind": "attention", "heads": 2, "causal": False}}


def model(**more: Any) -> GeneratorDiscriminator:
    parts = {"trunk": {**ENCODER, "depth": 2}, "generator": {**ENCODER, "head": "transformed"}}
    config = Slot(ARCHITECTURES).parse({"kind": "generator_discriminator", **parts, **more})
    found = scatter(config.build().double(), 0, 0.3)                                       # type: ignore[attr-defined]
    for part in (found, found.trunk, found.generator):
        part.compute_dtype = torch.float64
    return found                                                                          # type: ignore[return-value]


def batch(rows: int = 6) -> Batch:
    documents = torch.zeros(rows, 12, dtype=torch.long)
    documents[0, 7:], documents[1, 4:] = PADDING, 1
    tokens = torch.randint(4, 40, (rows, 12), generator=torch.Generator().manual_seed(0))
    return {"tokens": tokens, "documents": documents}


def prepared(objective: ReplacedToken, given: Batch) -> Batch:
    rows = len(given["tokens"])
    return objective.prepare(given, Draws(torch.arange(rows), rows, "test"))


def run_of(made: GeneratorDiscriminator) -> Any:
    return lambda part, **more: call(made, part, **more)


def by_hand(probabilities: torch.Tensor, number: float) -> int:
    """The inverse of the distribution function, a token at a time."""
    total = 0.0
    for token, share in enumerate(probabilities.tolist()):
        total += share
        if total > number:
            return token
    return len(probabilities) - 1


def test_loss_is_written_out_with_their_discriminator() -> None:
    transformers = pytest.importorskip("transformers")
    electra = pytest.importorskip("transformers.models.electra.modeling_electra")
    made, objective = model(), ReplacedToken(rate=0.3, weight=20.0)
    given = prepared(objective, batch())
    real = given["documents"] != PADDING
    assert torch.equal(given["tokens"] == MASK, given["chosen"]) and not (given["chosen"] & ~real).any()

    guessed = made.generator(tokens=given["tokens"], documents=given["documents"])["logits"]
    shown, guesses = given["targets"].clone(), torch.zeros((), dtype=torch.float64)
    for row, place in given["chosen"].nonzero().tolist():
        logs = guessed[row, place].double().log_softmax(-1)
        guesses -= logs[given["targets"][row, place]]
        shown[row, place] = by_hand(logs.exp(), float(given["uniform"][row, place]))
    replaced = shown != given["targets"]
    assert 0 < int(replaced.sum()) <= int(given["chosen"].sum())

    head = electra.ElectraDiscriminatorPredictions(transformers.ElectraConfig(hidden_size=16, hidden_act="gelu")).double()
    for theirs, ours in ((head.dense, "dense"), (head.dense_prediction, "output")):
        theirs.weight, theirs.bias = (made.discriminator.readout.get_parameter(f"{ours}.{part}") for part in ("weight", "bias"))
    odds = head(made.trunk(tokens=shown, documents=given["documents"])["hidden"])
    mean = torch.nn.BCEWithLogitsLoss()(odds[real], replaced[real].double())              # as ElectraForPreTraining with an attention mask

    loss = objective.loss(made, run_of(made), given, Phase("main"))
    count = int(real.sum())
    assert loss.count == count
    expected = guesses / 0.3 / count + 20.0 * mean
    assert float(loss.total.detach()) / count == pytest.approx(float(expected.detach()), rel=1e-6)
    assert {name: (float(a), float(b)) for name, (a, b) in loss.metrics.items()} == {
        "generator": (pytest.approx(float(guesses.detach()), rel=1e-6), int(given["chosen"].sum())),
        "discriminator": (pytest.approx(float(mean.detach()) * count, rel=1e-6), count),
        "replaced": (int(replaced.sum()), count), "accuracy": (int(((odds > 0) == replaced)[real].sum()), count),
    }
    gradient, wanted = (torch.autograd.grad(total, list(made.parameters())) for total in (loss.total / count, expected))
    for a, b in zip(gradient, wanted, strict=True):
        assert (a - b).norm() <= 1e-6 * (1 + b.norm())


def test_draws_follow_the_probabilities() -> None:
    head, hidden = torch.nn.Linear(8, 5).double(), torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    numbers = (torch.arange(20_000) + 0.5) / 20_000
    found = drawn(head, hidden.expand(20_000, -1), numbers)
    shares = torch.bincount(found, minlength=5) / 20_000
    torch.testing.assert_close(shares.double(), head(hidden)[0].softmax(-1).detach(), atol=1e-4, rtol=0)
    ends = torch.tensor([0.0, 1 - 2**-24])
    assert drawn(head, hidden.expand(2, -1), ends).tolist() == [0, 4] and not drawn(head, hidden[:0], ends[:0]).numel()


def test_rows_and_parts_see_the_same_replacements() -> None:
    made, objective, given = model(), ReplacedToken(rate=0.3), batch()
    rows = torch.tensor([1, 4])
    some = objective.prepare({name: value[rows] for name, value in given.items()}, Draws(rows, 6, "test"))
    whole = prepared(objective, given)
    assert all(torch.equal(value, whole[name][rows]) for name, value in some.items())
    losses = [objective.loss(made, run_of(made), {name: value[row : row + 1] for name, value in whole.items()}, Phase("main")) for row in range(6)]
    loss = objective.loss(made, run_of(made), whole, Phase("main"))
    assert sum(one.count for one in losses) == loss.count                                 # type: ignore[misc, arg-type]
    assert sum(float(one.total.detach()) for one in losses) == pytest.approx(float(loss.total.detach()), rel=1e-12)
    assert sum(int(one.metrics["replaced"][0]) for one in losses) == int(loss.metrics["replaced"][0])


def test_embeddings_are_shared_where_that_is_said() -> None:
    together, apart = model(), model(share=False)
    assert together.generator.embed is together.trunk.embed and "generator.embed.weight" not in together.theta()
    assert apart.generator.embed is not apart.trunk.embed and model(share=False, generator={**ENCODER, "dim": 8}).generator.embed.weight.shape == (40, 8)
    together.initialise(0)
    query = "layers.0.mix.inner.query.weight"
    assert not torch.equal(together.generator.get_parameter(query), together.trunk.get_parameter(query))


@pytest.mark.parametrize(("change", "said"), [
    ({"generator": {**ENCODER, "dim": 8}}, "trunk.dim is 16, generator.dim 8: to share"),
    ({"generator": {**ENCODER, "head": None}}, "no head to guess tokens with"),
    ({"generator": {**ENCODER, "kind": "decoder", "mixer": {"kind": "attention", "heads": 2}}}, "choose an encoder"),
    ({"generator": {**ENCODER, "vocab": 30}}, "both must know the same tokens"), ({"generator": {**ENCODER, "context": 8}}, "both read the same rows"),
    ({"trunk": {**ENCODER, "head": "linear"}}, "leave trunk.head out"),
])
def test_parts_that_do_not_go_together_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        model(**change)


def test_without_gradients_nothing_is_kept() -> None:
    made, objective = model().eval(), ReplacedToken()
    with torch.no_grad():
        loss = objective.loss(made, run_of(made), prepared(objective, batch()), Phase("main"))
    assert not loss.total.requires_grad and float(loss.total) > 0
