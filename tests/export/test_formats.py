"""Every format opened by the program it is for, over the families: transformers, torch, onnxruntime, and a server in a process of its own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch
from tests.conformance import test_architectures as tiny
from tokenizers import Tokenizer

from exporting import DECODERS, model, scored
from ftheta.core.errors import UsageError
from ftheta.data.processors.plain import PlainProcessor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.subword import BPE
from ftheta.export import FORMATS, gguf_file
from ftheta.export.exporting import export_to
from ftheta.export.parity import ParityError
from ftheta.export.program import Program
from ftheta.inference.generate import Generation, Request
from ftheta.inference.sampling import Sampling
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from tiny import WORDS

LONG = ("encoder", "encoder_decoder", "generator_discriminator")
"""Architectures whose programs take seconds to make."""
WITHOUT = {"prompted": "decides by the values of its inputs"}
"""Architectures that are no program, and why."""


def greedy(opened: Model, prompt: list[int], most: int) -> list[int]:
    request = Request(prompt, Sampling(temperature=0), most=most)
    Generation(opened.architecture, [request], longest=None, end=None).finish()
    return request.new


@pytest.mark.parametrize("name", ["gpt2", "llama-tied", "qwen3"])
def test_transformers_reads_and_writes_the_same(name, tmp_path):
    """Its tokenizer with everything it puts around a text, its template, its greedy text."""
    transformers = pytest.importorskip("transformers")
    opened = model(name)
    export_to(opened, FORMATS.load("huggingface")(), "huggingface", tmp_path / "out")
    assert not (tmp_path / "out" / "ftheta.json").exists()
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("the old sea", " def f(x):\n", "床前 <eos> é", "<pad>"):
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert ids == opened.processor.encode(text)
        plain = {"do_sample": False, "top_p": None, "temperature": None, "eos_token_id": None, "pad_token_id": 3}
        written = theirs.generate(torch.tensor([ids]), max_new_tokens=12, min_new_tokens=12, **plain)
        assert written[0, len(ids) :].tolist() == greedy(opened, ids, 12)
    talk = [{"role": "user", "content": "Hello"}]
    assert tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False) == "<user>Hello<eos><assistant>"
    for role in ("bos", "eos", "pad"):
        assert getattr(tokenizer, f"{role}_token_id") == opened.processor.id(role) == getattr(theirs.generation_config, f"{role}_token_id")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in ("gpt2", "llama", "qwen3") else pytest.mark.slow) for name in DECODERS])
def test_transformers_reads_the_same_gguf_file(name, tmp_path):
    """An independent reader of the same file: names, layouts and the order of queries and keys."""
    transformers = pytest.importorskip("transformers")
    opened = model(name)
    found = export_to(opened, FORMATS.load("gguf")("f32"), "gguf", tmp_path / "out")
    assert found.parity.largest <= 1e-6 and found.quality is None
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out", gguf_file="model.gguf")
    config.n_positions, config.head_dim = 48, opened.architecture.get_submodule("layers.0.mix.inner").head_dim      # which its reader of sizes leaves out
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="model.gguf", config=config)
    tokens = torch.randint(4, 290, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, other = opened.architecture(tokens=tokens)["logits"], theirs.eval()(tokens).logits
    assert (ours - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max()))
    if name == "llama":
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", gguf_file="model.gguf")
        assert tokenizer("the old sea holds", add_special_tokens=False)["input_ids"] == opened.processor.encode("the old sea holds", start=False)
        assert tokenizer.chat_template == opened.processor.chat_template


@pytest.mark.parametrize("prefix", [True, False])
def test_pieces_with_scores_go_into_gguf_and_come_back(prefix, tmp_path):
    """A tokenizer as SentencePiece makes them: the same tokens by what is read from the file alone, by ours and by transformers' reader."""
    opened = Model(model("scored").architecture, scored(prefix), "text-generation")
    found = export_to(opened, FORMATS.load("gguf")("f32"), "gguf", tmp_path / "out")
    assert found.parity.largest <= 1e-6 and found.parity.tokens > 500
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path / "out", gguf_file="model.gguf")
    texts = ["the old sea holds", "  a ship  near ", "中文 🙂\n\tthe road", "lightstone <s> </s>", "moves" * 30, "x"]
    read = gguf_file.Ggml(tmp_path / "out").processor
    for text in texts:
        ids = opened.processor.encode(text, start=False)
        assert read.encode(text, start=False) == ids and read.decode(ids) == text
        if prefix and "<" not in text and not text.startswith(" "):     # transformers reads written control tokens, and adds no space to one
            assert theirs(text, add_special_tokens=False)["input_ids"] == ids


