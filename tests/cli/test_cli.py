"""The command line as a user meets it: real processes, exit codes, messages."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.tiny import language, write_texts

import forked

FTHETA = [sys.executable, "-c", "from ftheta.cli import main; main()"]


@pytest.fixture(scope="module")
def ftheta():
    """The command in a process of its own, which says what it printed."""
    environment: dict[str, str] = {}

    def carried_out(*arguments, cwd, code=0, stdin=""):
        done = subprocess.run(["ftheta", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, input=stdin, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    for found in forked.commands():
        environment.update(found)
        yield carried_out


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    recipe = language(write_texts(folder / "texts"))
    recipe["evaluate"] = ["bits_per_byte"]
    (folder / "tiny.yaml").write_text(json.dumps(recipe))                                         # JSON is YAML
    return folder


def test_a_run_from_start_to_use(place, ftheta):
    shown = ftheta("run", "tiny.yaml", cwd=place)
    assert "bits per byte: " in shown and "95 % interval" in shown and "ftheta generate runs/tiny-language/model" in shown
    assert "is done" in ftheta("run", "tiny.yaml", cwd=place)
    assert "train.steps: was 12" in ftheta("run", "tiny.yaml", "--set", "train.steps=13", cwd=place, code=2)
    assert ftheta("generate", "runs/tiny-language/model", "the ", "--most", "5", cwd=place).startswith("the ")
    assert ftheta("generate", "runs/tiny-language/model", "the ", "--regex", "ab{3}c", "--most", "9", cwd=place) == "the abbbc\n"
    schema = '{"enum": [[1, 2]]}'
    assert ftheta("generate", "runs/tiny-language/model", "the ", "--json-schema", schema, "--most", "20", cwd=place).replace(" ", "") == "the[1,2]\n"
    assert "OO" in ftheta("generate", "runs/tiny-language/model", "the ", "--bias", "50=99", "--most", "5", cwd=place)
    for wrong, said in (("--bias=x=1", "expected ID=X"), ("--json-schema={", "not JSON"), ("--regex=[0", "regex: "), ("--bias=99999=1", "is no token id")):
        assert said in ftheta("generate", "runs/tiny-language/model", "the ", wrong, cwd=place, code=2)
    answer = json.loads(ftheta("predict", "runs/tiny-language/model", "the ", "--json", cwd=place))
    assert answer["finish"] in ("stop", "length")
    assert len(ftheta("predict", "runs/tiny-language/model", cwd=place, stdin="a\nb\n").splitlines()) >= 2
    assert "properties" in json.loads(ftheta("predict", "runs/tiny-language/model", "--schema", cwd=place))["input"]
    assert "bits per byte" in ftheta("evaluate", "runs/tiny-language/model", cwd=place)
    assert "whole" in ftheta("verify", "runs/tiny-language", cwd=place)
    exported = ftheta("export", "runs/tiny-language/model", "--to", "safetensors-int8", cwd=place)
    assert "as the model on 64 probes" in exported and "held-out documents" in exported
    plain = ("the ", "--most", "3", "--temperature", "0")
    assert ftheta("generate", "exports/tiny-language/safetensors-int8", *plain, cwd=place) == ftheta("generate", "runs/tiny-language/model", *plain, cwd=place)
    weights = place / "runs/tiny-language/model/model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "was changed after it was written" in ftheta("verify", "runs/tiny-language", cwd=place, code=1)
    assert "was changed after it was written" in ftheta("generate", "runs/tiny-language/model", "x", cwd=place, code=1)
    weights.write_bytes(data)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "nothing"], 2, "no recipe 'nothing'"),
        (["run", "python-lmm"], 2, "did you mean 'python-lm'"),
        (["run", "tiny.yaml", "--set", "train.stepz=3"], 2, "train.stepz: no such field; did you mean 'steps'"),
        (["run", "tiny.yaml", "--set", "train.steps=many"], 2, "train.steps: expected a whole number"),
        (["run", "tiny.yaml", "--set", "nonsense"], 2, "expected section.field=value"),
        (["run", "tiny.yaml", "--set", "train.minutes=1"], 2, "give one budget, not steps and minutes"),
        (["run", "tiny.yaml", "--set", "model.mixer.causal=false"], 2, "it would see the answer"),
        (["run", "tiny.yaml", "--set", "data.source.path=/nowhere", "--out", "o"], 1, "/nowhere does not exist"),
        (["run", "tiny.yaml", "--set", "data.tokenizer={kind: byte_bpe, vocab: 90000}", "--out", "o"], 1, "the text allows only"),
        (["run", "tiny.yaml", "--set", "data.pack.length=100000", "--out", "o"], 1, "fewer than one row"),
        (["run", "tiny.yaml", "--set", "train.batch=100000", "--out", "o"], 1, "use a smaller batch or more data"),
        (["check", "tiny.yaml"], 0, "fits together"),
        (["check", "tiny.yaml", "--set", "objective=ppo"], 2, "does not fit together"),
        (["generate", "nowhere", "x"], 1, "is not a folder"),
        (["export", "nowhere", "--to", "onyx"], 2, "did you mean 'onnx'"),
        (["export", "nowhere", "--to", "onnx", "--precision", "f16"], 2, "this format has no 'f16'"),
        (["export", "nowhere", "--to", "gguf"], 1, "is not a folder"),
        (["verify", "."], 1, "neither a model folder nor a run folder"),
        (["list", "recipez"], 2, "did you mean 'recipes'"),
        (["list", "objectives"], 0, "next_token"),
        (["frobnicate"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
    ],
)
def test_mistakes_get_one_clear_message(place, ftheta, arguments, code, message):
    assert message in ftheta(*arguments, cwd=place, code=code)


def test_yaml_mistakes_name_the_line(place, ftheta):
    (place / "twice.yaml").write_text("format: 1\nname: a\nname: b\n")
    assert "line 3" in ftheta("run", "twice.yaml", cwd=place, code=2)
    (place / "list.yaml").write_text("- 1\n")
    assert "expected a mapping of sections" in ftheta("run", "list.yaml", cwd=place, code=2)
    (place / "latin.yaml").write_bytes(b"name: \xff\n")
    assert "not UTF-8 at byte 6" in ftheta("run", "latin.yaml", cwd=place, code=2)


def test_a_folder_that_cannot_be_a_run_folder(place, ftheta):
    (place / "file").write_text("x")
    assert "cannot be written" in ftheta("run", "tiny.yaml", "--out", "file", cwd=place, code=1)


def test_ctrl_c_saves_and_says_how_to_go_on(place):
    process = subprocess.Popen(
        [*FTHETA, "run", "tiny.yaml", "--set", "train.steps=100000", "--out", "long"], cwd=place, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics = place / "long" / "metrics.jsonl"
    deadline = time.time() + 60
    while not (metrics.exists() and metrics.stat().st_size > 500) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "state saved" in errors and "run the same command again to continue" in errors
    assert list((place / "long" / "checkpoints").glob("step-*"))


def test_every_verb_has_help_with_an_example():
    for verb in ("run", "check", "plan", "certify", "generate", "predict", "serve", "ui", "evaluate", "compare", "list", "verify", "doctor"):
        done = subprocess.run([*FTHETA, verb, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and "Example: ftheta" in done.stdout


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "ftheta", "list", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Example: ftheta list" in done.stdout


def test_help_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['ftheta', '--help']\nfrom ftheta.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_doctor():
    done = subprocess.run([*FTHETA, "doctor"], capture_output=True, text=True)
    assert "torch" in done.stdout and done.returncode in (0, 1)
