"""Layers of convolutional networks equal their formulas, written out; padding rules equal TensorFlow's; what is skipped keeps its mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks import CHANNEL_GATES, CONVOLUTION_LAYERS, MAP_NORMS, REDUCTIONS
from ftheta.blocks.activation import activate
from ftheta.blocks.convolution import PaddedConv2d
from ftheta.blocks.map_layers import rounded
from ftheta.blocks.norm import MapLayerNorm
from ftheta.blocks.residual import LayerScale, Residual, rising, stochastic_depth
from ftheta.core.config import Part, Slot

NORM = Slot(MAP_NORMS)


def layer(kind: str, inputs: int, outputs: int, stride: int = 1, activation: str = "relu", norm: str = "batchnorm", **arguments: Any) -> nn.Module:
    part = Slot(CONVOLUTION_LAYERS).parse({"kind": kind, **arguments})
    assert isinstance(part, Part)
    made = part.build(inputs=inputs, outputs=outputs, stride=stride, norm=NORM.parse(norm), activation=activation, skipped=0.0).double().train()
    draws = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
    return made


def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (var + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def test_inverted_residual_is_expand_depthwise_squeeze_project() -> None:
    made = layer("inverted", 4, 4, expand=3.0, kernel=5, gate={"kind": "squeeze_excite", "of": "middle", "gate": "hard_sigmoid"}, activation="hard_silu")
    x, parts = torch.randn(3, 4, 7, 6, dtype=torch.float64), made.inner
    y = normed(torch.einsum("oi,bihw->bohw", parts.expand.convolution.weight[:, :, 0, 0], x), parts.expand.norm)
    y = y * (y + 3).clamp(0, 6) / 6
    windows = F.pad(y, (2, 2, 2, 2)).unfold(2, 5, 1).unfold(3, 5, 1)                      # (B, 12, 7, 6, 5, 5)
    y = normed(torch.einsum("bchwij,cij->bchw", windows, parts.depthwise.convolution.weight[:, 0]), parts.depthwise.norm)
    y = y * (y + 3).clamp(0, 6) / 6
    squeezed = y.mean((2, 3)) @ parts.gate.reduce.weight[:, :, 0, 0].T + parts.gate.reduce.bias
    assert squeezed.shape == (3, 3)                                                       # a quarter of the middle
    squeezed = squeezed * (squeezed + 3).clamp(0, 6) / 6
    gate = ((squeezed @ parts.gate.expand.weight[:, :, 0, 0].T + parts.gate.expand.bias + 3).clamp(0, 6) / 6)[:, :, None, None]
    expected = x + normed(torch.einsum("oi,bihw->bohw", parts.project.convolution.weight[:, :, 0, 0], y * gate), parts.project.norm)
    torch.testing.assert_close(made(x), expected)


@pytest.mark.parametrize("inputs, outputs, stride, adds", [(4, 4, 1, True), (4, 6, 1, False), (4, 4, 2, False)])
def test_inverted_residuals_add_where_the_shape_stays(inputs: int, outputs: int, stride: int, adds: bool) -> None:
    made = layer("inverted", inputs, outputs, stride, norm="none", expand=1.0)
    assert not hasattr(made.inner, "expand")                                              # a middle as wide as what comes in
    x = torch.randn(2, inputs, 8, 8, dtype=torch.float64)
    y = made.inner.project(made.inner.depthwise(x))
    torch.testing.assert_close(made(x), x + y if adds else y)


def test_convnext_is_depthwise_norm_and_an_mlp_at_every_pixel() -> None:
    made = layer("convnext", 4, 4, activation="gelu", norm="layernorm", scale=0.5)
    x, inner = torch.randn(2, 4, 9, 8, dtype=torch.float64), made.inner
    y = F.conv2d(x, inner.depthwise.weight, inner.depthwise.bias, padding=3, groups=4).permute(0, 2, 3, 1)
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt() * inner.norm.weight + inner.norm.bias
    y = F.gelu(y @ inner.feed.up.weight.T + inner.feed.up.bias) @ inner.feed.down.weight.T + inner.feed.down.bias
    torch.testing.assert_close(made(x), x + (y * inner.scale.weight).permute(0, 3, 1, 2))


@pytest.mark.parametrize("share, multiple, of, width", [(0.25, 1, "inputs", 2), (0.25, 8, "middle", 8), (0.5, 1, "middle", 12)])
def test_squeeze_and_excitation_counts_channels_as_said(share: float, multiple: int, of: str, width: int) -> None:
    gate = Slot(CHANNEL_GATES).parse({"kind": "squeeze_excite", "share": share, "multiple": multiple, "of": of})
    assert isinstance(gate, Part) and gate.build(dim=24, inputs=8, activation="relu").reduce.weight.shape[0] == width


def test_channels_are_rounded_as_in_the_papers() -> None:
    """Multiples of 8, never below nine tenths: the widths of MobileNet v2 × 0.35 and EfficientNet-B2."""
    assert [rounded(width * 0.35, 8) for width in (32, 16, 24, 64, 96, 160)] == [16, 8, 8, 24, 32, 56]
    assert [rounded(width * 1.1, 8) for width in (32, 16, 24, 40, 80, 112, 192, 320, 1280)] == [32, 16, 24, 48, 88, 120, 208, 352, 1408]


def same_padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's rule, a side at a time."""
    for dim in (2, 3):
        size = x.shape[dim]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        shape = list(x.shape)
        shape[dim] = total // 2
        before = torch.zeros(shape, dtype=x.dtype)
        shape[dim] = total - total // 2
        x = torch.cat([before, x, torch.zeros(shape, dtype=x.dtype)], dim)
    return x