def test_merges_that_scores_cannot_say_are_refused(tmp_path):
    learned = BPE(vocab=300).train([" ".join(WORDS) + ". "] * 40)
    with pytest.raises(UsageError, match="GGUF cannot say"):
        export_to(Model(model("llama").architecture, TextProcessor(learned), "text-generation"), FORMATS.load("gguf")(), "gguf", tmp_path / "out")
    said = json.loads(scored().tokenizer.to_str())
    said["model"]["merges"].pop(len(said["model"]["merges"]) // 2)
    fewer = TextProcessor(Tokenizer.from_str(json.dumps(said)), {"bos": "<s>", "eos": "</s>"}, ["<s>"])
    with pytest.raises(UsageError, match="joins some neighbours and not others"):
        export_to(Model(model("scored").architecture, fewer, "text-generation"), FORMATS.load("gguf")(), "gguf", tmp_path / "out")


def test_gguf_says_why_not(tmp_path):
    reasons = {"lstm": "decoders of the shape of", "headed": "decoders of the shape of", "resnet": "it reads no text"}
    for name, reason in reasons.items():
        with pytest.raises(UsageError, match=reason):
            export_to(model(name), FORMATS.load("gguf")(), "gguf", tmp_path / "out")
    with pytest.raises(UsageError, match="the ecosystem has no name for this 'decoder' as composed"):
        export_to(model("lstm"), FORMATS.load("huggingface")(), "huggingface", tmp_path / "out")


def tiny_model(name: str) -> Model:
    return Model(tiny.fitted(name), PlainProcessor(), "tabular-classification")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else []) for name in tiny.NAMES])
def test_every_architecture_is_a_program_or_says_why_not(name, tmp_path):
    """Opened by torch without this package, with other numbers of rows and tokens than it was made with."""
    if name in WITHOUT:
        with pytest.raises(UsageError, match=WITHOUT[name]):
            export_to(tiny_model(name), FORMATS.load("torch-export")(), "torch-export", tmp_path / "out")
        return
    found = export_to(tiny_model(name), FORMATS.load("torch-export")(), "torch-export", tmp_path / "out")
    assert found.parity.largest <= 1e-5
    said = json.loads((tmp_path / "out" / "ftheta.json").read_text())["signature"]
    data = tiny.inputs(name)
    inputs = [data[key] if key in data else torch.zeros_like(data["tokens"]) for key in said["inputs"]]      # one document a row
    ours = Program(tiny.fitted(name), list(said["inputs"]), list(said["outputs"]))(*inputs)
    theirs = torch.export.load(tmp_path / "out" / "model.pt2").module()(*inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in ("decoder", "forest", "graph") else pytest.mark.slow) for name in tiny.NAMES if name not in WITHOUT
])
def test_every_architecture_is_a_graph(name, tmp_path):
    pytest.importorskip("onnxruntime")
    assert export_to(tiny_model(name), FORMATS.load("onnx")(), "onnx", tmp_path / "out").parity.largest <= 1e-4


@pytest.mark.parametrize("to", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["lstm", "gru both ways", "dynamic"])
def test_parts_that_look_at_lengths_are_programs(name, to, tmp_path):
    """Recurrent layers repeat their formula, and speeds follow the length, over as many tokens as there are."""
    found = export_to(model(name), FORMATS.load(to)(), to, tmp_path / "out")
    assert found.parity.largest <= 1e-5 and found.parity.probes == 64


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("encoder", "translator", "resnet", "llama")]


