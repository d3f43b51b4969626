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
        "calibration": "ftheta.evaluation.metrics.calibration:Calibration",
        "chrf": "ftheta.evaluation.metrics.overlap:ChrF",
        "clusters": "ftheta.evaluation.metrics.labels:Clusters",
        "confusion": "ftheta.evaluation.metrics.confusion:Confusion",
        "crows_pairs": "ftheta.evaluation.probes.crows_pairs:CrowsPairs",
        "entities": "ftheta.evaluation.metrics.entities:Entities",
        "evidence": "ftheta.evaluation.metrics.evidence:Evidence",
        "exact_match": "ftheta.evaluation.metrics.matches:ExactMatch",
        "f1": "ftheta.evaluation.metrics.f1:F1",
        "generated": "ftheta.evaluation.metrics.images:Generated",
        "loss": "ftheta.evaluation.metrics.loss:MeanLoss",
        "mean_return": "ftheta.evaluation.metrics.control:MeanReturn",
        "mean_reward": "ftheta.evaluation.metrics.rewards:MeanReward",
        "occupations": "ftheta.evaluation.probes.occupations:Occupations",
        "pearson": "ftheta.evaluation.metrics.correlation:Pearson",
        "perplexity": "ftheta.evaluation.metrics.language:Perplexity",
        "preferred": "ftheta.evaluation.metrics.rewards:Preferred",
        "regression": "ftheta.evaluation.metrics.labels:Regression",
        "retrieval": "ftheta.evaluation.metrics.retrieval:Retrieval",
        "robustness": "ftheta.evaluation.metrics.robustness:Robustness",
        "rouge": "ftheta.evaluation.metrics.overlap:Rouge",
        "samples": "ftheta.evaluation.metrics.language:Samples",
        "span_f1": "ftheta.evaluation.metrics.matches:SpanF1",
        "spearman": "ftheta.evaluation.metrics.correlation:Spearman",
        "winogender": "ftheta.evaluation.probes.occupations:Winogender",
    },
)
