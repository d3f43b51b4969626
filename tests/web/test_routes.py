"""The page's routes on the real app: runs as they are on disk, recipes as they are typed, processes as they are started, models as they come and go."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from tests.serving.test_every_task import SUBJECTS

from ftheta.core.errors import DataError, FolderError
from ftheta.lifecycle.checking import alternatives, compatibility
from ftheta.lifecycle.compare import compare
from ftheta.lifecycle.lifecycle import run
from ftheta.lifecycle.plan import Plan
from ftheta.lifecycle.recipe import load as load_recipe
from ftheta.lifecycle.schema import recipe_schema
from ftheta.models.folder import load
from ftheta.models.model import Model
from ftheta.training.events import read_lines
from listening import get, post, send, started, until

pytest.importorskip("uvicorn")

from ftheta.serving.http.page import assets
from ftheta.serving.http.served import Served
from ftheta.serving.settings import Settings
from ftheta.web.routes import add_routes
from ftheta.web.runs import Runs
from ftheta.web.ui import ui

STEPS = {"train": {"epochs": None, "steps": 6, "validation": {"every": 3}}}
RECIPE = "extends: digits-convnet\nname: short\ntrain: {epochs: null, steps: 6, validation: {every: 3}}\n"
LONG = "extends: digits-convnet\nname: long\ntrain: {epochs: null, minutes: 30, checkpoint: {every: 20}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two finished runs, one that found no data, and what is no run."""
    place = tmp_path_factory.mktemp("runs")
    for name, seed in (("first", 0), ("second", 1)):
        run("digits-convnet", changes={**STEPS, "seed": seed}, out=place / name)
    with pytest.raises(DataError):
        run("digits-convnet", changes={**STEPS, "data": {"source": {"kind": "image_folder", "path": "nowhere"}, "augment": []}}, out=place / "lost")
    (place / "notes").mkdir()
    (place / "stray.log").write_text("no recipe beside it")
    (place.parent / "outside").mkdir()
    (place.parent / "outside" / "recipe.yaml").write_text("secret")
    return place


@pytest.fixture(scope="module")
def here(folder) -> Iterator[SimpleNamespace]:
    yield from started([], more=lambda app, models: add_routes(app, models, Runs(folder), Settings(together=2)), page=assets())


