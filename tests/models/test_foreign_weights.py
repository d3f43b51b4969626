"""Weights of foreign folders: in shards, or in files that are not read."""

import json

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core import tensors
from ftheta.core.errors import FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.folder import load, save
from ftheta.models.model import Model

FIELDS = {
    "kind": "decoder", "vocab": 260, "dim": 16, "depth": 1, "context": 16, "positions": "rotary", "norm": "rmsnorm", "feedforward": "gated",
    "mixer": {"kind": "attention", "heads": 2},
}


@pytest.fixture
def sharded(tmp_path):
    """A Hugging Face folder in two shards, and its tensors."""
    architecture = DecoderConfig.parse(FIELDS).build()
    architecture.initialise(0)
    save(Model(architecture, TextProcessor(Bytes().train([])), "text-generation"), tmp_path / "ours")
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((tmp_path / "ours" / name).read_bytes())
    values = tensors.read(tmp_path / "ours" / "model.safetensors")
    places = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(sorted(values))}
    for shard in set(places.values()):
        (folder / shard).write_bytes(b"".join(bytes(piece) for piece in tensors.pieces({name: values[name] for name in values if places[name] == shard})))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder, architecture, places


def test_shards_make_the_whole(sharded):
    folder, architecture, _ = sharded
    theta = load(folder).architecture.theta()
    assert all(torch.equal(theta[name], value) for name, value in architecture.theta().items())


def test_a_missing_shard_is_named(sharded):
    folder, _, places = sharded
    (folder / max(places.values())).unlink()
    with pytest.raises(FolderError, match=r"model-00002-of-00002.safetensors is missing"):
        load(folder)


def test_tensors_no_shard_holds_are_named(sharded):
    folder, _, places = sharded
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {**places, "model.more": min(places.values())}}))
    with pytest.raises(FolderError, match=r"lists tensors that no shard holds: model.more"):
        load(folder)


def test_shards_outside_the_folder_are_refused(sharded):
    folder, _, places = sharded
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(places, "../other.safetensors")}))
    with pytest.raises(FolderError, match="which file of this folder holds it"):
        load(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickles_are_refused_with_the_remedy(sharded, name):
    folder, _, places = sharded
    for shard in {*places.values(), "model.safetensors.index.json"}:
        (folder / shard).unlink()
    with pytest.raises(FolderError, match=r"model.safetensors is missing"):
        load(folder)
    (folder / name).write_bytes(b"")
    with pytest.raises(FolderError, match=rf"{name} may run code when it is read.*ftheta import"):
        load(folder)
