"""Cleaning rules: each looks at one document and gives it back, changed, or drops it with a reason."""

from ftheta.core.catalog import Catalogue

RULES = Catalogue("cleaning rule", {
    "classifier": "ftheta.data.clean.classifier:Classifier",
    "language": "ftheta.data.clean.language:Language",
    "lines": "ftheta.data.clean.lines:Lines",
    "normalise": "ftheta.data.clean.normalise:Normalise",
    "personal": "ftheta.data.clean.personal:Personal",
    "quality": "ftheta.data.clean.quality:Quality",
    "repair": "ftheta.data.clean.repair:Repair",
    "secrets": "ftheta.data.clean.secrets:Secrets",
})
