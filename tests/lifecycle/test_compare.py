import json
import shutil

import numpy as np
import pytest

from ftheta.core.errors import FolderError, UsageError
from ftheta.lifecycle.compare import compare, different_units, show
from ftheta.lifecycle.equal_compute import groups_of
from ftheta.lifecycle.finished import FinishedRun, labels
from ftheta.lifecycle.lifecycle import run
from tiny import language, write_texts


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on the same documents: the same decoder trained for longer and for shorter."""
    folder = tmp_path_factory.mktemp("compare")
    recipe = language(write_texts(folder / "texts", 80))
    recipe["evaluate"] = ["bits_per_byte"]
    long, short = folder / "runs" / "long", folder / "runs" / "short"
    run(recipe, changes={"train": {"steps": 40, "optimizer": {"rate": 0.03}}}, out=long)
    run(recipe, changes={"train": {"steps": 8}}, out=short)
    return long, short


def test_two_runs_side_by_side(runs, tmp_path):
    found = compare(runs, out=tmp_path / "both.png")
    (pair,) = found.pairings
    assert pair.found is not None
    first, second = (side.measurements["bits per byte"] for side in found.runs)
    assert pair.found.n == first["n"] == 8
    assert pair.found.difference.value == pytest.approx(first["value"] - second["value"])
    assert pair.verdict == "long is better"
    (group,) = found.groups
    assert group.quantity == "validation loss"
    assert group.equal.keys() == {"seconds", "FLOPs", "units"}
    common, points = group.equal["units"]
    assert common == 8 * 8 * 16
    assert [round(point.share, 3) for point in points] == [0.2, 1.0]
    assert points[1].value == pytest.approx(found.runs[1].costs["validation_loss"])
    text = show(found)
    for words in ("long is better", "gzip -9", "parameters", "validation loss at equal compute", "[20%]", "both.png"):
        assert words in text
    assert found.picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_goes_to_the_current_folder(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compare(runs).picture.name == "compare-long-short.png"
    assert (tmp_path / "compare-long-short.png").is_file()


def test_folders_that_are_no_finished_runs_are_refused(runs, tmp_path):
    unfinished, damaged = tmp_path / "unfinished", tmp_path / "damaged"
    shutil.copytree(runs[0], unfinished)
    shutil.rmtree(unfinished / "report")
    shutil.copytree(runs[0], damaged)
    (damaged / "report" / "results.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "nowhere", "is not a folder"), (tmp_path / "empty", "no run folder"), (runs[0] / "model", "give the run it belongs to"),
        (unfinished, "is not finished: `ftheta run"), (damaged, "is not as it was written"),
    ):
        with pytest.raises(FolderError, match=words):
            compare([runs[1], folder], out=tmp_path / "x.png")
    with pytest.raises(UsageError, match="at least two"):
        compare([runs[0]])
    with pytest.raises(FolderError, match="given twice"):
        compare([runs[0], runs[0]])
    with pytest.raises(FolderError, match="choose another --out"):
        compare(runs, out=tmp_path / "no" / "such" / "folder.png")


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    assert labels([tmp_path / "a" / "x", tmp_path / "b" / "x"]) == ["a/x", "b/x"]
    assert labels([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]


# what may be compared, on made-up runs


def made(
    folder, label, *, fingerprint="f" * 32, n=4, seed=0, values=True, objective="next_token", tokenizer="bytes", lines=None, environment=None, steps=10
):
    """A run folder's facts as compare reads them."""
    (folder / label / "report" / "values").mkdir(parents=True)
    arrays = {"numerator": np.arange(n, dtype=float), "denominator": np.ones(n)} if values else {}
    np.savez(folder / label / "report" / "values" / "score.npz", **arrays)
    measured = {"name": "score", "value": 1.0, "low": 0.5, "high": 1.5, "n": n, "unit": "document", "better": "lower", "seed": seed, "baselines": {}}
    if lines is None:
        lines = [{"step": s, "seconds": s * 1.0, "units": s * 100, "loss": 4 - s / 10, "progress": s / steps} for s in range(1, steps + 1)]
    data = {"fingerprint": fingerprint, "splits": {"train": {"documents": 10}}, "tokens": {"train": {"tokens": 1010, "bytes": 2000}}} if fingerprint else {}
    results = {"measurements": [measured], "training": {"unit": "token", "flops_per_step": 5.0}, "data": data, "machine": {}}
    source = {"kind": "rollouts", "environment": environment} if environment else {"kind": "text_files"}
    recipe = {
        "model": {"kind": "decoder"}, "objective": {"kind": objective}, "data": {"source": source, "tokenizer": {"kind": tokenizer}}, "train": {}, "seed": seed,
        "evaluate": [{"kind": "score"}],
    }
    return FinishedRun(label, folder / label, recipe, json.loads(json.dumps(results)), lines)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({}, ""), ({"fingerprint": "e" * 32}, "different data"), ({"n": 5}, "4 documents on one side, 5 on the other"),
        ({"values": False}, "no values of single units"),
    ],
)
def test_only_the_same_units_are_paired(tmp_path, other, reason):
    found = different_units("score", made(tmp_path, "a"), made(tmp_path, "b", **other))
    assert reason in found
    assert bool(found) == bool(reason)


