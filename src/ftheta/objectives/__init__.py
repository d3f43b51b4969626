"""Objectives: formulas for being wrong. Each reads a batch, feeds a model and returns a Loss."""

from ftheta.core.catalog import Catalogue

OBJECTIVES = Catalogue(
    "objective",
    {
        "adversarial": "ftheta.objectives.adversarial:Adversarial",
        "anchor_detection": "ftheta.objectives.anchor_detection:AnchorDetection",
        "classification": "ftheta.objectives.classification:Classification",
        "completion_policy": "ftheta.objectives.completion_policy:CompletionPolicy",
        "contrastive": "ftheta.objectives.contrastive:Contrastive",
        "detection": "ftheta.objectives.detection:Detection",
        "distillation": "ftheta.objectives.distillation:Distillation",
        "fit": "ftheta.objectives.fit:Fit",
        "infilling": "ftheta.objectives.infilling:Infilling",
        "kto": "ftheta.objectives.kto:KTO",
        "masked": "ftheta.objectives.masked:Masked",
        "masked_patches": "ftheta.objectives.masked_patches:MaskedPatches",
        "multi_label": "ftheta.objectives.multi_label:MultiLabel",
        "next_sentence": "ftheta.objectives.next_sentence:NextSentence",
        "next_token": "ftheta.objectives.language:NextToken",
        "prefix_lm": "ftheta.objectives.prefix_lm:PrefixLM",
        "preference": "ftheta.objectives.preference:Preference",
        "ppo": "ftheta.objectives.policy:PPO",
        "region_detection": "ftheta.objectives.region_detection:RegionDetection",
        "regression": "ftheta.objectives.regression:Regression",
        "replaced_token": "ftheta.objectives.replaced_token:ReplacedToken",
        "reward": "ftheta.objectives.reward:BradleyTerry",
        "segmentation": "ftheta.objectives.segmentation:Segmentation",
        "self_distillation": "ftheta.objectives.self_distillation:SelfDistillation",
        "set_prediction": "ftheta.objectives.set_prediction:SetPrediction",
        "span": "ftheta.objectives.reading:Spans",
        "span_corruption": "ftheta.objectives.span_corruption:SpanCorruption",
        "tagging": "ftheta.objectives.reading:Tagging",
    },
)
TAUGHT = Catalogue("taught objective", {name: OBJECTIVES.entries[name] for name in ("classification", "masked", "next_token")})
"""Objectives at which a model can learn from another one's answers."""
PREFERENCES = Catalogue("preference objective", {name: OBJECTIVES.entries[name] for name in ("preference", "reward")})
