"""Small models with random weights, to be served."""

import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.blocks.virtual import Prefix
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.model import Model
from ftheta.serving.capacity import plan
from ftheta.serving.engine import Engine
from ftheta.serving.settings import Settings
from tiny import GPT2, LLAMA

WINDOW = {**LLAMA, "mixer": [{"kind": "attention", "heads": 4, "window": 12}, {"kind": "attention", "heads": 4}]}
RELATIVE = {**GPT2, "positions": {"kind": "relative", "buckets": 8, "distance": 20}}
EXPERTS = {**LLAMA, "feedforward": {"kind": "moe", "experts": 4, "hidden": 16}, "value_embed": True}
MODELS = {"gpt2": GPT2, "llama": LLAMA, "window": WINDOW, "relative": RELATIVE, "experts": EXPERTS, "prefix": LLAMA}
TEXTS = ["a", "hello there", "中文 and 🙂", "a much longer prompt, of forty-one letters", "hello there, you", "ab ab ab ab", "hello there, you all of you" * 3]


def made(name: str) -> Model:
    architecture = DecoderConfig.parse(MODELS[name]).build()
    if name == "prefix":
        architecture.virtual = Prefix(3, 2, 2, 8)
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Model(architecture, TextProcessor(Bytes().train([])), "text-generation")


def memory_for(model: Model, pages: int, settings: Settings) -> int:
    """Bytes in which so many pages fit, and not one more."""
    few, many = (plan(model, settings.page, settings.together, settings.chunk, memory) for memory in (10**9, 2 * 10**9))
    each = (many.bytes - few.bytes) // (many.pages - few.pages)
    return few.bytes - (few.pages - pages) * each


def engine_of(model: Model, pages: int | None = None, **fields) -> Engine:
    settings = Settings(**fields)
    found = Engine(model, settings if pages is None else settings.replace(memory=memory_for(model, pages, settings)))
    assert pages is None or found.pages.count == pages
    return found


def headed(task: str, readout: str) -> Model:
    """An encoder that is read by this readout."""
    architecture = HeadedConfig.parse({
        "trunk": {"kind": "encoder", "vocab": 260, "dim": 16, "depth": 1, "context": 32, "mixer": {"kind": "attention", "heads": 2, "causal": False}},
        "readout": readout, "classes": 3,
    }).build()
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Model(architecture, TextProcessor(Bytes().train([]), labels=["a", "b", "c"]), task)
