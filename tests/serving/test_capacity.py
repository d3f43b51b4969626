"""What is said to fit fits: the most memory ever taken is no more than was said at the start."""

import random

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.device import PeakMemory
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.models.model import Model
from ftheta.serving.capacity import plan
from ftheta.serving.engine import Engine
from ftheta.serving.settings import Settings

WIDE = {
    "vocab": 4096, "dim": 64, "depth": 2, "context": 512, "positions": "rotary", "norm": "rmsnorm", "mixer": {"kind": "attention", "heads": 8},
    "feedforward": "gated",
}


def model() -> Model:
    architecture = DecoderConfig.parse(WIDE).build()
    architecture.initialise(0)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


def write(engine: Engine, lengths: list[int], most: int) -> None:
    draws = random.Random(0)
    for number, length in enumerate(lengths):
        tokens = [draws.randrange(4, 4096) for _ in range(length)]
        engine.enter([Request(tokens, Sampling(temperature=float(number % 2)), most, end=-1)])
    engine.finish()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
def test_no_more_than_was_said(precision):
    opened = model().compute_in(precision)
    lengths = [5, 300, 500, 20, 500, 500, 450, 500, 500, 5, 400, 500]
    write(Engine(opened, Settings(memory=40 << 20, chunk=32, together=2)), [40, 40], 3)       # what the libraries take when they are first used
    if precision != "float32":                                                            # and when they compile a kernel for a shape
        write(Engine(opened, Settings(memory=64 << 20, chunk=256, together=8)), lengths, 4)
    before = PeakMemory(torch.device("cpu"))
    engine = Engine(opened, Settings(memory=64 << 20, chunk=256, together=8))
    pool = 2 * 2 * 64 * engine.capacity.tokens * opened.architecture.compute_dtype.itemsize
    write(engine, lengths, 4)
    taken = before.bytes()
    if taken is not None:
        assert pool < taken < engine.capacity.bytes <= 64 << 20


def test_a_token_takes_keys_and_values_of_all_layers():
    few, many = (plan(model(), 16, 8, 256, memory) for memory in (64 << 20, 128 << 20))
    gathered = 2 * 2 * 64 * 4                                                             # of one layer, twice as much as there is at most
    assert (many.bytes - few.bytes) == (many.tokens - few.tokens) * (2 * 2 * 64 * 4 + gathered)
    assert plan(model(), 16, 8, 256, None).tokens == 4 * 8 * 512                             # no more than is of use
