"""Optimizers, by name."""

from ftheta.core.catalog import Catalogue

OPTIMIZERS = Catalogue(
    "optimizer",
    {
        "adamw": "ftheta.training.optimizers.adamw:AdamW",
        "muon": "ftheta.training.optimizers.muon:Muon",
        "sgd": "ftheta.training.optimizers.sgd:SGD",
    },
)
