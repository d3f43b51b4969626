"""Low-rank adaptation equals PEFT's, starts from the model, merges into it, and moves nothing else."""

from __future__ import annotations

import peft
import pytest
import torch

from ftheta.adaptation.freezing import Full, LastLayers, Probe
from ftheta.adaptation.lora import LoRA, LowRank
from ftheta.architectures.decoder import Decoder, DecoderConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.blocks.linear import Linear
from ftheta.core.errors import ConfigError


def decoder(tie: bool = False) -> Decoder:
    model = DecoderConfig.parse({
        "kind": "decoder", "vocab": 50, "dim": 24, "depth": 3, "context": 16, "positions": "rotary", "tie": tie, "mixer": {"kind": "attention", "heads": 3, "bias": True},
    }).build()
    model.initialise(0)
    return model


def logits(model: Decoder) -> torch.Tensor:
    return model(tokens=torch.arange(24).view(2, 12))["logits"].detach()


@pytest.mark.parametrize("magnitude", [False, True])
def test_equal_to_peft(magnitude: bool) -> None:
    torch.manual_seed(3)
    base, x = torch.nn.Linear(12, 20), torch.randn(5, 12)
    theirs = peft.get_peft_model(
        torch.nn.Sequential(torch.nn.Linear(12, 20)), peft.LoraConfig(r=4, lora_alpha=12, target_modules=["0"], use_dora=magnitude),  # type: ignore[arg-type]
    )
    layer = theirs.base_model.model[0]
    layer.base_layer.load_state_dict(base.state_dict())
    mine = Linear(12, 20)
    mine.load_state_dict(base.state_dict())
    change = LowRank(mine, 4, 12 / 4, magnitude=magnitude)
    for ours, other in ((change.down, layer.lora_A["default"].weight), (change.up, layer.lora_B["default"].weight)):
        torch.nn.init.normal_(ours)
        other.data.copy_(ours)
    if magnitude:
        assert change.magnitude is not None
        layer.lora_magnitude_vector["default"].weight.data.copy_(change.magnitude)
    (change(x) ** 2).sum().backward()
    (theirs(x) ** 2).sum().backward()
    torch.testing.assert_close(change(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(change.down.grad, layer.lora_A["default"].weight.grad, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(change.up.grad, layer.lora_B["default"].weight.grad, atol=1e-3, rtol=1e-5)
    before = change(x).detach()
    torch.testing.assert_close(change.merged()(x), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("magnitude", [False, True])
def test_it_starts_from_the_model_moves_only_what_it_added_and_merges(magnitude: bool) -> None:
    model = decoder()
    before, theta = logits(model), model.theta()
    fixed = {name: value.clone() for name, value in theta.items()}
    LoRA(rank=2, targets=("query", "layers.2.feed.*"), magnitude=magnitude).apply(model, 0)
    torch.testing.assert_close(logits(model), before, atol=1e-6, rtol=0)
    moving = {name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad}
    assert moving == {"down", "up"} | ({"magnitude"} if magnitude else set())
    changed = {name for name, part in model.named_modules() if isinstance(part, LowRank)}
    assert changed == {*(f"layers.{i}.mix.inner.query" for i in range(3)), "layers.2.feed.inner.up", "layers.2.feed.inner.down"}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(tokens=torch.arange(24).view(2, 12))["logits"].square().sum().backward()
        optimizer.step()
    after = logits(model)
    assert (after - before).abs().max() > 0.01
    LoRA().finish(model)
    torch.testing.assert_close(logits(model), after, atol=1e-5, rtol=1e-4)
    assert model.theta().keys() == fixed.keys()
    moved = {name for name, value in model.theta().items() if not torch.equal(value, fixed[name])}
    assert moved == {f"{name}.weight" for name in changed}


def test_the_same_seed_gives_the_same_change() -> None:
    first, again, other = decoder(), decoder(), decoder()
    for model, seed in ((first, 1), (again, 1), (other, 2)):
        LoRA().apply(model, seed)
    name = "layers.0.mix.inner.query.down"
    assert torch.equal(first.theta()[name], again.theta()[name]) and not torch.equal(first.theta()[name], other.theta()[name])


def test_a_map_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"adapt.targets.1: no linear map of 'decoder' is called 'qurey'; did you mean 'query'\?"):
        LoRA(targets=("value", "qurey")).apply(decoder(), 0)


def moving(model: torch.nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_freezing() -> None:
    model = decoder()
    every = moving(model)
    Probe().apply(model, 0)
    assert moving(model) == {"head.weight"}
    LastLayers(layers=1).apply(model, 0)
    assert moving(model) == {name for name in every if name.startswith(("layers.2.", "norm.", "head."))}
    Full().apply(model, 0)
    assert moving(model) == every
    shared = decoder(tie=True)
    LastLayers(layers=1).apply(shared, 0)
    assert "embed.weight" not in moving(shared) and "norm.weight" in moving(shared)
    with pytest.raises(ConfigError, match="has none of its own"):
        Probe().apply(shared, 0)
    with pytest.raises(ConfigError, match=r"adapt.layers: the model has 3 layers, fewer than 4"):
        LastLayers(layers=4).apply(shared, 0)


def test_frozen_batch_norms_keep_their_statistics() -> None:
    model = ResNetConfig(channels=1, classes=3, depths=(1, 1), widths=(4, 8), stem="small", stem_width=4).build()
    model.initialise(0)
    LastLayers(layers=1).apply(model, 0)
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if name.endswith("running_mean")}
    model.train()
    model(image=torch.randn(4, 1, 8, 8))
    changed = {name for name, buffer in model.named_buffers() if name in before and not torch.equal(buffer, before[name])}
    assert changed and all(name.startswith("stages.1.") for name in changed)
