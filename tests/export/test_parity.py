"""The gate: what goes wrong in exports is caught and leaves nothing behind; what is right raises no alarm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from exporting import DECODERS, OTHERS, changed, model
from ftheta.adaptation.lora import LoRA
from ftheta.blocks.linear import Linear
from ftheta.blocks.quantised import Quantisation, QuantisedLinear
from ftheta.core.errors import UsageError
from ftheta.export import FORMATS, gguf_file, gguf_layout, huggingface
from ftheta.export.exporting import export_to
from ftheta.export.few_bits import Int8
from ftheta.export.huggingface import HuggingFace
from ftheta.export.onnx_file import FILE, ONNX
from ftheta.export.parity import ParityError, same_tokens
from ftheta.export.probes import Text
from ftheta.models.adapters import save_adapter
from ftheta.models.folder import save


def refused(opened, form, place: Path, match: str) -> None:
    with pytest.raises(ParityError, match=match):
        export_to(opened, form, "somewhere", place / "out")
    assert not list(place.iterdir())                                                      # neither the folder nor what was written of it


def files_changed(change):
    """A plain folder whose files are changed while they are written: name, bytes → bytes, or None to leave it out."""

    class Changed(HuggingFace):
        def write(self, opened, attempt):
            plain = attempt.write

            def write(name, *pieces):
                data = change(name, b"".join(bytes(piece) for piece in pieces))
                if data is not None:
                    plain(name, data)

            attempt.write = write
            super().write(opened, attempt)
            attempt.write = plain

    return Changed()


def test_a_beginning_put_twice_is_caught(tmp_path):
    def twice(name, data):
        if name != "tokenizer.json":
            return data
        post = json.loads(data)["post_processor"]
        return changed(data, post_processor={**post, "single": [post["single"][0], *post["single"]]})

    refused(model("llama"), files_changed(twice), tmp_path, r"text 0 .*tokens is read .* by the export.*it begins \[0, 0, .* not \[0, ")


def test_a_beginning_left_out_is_caught(tmp_path):
    bare = files_changed(lambda name, data: changed(data, post_processor=None) if name == "tokenizer.json" else data)
    refused(model("llama"), bare, tmp_path, "tokens is read ")


def test_a_template_left_out_is_caught(tmp_path):
    refused(model("gpt2"), files_changed(lambda name, data: None if name == "chat_template.jinja" else data), tmp_path, "chat template: the export has none")


def test_another_template_is_caught(tmp_path):
    refused(model("gpt2"), files_changed(lambda name, data: data + b"\n" if name == "chat_template.jinja" else data), tmp_path, "another one than the model")


@pytest.mark.parametrize(("fields", "match"), [
    ({"size": {"height": 12, "width": 14}}, r"picture 0 .*image is read as \(1, 3, 12, 14\)|expected"), ({"image_mean": [0.0, 0.0, 0.0]}, "read otherwise"),
    ({"image_std": [1.0, 1.0, 1.0]}, "read otherwise"),
])
def test_pictures_prepared_otherwise_are_caught(tmp_path, fields, match):
    refused(model("resnet"), files_changed(lambda name, data: changed(data, **fields) if name == "preprocessor_config.json" else data), tmp_path, match)


def test_pictures_resized_by_another_filter_are_caught(tmp_path):
    pil = pytest.importorskip("PIL.Image")

    class Nearest(HuggingFace):
        def open(self, folder):
            found = super().open(folder)
            plain = found.processor.decode_file

            def decode(file):
                resize = pil.Image.resize
                pil.Image.resize = lambda picture, size, how: resize(picture, size, pil.Resampling.NEAREST)
                try:
                    return plain(file)
                finally:
                    pil.Image.resize = resize

            found.processor.decode_file = decode
            return found

    refused(model("resnet"), Nearest(), tmp_path, r"picture 1 \(\d+×\d+\): image is read otherwise")


def test_padding_with_the_end_is_caught(tmp_path):
    same = files_changed(lambda name, data: changed(data, pad_token="<eos>") if name == "tokenizer_config.json" else data)
    refused(model("llama"), same, tmp_path, "special tokens: pad is token 2")


def test_other_defaults_are_caught(tmp_path):
    hot = files_changed(lambda name, data: changed(data, temperature=2.0) if name == "generation_config.json" else data)
    refused(model("llama"), hot, tmp_path, "temperature is 2.0")


def test_a_merge_into_four_bits_is_caught(tmp_path):
    """The change is added to a base of 4 bits, as trained beside, instead of the base as it is."""
    base = model("llama")
    save(base, tmp_path / "base")
    lora, adapted = LoRA(rank=2), model("llama")
    lora.apply(adapted.architecture, 0)
    for parameter in adapted.architecture.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    save_adapter(adapted.architecture, lora, tmp_path / "adapter", str(tmp_path / "base"))
    base.attach(tmp_path / "adapter", "lora").use("lora")

    class FourBits(HuggingFace):
        def write(self, opened, attempt):
            opened.use({})
            before = {name: value.clone() for name, value in opened.architecture.theta().items()}
            for part in opened.architecture.modules():
                if type(part) is Linear:
                    part.weight.data.copy_(QuantisedLinear(part, Quantisation(bits=4)).weight)
            opened.use("lora")
            super().write(opened, attempt)
            opened.use({})
            opened.architecture.load_theta(before)
            opened.use("lora")

    (tmp_path / "exports").mkdir()
    refused(base, FourBits(), tmp_path / "exports", "of its size away from the model's")
    assert export_to(base, HuggingFace(), "huggingface", tmp_path / "exports" / "out").parity.largest <= 1e-6      # and the right merge is not


@pytest.mark.parametrize("name", ["q_proj", "gate_proj", "embed_tokens"])
def test_a_transposed_weight_is_caught(tmp_path, monkeypatch, name):
    plain = huggingface.to_theirs

    def transposed(lines, theta):
        found = plain(lines, theta)
        key = next(key for key in found if name in key)
        return {**found, key: found[key].t().reshape(found[key].shape)}

    monkeypatch.setattr(huggingface, "to_theirs", transposed)
    refused(model("llama"), HuggingFace(), tmp_path, "of its size away from the model's")


def test_queries_in_the_other_order_are_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_layout, "stored", lambda architecture, name, value, theirs: value)
    refused(model("llama"), gguf_file.GGUF(), tmp_path, "of its size away from the model's")
    refused(model("llama"), gguf_file.GGUF("f16"), tmp_path, "of its size away from the model's")


def test_wrong_scales_are_caught_though_the_cost_is_allowed(tmp_path):
    """Held to what 8 bits must give, not only to how far they may be from the model."""

    class Coarse(Int8):
        def quantised(self, opened):
            made = super().quantised(opened)
            for part in made.architecture.modules():
                if isinstance(part, QuantisedLinear):
                    part.get_buffer("codes").bitwise_and_(-2)
            return made

    refused(model("llama"), Coarse(), tmp_path, "of its size away from the model's")


def test_a_changed_number_in_a_graph_is_caught(tmp_path):
    onnx = pytest.importorskip("onnx")

    class Changed(ONNX):
        def write(self, opened, attempt):
            super().write(opened, attempt)
            graph = onnx.load(attempt.path / FILE)
            weight = next(part for part in graph.graph.initializer if list(part.dims) == [64, 64])
            value = onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(value.T.copy(), weight.name))
            onnx.save(graph, attempt.path / FILE)

    refused(model("gpt2"), Changed(), tmp_path, "of its size away from the model's")


def test_a_precision_that_costs_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Int8, "bounds", {"int8": 1e-6})
    refused(model("llama"), Int8(), tmp_path, "away from the model's; 0% is what int8 may cost")


def test_tokens_differ_only_where_both_are_as_likely():
    probe = Text("text 0", "a")
    ours, theirs = torch.tensor([[0.0, 5.0, 5.0 - 1e-5]]), torch.tensor([[0.0, 5.0, 5.0 + 1e-5]])
    assert same_tokens(ours, theirs, [1], probe) == (1, 1)
    with pytest.raises(ParityError, match=r"text 0: new token 0 is 2 by the export and 1 by the model"):
        same_tokens(torch.tensor([[0.0, 5.0, 4.9]]), theirs, [1], probe)


def test_learned_tokens_and_places_that_are_taken_are_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        export_to(model("gpt2"), HuggingFace(), "huggingface", tmp_path / "out")
    with pytest.raises(UsageError, match="this format has no 'q4'"):
        gguf_file.GGUF("q4")


CLEAN = [
    *((name, form, precision) for name in DECODERS for form, precision in (("huggingface", None), ("gguf", "f32"), ("gguf", "f16"), ("gguf", "q8_0"))),
    *((name, form, None) for name in (*DECODERS, *OTHERS) for form in ("safetensors-int8", "safetensors-int4") if name != "resnet"),
    ("resnet", "huggingface", None),
]


def clean(number: int, place: Path) -> None:
    """The run of this number: neighbours are of other families and formats."""
    name, form, precision = CLEAN[number * 17 % len(CLEAN)]
    found = export_to(model(name, seed=number), FORMATS.load(form)(precision), form, place / str(number))
    assert found.parity.probes == 64


@pytest.mark.parametrize("number", range(20))
def test_a_right_export_raises_no_alarm(number, tmp_path):
    clean(number, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(20, 200, 20))
def test_two_hundred_right_exports_raise_no_alarm(first, tmp_path):
    for number in range(first, first + 20):
        clean(number, tmp_path)
