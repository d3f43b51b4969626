"""Tasks: what a model is used for, declared once; named by the ecosystem's pipeline tags."""

from ftheta.core.catalog import Catalogue

TASKS = Catalogue(
    "task",
    {
        "clustering": "ftheta.models.tasks.tables:Clustering",
        "fill-mask": "ftheta.models.tasks.text:FillMask",
        "image-classification": "ftheta.models.tasks.images:ImageClassification",
        "node-classification": "ftheta.models.tasks.graphs:NodeClassification",
        "reinforcement-learning": "ftheta.models.tasks.control:ReinforcementLearning",
        "tabular-classification": "ftheta.models.tasks.tables:TabularClassification",
        "tabular-regression": "ftheta.models.tasks.tables:TabularRegression",
        "text-generation": "ftheta.models.tasks.text:TextGeneration",
        "unconditional-image-generation": "ftheta.models.tasks.images:ImageGeneration",
    },
)
