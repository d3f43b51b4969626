"""Sources of data, by name."""

from ftheta.core.catalog import Catalogue

SOURCES = Catalogue(
    "source",
    {
        "chat": "ftheta.data.sources.chat:Chat",
        "communities": "ftheta.data.sources.graphs:Communities",
        "csv": "ftheta.data.sources.tables:CSV",
        "digits": "ftheta.data.sources.images:Digits",
        "mnist": "ftheta.data.sources.images:MNIST",
        "parallel": "ftheta.data.sources.parallel:Parallel",
        "planetoid": "ftheta.data.sources.graphs:Planetoid",
        "preferences": "ftheta.data.sources.chat:Preferences",
        "sklearn_table": "ftheta.data.sources.tables:SklearnTable",
        "tagged_text": "ftheta.data.sources.tagged:TaggedText",
        "text_files": "ftheta.data.sources.text:TextFiles",
        "text_lines": "ftheta.data.sources.lines:TextLines",
        "text_table": "ftheta.data.sources.text_table:TextTable",
    },
)
