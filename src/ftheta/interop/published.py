"""Published models that training can start from by name, made from the files of a named data set into a Hugging Face folder,
or one of ours where the ecosystem has no name for the composition.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt
from ftheta.core.errors import DataError, FolderError
from ftheta.data.catalogue import locate
from ftheta.data.stages import home, stage
from ftheta.data.tokenizers.file import read_tokenizer
from ftheta.interop.classifiers import efficientnet_lite0, lenet, resnet20
from ftheta.interop.g2pm import g2pm

MINILM = "weights_minilm_l6_int8"


def minilm(attempt: Attempt) -> None:
    """MiniLM-L6, a sentence embedder (Wang et al. 2020, arXiv:2002.10957), from 8 bits a weight: w = int8 · scale of the row."""
    source = locate(MINILM)
    stored = tensor_files.read(source / "model_int8.safetensors")
    values = {
        name: value.float() * stored[f"{name}.scale"].float()[:, None] if f"{name}.scale" in stored else value
        for name, value in stored.items() if not name.endswith(".scale")
    }
    attempt.write("model.safetensors", *tensor_files.pieces(values, {"format": "pt"}))
    for name in ("config.json", "modules.json", "sentence_bert_config.json", "tokenizer_config.json"):
        attempt.write(name, (source / name).read_bytes())
    words = read_tokenizer(locate("tokenizers") / "bert_base_uncased_vocab.txt")
    attempt.write("tokenizer.json", words.tokenizer.to_str(pretty=True).encode())


PUBLISHED: dict[str, Callable[[Attempt], None]] = {
    "efficientnet-lite0": efficientnet_lite0, "g2pm": g2pm, "lenet-mnist": lenet, "minilm-l6": minilm, "resnet20-cifar10": resnet20,
}
"""Name → what writes its folder."""
VERSION = 1
"""Of the folders; to be raised when what writes them changes, so that those made before are not found."""


def published(name: str) -> Path:
    """The folder of a published model, made once and kept among the derived data. Raises FolderError when its files cannot be had."""
    try:
        return stage(home() / "stages", "published", {"name": name, "version": VERSION}, PUBLISHED[name])
    except DataError as error:
        raise FolderError(str(error)) from None
