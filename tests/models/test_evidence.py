"""What an answer rests on: attention as transformers gives it, gradient × input as a few lines of autograd give it, and what cannot be asked."""

import pytest
import torch
from tests.evaluation.metrics.test_picture_metrics import VIT

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.architectures.vit import ViTConfig
from ftheta.blocks.virtual import Prefix
from ftheta.core.errors import UsageError
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.inference.evidence import grad_cam, rollout
from ftheta.models.evidence import LONGEST, Pointed, evidence, methods
from ftheta.models.folder import save
from ftheta.models.model import Model
from tiny import GPT2, LLAMA
from wordpiece import VOCAB, bert_processor

transformers = pytest.importorskip("transformers")

TEXT = "hello there, 中文"
WINDOW = {**LLAMA, "mixer": {"kind": "attention", "heads": 4, "kv_heads": 2, "window": 5}}
NORMED = {**LLAMA, "mixer": {"kind": "attention", "heads": 4, "kv_heads": 2, "head_dim": 8, "qk_norm": {"kind": "rmsnorm", "eps": 1e-5}}}
GRU = {**GPT2, "mixer": {"kind": "gru"}, "positions": "none"}
TRUNK = {"kind": "encoder", "vocab": VOCAB, "dim": 24, "depth": 2, "context": 32, "segments": 2, "mixer": {"kind": "attention", "heads": 3, "causal": False}}


def scattered(architecture):
    torch.manual_seed(0)
    for parameter in architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return architecture.eval()


def writer(fields) -> Model:
    return Model(scattered(DecoderConfig.parse(fields).build()), TextProcessor(Bytes().train([])), "text-generation")


def classifier() -> Model:
    config = HeadedConfig.parse({"kind": "headed", "trunk": TRUNK, "readout": "classify", "classes": 3})
    return Model(scattered(config.build()), bert_processor(["sad", "glad", "neither"]), "text-classification")


@pytest.mark.parametrize("fields", [GPT2, LLAMA, WINDOW, NORMED], ids=["gpt2", "llama", "window", "normed"])
def test_attention_is_that_of_transformers(fields, tmp_path):
    model = writer(fields)
    save(model, tmp_path / "m")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", attn_implementation="eager").eval()
    tokens = torch.tensor([model.processor.encode(TEXT)])
    with torch.no_grad():
        expected = theirs(tokens, output_attentions=True).attentions
    for at in (0, 7, tokens.shape[1] - 1):
        found = evidence(model, Pointed(text=TEXT, at=at))
        assert found.method == "attention" and found.at == at and found.layers == [0, 1]
        torch.testing.assert_close(torch.tensor(found.weights), torch.stack([layer[0, :, at] for layer in expected]), rtol=0, atol=1e-5)
    assert evidence(model, Pointed(text=TEXT)).at == tokens.shape[1] - 1


def naive(theirs, tokens, number):
    """What enters transformers' first layer · slope of a number."""
    entered = []

    def free(layer, given):
        entered.append(given[0].detach().requires_grad_())
        return entered[0], *given[1:]

    layers = theirs.transformer.h if hasattr(theirs, "transformer") else theirs.model.layers
    layers[0].register_forward_pre_hook(free)
    (slope,) = torch.autograd.grad(number(theirs(tokens)), entered)
    return (slope * entered[0])[0].sum(-1).tolist()


