"""Metrics, by name."""

from ftheta.core.catalog import Catalogue

METRICS = Catalogue(
    "metric",
    {
        "accuracy": "ftheta.evaluation.metrics.labels:Accuracy",
        "answers": "ftheta.evaluation.metrics.answers:Answers",
        "bits_per_byte": "ftheta.evaluation.metrics.language:BitsPerByte",
        "clusters": "ftheta.evaluation.metrics.labels:Clusters",
        "entities": "ftheta.evaluation.metrics.entities:Entities",
        "generated": "ftheta.evaluation.metrics.images:Generated",
        "loss": "ftheta.evaluation.metrics.loss:MeanLoss",
        "mean_return": "ftheta.evaluation.metrics.control:MeanReturn",
        "regression": "ftheta.evaluation.metrics.labels:Regression",
        "samples": "ftheta.evaluation.metrics.language:Samples",
    },
)
