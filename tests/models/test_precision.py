"""Models in bfloat16: what is computed stays near, weights are kept in it, writing and reading tasks work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ftheta.architectures import ARCHITECTURES
from ftheta.blocks.few_bits import keep_in_few_bits
from ftheta.blocks.quantised import Quantisation
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.export import FORMATS
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from tiny import GPT2, LLAMA

SHAPES = {
    "gpt2": GPT2, "llama": LLAMA, "ssm": {"vocab": 260, "dim": 32, "depth": 1, "positions": "none", "mixer": {"kind": "ssm", "heads": 4, "state": 8}},
    "lstm": {"vocab": 260, "dim": 16, "depth": 1, "positions": "none", "mixer": "lstm"}, "experts": {**LLAMA, "feedforward": {"kind": "moe", "experts": 4, "hidden": 16}},
}


def made(shape: dict) -> Model:
    architecture = ARCHITECTURES.load("decoder").parse(shape).build()
    architecture.initialise(0)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


@torch.no_grad()
@pytest.mark.parametrize("name", SHAPES)
def test_outputs_stay_near_and_weights_are_kept_in_it(name: str) -> None:
    model = made(SHAPES[name])
    tokens = torch.randint(260, (2, 12), generator=torch.Generator().manual_seed(1))
    before = model.architecture(tokens=tokens)["hidden"]
    after = model.compute_in("bfloat16").architecture(tokens=tokens)["hidden"]
    assert after.dtype == torch.bfloat16 and float((after - before).norm() / before.norm()) < 0.03
    assert {part.weight.dtype for part in model.architecture.modules() if isinstance(part, torch.nn.Linear | torch.nn.Embedding)} == {torch.bfloat16}
    assert len(model.generate("ab", most=5, seed=1).encode()) > 0
    assert model.compute_in("float32").architecture(tokens=tokens)["hidden"].dtype == torch.float32


@torch.no_grad()
def test_eight_bits_in_bfloat16_write_what_the_weights_they_stand_for_write() -> None:
    model, plain = made(LLAMA), made(LLAMA)
    keep_in_few_bits(model.architecture, Quantisation(bits=8))
    keep_in_few_bits(plain.architecture, Quantisation(bits=8))
    for name, part in list(plain.architecture.named_modules()):
        if hasattr(part, "plain"):
            plain.architecture.get_submodule(name.rpartition(".")[0]).__setattr__(name.rpartition(".")[2], part.plain())
    tokens = torch.tensor([[5]])
    few = model.compute_in("bfloat16").architecture(tokens=tokens)["hidden"].float()
    assert float((few - plain.architecture(tokens=tokens)["hidden"]).norm() / few.norm()) < 0.02


@torch.no_grad()
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_few_bits_are_those_of_the_export(precision: str, tmp_path: Path) -> None:
    model = made(LLAMA)
    kept = FORMATS.load(f"safetensors-{precision}")(precision).quantised(model)
    exported = load(save(kept, tmp_path / "few")).compute_in("bfloat16")
    tokens = torch.randint(260, (2, 12), generator=torch.Generator().manual_seed(1))
    before = model.architecture(tokens=tokens)["hidden"]
    after = model.compute_in(precision).architecture(tokens=tokens)["hidden"]
    assert torch.equal(after, exported.architecture(tokens=tokens)["hidden"])
    assert 0 < float((after - before).norm() / before.norm()) < {"int8": 0.03, "int4": 0.3}[precision]


@torch.no_grad()
def test_pictures_and_unknown_names() -> None:
    config = ARCHITECTURES.load("resnet").parse({"channels": 1, "classes": 3, "depths": [1, 1], "widths": [8, 16], "stem_width": 8})
    model = made(GPT2)
    with pytest.raises(UsageError, match="did you mean 'bfloat16'"):
        model.compute_in("bfloat")
    architecture = config.build().eval()
    architecture.initialise(0)
    model.architecture = architecture
    image = torch.rand(2, 1, 16, 16)
    before = architecture(image=image)["features"]
    assert float((model.compute_in("bfloat16").architecture(image=image)["features"] - before).norm() / before.norm()) < 0.03
