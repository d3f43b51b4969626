"""Every snippet of the documentation runs: commands and Python as they stand, with the runs made short (short.py).

Snippets of one page share a folder, in order. Installing and `make` are looked at instead of run. What a comment before a snippet
can say is in pages.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import forked
from ftheta.lifecycle.recipe import load

from .pages import ROOT, Snippet, name, needs, pages, snippets

HERE = Path(__file__).parent
EXIT = re.compile(r"# exit code (\d+)")
SECONDS = 300
LONG = ("families", "stages")
"""Folders of pages whose snippets train more than a few steps of one model: run by CI and `make test-all`."""


@pytest.fixture(scope="module")
def commands() -> Iterator[dict[str, str]]:
    """An environment whose PATH has `ftheta` and `python`, which make runs short."""
    yield from forked.commands(HERE / "short.py")


@pytest.fixture(scope="module")
def runs(commands: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short runs, made when a page first needs them."""
    return tmp_path_factory.mktemp("needed")


def shell(body: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", body], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS,
    )


def run_snippet(snippet: Snippet, folder: Path, environment: dict[str, str]) -> None:
    if snippet.language == "sh":
        body = "\n".join(line for line in snippet.body.splitlines() if not looked_at(line, snippet))
    else:
        (folder / "snippet.py").write_text(snippet.body)
        body = "python snippet.py"
    found = shell(body, folder, environment)
    wanted = int(code[1]) if (code := EXIT.search(snippet.body)) else 0
    if found.returncode != wanted:
        pytest.fail(f"{snippet} ended with exit code {found.returncode}, not {wanted}:\n{found.stdout}", pytrace=False)
    if snippet.expected is not None:
        assert found.stdout.rstrip() == snippet.expected.rstrip(), f"{snippet} no longer prints what the page shows"


def looked_at(line: str, snippet: Snippet) -> bool:
    """Whether a line is not run but looked at: `make` targets, installation, benchmarks."""
    words = line.split("#")[0].split()
    if not words:
        return False
    if words[0] == "make":
        found = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert found.returncode == 0, f"{snippet}: {found.stderr}"
        return True
    if words[1:3] == ["-m", "venv"] or words[:2] == [".", ".venv/bin/activate"]:
        return True
    if words[0].endswith("pip"):
        assert words[1:4] == ["install", "-c", "constraints.txt"] and (ROOT / "constraints.txt").exists(), f"{snippet}: {line}"
        for extra in re.findall(r"[\w]+", "".join(re.findall(r"\.\[(.*?)\]", line))):
            assert re.search(rf"^{extra} = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE), f"{snippet}: no extra '{extra}'"
        return True
    if words[1:2] == ["-m"] and words[2].startswith("benchmarks."):
        assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").exists(), f"{snippet}: {line}"
        return True
    return False


def cases() -> Iterator[object]:
    """A page's snippets, apart by what they need; a translation whose snippets are those of another page is not run again."""
    for page in pages():
        if page.name == "README.zh-CN.md":
            continue
        found = [snippet for snippet in snippets(page) if snippet.language in ("sh", "python")]
        for kind in ("quick", "data", "slow"):
            mine = [snippet for snippet in found if snippet.kind == kind]
            if mine:
                slow = kind != "quick" or page.parent.name in LONG
                yield pytest.param(page, mine, id=f"{name(page)}-{kind}", marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("page", "mine"), cases())
def test_snippets(page: Path, mine: list[Snippet], commands: dict[str, str], runs: Path, tmp_path: Path):
    wanted = sorted({snippet.note[snippet.note.index("data") + 1] for snippet in mine if "data" in snippet.note})
    mirror = os.environ.get("FTHETA_MIRROR")
    if wanted and not (mirror and all((Path(mirror) / data).is_dir() for data in wanted)):
        pytest.skip(f"needs the data {', '.join(wanted)}: set FTHETA_MIRROR to a folder that holds it")
    for run in needs(page):
        if not (runs / "runs" / run).exists():
            made = shell(f"ftheta run {run}", runs, commands)
            assert made.returncode == 0, made.stdout
        shutil.copytree(runs / "runs" / run, tmp_path / "runs" / run)
    for snippet in mine:
        run_snippet(snippet, tmp_path, commands)


def test_the_chinese_readme_has_the_same_snippets():
    english, chinese = ([re.sub(r"\s*#.*", "", s.body) for s in snippets(ROOT / page) if s.language in ("sh", "python")] for page in ("README.md", "README.zh-CN.md"))
    assert english == chinese


@pytest.mark.parametrize("snippet", [s for page in pages() for s in snippets(page) if s.language == "yaml" and "format:" in s.body], ids=str)
def test_recipes_shown_are_recipes(snippet: Snippet):
    load(YAML(typ="safe", pure=True).load(snippet.body))
