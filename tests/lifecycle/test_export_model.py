"""What fewer bits cost is what the metric bits_per_byte measures, and adapters go into the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import ftheta
from exporting import model
from ftheta.adaptation.lora import LoRA
from ftheta.core.errors import UsageError
from ftheta.evaluation.metrics.language import document_nats
from ftheta.export.format import Ours
from ftheta.lifecycle import export_model
from ftheta.lifecycle.export_model import name_of, text_bits
from ftheta.models.adapters import save_adapter
from ftheta.models.folder import load_foreign, save
from tiny import language, write_texts


def test_bits_are_those_of_the_metric():
    opened = model("llama")
    texts = ["the old sea holds a red ship. " * 9, "a", "one bird sees light near the road"]
    ids = [[*opened.processor.encode(text), opened.processor.id("eos")] for text in texts]
    expected = document_nats(opened.architecture, ids, 48, 24, 4) / np.log(2)
    np.testing.assert_allclose(text_bits(Ours(opened), opened.processor, texts, 48), expected, rtol=1e-5)


def test_a_run_is_measured_on_its_held_out_documents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ftheta.run(language(write_texts(tmp_path / "texts")), out=tmp_path / "runs" / "tiny")
    found = ftheta.export_model(tmp_path / "runs" / "tiny" / "model", "safetensors-int4")
    assert found.folder.as_posix() == "exports/tiny/safetensors-int4" and found.quality is not None and found.quality.bits is not None
    bits = found.quality.bits
    assert bits.text == "held-out documents" and bits.low <= bits.after - bits.before <= bits.high
    again = ftheta.load(found.folder)
    texts = ftheta.load(tmp_path / "runs" / "tiny" / "model")
    assert again.processor.encode("the sea") == texts.processor.encode("the sea")


def test_a_single_document_has_no_interval(tmp_path, monkeypatch):
    save(model("llama"), tmp_path / "m")
    monkeypatch.setattr(export_model, "held_out", lambda opened: ["the old sea holds a red ship."])
    found = ftheta.export_model(tmp_path / "m", "safetensors-int8", out=tmp_path / "out")
    assert found.quality is not None and found.quality.bits is not None and found.quality.bits.low is None
    assert "(no interval, 1 held-out documents)" in found.summary()
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["quality"]["bits"]["high"] is None


def test_an_adapter_is_merged(tmp_path):
    lora, adapted, plain = LoRA(rank=2), model("llama"), model("llama")
    save(plain, tmp_path / "base")
    lora.apply(adapted.architecture, 0)
    for parameter in adapted.architecture.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    save_adapter(adapted.architecture, lora, tmp_path / "adapter", str(tmp_path / "base"))
    ftheta.export_model(tmp_path / "base", "huggingface", out=tmp_path / "out", adapter=tmp_path / "adapter")
    tokens = torch.arange(4, 40)[None]
    merged, changed = load_foreign(tmp_path / "out", {}).architecture(tokens=tokens)["logits"], adapted.architecture(tokens=tokens)["logits"]
    assert (merged - changed).abs().max() <= 1e-5 * changed.abs().max() < (merged - plain.architecture(tokens=tokens)["logits"]).abs().max()


def test_names_and_formats(tmp_path):
    assert name_of("runs/tiny/model") == "tiny" and name_of("org/name@main") == "name" and name_of("models/bert") == "bert"
    with pytest.raises(UsageError, match="did you mean 'gguf'"):
        ftheta.export_model(tmp_path, "ggml")
