"""Weights in few bits equal a naive formula, value by value, and gradients pass through as through the weights they stand for."""

from __future__ import annotations

import pytest
import torch

from ftheta.blocks.linear import Linear
from ftheta.blocks.quantised import NF4, Quantisation, QuantisedLinear, whole_products, whole_rows
from ftheta.core.errors import ConfigError

PUBLISHED = """-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635 -0.18477343022823334 -0.09105003625154495 0.0
0.07958029955625534 0.16093020141124725 0.24611230194568634 0.33791524171829224 0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"""


def linear(inputs: int = 30, outputs: int = 7) -> Linear:
    torch.manual_seed(0)
    made = Linear(inputs, outputs)
    made.weight.data[2] = 0.0
    return made


def naive_nf4(weight: torch.Tensor, block: int) -> tuple[list[int], torch.Tensor]:
    """One value after another: the nearest of the published values times the block's maximum; all codes and the weights."""
    flat, values, codes = weight.flatten().tolist(), [], []
    for part in (flat[i : i + block] for i in range(0, len(flat), block)):
        most = max(map(abs, part))
        for value in part:
            code = min(range(16), key=lambda i: abs(NF4[i] * most - value)) if most else 7
            codes.append(code)
            values.append(NF4[code] * most)
    return codes, torch.tensor(values).view(weight.shape)


def test_the_values_are_those_published() -> None:
    assert tuple(map(float, PUBLISHED.split())) == NF4


@pytest.mark.parametrize("block", [64, 16])
def test_four_bits_equal_the_naive_formula_and_two_share_a_byte(block: int) -> None:
    plain = linear()
    kept = QuantisedLinear(plain, Quantisation(block=block))
    codes, wanted = naive_nf4(plain.weight.detach(), block)
    torch.testing.assert_close(kept.weight, wanted, atol=1e-7, rtol=1e-6)
    packed = [int(byte) for byte in kept.get_buffer("codes")]
    assert len(packed) == -(-30 * 7 // block) * block // 2
    assert [part for byte in packed for part in divmod(byte, 16)][: 30 * 7] == codes


def test_eight_bits_equal_the_naive_formula() -> None:
    plain = linear()
    kept = QuantisedLinear(plain, Quantisation(bits=8))
    for row, found in zip(plain.weight.detach(), kept.weight, strict=True):
        most = max(abs(float(value)) for value in row)
        wanted = [round(float(value) / most * 127) * most / 127 if most else 0.0 for value in row]
        torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-7, rtol=1e-6)
    assert kept.get_buffer("codes").dtype == torch.int8


def test_maxima_kept_in_eight_bits_too() -> None:
    plain = linear(64, 300)
    plain.weight.data[2] = 0.1
    once, twice = (QuantisedLinear(plain, Quantisation(double=double)) for double in (False, True))
    scale = once.get_buffer("scale")
    mean = float(scale.mean())
    found = []
    for part in (scale.tolist()[i : i + 256] for i in range(0, len(scale), 256)):
        most = max(abs(value - mean) for value in part)
        found += [round((value - mean) / most * 127) * most / 127 + mean for value in part]
    torch.testing.assert_close(twice.weight, once.weight / scale[:, None] * torch.tensor(found)[:, None], atol=1e-6, rtol=1e-5)
    size = [sum(part.numel() * part.element_size() for part in kept.parts()) for kept in (once, twice)]
    assert size == [64 * 300 // 2 + 4 * 300, 64 * 300 // 2 + 300 + 4 * 2 + 4]


@pytest.mark.parametrize("how", [Quantisation(), Quantisation(bits=8), Quantisation(double=True)])
def test_gradients_are_those_of_the_weights_it_stands_for(how: Quantisation) -> None:
    kept = QuantisedLinear(linear(), how)
    plain = kept.plain()
    x = torch.randn(3, 5, 30, requires_grad=True)
    y, wanted = kept(x), plain(x)
    torch.testing.assert_close(y, wanted)
    (found,), (grad,) = (torch.autograd.grad(out.square().sum(), x) for out in (y, wanted))
    torch.testing.assert_close(found, grad)
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    assert kept(x.bfloat16()).dtype == torch.bfloat16


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="with 8 bits every row has its maximum"):
        Quantisation.parse({"bits": 8, "double": True})


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 4, 70])
@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(96, 40, True), (96, 40, False), (33, 7, True), (2, 1, False)])
def test_products_in_bfloat16_are_those_of_whole_numbers(rows: int, inputs: int, outputs: int, bias: bool) -> None:
    """No weight is rounded, and a row gives what it gives alone, to the last bit."""
    torch.manual_seed(3)
    plain = Linear(inputs, outputs, bias=bias)
    part = QuantisedLinear(plain, Quantisation(bits=8))
    x = torch.randn(rows, 1, inputs).bfloat16()
    x[0, 0, 0] = 30.0                                                                      # one value far from the others
    products = torch.nn.functional.linear(x.double(), part.weight.double())
    expected = products if part.bias is None else products + part.bias.double()
    found, exact = part(x), whole_products(x, *part.parts())
    assert found.dtype == torch.bfloat16 and found.shape == (rows, 1, outputs)
    assert float((found - expected).norm() / expected.norm()) < 0.003                      # only the result is rounded: by 2⁻⁹ at most
    step = x.double().abs().amax(-1, keepdim=True) / (127 * 254)
    assert bool(((exact - products).abs() <= step * part.weight.double().abs().sum(1) + 1e-6 * products.abs()).all())
    for row in range(rows):
        assert torch.equal(whole_products(x[row : row + 1], *part.parts())[0], exact[row])


