"""Ways to go on from a model's parameters: which of them move, and what is added to them. By name."""

from ftheta.core.catalog import Catalogue

ADAPTATIONS = Catalogue(
    "adaptation",
    {
        "full": "ftheta.adaptation.freezing:Full",
        "last_layers": "ftheta.adaptation.freezing:LastLayers",
        "lora": "ftheta.adaptation.lora:LoRA",
        "prefix": "ftheta.adaptation.virtual:PrefixTuning",
        "probe": "ftheta.adaptation.freezing:Probe",
        "prompting": "ftheta.adaptation.prompting:Prompting",
        "soft_prompt": "ftheta.adaptation.virtual:PromptTuning",
    },
)
