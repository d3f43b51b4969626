"""Cleaning rules: each looks at one document and gives it back, changed, or drops it with a reason."""

from ftheta.core.catalog import Catalogue

RULES = Catalogue("cleaning rule", {
    "normalise": "ftheta.data.clean.normalise:Normalise",
    "quality": "ftheta.data.clean.quality:Quality",
})