@pytest.mark.parametrize("rows", [1, 6])
def test_maps_of_the_same_rows_share_their_whole_numbers_until_the_rows_change(rows: int) -> None:
    torch.manual_seed(5)
    first, second = (QuantisedLinear(Linear(48, outputs), Quantisation(bits=8)) for outputs in (20, 31))

    def formula(x: torch.Tensor, part: QuantisedLinear) -> torch.Tensor:
        """Everything anew, products of whole numbers in float64, where they are exact."""
        codes, scale = part.parts()
        most = x.float().abs().amax(1, keepdim=True)
        fine = (x.float() * (127 * 254 / most)).round()
        coarse = (fine / 254).round()
        high, low = ((half.double() @ codes.double().t()).float() for half in (coarse, fine - 254 * coarse))
        y = (low + high * 254) * (most / (127 * 254)) * scale[:, 0]
        assert part.bias is not None
        return (y + part.bias).bfloat16()

    with torch.no_grad():
        x = torch.randn(rows, 48).bfloat16()
        assert torch.equal(first(x), formula(x, first)) and torch.equal(second(x), formula(x, second))
        assert whole_rows(x)[0] is whole_rows(x)[0] and whole_rows(x.clone())[0] is not whole_rows(x)[0]
        x[0, 3] = 7.5
        assert torch.equal(second(x), formula(x, second)) and torch.equal(first(x.clone()), first(x))
    with torch.inference_mode():
        y = torch.randn(rows, 48).bfloat16()
        before = first(y)
        y.mul_(2)
        assert torch.equal(first(y), formula(y, first)) and not torch.equal(first(y), before)


@torch.no_grad()
def test_rows_that_are_no_numbers_or_nothing() -> None:
    part = QuantisedLinear(linear(), Quantisation(bits=8))
    assert part.bias is not None
    x = torch.zeros(4, 30, dtype=torch.bfloat16)
    x[1, 0], x[2, 3] = torch.nan, torch.inf
    found = part(x)
    assert torch.equal(found[0], found[3]) and torch.equal(found[0], part.bias.bfloat16())
    assert bool(found[1].isnan().all()) and bool(found[2].isnan().all())


def test_maps_of_one_input_are_not_taken_in_whole_numbers() -> None:
    """torch's products of whole numbers are wrong there."""
    part = QuantisedLinear(Linear(1, 3), Quantisation(bits=8))
    with torch.no_grad():
        x = torch.tensor([[2.0], [-0.5]]).bfloat16()
        assert torch.allclose(part(x).float(), torch.nn.functional.linear(x.float(), part.weight, part.bias), atol=0.02)
