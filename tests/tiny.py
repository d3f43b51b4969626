"""Recipes that train in a fraction of a second, as plain data: a language model, two players, a policy that acts, a classifier; and shapes of decoders."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

WORDS = ("the", "a", "one", "small", "old", "red", "sea", "road", "light", "stone", "bird", "ship", "tree", "moves", "holds", "finds", "sees", "near")
GPT2 = {
    "vocab": 260, "dim": 32, "depth": 2, "context": 48, "norm": {"kind": "layernorm", "eps": 1e-5},
    "mixer": {"kind": "attention", "heads": 4, "bias": True}, "feedforward": {"kind": "mlp", "bias": True},
}
LLAMA = {
    "vocab": 260, "dim": 32, "depth": 2, "context": 48, "positions": "rotary", "norm": {"kind": "rmsnorm", "eps": 1e-5},
    "mixer": {"kind": "attention", "heads": 4, "kv_heads": 2}, "feedforward": {"kind": "gated", "hidden": 48}, "tie": False,
}
"""Decoders of 260 bytes and control tokens."""


def write_texts(folder: Path, documents: int = 40, seed: int = 0) -> Path:
    """A folder of short text files made of a few words; the same arguments always write the same bytes."""
    draws = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        lines = [" ".join(draws.choices(WORDS, k=draws.randint(3, 9))) + "." for _ in range(draws.randint(1, 5))]
        (folder / f"{number:03}.txt").write_text("\n".join(lines) + "\n")
    return folder


def language(folder: Path) -> dict[str, Any]:
    """A one-layer decoder on bytes, with everything a resume must restore: dropout, a running average, validation, a decaying rate."""
    return {
        "format": 1, "name": "tiny-language",
        "data": {
            "source": {"kind": "text_files", "path": str(folder)}, "split": {"validation": 0.1, "test": 0.1},
            "tokenizer": {"kind": "bytes"}, "pack": {"length": 16},
        },
        "model": {"kind": "decoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}, "dropout": 0.1},
        "objective": "next_token",
        "train": {
            "steps": 12, "batch": 8, "optimizer": {"kind": "adamw", "rate": 0.01, "decay": 0.1}, "average": {"decay": 0.9}, "precision": "float32",
            "log_every": 1, "validation": {"every": 3, "batches": 2}, "checkpoint": {"every": 4, "asynchronous": False}, "threads": 1,
        },
        "evaluate": [],
    }


def mixture(texts: Path) -> dict[str, Any]:
    """Two sources of one folder, seen with unlike weights, cleaned, whole documents in rows of growing length."""
    recipe = language(texts)
    first, second = ({"source": {"kind": "text_files", "path": str(texts), "include": [f"*{digit}.txt" for digit in digits]}} for digits in ("01234", "56789"))
    recipe["data"] |= {
        "source": {"kind": "mixture", "sources": {"first": {**first, "weight": 1.0}, "second": {**second, "weight": 3.0}}, "temperature": 2.0},
        "clean": ["normalise"], "deduplicate": ["exact"], "pack": {"length": 16, "how": "best_fit", "ramp": [{"until": 0.5, "length": 8}]},
    }
    return recipe


def gan() -> dict[str, Any]:
    """A small generator and discriminator on scikit-learn's digits, each with an optimizer of its own."""
    return {
        "format": 1, "name": "tiny-gan",
        "data": {"source": {"kind": "digits"}, "augment": [{"kind": "shift", "pixels": 1}]},
        "model": {"kind": "gan", "noise": 8, "width": 4},
        "objective": {"kind": "adversarial", "noise": 8},
        "train": {
            "steps": 12, "batch": 4, "optimizer": {"kind": "adamw", "rate": 0.002, "betas": [0.0, 0.99]},
            "players": {"generator": {"kind": "adamw", "rate": 0.001}}, "average": {"decay": 0.9}, "precision": "float32", "log_every": 1,
            "validation": {"every": 3, "batches": 2}, "checkpoint": {"every": 4, "asynchronous": False}, "threads": 1,
        },
        "evaluate": [],
    }


def policy() -> dict[str, Any]:
    """A small actor and critic that balance a pole; rollouts of 64 transitions, each learned from twice, end between checkpoints."""
    return {
        "format": 1, "name": "tiny-policy",
        "data": {"source": {"kind": "rollouts", "environment": {"kind": "cartpole"}, "envs": 4, "horizon": 16, "epochs": 2}},
        "model": {"kind": "actor_critic", "hidden": [8]},
        "objective": {"kind": "ppo", "entropy": 0.01},
        "train": {
            "steps": 12, "batch": 32, "optimizer": {"kind": "adamw", "rate": 0.01}, "average": {"decay": 0.9}, "precision": "float32", "log_every": 1,
            "checkpoint": {"every": 3, "asynchronous": False}, "threads": 1,
        },
        "evaluate": [],
    }


def images() -> dict[str, Any]:
    """A small residual network on scikit-learn's digits: running statistics are part of what it learns."""
    return {
        "format": 1, "name": "tiny-images",
        "data": {"source": {"kind": "digits"}},
        "model": {"kind": "resnet", "depths": [1], "widths": [4], "stem": "small", "stem_width": 4},
        "objective": "classification",
        "train": {
            "steps": 12, "batch": 8, "optimizer": {"kind": "adamw", "rate": 0.01}, "precision": "float32", "log_every": 1, "validation": None,
            "checkpoint": {"every": 4, "asynchronous": False}, "threads": 1,
        },
        "evaluate": [],
    }
