import pytest

from ftheta.training.schedules import Constant, Cosine, LinearDecay, WarmupStableDecay


@pytest.mark.parametrize("schedule", [Cosine(warmup=0.1, floor=0.1), LinearDecay(warmup=0.1, floor=0.1), WarmupStableDecay(warmup=0.1, decay=0.3, floor=0.1)])
def test_warm_up_then_down_to_the_floor(schedule):
    values = [schedule.factor(i / 100) for i in range(101)]
    assert 0 < values[0] < 0.05 and max(values) == pytest.approx(1.0, abs=0.03) and values[-1] == pytest.approx(0.1)
    assert values[:9] == sorted(values[:9]) and values[12:] == sorted(values[12:], reverse=True)


def test_shapes():
    assert Constant().factor(0.7) == 1
    assert LinearDecay().factor(0.25) == pytest.approx(0.75)
    assert Cosine().factor(0.5) == pytest.approx(0.5)
    assert WarmupStableDecay(decay=0.5).factor(0.5) == 1 and WarmupStableDecay(decay=0.5).factor(0.75) == pytest.approx(0.5)
    assert LinearDecay().factor(1.5) == 0
