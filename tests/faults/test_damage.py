"""R07 to R10: flipped bytes, cut files, missing files and what dead attempts left: found, named, and fallen back from loudly."""

from __future__ import annotations

import logging
import shutil

import pytest

from faults.builds import trainer
from faults.children import FAMILIES, differences, left_behind
from ftheta.core.atomic import MANIFEST, TEMPORARY, verify
from ftheta.core.errors import FolderError
from ftheta.core.log import logger
from ftheta.lifecycle.build import build_data, task_of
from ftheta.lifecycle.recipe import load as load_recipe
from ftheta.models.folder import load
from ftheta.models.folder import save as save_model
from ftheta.models.model import Model


@pytest.fixture
def heard():
    """Warnings of the package."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """A finished run of every family, made once."""
    made = {}

    def of(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family) / "run"
            trainer(recipe(family), made[family]).fit()
        return made[family]

    return of


def places(data: bytes, manifest: bool) -> list[int]:
    """Where to flip: every byte of a manifest, every 499th of the rest, and both ends."""
    return sorted({*range(0, len(data), 1 if manifest else 499), len(data) - 1})


@pytest.mark.parametrize("family", FAMILIES)
def test_any_flipped_byte_is_found_and_its_file_named(family, finished, tmp_path):
    folder = tmp_path / "step-12"
    shutil.copytree(finished(family) / "checkpoints" / "step-12", folder)
    assert not verify(folder)
    for place in sorted(folder.iterdir()):
        whole = place.read_bytes()
        for number, at in enumerate(places(whole, place.name == MANIFEST)):
            place.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << number % 8)]) + whole[at + 1 :])
            found = verify(folder)
            assert found and place.name in found[0], (place.name, at)
        place.write_bytes(whole)
    assert not verify(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_cut_and_missing_files_are_found_and_named(family, finished, tmp_path):
    folder = tmp_path / "step-12"
    shutil.copytree(finished(family) / "checkpoints" / "step-12", folder)
    for place in sorted(folder.iterdir()):
        whole = place.read_bytes()
        for size in [*range(0, len(whole), 4096), len(whole) - 1]:
            place.write_bytes(whole[:size])
            assert place.name in verify(folder)[0], (place.name, size)
        place.write_bytes(whole + b"\0")
        assert place.name in verify(folder)[0]
        place.unlink()
        assert f"{place.name} is missing" in verify(folder)[0]
        place.mkdir()
        assert place.name in verify(folder)[0]
        place.rmdir()
        place.write_bytes(whole)
    assert not verify(folder)


def damage(folder, name):
    place = folder / name
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 4
    place.write_bytes(data)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", MANIFEST])
def test_a_damaged_newest_checkpoint_is_passed_over_loudly_and_nothing_is_lost(family, name, finished, recipe, golden, tmp_path, heard):
    out = tmp_path / "run"
    shutil.copytree(finished(family), out)
    damage(out / "checkpoints" / "step-12", name)
    trainer(recipe(family), out).fit()
    assert any("step-12 is damaged" in line and name in line for line in heard)
    assert not differences(left_behind(out), golden(family))
    assert not verify(out / "checkpoints" / "step-12")


def test_when_no_checkpoint_verifies_the_run_stops_and_says_so(finished, recipe, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished("policy"), out)
    for folder in (out / "checkpoints").glob("step-*"):
        damage(folder, "model.safetensors")
    with pytest.raises(FolderError, match=r"none of the 2 checkpoints .* verifies"):
        trainer(recipe("policy"), out).fit()


def test_leftovers_of_dead_attempts_are_cleared_and_never_read(finished, recipe, golden, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished("policy"), out)
    (out / "checkpoints" / "step-12").rename(out / "checkpoints" / f"{TEMPORARY}step-12-99-00000000")
    (out / "checkpoints" / f"{TEMPORARY}step-13-99-00000000").mkdir()
    (out / "checkpoints" / f"{TEMPORARY}state-1").write_text("torn")
    trainer(recipe("policy"), out).fit()
    assert not list((out / "checkpoints").glob(f"{TEMPORARY}*"))
    assert not differences(left_behind(out), golden("policy"))


def test_a_foreign_checkpoint_is_refused(finished, recipe, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished("gan"), out)
    data = recipe("gan")
    data["model"]["width"] = 8
    with pytest.raises(FolderError, match="does not fit the model"):
        trainer(data, out).fit()


def test_a_flipped_byte_in_a_model_folder_is_found_and_the_folder_refused(recipe, tmp_path):
    parsed = load_recipe(recipe("language"))
    data = build_data(parsed)
    config = parsed.architecture(data.ports.sizes)
    built = trainer(recipe("language"), None).model
    save_model(Model(built, data.processor, task_of(parsed, config)), tmp_path / "model")
    load(tmp_path / "model")
    for place in sorted((tmp_path / "model").iterdir()):
        whole = place.read_bytes()
        for at in places(whole, place.name == MANIFEST)[:: 1 + len(whole) // 4000]:
            place.write_bytes(whole[:at] + bytes([whole[at] ^ 32]) + whole[at + 1 :])
            assert place.name in verify(tmp_path / "model")[0]
        with pytest.raises(FolderError, match=place.name):
            load(tmp_path / "model")
        place.write_bytes(whole)
