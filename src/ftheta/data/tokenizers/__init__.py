"""Tokenizers, by name."""

from ftheta.core.catalog import Catalogue

TOKENIZERS = Catalogue(
    "tokenizer",
    {
        "bpe": "ftheta.data.tokenizers.subword:BPE",
        "byte_bpe": "ftheta.data.tokenizers.trained:ByteBPE",
        "bytes": "ftheta.data.tokenizers.trained:Bytes",
        "characters": "ftheta.data.tokenizers.trained:Characters",
        "file": "ftheta.data.tokenizers.file:TokenizerFile",
        "unigram": "ftheta.data.tokenizers.subword:Unigram",
        "wordpiece": "ftheta.data.tokenizers.subword:WordPiece",
    },
)