@pytest.mark.parametrize("fields", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_gradient_is_that_of_what_was_said(fields, tmp_path):
    model = writer(fields)
    save(model, tmp_path / "m")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    tokens = torch.tensor([model.processor.encode(TEXT)])
    found = evidence(model, Pointed(text=TEXT, at=9, method="gradient"))
    expected = naive(theirs, tokens, lambda out: out.logits[0, 8].log_softmax(-1)[tokens[0, 9]])
    assert found.parts == pytest.approx(expected, rel=1e-3, abs=1e-5) and found.says == found.tokens[9]
    assert not any(found.parts[9:]) and any(found.parts[:9])
    assert all(parameter.grad is None for parameter in model.architecture.parameters())


def test_recurrent_layers_have_their_gradient_only():
    model = writer(GRU)
    assert methods(model) == ["gradient"]
    found = evidence(model, Pointed(text="abcdef", at=4))
    tokens = torch.tensor([model.processor.encode("abcdef")])
    step = 1e-2                                                                            # a slope by differences: make what enters longer

    def score(factor):
        def longer(layer, given):
            given[0][0, 2] *= factor

        hook = model.architecture.layers[0].register_forward_pre_hook(longer)
        with torch.no_grad():
            found = model.architecture(tokens=tokens)["logits"][0, 3].log_softmax(-1)[tokens[0, 4]]
        hook.remove()
        return float(found)

    assert found.method == "gradient" and found.parts[2] == pytest.approx((score(1 + step) - score(1 - step)) / (2 * step), rel=0.02, abs=1e-4) and abs(found.parts[2]) > 1e-3
    with pytest.raises(UsageError, match="method: this model has only gradient"):
        evidence(model, Pointed(text="abc", method="attention"))


def test_the_length_of_embedded_tokens_that_are_normalised_is_of_no_consequence():
    found = evidence(writer({**LLAMA, "embed_norm": True}), Pointed(text=TEXT, method="gradient"))
    assert max(map(abs, found.parts)) > 1e-3


def test_what_a_masked_token_rests_on(tmp_path):
    model = Model(scattered(EncoderConfig.parse(TRUNK).build()), bert_processor([]), "fill-mask")
    text = "the cat <mask> ."
    tokens = torch.tensor([model.processor.blanks(text)])
    at = tokens[0].tolist().index(model.processor.id("mask"))
    found = evidence(model, Pointed(text=text, at=at, method="gradient"))
    assert found.says == model.predict({"text": text, "choices": 1}).fillings[0][0][0] and len(found.parts) == tokens.shape[1]
    seen = evidence(model, Pointed(text=text, at=at))
    sums = [sum(head) for layer in seen.weights for head in layer]
    assert sums == pytest.approx([1.0] * 6, abs=1e-5) and all(weight > 0 for weight in seen.weights[0][0][at + 1 :])       # it looks both ways
    assert seen.tokens[at] == "[MASK]"


def test_what_a_class_rests_on(tmp_path):
    model = classifier()
    save(model, tmp_path / "m")
    text = "the cat sat."
    given = model.processor.batch(model.task.frame([(text, None)]))
    found = evidence(model, Pointed(text=text, method="gradient"))
    assert found.says == model.predict({"text": text}).label and len(found.tokens) == given["tokens"].shape[1]
    entered = []
    hook = model.architecture.trunk.layers[0].register_forward_pre_hook(lambda layer, given: (given[0].retain_grad(), entered.append(given[0]))[0])
    model.architecture.requires_grad_()
    model.architecture(**given)["logits"].max().backward()
    hook.remove()
    assert found.parts == pytest.approx((entered[0].grad * entered[0])[0].sum(-1).tolist(), rel=1e-4, abs=1e-5)


def test_conversations_are_read_as_the_template_writes_them():
    model = writer(GPT2)
    model.processor.chat_template = "{% for message in messages %}<{{ message.role[0] }}>{{ message.content }}{% endfor %}"
    found = evidence(model, Pointed.parse({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}))
    assert "".join(found.tokens) == "<u>hi<a>yo"
    model.processor.chat_template = None
    with pytest.raises(UsageError, match="no chat template"):
        evidence(model, Pointed.parse({"messages": [{"role": "user", "content": "hi"}]}))


@pytest.mark.parametrize(("config", "method", "look"), [
    (ResNetConfig(channels=1, classes=3, depths=(1,), widths=(8,), stem="small", stem_width=8), "grad_cam", grad_cam), (ViTConfig.parse(VIT), "rollout", rollout),
])
def test_pictures(config, method, look):
    model = Model(scattered(config.build()), ImageProcessor((8, 8), 1, labels=["a", "b", "c"]), "image-classification")
    pixels = torch.rand(8, 8, generator=torch.Generator().manual_seed(1)).tolist()
    found = evidence(model, Pointed(pixels=pixels))
    expected, answers = look(model.architecture, model.processor.encode([pixels])["image"])
    assert found.method == method and found.says == "abc"[int(answers[0])] == model.predict({"pixels": pixels}).label
    torch.testing.assert_close(torch.tensor(found.heat), expected[0], rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="pixels: this model reads pictures"):
        evidence(model, Pointed(text="a"))


@pytest.mark.parametrize(("fields", "message"), [
    ({"text": "a" * 60}, "text: it has 61 tokens; 1 to 48"), ({"text": "abc", "at": 4}, "at: the text has only 4"),
    ({"text": "abc", "at": 0, "method": "gradient"}, "at: nothing comes before"), ({}, "text: give one of text"),
    ({"text": "abc", "method": "rollout"}, "method: this model has only attention, gradient"), ({"pixels": [[1]]}, "pixels: this model reads texts"),
])
def test_what_cannot_be_asked(fields, message):
    model = writer(GPT2)
    with pytest.raises(UsageError, match=message):
        evidence(model, Pointed.parse(fields))


def test_long_texts_and_learned_tokens_are_not_looked_into():
    with pytest.raises(UsageError, match=f"text: it has 601 tokens; 1 to {LONGEST}"):
        evidence(writer({**LLAMA, "context": 1000}), Pointed(text="a" * 600))
    model = writer(LLAMA)
    model.architecture.virtual = Prefix(3, 2, 2, 8)
    assert methods(model) == []