@pytest.mark.parametrize("name", ["headed", *SLOW])
def test_graphs_of_models_read_texts_and_pictures(name, tmp_path):
    """With the tokenizer or the picture's size and colours beside the graph; rows padded on the right are as rows alone."""
    ort = pytest.importorskip("onnxruntime")
    opened = model(name)
    export_to(opened, FORMATS.load("onnx")(), "onnx", tmp_path / "out")
    if name == "headed":
        session = ort.InferenceSession(tmp_path / "out" / "model.onnx")
        batch = opened.processor.batch([opened.processor.frame(text, None, 40) for text in ("the old sea", "a ship near the road holds light")])
        (logits,) = session.run(["logits"], {put.name: batch[put.name].numpy() for put in session.get_inputs()})
        answers = opened.predict(["the old sea", "a ship near the road holds light"])
        for row, answer in zip(torch.from_numpy(logits).softmax(-1), answers, strict=True):
            assert float(row.max()) == pytest.approx(max(answer.probabilities.values()), abs=1e-5)


@pytest.mark.parametrize("form", ["safetensors-int8", "safetensors-int4"])
def test_few_bits_come_back_and_stay(form, tmp_path):
    """Opened, saved again and opened again, it is the same; and half the size or less."""
    opened = model("llama")
    found = export_to(opened, FORMATS.load(form)(), form, tmp_path / "few")
    assert found.quality is not None and 0 < found.quality.away < 0.6
    save(opened, tmp_path / "whole")
    few = load(tmp_path / "few")
    save(few, tmp_path / "again")
    tokens = torch.arange(4, 30)[None]
    assert torch.equal(few.architecture(tokens=tokens)["logits"], load(tmp_path / "again").architecture(tokens=tokens)["logits"])
    maps = sum(part.numel() for key, part in opened.architecture.theta().items() if "inner" in key)
    saved = (tmp_path / "whole" / "model.safetensors").stat().st_size - (tmp_path / "few" / "model.safetensors").stat().st_size
    assert saved > maps * (4 - (1.2 if form.endswith("8") else 0.7))
    with pytest.raises(UsageError, match="kept in few bits already"):
        export_to(few, FORMATS.load(form)(), form, tmp_path / "twice")


def test_a_container_context_serves_the_model_by_itself(tmp_path):
    """The Dockerfile's own command, with nothing but the context's package on the path."""
    pytest.importorskip("fastapi")
    opened = model("llama")
    export_to(opened, FORMATS.load("docker-context")(), "docker-context", tmp_path / "out")
    lines = (tmp_path / "out" / "Dockerfile").read_text().splitlines()
    (command,) = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    for line in lines:
        if copied := re.match(r"COPY (\S+) ", line):
            assert (tmp_path / "out" / copied[1]).exists()
    assert re.search(r"^torch==\d[\d.]*$", (tmp_path / "out" / "requirements.txt").read_text(), re.MULTILINE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *command[1:-1], str(port)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "out" / "package"), "FTHETA_KEY": "secret", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, cwd=tmp_path / "out", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        body = json.dumps({"prompt": "the old sea", "most": 8, "temperature": 0.0}).encode()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/predict/text-generation", body, headers)
        until = time.monotonic() + 60
        while True:
            try:
                answer = json.loads(urllib.request.urlopen(asked, timeout=10).read())
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until, server.stderr and server.stderr.read()
                time.sleep(0.2)
        assert answer["text"] == opened.predict({"prompt": "the old sea", "most": 8, "temperature": 0.0}).text
    finally:
        server.terminate()
        server.wait(30)


def test_a_program_that_cannot_be_run_is_a_failed_export(tmp_path):
    class Broken(FORMATS.load("torch-export")):
        def open(self, folder):
            found = super().open(folder)
            found.takes = [*found.takes, *found.takes]
            return found

    with pytest.raises(ParityError, match="the export cannot be run"):
        export_to(tiny_model("linear"), Broken(), "torch-export", tmp_path / "out")
    assert not list(tmp_path.iterdir())
