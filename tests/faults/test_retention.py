"""R21: whatever happens, a checkpoint that verifies, the best one and the pinned ones are kept, and old ones do go."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.core.atomic import verify
from ftheta.training.checkpoints import Checkpoints, State

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("save"), st.one_of(st.none(), st.integers(0, 6))),
        st.tuples(st.just("damage newest"), st.just(0)),
        st.tuples(st.just("damage best"), st.just(0)),
        st.tuples(st.just("damage any"), st.integers(0, 9)),
        st.tuples(st.just("pin"), st.integers(0, 9)),
        st.tuples(st.just("fall back"), st.just(0)),
    ),
    min_size=1, max_size=14,
)


def state(step: int, loss: float | None) -> State:
    return State(step, {"model": {"w": torch.full((4,), float(step))}}, {"step": step, "validation_loss": loss})


def damage(folder: Path) -> None:
    place = folder / "model.safetensors"
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)


def whole(checkpoints: Checkpoints) -> list[int]:
    return [step for step in checkpoints.steps() if not verify(checkpoints.path(step))]


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, keep=st.integers(1, 3), pin_every=st.sampled_from([None, 3]), behind=st.booleans())
def test_under_any_sequence_of_events(events, keep, pin_every, behind):
    folder = Path(tempfile.mkdtemp(prefix="ftheta-test-", dir=MEMORY))
    try:
        checkpoints, step, pinned = Checkpoints(folder, keep, pin_every), 0, set()
        losses: dict[int, float] = {}
        for event, value in events:
            steps = checkpoints.steps()
            if event == "save":
                step += 1
                if value is not None:
                    losses[step] = value
                else:
                    losses.pop(step, None)
                before = whole(checkpoints)
                (checkpoints.save_behind if behind else checkpoints.save)(state(step, value))
                checkpoints.wait()
                after = whole(checkpoints)
                assert step in after
                candidates = [s for s in {*before, step} if s in losses]
                if candidates:
                    assert min(candidates, key=lambda s: (losses[s], s)) in after, "the best is gone"
                assert {s for s in pinned if s in before} <= set(after), "a pinned one is gone"
                assert {s for s in before if pin_every and s % pin_every == 0} <= set(after)
                free = [s for s in checkpoints.steps() if s not in pinned and not (pin_every and s % pin_every == 0)]
                assert len(free) <= keep + 2, "old ones stay"
            elif steps and event == "damage newest":
                damage(checkpoints.path(steps[-1]))
            elif event == "damage best" and (best := checkpoints.best()) is not None:
                damage(checkpoints.path(best))
            elif steps and event == "damage any":
                damage(checkpoints.path(steps[value % len(steps)]))
            elif steps and event == "pin":
                (checkpoints.path(steps[value % len(steps)]) / "PIN").touch()
                pinned.add(steps[value % len(steps)])
            elif event == "fall back" and whole(checkpoints):
                found = checkpoints.newest()
                assert found is not None and found.step == whole(checkpoints)[-1]
                assert torch.equal(found.groups["model"]["w"], torch.full((4,), float(found.step)))
                step = found.step
        best = checkpoints.best()
        assert best is None or not verify(checkpoints.path(best))
    finally:
        shutil.rmtree(folder)


def test_the_best_of_early_stopping_is_verified_before_it_is_used(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0)):
        checkpoints.save(state(step, loss))
    damage(checkpoints.path(2))
    assert checkpoints.best() == 3