@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (5, 2), (1, 2), (7, 3)])
@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 10)])
def test_same_padding_is_tensorflows_and_end_is_it_where_the_stride_divides(kernel: int, stride: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    for padding in ("half", "same", "end"):
        if padding == "end" and kernel == 1:
            continue
        conv = PaddedConv2d(3, 4, kernel, stride, padding).double()                       # type: ignore[arg-type]
        expected = F.conv2d(same_padded(x, kernel, stride), conv.weight, stride=stride)
        if padding == "same" or stride == 1 or (padding == "end" and stride == 2 and not (size[0] % 2 or size[1] % 2)):
            torch.testing.assert_close(conv(x), expected)
        elif padding == "half":
            torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, stride=stride, padding=kernel // 2))
        for pixels in (1, 2, 4):
            needed = conv.needs(pixels)
            assert min(conv(torch.zeros(1, 3, needed, needed, dtype=torch.float64)).shape[2:]) == pixels
            if needed > 1:
                try:
                    assert min(conv(torch.zeros(1, 3, needed - 1, needed, dtype=torch.float64)).shape[2:]) < pixels
                except RuntimeError as error:                                             # not even one window is left
                    assert "greater than actual input size" in str(error)


def test_reductions() -> None:
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)

    def built(**fields: Any) -> Any:
        part = Slot(REDUCTIONS).parse(fields)
        assert isinstance(part, Part)
        return part.build(inputs=3, outputs=5, factor=2, norm=NORM.parse("layernorm")).double()

    assert torch.equal(built(kind="stride")(x), x) and (built(kind="stride").stride, built(kind="stride").channels) == (2, 3)
    pool = built(kind="max_pool", kernel=3)
    assert torch.equal(pool(x), x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))) and (pool.stride, pool.channels, pool.needs(3)) == (1, 3, 7)
    before, after = built(kind="patches"), built(kind="patches", norm_place="after")
    torch.testing.assert_close(before(x), before.convolution(before.norm(x)))
    torch.testing.assert_close(after(x), after.norm(after.convolution(x)))
    patches = x[:, :, :8].unfold(2, 2, 2).unfold(3, 2, 2)                                 # (B, 3, 4, 4, 2, 2)
    expected = torch.einsum("bchwij,ocij->bohw", patches, after.convolution.weight) + after.convolution.bias[:, None, None]
    torch.testing.assert_close(after.convolution(x), expected)


def test_layer_norm_of_maps_is_over_channels() -> None:
    norm, x = MapLayerNorm(6), torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(norm(x), (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt())


def test_activations_are_their_formulas() -> None:
    x = torch.linspace(-8, 8, 101)
    for name, expected in {"hard_silu": x * (x + 3).clamp(0, 6) / 6, "relu6": x.clamp(0, 6), "tanh": x.tanh()}.items():
        torch.testing.assert_close(activate(name, x), expected)                           # type: ignore[arg-type]


def test_stochastic_depth_drops_rows_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    y = stochastic_depth(torch.ones(4000, 2, 3), 0.25)
    rows = y.flatten(1)
    assert bool((rows == rows[:, :1]).all()) and {round(float(v), 5) for v in rows.unique()} == {0.0, round(1 / 0.75, 5)}
    assert abs(float(y.mean()) - 1) < 0.05
    assert rising(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3]) and rising(0.3, 1) == [0.0]


def test_a_residual_scales_what_it_adds_and_skips_rows_in_training_alone() -> None:
    made = Residual(nn.Linear(4, 4), scale=LayerScale(4, 0.5), skipped=0.5)
    x = torch.randn(64, 3, 4)
    expected = x + 0.5 * made.inner(x)
    torch.testing.assert_close(made.eval()(x), expected)
    torch.manual_seed(0)
    found = made.train()(x)
    kept = [not torch.equal(row, before) for row, before in zip(found, x, strict=True)]
    assert 16 < sum(kept) < 48
    torch.testing.assert_close(found[kept], (x + made.inner(x))[kept])                    # twice as much of what is kept half of the time
