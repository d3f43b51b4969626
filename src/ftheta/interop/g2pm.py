"""g2pM, how a Chinese character that can be read in several ways is read (Park & Lee 2020, arXiv:2004.03136; github.com/kakaobrain/g2pM).

A token is a character, a sentence stands between `시` and `끝`. Embedding (64) → one LSTM each way (32) → Linear (32), ReLU → Linear (876 readings) at
every character: a plain layer under a `tag` readout. Our map after the two LSTMs is the identity here.
"""

from __future__ import annotations

import json

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from ftheta.architectures.headed import HeadedConfig
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt
from ftheta.data.catalogue import locate
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import finish
from ftheta.interop.ours import write_described

SOURCE = "weights_g2pm_bilstm"
ROLES = {"pad": "<PAD>", "unk": "<UNK>", "bos": "시", "eos": "끝"}
PARTS = {"embedding": "trunk.embed", "lstm": "trunk.layers.0.mix.inner.rnn", "logit_layer.0": "readout.dense", "logit_layer.2": "readout.output"}
"""What a part is called there → here."""


def g2pm(attempt: Attempt) -> None:
    """The model's folder, from its tensors, its characters and its readings."""
    source = locate(SOURCE)
    theta: dict[str, Tensor] = {}
    for name, value in tensor_files.read(source / "model.safetensors").items():
        part, leaf = name.rsplit(".", 1)
        theta[f"{PARTS[part]}.{leaf}"] = value
    characters, readings = (json.loads((source / name).read_bytes()) for name in ("char2idx.json", "class2idx.json"))
    hidden, dim = theta["readout.dense.weight"].shape
    theta["trunk.layers.0.mix.inner.output.weight"] = torch.eye(dim)
    config = HeadedConfig.parse({
        "kind": "headed", "classes": len(readings), "readout": {"kind": "tag", "hidden": hidden, "dropout": 0.0},
        "trunk": {
            "kind": "encoder", "vocab": len(characters), "dim": dim, "depth": 1, "positions": "none", "norm": "none", "residual": False, "feedforward": None,
            "mixer": {"kind": "lstm", "hidden": dim // 2, "bidirectional": True},
        },
    })
    processor = TextProcessor(tokenizer(characters), ROLES, [ROLES["bos"]], [ROLES["eos"]], sorted(readings, key=readings.__getitem__))
    write_described(attempt, config, theta, "marked-token-classification", processor, {"from": SOURCE})


def tokenizer(characters: dict[str, int]) -> Tokenizer:
    """A character is a token; a text stands between those that begin and end one."""
    made = Tokenizer(models.WordLevel(characters, unk_token=ROLES["unk"]))
    made.add_special_tokens([token for role, token in ROLES.items() if role in ("pad", "unk")])
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    begin, end = ROLES["bos"], ROLES["eos"]
    made.post_processor = processors.TemplateProcessing(f"{begin} $A {end}", special_tokens=[(token, characters[token]) for token in (begin, end)])
    return finish(made)
