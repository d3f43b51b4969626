"""Going on from models of pictures: low-rank changes of a vision transformer, and batch norm's statistics where weights are frozen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from ftheta.adaptation import ADAPTATIONS
from ftheta.adaptation.lora import LoRA, LowRank
from ftheta.architectures.architecture import Architecture, call
from ftheta.architectures.convnet import ConvNetConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.architectures.vit import ViTConfig
from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError
from ftheta.evaluation.probes.small import scatter
from ftheta.objectives.distillation import Distillation
from ftheta.objectives.objective import Phase


def vit() -> Architecture:
    return scatter(ViTConfig.parse({
        "kind": "vit", "channels": 1, "classes": 3, "height": 8, "width": 8, "stem": {"kind": "patches", "size": 2}, "dim": 16, "depth": 2,
        "mixer": {"kind": "attention", "heads": 2, "bias": True},
    }).build(), 0, 0.3)


def resnet() -> Architecture:
    return scatter(ResNetConfig.parse({"kind": "resnet", "channels": 1, "classes": 3, "depths": [1, 1], "widths": [8, 12], "stem": "small", "stem_width": 8}).build(), 0, 0.3)


CONVNET = {"kind": "convnet", "channels": 1, "classes": 3, "stages": [
    {"width": 6, "layer": {"kind": "convolution", "padding": "same"}, "reduce": 2}, {"width": 8, "layer": {"kind": "convolution", "bias": True}},
    {"width": 8, "layer": {"kind": "inverted", "expand": 1.0}},
]}


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("magnitude", [False, True])
def test_a_low_rank_change_of_a_vision_transformer_merges(magnitude: bool) -> None:
    model, image = vit(), images()
    before = copy.deepcopy(model)
    adapt = LoRA(rank=2, targets=("query", "layers.1.feed.*"), magnitude=magnitude)
    adapt.apply(model, 0)
    changes = {name: part for name, part in model.named_modules() if isinstance(part, LowRank)}
    assert set(changes) == {"layers.0.mix.inner.query", "layers.1.mix.inner.query", "layers.1.feed.inner.up", "layers.1.feed.inner.down"}
    torch.testing.assert_close(model(image=image)["logits"], before(image=image)["logits"], rtol=1e-5, atol=1e-5)
    for part in changes.values():
        torch.nn.init.normal_(part.up, std=0.2, generator=torch.Generator().manual_seed(1))
    changed = model(image=image)["logits"]
    assert (changed - before(image=image)["logits"]).abs().max() > 0.01
    weight = {name: part.changed().detach() for name, part in changes.items()}
    adapt.finish(model)
    torch.testing.assert_close(model(image=image)["logits"], changed, rtol=1e-4, atol=1e-4)
    if not magnitude:
        for name, expected in weight.items():
            torch.testing.assert_close(model.get_submodule(name).weight, expected)
    assert model.theta().keys() == before.theta().keys()


@pytest.mark.parametrize("magnitude", [False, True])
def test_a_low_rank_change_of_convolutions_is_its_formula_and_merges(magnitude: bool) -> None:
    """Of paddings that are no number too; the other weights, and the statistics of batch norm, stay."""
    model, image = scatter(ConvNetConfig.parse(CONVNET).build(), 0, 0.3), images()
    before = copy.deepcopy(model).eval()
    LoRA(rank=2, alpha=6.0, magnitude=magnitude).apply(model, 0)
    changes = {name: part for name, part in model.named_modules() if isinstance(part, LowRank)}
    assert set(changes) == {"stages.0.layers.0.convolution", "stages.1.layers.0.convolution", "stages.2.layers.0.inner.project.convolution"}  # not that of groups, and not the head
    model.train()
    torch.testing.assert_close(model(image=image)["logits"], before(image=image)["logits"], rtol=1e-4, atol=1e-5)
    for part in changes.values():
        torch.nn.init.normal_(part.up, std=0.3, generator=torch.Generator().manual_seed(1))
    changed = model(image=image)["logits"]
    assert (changed - before(image=image)["logits"]).abs().max() > 0.01
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {
        f"{name}.{part}" for name in changes for part in ("down", "up", *(["magnitude"] if magnitude else []))
    }
    expected = {}
    for name, part in changes.items():
        weight = part.base.weight.detach() + 3.0 * torch.einsum("or,rihw->oihw", part.up.detach(), part.down.detach())
        if magnitude:
            weight = weight / weight.square().sum((1, 2, 3), keepdim=True).sqrt() * part.base.weight.detach().square().sum((1, 2, 3), keepdim=True).sqrt()
        expected[name] = weight
    LoRA().finish(model)
    for name, weight in expected.items():
        torch.testing.assert_close(model.get_submodule(name).weight.detach(), weight)
    torch.testing.assert_close(model.eval()(image=image)["logits"], changed, rtol=1e-4, atol=1e-5)
    assert model.theta().keys() == before.theta().keys()
    assert all(torch.equal(value, before.theta()[name]) for name, value in model.theta().items() if name.removesuffix(".weight") not in expected)


def test_what_has_no_low_rank_change_says_so() -> None:
    with pytest.raises(ConfigError, match="no linear map or whole convolution of 'resnet' is called 'convolutions'; did you mean 'convolution'"):
        LoRA(targets=("convolutions",)).apply(resnet(), 0)


@pytest.mark.parametrize(("kind", "moves"), [("probe", False), ("full", True)])
def test_statistics_stay_where_weights_are_frozen(kind: str, moves: bool) -> None:
    model = resnet()
    Slot(ADAPTATIONS).parse(kind).apply(model, 0)  # type: ignore[attr-defined]
    model.train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    trained = model(image=images())["logits"]
    assert any(not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers()) == moves
    if not moves:
        torch.testing.assert_close(trained, model.eval()(image=images())["logits"])


def test_distillation_of_pictures_is_its_formula() -> None:
    """A residual network learns from a vision transformer."""
    teacher, model, label = vit().eval(), resnet().eval(), torch.tensor([0, 2, 1, 1])
    objective = Distillation.parse({"kind": "distillation", "teacher": "teacher", "of": "classification", "temperature": 3.0, "labels": 0.3})
    told = objective.accompanied(teacher, lambda batch: call(teacher, batch))
    loss = told.loss(model, lambda batch: call(model, batch), {"image": images(), "label": label}, Phase("main"))
    total = torch.zeros(())
    for i in range(4):
        mine, theirs = model(image=images())["logits"][i], teacher(image=images())["logits"][i]
        p = F.softmax(theirs / 3, -1)
        total = total - 0.3 * mine.log_softmax(-1)[label[i]] + 0.7 * 9 * (p * (p.log() - (mine / 3).log_softmax(-1))).sum()
    torch.testing.assert_close(loss.total, total, rtol=1e-5, atol=1e-5)
    assert float(loss.count) == 4  # type: ignore[arg-type]
