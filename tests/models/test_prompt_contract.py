"""The prompt contract: a folder that reads prompts otherwise than when it was written is refused, unless that is said to be meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporting import TEMPLATE, model
from ftheta.core.atomic import MANIFEST, commit
from ftheta.core.errors import FolderError
from ftheta.models.contract import contract, differences
from ftheta.models.folder import generation_of, load, read_facts, save


def edited(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)


def resealed(folder: Path, **files: bytes) -> None:
    """The folder with other files and a manifest that agrees with them."""
    kept = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST}
    with commit(folder, replace=True) as attempt:
        for name, data in {**kept, **files}.items():
            attempt.write(name, data)


def told(error: pytest.ExceptionInfo[FolderError]) -> str:
    return str(error.value).rpartition("--accept ")[2].rstrip(")")


def test_a_folder_keeps_its_contract(tmp_path):
    for name in ("llama", "headed", "translator", "resnet"):
        opened = model(name)
        save(opened, tmp_path / name)
        written = read_facts(tmp_path / name)["contract"]
        again = load(tmp_path / name)
        assert contract(again.processor, generation_of(again)) == written == contract(opened.processor, generation_of(opened))


@pytest.mark.parametrize(("name", "part", "change"), [
    ("chat_template.jinja", "chat template", lambda data: TEMPLATE.replace("<", "[").encode()),
    ("generation_config.json", "generation defaults", lambda data: json.dumps({**json.loads(data), "temperature": 0.1}).encode()),
    ("tokenizer_config.json", "special tokens", lambda data: json.dumps({**json.loads(data), "pad_token": "<eos>"}).encode()),
])
@pytest.mark.parametrize("sealed", [False, True])
def test_what_reads_otherwise_is_refused_until_it_is_accepted(tmp_path, name, part, change, sealed):
    save(model("llama"), tmp_path / "m")
    data = change((tmp_path / "m" / name).read_bytes())
    resealed(tmp_path / "m", **{name: data}) if sealed else edited(tmp_path / "m", name, data)
    with pytest.raises(FolderError, match=part) as refused:
        load(tmp_path / "m")
    with pytest.raises(FolderError, match=r"it says --accept 0{16}: the prompt contract is now [0-9a-f]{16}"):
        load(tmp_path / "m", accept="0" * 16)
    opened = load(tmp_path / "m", accept=told(refused))
    save(opened, tmp_path / "kept")                                                       # written anew, it is the contract
    assert load(tmp_path / "kept").processor.chat_template == opened.processor.chat_template


def test_only_files_of_the_prompt_can_be_accepted(tmp_path):
    save(model("llama"), tmp_path / "m")
    edited(tmp_path / "m", "generation_config.json", b"{}")
    with pytest.raises(FolderError) as refused:
        load(tmp_path / "m")
    edited(tmp_path / "m", "config.json", b"{}")
    with pytest.raises(FolderError, match=r"config\.json has 2 bytes"):
        load(tmp_path / "m", accept=told(refused))


def test_folders_from_before_there_were_contracts_open(tmp_path):
    save(model("llama"), tmp_path / "m")
    facts = json.loads((tmp_path / "m" / "ftheta.json").read_text())
    del facts["contract"]
    resealed(tmp_path / "m", **{"ftheta.json": json.dumps(facts).encode()})
    assert load(tmp_path / "m").task.name == "text-generation"


def test_reformatted_files_keep_the_contract(tmp_path):
    """What counts is how it reads, not how it is written down."""
    save(model("llama"), tmp_path / "m")
    data = json.dumps(json.loads((tmp_path / "m" / "tokenizer.json").read_bytes())).encode()
    resealed(tmp_path / "m", **{"tokenizer.json": data})
    assert load(tmp_path / "m").processor.encode("the sea") == model("llama").processor.encode("the sea")


def test_differences_name_the_part():
    assert differences({"tokens": "a", "hash": "x"}, {"tokens": "b", "hash": "y"}) == ["tokens: the folder reads as b; it was written as a"]
    assert differences({"tokens": "a", "chat template": "t"}, {"tokens": "a"}) == ["chat template: the folder reads as nothing; it was written as t"]
    assert differences(None, {"tokens": "b"}) == []
