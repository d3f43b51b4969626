"""Objectives: formulas for being wrong. Each reads a batch, feeds a model and returns a Loss."""

from ftheta.core.catalog import Catalogue

OBJECTIVES = Catalogue(
    "objective",
    {
        "adversarial": "ftheta.objectives.adversarial:Adversarial",
        "classification": "ftheta.objectives.classification:Classification",
        "fit": "ftheta.objectives.fit:Fit",
        "infilling": "ftheta.objectives.infilling:Infilling",
        "masked": "ftheta.objectives.masked:Masked",
        "next_sentence": "ftheta.objectives.next_sentence:NextSentence",
        "next_token": "ftheta.objectives.language:NextToken",
        "prefix_lm": "ftheta.objectives.prefix_lm:PrefixLM",
        "preference": "ftheta.objectives.preference:Preference",
        "ppo": "ftheta.objectives.policy:PPO",
        "span": "ftheta.objectives.reading:Spans",
        "span_corruption": "ftheta.objectives.span_corruption:SpanCorruption",
        "tagging": "ftheta.objectives.reading:Tagging",
    },
)