def test_rows_of_other_tokens_are_not_paired(tmp_path):
    runs = [made(tmp_path, "a"), made(tmp_path, "b"), made(tmp_path, "c", tokenizer="byte_bpe")]
    for run_ in runs:
        run_.measurements["score"]["unit"] = "row"
    assert not different_units("score", runs[0], runs[1])
    assert "different tokens" in different_units("score", runs[0], runs[2])


@pytest.mark.parametrize(
    ("other", "reason"), [({}, ""), ({"environment": {"kind": "other"}}, "different environments"), ({"seed": 1}, "began differently")],
)
def test_episodes_are_paired_when_they_begin_alike(tmp_path, other, reason):
    same = {"fingerprint": None, "environment": {"kind": "cartpole"}}
    found = different_units("score", made(tmp_path, "a", **same), made(tmp_path, "b", **{**same, **other}))
    assert reason in found
    assert bool(found) == bool(reason)


def test_values_at_equal_compute_are_interpolated(tmp_path):
    (group,), notes = groups_of([made(tmp_path, "a", steps=10), made(tmp_path, "b", steps=4)])
    assert not notes
    assert group.quantity == "training loss"
    assert group.equal["FLOPs"][0] == 20
    assert [point.value for point in group.equal["seconds"][1]] == [pytest.approx(3.6)] * 2
    assert [point.share for point in group.equal["seconds"][1]] == [0.4, 1.0]


def test_validation_too_seldom_gives_way_to_the_training_loss(tmp_path):
    def lines(steps):
        rows = [{"step": s, "seconds": s * 1.0, "units": s * 100, "loss": 4 - s / 10, "progress": s / steps} for s in range(1, steps + 1)]
        return [*rows, {"step": steps, "seconds": steps * 1.0, "units": steps * 100, "validation_loss": 3.0}]

    (group,), _ = groups_of([made(tmp_path, "a", lines=lines(10)), made(tmp_path, "b", lines=lines(4))])
    assert group.quantity == "training loss"
    assert group.complete
    (group,), _ = groups_of([made(tmp_path, "c", lines=lines(4)), made(tmp_path, "d", lines=lines(4))])
    assert group.quantity == "validation loss"


def test_other_tokenizers_are_compared_in_bits_per_byte(tmp_path):
    (group,), _ = groups_of([made(tmp_path, "a"), made(tmp_path, "b", tokenizer="byte_bpe")])
    assert group.quantity == "training bits per byte"
    assert "units" not in group.equal                                                     # their tokens are not the same work
    assert group.equal["seconds"][1][0].value == pytest.approx(3.0 / np.log(2) / 2)       # 1,000 predicted tokens of 2,000 bytes


def test_losses_that_do_not_compare_are_not_compared(tmp_path):
    groups, (note,) = groups_of([made(tmp_path, "a"), made(tmp_path, "b", objective="masked")])
    assert not groups
    assert "not comparable (objective: a next_token, b masked)" in note
    groups, (note,) = groups_of([made(tmp_path, "c"), made(tmp_path, "d", fingerprint="e" * 32)])
    assert not groups
    assert "data: c ffffffff, d eeeeeeee" in note


def test_runs_without_a_loss_to_follow(tmp_path):
    players = [{"step": 1, "seconds": 1.0, "units": 1, "generator_loss": 1.0}]
    groups, notes = groups_of([made(tmp_path, "fits", lines=[]), made(tmp_path, "plays", lines=players)])
    assert not groups
    assert "its own algorithm" in notes[0]
    assert "opposed players" in notes[1]


def test_policies_are_compared_by_their_returns(tmp_path):
    lines = [{"step": s, "seconds": s * 1.0, "units": s, "loss": -s, "episode_return": 10.0 * s, "progress": s / 4} for s in range(1, 5)]
    same = {"fingerprint": None, "environment": {"kind": "cartpole"}, "lines": lines}
    (group,), _ = groups_of([made(tmp_path, "a", **same), made(tmp_path, "b", **same)])
    assert (group.quantity, group.better) == ("episode return", "higher")
    assert [point.value for point in group.equal["seconds"][1]] == [40.0, 40.0]
