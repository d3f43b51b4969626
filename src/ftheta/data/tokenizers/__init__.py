"""Tokenizers, by name."""

from ftheta.core.catalog import Catalogue

TOKENIZERS = Catalogue(
    "tokenizer",
    {
        "byte_bpe": "ftheta.data.tokenizers.trained:ByteBPE",
        "bytes": "ftheta.data.tokenizers.trained:Bytes",
        "characters": "ftheta.data.tokenizers.trained:Characters",
    },
)
