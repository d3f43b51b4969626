"""Sources of data, by name."""

from ftheta.core.catalog import Catalogue

SOURCES = Catalogue(
    "source",
    {
        "arithmetic": "ftheta.data.sources.arithmetic:Arithmetic",
        "chat": "ftheta.data.sources.chat:Chat",
        "choices": "ftheta.data.sources.choices:Choices",
        "cifar10": "ftheta.data.sources.pictures:CIFAR10",
        "coco": "ftheta.data.sources.boxes:COCO",
        "coco_masks": "ftheta.data.sources.masks:COCOMasks",
        "communities": "ftheta.data.sources.graphs:Communities",
        "csv": "ftheta.data.sources.tables:CSV",
        "digits": "ftheta.data.sources.images:Digits",
        "image_folder": "ftheta.data.sources.pictures:ImageFolder",
        "image_shards": "ftheta.data.sources.pictures:ImageShards",
        "image_table": "ftheta.data.sources.image_table:ImageTable",
        "judged": "ftheta.data.sources.chat:JudgedAnswers",
        "masks": "ftheta.data.sources.masks:Masks",
        "mixture": "ftheta.data.sources.mixture:Mixture",
        "mnist": "ftheta.data.sources.images:MNIST",
        "pairs": "ftheta.data.sources.pairs:PairsSource",
        "parallel": "ftheta.data.sources.parallel:Parallel",
        "planetoid": "ftheta.data.sources.graphs:Planetoid",
        "preferences": "ftheta.data.sources.chat:Preferences",
        "prompts": "ftheta.data.sources.chat:Prompts",
        "questions": "ftheta.data.sources.questions:Questions",
        "sklearn_table": "ftheta.data.sources.tables:SklearnTable",
        "tagged_text": "ftheta.data.sources.tagged:TaggedText",
        "text_files": "ftheta.data.sources.text:TextFiles",
        "text_table": "ftheta.data.sources.text_table:TextTable",
        "voc": "ftheta.data.sources.boxes:VOC",
    },
    {"text_lines": "write 'text_files', which reads rows too; its field 'field' is called 'text' there, and .txt files are read by the line with 'format: lines'"},
)
PROMPTS = Catalogue("prompt source", {name: SOURCES.entries[name] for name in ("arithmetic", "chat", "prompts")})
DOCUMENTS = Catalogue("source of documents", {name: SOURCES.entries[name] for name in ("text_files",)})
"""What a mixture is made of."""
