import torch

from ftheta.core.random import Draws, generator, key, seed_all


def test_keys_differ_by_place_and_repeat():
    assert key(1, "a", 2) == key(1, "a", 2) != key(1, "a", 3)
    assert key(1, 23) != key(12, 3)
    assert torch.equal(torch.rand(3, generator=generator(5)), torch.rand(3, generator=generator(5)))


def test_a_row_draws_the_same_however_the_batch_is_divided():
    def draw(rows):
        draws = Draws(rows, 8, 0, "x")
        return [draws.uniform(3), draws.normal(2), draws.integers(9)]

    whole, parts = draw(torch.arange(8)), [draw(torch.arange(8)[:3]), draw(torch.arange(8)[3:])]
    for i, values in enumerate(whole):
        assert torch.equal(values, torch.cat([part[i] for part in parts]))
    assert not torch.equal(whole[0][:, :2], draw(torch.arange(8))[1])


def test_seed_all_repeats():
    seed_all(3, "step", 1)
    first = torch.rand(2)
    seed_all(3, "step", 1)
    assert torch.equal(first, torch.rand(2))
