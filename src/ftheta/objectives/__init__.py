"""Objectives: formulas for being wrong. Each reads a batch, feeds a model and returns a Loss."""

from ftheta.core.catalog import Catalogue

OBJECTIVES = Catalogue(
    "objective",
    {
        "adversarial": "ftheta.objectives.adversarial:Adversarial",
        "classification": "ftheta.objectives.classification:Classification",
        "fit": "ftheta.objectives.fit:Fit",
        "masked": "ftheta.objectives.language:Masked",
        "next_token": "ftheta.objectives.language:NextToken",
        "preference": "ftheta.objectives.preference:Preference",
        "ppo": "ftheta.objectives.policy:PPO",
        "regression": "ftheta.objectives.regression:Regression",
        "span": "ftheta.objectives.reading:Spans",
        "tagging": "ftheta.objectives.reading:Tagging",
    },
)
