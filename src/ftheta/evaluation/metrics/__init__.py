"""Metrics, by name."""

from ftheta.core.catalog import Catalogue

METRICS = Catalogue(
    "metric",
    {
        "accuracy": "ftheta.evaluation.metrics.labels:Accuracy",
        "answers": "ftheta.evaluation.metrics.answers:Answers",
        "benchmark": "ftheta.evaluation.benchmarks.measure:BenchmarkMetric",
        "bits_per_byte": "ftheta.evaluation.metrics.language:BitsPerByte",
        "bleu": "ftheta.evaluation.metrics.overlap:Bleu",
        "chrf": "ftheta.evaluation.metrics.overlap:ChrF",
        "clusters": "ftheta.evaluation.metrics.labels:Clusters",
        "coco_map": "ftheta.evaluation.metrics.boxes:CocoMAP",
        "crows_pairs": "ftheta.evaluation.probes.crows_pairs:CrowsPairs",
        "dice": "ftheta.evaluation.metrics.masks:Dice",
        "entities": "ftheta.evaluation.metrics.entities:Entities",
        "exact_match": "ftheta.evaluation.metrics.matches:ExactMatch",
        "f1": "ftheta.evaluation.metrics.f1:F1",
        "generated": "ftheta.evaluation.metrics.images:Generated",
        "loss": "ftheta.evaluation.metrics.loss:MeanLoss",
        "mean_return": "ftheta.evaluation.metrics.control:MeanReturn",
        "mean_reward": "ftheta.evaluation.metrics.rewards:MeanReward",
        "miou": "ftheta.evaluation.metrics.masks:MeanIoU",
        "occupations": "ftheta.evaluation.probes.occupations:Occupations",
        "pearson": "ftheta.evaluation.metrics.correlation:Pearson",
        "perplexity": "ftheta.evaluation.metrics.language:Perplexity",
        "pixel_accuracy": "ftheta.evaluation.metrics.masks:PixelAccuracy",
        "preferred": "ftheta.evaluation.metrics.rewards:Preferred",
        "regression": "ftheta.evaluation.metrics.labels:Regression",
        "retrieval": "ftheta.evaluation.metrics.retrieval:Retrieval",
        "rouge": "ftheta.evaluation.metrics.overlap:Rouge",
        "samples": "ftheta.evaluation.metrics.language:Samples",
        "span_f1": "ftheta.evaluation.metrics.matches:SpanF1",
        "spearman": "ftheta.evaluation.metrics.correlation:Spearman",
        "winogender": "ftheta.evaluation.probes.occupations:Winogender",
    },
)
