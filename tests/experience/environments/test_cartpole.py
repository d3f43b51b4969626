"""CartPole against gymnasium's, and the promises of an environment: starts, ends, saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ftheta.experience.environments.cartpole import CartPole


def test_equal_to_gymnasium_to_the_bit() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    count, draws = 6, np.random.default_rng(0)
    world = CartPole(count)
    world.reset(seed=1)
    theirs = [gymnasium.make("CartPole-v1") for _ in range(count)]
    for environment in theirs:
        environment.reset(seed=0)

    def follow(copies: list[int]) -> None:
        for copy in copies:
            theirs[copy].reset(seed=0)
            theirs[copy].unwrapped.state = world.states[:, copy].copy()

    follow(list(range(count)))
    ended = 0
    for _ in range(700):
        # copies 0 and 1 are balanced by a simple rule and reach the time limit, the others fall at random
        balanced = (world.states[2] + 0.3 * world.states[3] > 0).astype(np.int64)
        actions = np.where(np.arange(count) < 2, balanced, draws.integers(2, size=count))
        transition = world.step(torch.from_numpy(actions))
        over = []
        for copy, environment in enumerate(theirs):
            observation, reward, terminated, truncated, _ = environment.step(actions[copy])
            assert np.array_equal(transition.final[copy].numpy(), observation)
            assert transition.reward[copy] == reward and transition.terminated[copy] == terminated
            assert transition.truncated[copy] == (truncated and not terminated)
            if terminated or truncated:
                over.append(copy)
                ended += 1
            else:
                assert np.array_equal(world.states[:, copy], environment.unwrapped.state)
        follow(over)
    assert ended > 50 and world.episodes[0] >= 1


def test_starts_depend_on_seed_copy_and_episode_alone() -> None:
    few, many = CartPole(2), CartPole(5)
    assert torch.equal(few.reset(7), many.reset(7)[:2])
    assert not torch.equal(few.reset(7), few.reset(8))
    assert few.observe().abs().max() <= 0.05
    starts: dict[int, list[torch.Tensor]] = {}
    for world, action in ((few, 0), (many, 1)):                                          # different lives, the same beginnings
        world.reset(7)
        for _ in range(60):
            transition = world.step(torch.full((world.count,), action))
            if transition.terminated[0]:
                starts.setdefault(world.count, []).append(transition.observation[0])
    shared = min(len(found) for found in starts.values())
    assert shared > 3
    assert all(torch.equal(a, b) for a, b in zip(starts[2], starts[5], strict=False))


def test_time_limit_truncates_and_a_fall_terminates() -> None:
    world = CartPole(1, limit=5)
    world.reset(0)
    ends = [world.step(torch.tensor([step % 2])) for step in range(5)]
    assert [bool(t.truncated) for t in ends] == [False] * 4 + [True] and not ends[-1].terminated
    assert not torch.equal(ends[-1].final, ends[-1].observation)
    falling = CartPole(1)
    falling.reset(0)
    for _ in range(20):
        transition = falling.step(torch.tensor([1]))
        if transition.terminated:
            break
    assert transition.terminated and not transition.truncated


def test_continues_from_saved_tensors() -> None:
    world, other = CartPole(4), CartPole(4)
    world.reset(3)
    draws = torch.Generator().manual_seed(0)
    actions = torch.randint(2, (80, 4), generator=draws)
    for step in actions[:40]:
        world.step(step)
    seen = other.restore(world.state())
    assert torch.equal(seen, world.observe())
    for step in actions[40:]:
        assert all(torch.equal(a, b) for a, b in zip(world.step(step), other.step(step), strict=True))