def asked(here, path: str, body: object | None = None, method: str = "") -> tuple[int, object]:
    data = b"" if body is None else json.dumps(body).encode()
    headers = f"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    method = method or ("GET" if body is None else "POST")
    head, _, rest = send(here, f"{method} {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + data, wait=120).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


def raw(here, path: str, headers: str = "") -> tuple[bytes, bytes]:
    """Head and body of what is got."""
    head, _, data = send(here, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n".encode()).partition(b"\r\n\r\n")
    return head, data


def state(here, name: str) -> str:
    return asked(here, f"/ui/runs/{name}")[1]["state"]


def test_runs_are_what_is_on_disk(here, folder):
    found = {each["name"]: each for each in asked(here, "/ui/runs")[1]}
    assert {name: each["state"] for name, each in found.items()} == {"first": "done", "second": "done", "lost": "failed"}
    results = json.loads((folder / "first" / "report" / "results.json").read_bytes())
    assert found["first"]["measurements"] == results["measurements"] and found["first"]["last"]["step"] == 6
    assert "nowhere" in found["lost"]["reason"] and found["lost"]["ended"] >= found["lost"]["began"]


def test_a_run_is_all_it_left(here, folder):
    found = asked(here, "/ui/runs/first")[1]
    assert found["card"] == (folder / "first" / "report" / "card.md").read_text() and found["recipe"] == (folder / "first" / "recipe.yaml").read_text()
    assert found["events"] == read_lines(folder / "first" / "events.jsonl") and found["pictures"][0] == "report/curves.png"
    assert found["commands"] == {"run": f"ftheta run {folder}/first/recipe.yaml --out {folder}/first"}
    head, data = raw(here, "/ui/runs/first/picture?which=report/curves.png")
    assert b"image/png" in head and data == (folder / "first" / "report" / "curves.png").read_bytes()


def test_lines_go_on_from_where_they_were(here, folder):
    log = folder / "first" / "metrics.jsonl"
    whole, kept = log.read_bytes(), read_lines(log)
    first = asked(here, "/ui/runs/first/lines/metrics")[1]
    assert first["lines"] == kept and first["anew"] and first["after"] == len(whole)
    where = f"/ui/runs/first/lines/metrics?after={first['after']}&mark={first['mark']}"
    assert asked(here, where)[1] | {"lines": [], "anew": False} == asked(here, where)[1]
    try:
        with log.open("ab") as file:
            file.write(b'{"step": 7, "loss": 1.0}\n{"step": 8, "lo')                          # torn: the rest has not come yet
        more = asked(here, where)[1]
        assert more["lines"] == [{"step": 7, "loss": 1.0}] and more["after"] == len(whole) + 25 and not more["anew"]
        replaced = log.with_name("other")
        replaced.write_bytes(whole)
        os.replace(replaced, log)                                                         # as `Events.rewind` does
        again = asked(here, f"/ui/runs/first/lines/metrics?after={more['after']}&mark={more['mark']}")[1]
        assert again["anew"] and again["lines"] == kept and again["mark"] != more["mark"]
    finally:
        log.write_bytes(whole)
    assert asked(here, "/ui/runs/lost/lines/metrics")[1]["lines"] == []
    assert asked(here, "/ui/runs/first/lines/metrics?after=-1")[0] == 400


@pytest.mark.parametrize("path", [
    "/ui/runs/..", "/ui/runs/%2e%2e", "/ui/runs/..%2foutside", "/ui/runs/notes", "/ui/runs/stray", "/ui/runs/first%2frecipe.yaml", "/ui/runs/outside",
    "/ui/runs/first/picture?which=../../outside/recipe.yaml", "/ui/runs/first/picture?which=report/card.md", "/ui/runs/first/picture",
    "/ui/runs/first/lines/recipe.yaml", "/ui/recipes/..%2f..%2fetc%2fpasswd", "/ui/recipes/nothing",
    "/page/stamp.json", "/page/../routes.py", "/page/%2e%2e/ui.py",
])
def test_what_is_not_in_the_list_is_not_there(here, path):
    status, text = get(here, path)
    assert 400 <= status < 500 and "secret" not in text and set(json.loads(text)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("name", ["../outside", "a/b", "..", ".hidden", "", "a" * 81, "a\0b", "first", "notes"])
def test_names_that_may_not_be(here, folder, name):
    before = sorted(folder.parent.rglob("*"))
    assert asked(here, "/ui/runs", {"name": name, "recipe": RECIPE})[0] == 400
    assert sorted(folder.parent.rglob("*")) == before


def test_start_stop_and_continue_are_commands(here, folder):
    """A run is started, stopped as Ctrl-C would stop it, and goes on; a server that did not start it can do so too."""
    status, found = asked(here, "/ui/runs", {"name": "long", "recipe": LONG})
    assert status == 200 and found["command"] == f"ftheta run {folder}/long.yaml --out {folder}/long" and (folder / "long.yaml").read_text() == LONG
    assert state(here, "long") == "running" and asked(here, "/ui/runs/long/resume", method="POST")[0] == 400
    until(lambda: asked(here, "/ui/runs/long")[1]["last"].get("step", 0) > 5, 90)
    elsewhere = started([], more=lambda app, models: add_routes(app, models, Runs(folder), Settings()))
    other = next(elsewhere)
    assert state(other, "long") == "running" and asked(other, "/ui/runs/long")[1]["commands"] == asked(here, "/ui/runs/long")[1]["commands"]
    assert asked(other, "/ui/runs/long/stop", method="POST")[0] == 200
    until(lambda: state(here, "long") != "running", 60)
    whole = asked(here, "/ui/runs/long")[1]
    assert whole["state"] == "stopped" and whole["events"][-1]["event"] == "stopped" and "state saved" in whole["printed"]
    assert list((folder / "long" / "checkpoints").glob("step-*"))
    assert asked(here, "/ui/runs/long/stop", method="POST")[0] == 400
    assert asked(other, "/ui/runs/long/resume", method="POST")[1]["command"] == whole["commands"]["run"]
    until(lambda: any(event["event"] == "resume" for event in asked(here, "/ui/runs/long")[1]["events"]), 90)
    assert asked(here, "/ui/runs/long/stop", method="POST")[0] == 200                     # by the lock: it was not started here
    until(lambda: state(other, "long") == "stopped", 60)
    assert not list(elsewhere)


def test_a_run_that_cannot_begin_says_what_it_printed(here, folder):
    assert asked(here, "/ui/runs", {"name": "wrong", "recipe": "extends: digits-convnet\nobjective: next_token\n"})[0] == 200
    until(lambda: state(here, "wrong") == "failed", 60)
    assert "next_token" in asked(here, "/ui/runs/wrong")[1]["recipe"] and "the objective" in asked(here, "/ui/runs/wrong")[1]["printed"]
    assert asked(here, "/ui/runs", {"name": "wrong", "recipe": "extends: nothing\n"})[0] == 200                # nothing came of it: it may be mended
    until(lambda: state(here, "wrong") == "failed", 60)
    assert "nothing" in asked(here, "/ui/runs/wrong")[1]["printed"] and "the objective" not in asked(here, "/ui/runs/wrong")[1]["printed"]
    (folder / "mine.yaml").write_text("a recipe of somebody")
    assert asked(here, "/ui/runs", {"name": "mine", "recipe": RECIPE})[0] == 400 and (folder / "mine.yaml").read_text() == "a recipe of somebody"


def test_compare_is_compare(here, folder, tmp_path):
    found = asked(here, "/ui/compare", {"runs": ["first", "second"]})[1]
    wanted = compare([folder / "first", folder / "second"], out=tmp_path / "c.png")
    text = wanted.show()
    assert found["runs"] == ["first", "second"]
    assert all(cell in text for section in found["sections"] for name, cells in section["rows"] for cell in (name, *cells))
    differences = [pair.found.difference.value for pair in wanted.pairings if pair.found is not None]
    assert [pair["difference"] for pair in found["pairings"] if "difference" in pair] == differences != []
    assert {entry["low"] for entry in found["measurements"]} == {entry["low"] for each in wanted.runs for entry in each.measurements.values()}
    with pytest.raises(FolderError) as refused:
        compare([folder / "first", folder / "lost"])
    assert asked(here, "/ui/compare", {"runs": ["first", "lost"]}) == (400, {"error": {
        "message": str(refused.value), "type": "invalid_request_error", "param": None, "code": "failed",
    }})
    assert asked(here, "/ui/compare", {"runs": ["first", "../outside"]})[0] == 404


def test_recipes_and_their_schema(here):
    names = [each["name"] for each in asked(here, "/ui/recipes")[1]]
    whole = asked(here, "/ui/recipes/digits-convnet")[1]
    assert "digits-convnet" in names and "extends" not in whole and load_recipe(whole) == load_recipe("digits-convnet")
    assert json.loads(gzip.decompress(raw(here, "/ui/schema")[1])) == recipe_schema()


def test_check_says_every_problem_by_field(here):
    def problems(text: str) -> dict:
        found = asked(here, "/ui/check", {"recipe": text})[1]
        return {".".join(map(str, problem["path"])): problem["message"] for problem in found["problems"]}

    assert asked(here, "/ui/check", {"recipe": RECIPE})[1] | {"problems": [], "reasons": []} == asked(here, "/ui/check", {"recipe": RECIPE})[1]
    wrong = problems("extends: digits-convnet\ntrain: {optimizer: {rate: -1, bettas: 2}}\nseed: x\n")
    assert set(wrong) == {"train.optimizer.rate", "train.optimizer.bettas", "seed"} and "betas" in wrong["train.optimizer.bettas"]
    assert "line 1" in problems("a: [1")[""] and problems("- 1")[""] and problems("a: &a [*a]")[""] and problems("a: 2026-01-01")[""]
    assert asked(here, "/ui/check", {"recipe": "extends: digits-convnet\nobjective: next_token\n"})[1]["reasons"]


BODIES = {
    "nothing": b"", "no object": b"[]", "null": b"null", "half": b'{"recipe": ', "bytes": bytes(range(256)),
    "other field": b'{"recipe": "", "name": "a", "runs": [], "x": 1}',
    "numbers": b'{"recipe": 1, "name": 2, "runs": 3}', "nan": b'{"recipe": NaN, "name": NaN, "runs": NaN}',
    "surrogate": b'{"recipe": "\\udfff", "name": "\\udfff"}',
    "deep": b'{"recipe":' * 5_000, "long": b'{"name": "' + b"a" * 100_000 + b'"}',
}


@pytest.mark.parametrize("path", ["/ui/runs", "/ui/compare", "/ui/check", "/ui/plan", "/ui/models"])
def test_bodies_that_are_none(here, folder, path):
    before = sorted(folder.iterdir())
    for body in BODIES.values():
        status, found = post(here, path, body)
        assert status in (400, 404) and set(found["error"]) == {"message", "type", "param", "code"}, body[:40]
    assert post(here, path, b"{}", "Content-Type: text/plain\r\n")[0] == 415 and sorted(folder.iterdir()) == before


def test_recipes_that_are_none(here):
    tagged, recursive = "a: !!python/object:os.system x", "a: &a [*a]"
    for text in ("[" * 100_000, "\0", tagged, "\t- a", "&a " * 100, recursive, "? [1]\n: 2", "1: 2", "data: {source: {kind: digits}}"):
        status, found = asked(here, "/ui/check", {"recipe": text})
        assert status == 200 and found["problems"], text[:20]
        assert asked(here, "/ui/plan", {"recipe": text})[0] == 400


def test_alternatives_are_those_of_the_matrix():
    """What may be chosen with a source and an architecture, or a source and an objective, is what the matrix of all combinations says."""
    cells = {(cell.source, cell.architecture, cell.objective): not cell.reasons for cell in compatibility()}
    for source, architecture, objective in (("digits", "resnet", "classification"), ("digits", "gan", "adversarial"), ("rollouts", "actor_critic", "ppo")):
        found = alternatives({"data": {"source": source}, "model": {"kind": architecture}, "objective": {"kind": objective}})
        assert {name: not reasons for name, reasons in found.objectives.items()} == {name: cells[source, architecture, name] for name in found.objectives}
        assert {name: not reasons for name, reasons in found.architectures.items()} == {name: cells[source, name, objective] for name in found.architectures}
        assert found.objectives[objective] == [] == found.architectures[architecture] and any(found.objectives.values())
    assert alternatives({"data": {"source": "nothing"}}) == ({}, {})
    unsaid = alternatives({"data": {"source": "digits"}})
    assert unsaid.architectures["resnet"] == [] and unsaid.architectures["graph"] and unsaid.objectives["classification"] == []


def test_plan_foretells_what_a_run_has(here, folder):
    found = asked(here, "/ui/plan", {"recipe": RECIPE})[1]
    was = json.loads((folder / "first" / "report" / "results.json").read_bytes())["training"]
    said = Plan.parse(found["plan"])
    assert (said.parameters, said.trainable, said.cost.steps.value) == (was["parameters"], was["trainable"], 6) and found["shown"] == said.show()
    assert asked(here, "/ui/plan", {"recipe": "extends: digits-convnet\nobjective: next_token\n"})[0] == 400


def test_a_model_comes_and_goes(here, folder):
    assert asked(here, "/ui/models")[1] == [] and asked(here, "/predict/image-classification", {"pixels": [[0]]})[0] == 404
    assert asked(here, "/ui/models", {"name": "first"})[0] == 200 and asked(here, "/ui/runs/first")[1]["loaded"]
    (about,) = asked(here, "/ui/models")[1]
    assert about["task"] == "image-classification" and about["known"]["size"] == [8, 8]
    assert "pixels" in about["input"]["properties"] and about["files"] == ["path"]
    pixels = [[(row * column) % 17 / 16 for column in range(8)] for row in range(8)]
    assert asked(here, "/predict/image-classification?model=first", {"pixels": pixels})[1] == load(folder / "first").predict({"pixels": pixels}).dump()
    assert "/predict/image-classification" in asked(here, "/openapi.json")[1]["paths"]
    assert asked(here, "/ui/models", {"name": "lost"})[0] == 400 and asked(here, "/ui/models", {"name": "outside"})[0] == 404
    assert asked(here, "/ui/models/first", method="DELETE")[0] == 200 and asked(here, "/ui/models")[1] == []
    assert asked(here, "/predict/image-classification", {"pixels": pixels})[0] == 404 and asked(here, "/ui/models/first", method="DELETE")[0] == 404


def test_the_page_itself(here):
    for address, asset in assets().items():
        head, data = raw(here, address)
        assert data == asset.data and b"default-src 'self'" in head and b"nosniff" in head and b"unsafe" not in head
        head, data = raw(here, address, f"If-None-Match: {asset.tag}\r\n")
        assert head.split()[1] == b"304" and not data
    assert {"/", "/page/page.js", "/page/page.css", "/page/licences.txt"} <= assets().keys()


def test_only_this_machine_and_its_own_pages_may_ask(here):
    for path in ("/", "/ui/runs", "/ui/models"):
        assert get(here, path, host="evil.example")[0] == 403
    assert post(here, "/ui/runs", b"{}", "Content-Type: application/json\r\nOrigin: http://evil.example\r\n")[0] == 403
    assert get(here, "/ui/runs", "Origin: http://evil.example\r\n")[0] == 403


def test_with_a_key_the_page_is_seen_and_nothing_else(folder):
    for here in started([], more=lambda app, models: add_routes(app, models, Runs(folder), Settings()), page=assets(), key="sesame"):
        assert get(here, "/")[0] == get(here, "/page/page.js")[0] == 200
        for path in ("/ui/runs", "/ui/runs/first", "/ui/models", "/ui/recipes", "/page/stamp.json", "/v1/models"):
            assert get(here, path)[0] == 401
        assert get(here, "/ui/runs", "Authorization: Bearer sesame\r\n")[0] == 200


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="is not a folder"):
        ui(tmp_path / "file")


@pytest.mark.parametrize("task", SUBJECTS)
def test_every_task_can_be_asked_by_a_form(task):
    """What a form is made of says what may be put into it."""
    make, given = SUBJECTS[task]
    architecture, processor = make()
    for here in started([Served("it", Model(architecture, processor, task), Settings(together=2))], page=assets()):
        (about,) = asked(here, "/ui/models")[1]
        assert about["task"] == task and about["input"]["properties"] and about["output"]["properties"]
        for item in given:
            jsonschema.validate(item, about["input"])
        assert set(about["files"]) <= about["input"]["properties"].keys()
        assert about["known"].items() <= json.loads(json.dumps(processor.dump())).items()
