"""Processors: raw input ↔ tensors. A processor travels in the model folder and is the same object in training and serving."""

from ftheta.core.catalog import Catalogue

PROCESSORS = Catalogue(
    "processor",
    {
        "graph": "ftheta.data.processors.graph:GraphProcessor",
        "image": "ftheta.data.processors.image:ImageProcessor",
        "plain": "ftheta.data.processors.plain:PlainProcessor",
        "table": "ftheta.data.processors.table:TableProcessor",
        "text": "ftheta.data.processors.text:TextProcessor",
    },
)
