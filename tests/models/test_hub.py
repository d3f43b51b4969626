"""Models of a hub by id, from a hub on this machine: fetched once, pinned to a commit, and a clear word when they cannot be had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from tests import tiny
from tests.models.hub import Hub, served

import ftheta
from ftheta.core.config import merge
from ftheta.core.errors import ConfigError, FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.interop import hub as hubs
from ftheta.lifecycle.recipe import load as load_recipe
from ftheta.models.folder import architecture_config, save
from ftheta.models.model import Model

pytest.importorskip("huggingface_hub")

LLAMA = {
    "kind": "decoder", "vocab": 260, "dim": 16, "depth": 1, "context": 16, "positions": "rotary", "norm": "rmsnorm", "tie": False,
    "mixer": {"kind": "attention", "heads": 2}, "feedforward": {"kind": "gated", "hidden": 32},
}


def write(folder: Path, seed: int = 0, **fields: object) -> Path:
    """A model folder, and files of other tools that nobody here reads."""
    architecture = architecture_config({**LLAMA, **fields}).build()
    architecture.initialise(seed)
    save(Model(architecture, TextProcessor(Bytes().train([])), "text-generation"), folder)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"x" * 1000)
    (folder / "pytorch_model.bin").write_bytes(b"y" * 1000)
    return folder


def foreign(folder: Path) -> Path:
    """The same without what only we write."""
    for name in ("ftheta.json", "MANIFEST.json"):
        (folder / name).unlink()
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with served() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        for switch in hubs.OFFLINE:
            monkeypatch.delenv(switch, raising=False)
        yield hub


def theta_equal(a: Model, b: Model) -> bool:
    mine, theirs = a.architecture.theta(), b.architecture.theta()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_id_is_the_folder_and_only_what_is_needed_comes(hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("org/llama", foreign(write(tmp_path / "m")))
    found = ftheta.load("org/llama")
    assert theta_equal(found, ftheta.load(tmp_path / "m"))
    assert (found.provenance["from"], found.provenance["commit"]) == ("org/llama", commit)
    assert found.provenance["weights"] == ftheta.load(tmp_path / "m").provenance["weights"]
    fetched = {line.rpartition("/")[2] for line in hub.asked if line.startswith("GET") and ("resolve" in line or "large" in line)}
    assert fetched >= {"config.json", "tokenizer.json", "model.safetensors"} and not fetched & {"pytorch_model.bin", "model.onnx"}
    hub.asked.clear()
    ftheta.load(f"org/llama@{commit}")
    assert not hub.asked, "a commit that is in the cache needs no hub"


def test_our_own_folders_are_verified_as_ever(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/ours", write(tmp_path / "m", mixer="lstm", positions="none"))
    assert theta_equal(ftheta.load("org/ours"), ftheta.load(tmp_path / "m"))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    write(tmp_path / "n", mixer="lstm", positions="none")
    (tmp_path / "n" / "config.json").write_text(json.dumps({**config, "more": 1}))
    hub.add("org/changed", tmp_path / "n")
    with pytest.raises(FolderError, match="not as it was written"):
        ftheta.load("org/changed")


def test_revisions(hub: Hub, tmp_path: Path) -> None:
    first = hub.add("org/m", foreign(write(tmp_path / "1", 1)), "v1")
    hub.add("org/m", foreign(write(tmp_path / "2", 2)))
    assert theta_equal(ftheta.load("org/m@v1"), ftheta.load(tmp_path / "1"))
    assert theta_equal(ftheta.load("org/m"), ftheta.load(tmp_path / "2"))
    assert ftheta.load(f"org/m@{first}").provenance["commit"] == first
    with pytest.raises(FolderError, match="has no revision 'v9'"):
        ftheta.load("org/m@v9")


@pytest.mark.parametrize("switch", hubs.OFFLINE)
def test_offline_uses_the_cache_and_asks_nobody(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    hub.add("org/m", foreign(write(tmp_path / "m")))
    ftheta.load("org/m")
    hub.asked.clear()
    monkeypatch.setenv(switch, "1")
    assert theta_equal(ftheta.load("org/m"), ftheta.load(tmp_path / "m"))
    with pytest.raises(FolderError, match=f"org/other is not in the cache, and nothing is fetched since {switch} is set.*local folder"):
        ftheta.load("org/other")
    assert not hub.asked


def test_no_such_model(hub: Hub) -> None:
    with pytest.raises(FolderError, match=r"org/none is neither a folder here nor a model at http://127.*private.*local folder"):
        ftheta.load("org/none")


def test_gated(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/gated", write(tmp_path / "m"))
    hub.gated.add("org/gated")
    with pytest.raises(FolderError, match=r"org/gated is gated: ask for access at http://127.*/org/gated and log in"):
        ftheta.load("org/gated")


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FolderError, match=r"org/m is no folder here, and http://127.0.0.1:9 cannot be reached \(.*refused.*local folder"):
        ftheta.load("org/m")


def test_weights_only_as_pickle(hub: Hub, tmp_path: Path) -> None:
    folder = foreign(write(tmp_path / "m"))
    (folder / "model.safetensors").unlink()
    hub.add("org/old", folder)
    with pytest.raises(FolderError, match=r"org/old: pytorch_model.bin may run code .*`ftheta import org/old --out FOLDER --unsafe-pickle`"):
        ftheta.load("org/old")
    with pytest.raises(FolderError, match=r"pytorch_model.bin may run code .*`ftheta import .*/m --out FOLDER --unsafe-pickle`"):
        ftheta.load(folder)


def test_what_is_no_id(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("runs/nothing", "nothing", "a/b/c", "../x", "a/b@", "org/m@../x"):
        with pytest.raises(FolderError, match="is not a folder"):
            ftheta.load(name)
    assert not hub.asked


def test_a_run_keeps_the_commit_it_began_from(hub: Hub, tmp_path: Path) -> None:
    first = hub.add("org/base", write(tmp_path / "1", 1))
    recipe = {**merge(tiny.language(tiny.write_texts(tmp_path / "texts")), {"train": {"steps": 2, "validation": None, "average": None}}), "start": "org/base", "model": {}}
    del recipe["data"]["tokenizer"]
    ftheta.run(recipe, out=tmp_path / "run")
    assert YAML(typ="safe").load(tmp_path / "run" / "recipe.yaml")["start"] == f"org/base@{first}"
    start = json.loads((tmp_path / "run" / "model" / "ftheta.json").read_text())["provenance"]["start"]
    assert (start["from"], start["commit"]) == ("org/base", first) and start["weights"]["model.safetensors"].startswith("xxh3_128:")
    assert f"going on from `org/base` at commit `{first}`" in (tmp_path / "run" / "report" / "card.md").read_text()

    second = hub.add("org/base", write(tmp_path / "2", 2))
    assert not ftheta.run(recipe, out=tmp_path / "run").fresh
    ftheta.run(recipe, out=tmp_path / "other")
    assert load_recipe(tmp_path / "other" / "recipe.yaml").start == f"org/base@{second}"
    with pytest.raises(ConfigError, match="start: org/none is neither a folder"):
        load_recipe({**recipe, "start": "org/none"})


def test_a_local_start_is_known_by_its_weights(tmp_path: Path) -> None:
    recipe = {**merge(tiny.language(tiny.write_texts(tmp_path / "texts")), {"train": {"steps": 2, "validation": None, "average": None}}), "model": {}}
    del recipe["data"]["tokenizer"]
    found = []
    for seed in (1, 2):
        ftheta.run({**recipe, "start": str(write(tmp_path / str(seed), seed))}, out=tmp_path / f"run{seed}")
        found.append(ftheta.load(tmp_path / f"run{seed}" / "model").provenance["start"])
    assert found[0]["from"] == str(tmp_path / "1") and found[0]["weights"] != found[1]["weights"]
