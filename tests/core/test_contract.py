from ftheta.core.contract import Needs, Ports, check, fits

DATA = Ports(gives={"tokens": "ids B T"}, sizes={"V": 100, "T": 16})
MODEL = Ports(takes={"tokens": "ids B T"}, gives={"logits": "logits B T V"}, sizes={"V": 100, "T": 16}, traits=frozenset({"causal"}))
NEEDS = Needs(reads={"tokens": "ids B T"}, feeds={"tokens": "ids B T"}, wants={"logits": "logits B T V"}, traits={"causal": "it would see the answer"})


def test_fit():
    assert check(DATA, MODEL, NEEDS) == []


def test_every_reason_is_given():
    model = Ports(takes={"image": "image B C H W"}, gives={"score": "real B"})
    reasons = check(DATA, model, NEEDS)
    assert len(reasons) == 2
    assert any("takes 'image'" in reason for reason in reasons)
    assert any("wants 'logits'" in reason for reason in reasons)


def test_a_missing_trait_is_explained():
    blind = Ports(MODEL.takes, MODEL.gives, MODEL.sizes)
    assert check(DATA, blind, NEEDS) == ["it would see the answer"]


def test_sizes():
    small = Ports(MODEL.takes, MODEL.gives, {"V": 50, "T": 16}, MODEL.traits)
    assert "vocabulary is 100" in check(DATA, small, NEEDS)[0]
    large = Ports(MODEL.takes, MODEL.gives, {"V": 128, "T": 99}, MODEL.traits)
    assert check(DATA, large, NEEDS) == []


def test_fits():
    assert fits("label N", "label *")
    assert not fits("label N", "label B")
    assert not fits("ids B", "label B")
