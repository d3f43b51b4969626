"""Tasks: what a model is used for, declared once; named by the ecosystem's pipeline tags."""

from ftheta.core.catalog import Catalogue

TASKS = Catalogue(
    "task",
    {
        "clustering": "ftheta.models.tasks.tables:Clustering",
        "feature-extraction": "ftheta.models.tasks.sentences:FeatureExtraction",
        "fill-mask": "ftheta.models.tasks.text:FillMask",
        "image-classification": "ftheta.models.tasks.images:ImageClassification",
        "image-segmentation": "ftheta.models.tasks.images:ImageSegmentation",
        "image-feature-extraction": "ftheta.models.tasks.images:ImageFeatureExtraction",
        "marked-token-classification": "ftheta.models.tasks.tokens:MarkedTokenClassification",
        "multi-label-image-classification": "ftheta.models.tasks.images:MultiLabelImageClassification",
        "multi-label-text-classification": "ftheta.models.tasks.sentences:MultiLabelTextClassification",
        "multiple-choice": "ftheta.models.tasks.choices:MultipleChoice",
        "node-classification": "ftheta.models.tasks.graphs:NodeClassification",
        "object-detection": "ftheta.models.tasks.detection:ObjectDetection",
        "question-answering": "ftheta.models.tasks.questions:QuestionAnswering",
        "reinforcement-learning": "ftheta.models.tasks.control:ReinforcementLearning",
        "sentence-similarity": "ftheta.models.tasks.sentences:SentenceSimilarity",
        "summarization": "ftheta.models.tasks.rewriting:Summarization",
        "tabular-classification": "ftheta.models.tasks.tables:TabularClassification",
        "tabular-regression": "ftheta.models.tasks.tables:TabularRegression",
        "text2text-generation": "ftheta.models.tasks.rewriting:TextToText",
        "text-classification": "ftheta.models.tasks.sentences:TextClassification",
        "text-generation": "ftheta.models.tasks.text:TextGeneration",
        "text-ranking": "ftheta.models.tasks.sentences:TextRanking",
        "token-classification": "ftheta.models.tasks.tokens:TokenClassification",
        "translation": "ftheta.models.tasks.rewriting:Translation",
        "unconditional-image-generation": "ftheta.models.tasks.images:ImageGeneration",
        "zero-shot-classification": "ftheta.models.tasks.zero_shot:ZeroShotClassification",
    },
)
