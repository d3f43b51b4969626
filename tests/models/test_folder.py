import json
import os

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core import tensors
from ftheta.core.atomic import commit
from ftheta.core.errors import FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.folder import load, save
from ftheta.models.model import Model

FIELDS = {"kind": "decoder", "vocab": 260, "dim": 16, "depth": 1, "context": 16, "mixer": {"kind": "attention", "heads": 2}, "softcap": 5.0}


@pytest.fixture
def folder(tmp_path):
    architecture = DecoderConfig.parse(FIELDS).build()
    architecture.initialise(0)
    return save(Model(architecture, TextProcessor(Bytes().train([])), "text-generation", {"note": "中"}), tmp_path / "m")


def rewrite(folder, target, change):
    """A well-formed folder with changed contents: the manifest fits, what it holds does not."""
    with commit(target) as attempt:
        for entry in folder.iterdir():
            if entry.name != "MANIFEST.json":
                attempt.write(entry.name, change.get(entry.name, entry.read_bytes()))
    return target


def test_saved_equals_loaded(folder):
    opened = load(folder)
    tokens = torch.randint(260, (1, 9))
    other = DecoderConfig.parse(FIELDS).build()
    other.initialise(0)
    assert torch.equal(opened.architecture(tokens=tokens)["logits"], other.eval()(tokens=tokens)["logits"])
    assert opened.provenance == {"note": "中"} and opened.task.name == "text-generation"


def test_any_flipped_byte_is_found(folder):
    for entry in list(folder.iterdir()):
        data = entry.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            entry.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            with pytest.raises(FolderError):
                load(folder)
        entry.write_bytes(data)
    load(folder)


def test_every_problem_is_reported_in_one_error(folder, tmp_path):
    values = tensors.read(folder / "model.safetensors")
    values["norm.weight"] = torch.ones(17)
    values["extra"] = torch.ones(1)
    del values["norm.bias"]
    data = b"".join(bytes(piece) for piece in tensors.pieces(values))
    with pytest.raises(FolderError) as caught:
        load(rewrite(folder, tmp_path / "bad", {"model.safetensors": data}))
    assert all(text in str(caught.value) for text in ("missing tensor 'norm.bias'", "unexpected tensor 'extra'", "'norm.weight' has shape (17,)"))


def test_formats_and_kinds_from_elsewhere_are_refused(folder, tmp_path):
    facts = json.loads((folder / "ftheta.json").read_text())
    for i, (change, message) in enumerate([
        ({"format": 99}, "format 99"), ({"architecture": {"kind": "os.system"}}, "not a known architecture"),
        ({"processor": {"kind": "../evil"}}, "not a known processor"), ({"task": "exec"}, "not a known task"),
    ]):
        with pytest.raises(Exception, match=message):
            load(rewrite(folder, tmp_path / str(i), {"ftheta.json": json.dumps({**facts, **change}).encode()}))


def test_not_a_model_folder(tmp_path):
    with pytest.raises(FolderError, match="is not a folder"):
        load(tmp_path / "nothing")
    (tmp_path / "x").mkdir()
    with pytest.raises(FolderError, match=r"neither ftheta\.json nor config\.json"):
        load(tmp_path / "x")


def test_an_existing_folder_is_not_overwritten(folder):
    with pytest.raises(FolderError, match="already exists"):
        save(load(folder), folder)


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch, folder):
    opened = load(folder)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save(opened, tmp_path / "new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m"]
