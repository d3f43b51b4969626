"""T5, BART and MarianMT: logits and generated tokens equal to transformers', loaded there with no convert step, and back bit-equal."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from ftheta.architectures.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from ftheta.core.errors import FolderError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.evaluation.probes.small import scatter
from ftheta.inference.beam import beam_search
from ftheta.inference.generate import Generation
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.interop import FAMILIES
from ftheta.interop.mapping import to_ours, to_theirs
from ftheta.models.folder import load, save
from ftheta.models.model import Model

transformers = pytest.importorskip("transformers")

CLASSES = {
    "t5": ("T5Config", "T5ForConditionalGeneration"), "bart": ("BartConfig", "BartForConditionalGeneration"), "marian": ("MarianConfig", "MarianMTModel"),
}
IDS = {"pad_token_id": 3, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 0}
VOCAB = 260


def bart(**fields: Any) -> dict[str, Any]:
    """Both sides at once: `encoder_` and `decoder_` before fields that stand for both."""
    both = {"layers": 2, "attention_heads": 3, "ffn_dim": 40} | {name: fields.pop(name) for name in ("layers", "attention_heads", "ffn_dim") if name in fields}
    return {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in both.items()} | {"d_model": 36, "max_position_embeddings": 24} | fields


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", {"d_model": 32, "d_kv": 6, "d_ff": 50, "num_layers": 2, "num_heads": 3}),
    "t5-deep": ("t5", {"d_model": 20, "d_kv": 9, "d_ff": 30, "num_layers": 1, "num_decoder_layers": 3, "num_heads": 5, "relative_attention_num_buckets": 8,
                       "relative_attention_max_distance": 12, "layer_norm_epsilon": 1e-5}),
    "t5-gated": ("t5", {"d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3, "feed_forward_proj": "gated-gelu"}),
    "t5-v1.1": ("t5", {"d_model": 24, "d_kv": 5, "d_ff": 40, "num_layers": 2, "num_heads": 1, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "t5-silu": ("t5", {"d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 1, "num_heads": 3, "feed_forward_proj": "gated-silu"}),
    "bart": ("bart", bart()),
    "bart-sides": ("bart", bart(encoder_layers=1, decoder_layers=3, decoder_attention_heads=4, decoder_ffn_dim=25, activation_function="relu", scale_embedding=True)),
    "marian": ("marian", bart(activation_function="swish", scale_embedding=True)),
    "marian-odd": ("marian", bart(d_model=35, attention_heads=7, layers=1, activation_function="gelu")),
}
PADDED_LEFT = ("t5", "t5-deep", "t5-gated", "t5-v1.1", "t5-silu")
"""In the others they count padding on the left as positions."""


def theirs(name: str) -> Any:
    """One of their models, random in every tensor."""
    family, fields = CASES[name]
    config, model = (getattr(transformers, cls) for cls in CLASSES[family])
    found = model(config(vocab_size=VOCAB, **fields, **IDS)).eval()
    scatter(found, 0, 0.3)
    if family != "t5":
        found.final_logits_bias.normal_(generator=torch.Generator().manual_seed(1))
    for side in (found.model.encoder, found.model.decoder) if family == "marian" else ():
        side.embed_positions.weight.data = side.embed_positions.create_weight()           # not learned
    if fields.get("tie_word_embeddings") is False:                                        # which they decide when they see two tables in a file
        found.lm_head.weight = torch.nn.Parameter(torch.randn(VOCAB, fields["d_model"], generator=torch.Generator().manual_seed(2)) * 0.3)
    return found


def facts_of(model: Any) -> dict[str, Any]:
    return {**model.config.to_dict(), "architectures": [type(model).__name__]}


def ours_of(model: Any) -> EncoderDecoder:
    """The same model here."""
    family = FAMILIES.load(model.config.model_type)()
    config = family.import_config(facts_of(model))
    assert isinstance(config, EncoderDecoderConfig)
    architecture = config.build()
    lines = family.lines(config)
    values = to_ours(lines, family.tidied(model.state_dict(), lines), architecture.theta())
    assert values.keys() == architecture.theta().keys()
    architecture.load_theta(values)
    return architecture.eval()                                                            # type: ignore[return-value]


def sentences(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """source (3, 11) and target (3, 9) and what of them is real: the first row all, the second its beginning, the third source its end."""
    draws = torch.Generator().manual_seed(seed)
    source, target = torch.randint(4, VOCAB, (3, 11), generator=draws), torch.randint(4, VOCAB, (3, 9), generator=draws)
    real, shown = torch.ones(3, 11, dtype=torch.bool), torch.ones(3, 9, dtype=torch.bool)
    real[1, 7:], real[2, :4], shown[1, 6:] = False, False, False
    return source.masked_fill(~real, 3), real, target, shown


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_logits_equal_theirs_with_padding_on_either_side_of_the_source(name: str) -> None:
    model = theirs(name)
    ours = ours_of(model)
    source, real, target, shown = sentences()
    expected = model(input_ids=source, attention_mask=real.long(), decoder_input_ids=target, decoder_attention_mask=shown.long()).logits
    if name not in PADDED_LEFT:
        expected[2:] = model(input_ids=source[2:, 4:], decoder_input_ids=target[2:]).logits
    found = ours(tokens=target, documents=shown.long() - 1, source=source, source_documents=real.long() - 1)["logits"]
    assert 0.1 < expected[shown].abs().max() < 300 and torch.isfinite(found).all()
    assert (found - expected)[shown].abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", CASES)
def test_table_is_a_bijection_and_the_config_comes_back(name: str) -> None:
    model = theirs(name)
    ours, family = ours_of(model), FAMILIES.load(CASES[name][0])()
    lines, theta = list(family.lines(ours.config)), ours.theta()
    assert sorted(line.ours[0] for line in lines) == sorted(theta) and len({line.theirs for line in lines}) == len(lines)
    there = to_theirs(lines, theta)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in there.items())
    back = to_ours(lines, there, theta)
    assert all(torch.equal(back[key], theta[key]) for key in theta)
    assert [other for other in FAMILIES.names() if FAMILIES.load(other)().export_config(ours.config) is not None] == [CASES[name][0]]
    said = family.export_config(ours.config)
    assert said is not None and family.import_config(said).replace(std=ours.config.std) == ours.config


def packaged(model: Any) -> Model:
    return Model(ours_of(model), TextProcessor(Bytes().train([])), "translation")


@pytest.mark.parametrize("name", CASES)
def test_their_tools_load_our_folder_and_we_load_theirs(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = theirs(name)
    ours = packaged(model)
    save(ours, tmp_path / "ours")
    transformers.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        again, report = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    transformers.logging.disable_propagation()
    assert not any(report.values())
    noticed = [record.message for record in caplog.records if "NOT tie" not in record.message]    # they say it of every T5 v1.1
    assert not noticed
    assert again.config.decoder_start_token_id == again.generation_config.decoder_start_token_id == 0
    source, real, target, _ = sentences()
    with torch.no_grad():
        logits = [one(input_ids=source, attention_mask=real.long(), decoder_input_ids=target).logits for one in (model, again)]
    assert torch.equal(*logits)
    again.save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back = load(tmp_path / "theirs")
    theta, other = ours.architecture.theta(), back.architecture.theta()
    assert theta.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in theta.items())
    assert back.task.name == "translation" and back.processor.id("decoder_start") == 0    # type: ignore[attr-defined]


def test_old_files_hold_copies_and_computed_positions() -> None:
    for name in ("t5", "marian"):
        model = theirs(name)
        family, values = FAMILIES.load(name)(), dict(model.state_dict())
        ours = ours_of(model)
        assert len(values) > len(family.lines(ours.config))
        lines = family.lines(ours.config)
        assert family.tidied(values, lines).keys() == {line.theirs for line in lines}
    values.pop("final_logits_bias")
    assert torch.equal(FAMILIES.load("marian")().tidied(values, lines)["final_logits_bias"], torch.zeros(1, VOCAB))


@pytest.mark.parametrize(("name", "change"), [
    ("t5", {"feed_forward_proj": "gated-mish"}), ("t5", {"architectures": ["T5EncoderModel"]}), ("bart", {"tie_word_embeddings": False}),
    ("bart", {"activation_function": "mish"}), ("bart", {"normalize_before": True}), ("marian", {"share_encoder_decoder_embeddings": False}),
    ("marian", {"architectures": ["MarianForCausalLM"]}),
])
def test_unsupported_fields_are_named(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(FolderError, match=next(iter(change))):
        FAMILIES.load(CASES[name][0])().import_config({**facts_of(theirs(name)), **change})


def test_what_they_have_no_name_for_is_not_exported() -> None:
    for name in ("t5", "bart"):
        config, family = ours_of(theirs(name)).config, FAMILIES.load(name)()
        assert family.export_config(config) is not None
        changes: list[dict[str, Any]] = [
            {"norm_place": "before" if name == "bart" else "after"}, {"tie": False}, {"softcap": 5.0}, {"embed_norm": name == "t5"}, {"head": None},
            {"positions": "rotary"}, {"cross": {"kind": "attention", "heads": 1}}, {"value_embed": True}, {"scale_embed": True} if name == "t5" else {"head": "linear"},
            {"encoder": {"mixer": {"kind": "attention", "heads": 3, "causal": False, "window": 4}}}, {"mixer": "lstm", "cross": "attention"},
        ]
        for change in changes:
            assert family.export_config(config.replace(**change)) is None, change
        assert family.export_config(config.replace(dropout=0.3, std=0.5)) is not None


def generated(model: Any, source: torch.Tensor, **how: Any) -> list[list[int]]:
    """What they write: the tokens between the one that begins an answer and the one that ends it."""
    model.generation_config.forced_eos_token_id = None
    mask = torch.ones_like(source)
    rows = model.generate(input_ids=source, attention_mask=mask, do_sample=False, use_cache=False, max_new_tokens=12, **how).tolist()
    assert all(row[0] == IDS["decoder_start_token_id"] for row in rows)
    return [row[1 : row.index(IDS["eos_token_id"], 1) if IDS["eos_token_id"] in row[1:] else None] for row in rows]


def request(source: list[int]) -> Request:
    return Request([IDS["decoder_start_token_id"]], Sampling(temperature=0), 12, source=source)


ENDS = {"longest": 24, "end": IDS["eos_token_id"]}
WRITING = [name for name in CASES if name not in ("t5-silu", "marian-odd")]


def likelier_end(model: Any) -> Any:
    """The same with an end that comes after a while in some rows."""
    if "final_logits_bias" in dict(model.named_buffers()):
        model.final_logits_bias[0, IDS["eos_token_id"]] += 2.0
    else:
        model.lm_head.weight.data[IDS["eos_token_id"]] *= 2.0
    return model


@pytest.mark.parametrize("name", WRITING)
@torch.no_grad()
def test_greedy_tokens_equal_theirs_and_unlike_sources_in_one_batch_change_nothing(name: str) -> None:
    model = likelier_end(theirs(name))
    ours, sources = ours_of(model), torch.randint(4, VOCAB, (6, 10), generator=torch.Generator().manual_seed(3)).tolist()
    sources = [row[: 10 - i] for i, row in enumerate(sources)]
    expected = [generated(model, torch.tensor([row]))[0] for row in sources]
    requests = [request(row) for row in sources]
    generation = Generation(ours, requests, **ENDS)
    while generation.step():
        pass
    assert [one.new for one in requests] == expected
    assert len({tuple(row) for row in expected}) > 1                                      # it is the source that decides


@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.0])
@pytest.mark.parametrize("name", WRITING)
@torch.no_grad()
def test_beams_equal_theirs(name: str, penalty: float) -> None:
    model = likelier_end(theirs(name))
    ours = ours_of(model)
    for row in torch.randint(4, VOCAB, (3, 7), generator=torch.Generator().manual_seed(4)).tolist():
        (expected,) = generated(model, torch.tensor([row]), num_beams=4, length_penalty=penalty)
        assert beam_search(ours, request(row), 4, penalty, **ENDS)[0].tokens == expected


@torch.no_grad()
def test_guessing_ahead_and_long_answers_change_no_token() -> None:
    ours = ours_of(theirs("t5"))
    row = list(range(10, 20))
    for longest in (40, 6):
        found = []
        for lookup in (0, 5):
            asked = Request([0], Sampling(temperature=0), 30, lookup=lookup, source=row)
            generation = Generation(ours, [asked], longest=longest, end=None)
            while generation.step():
                pass
            found.append(asked.new)
        assert found[0] == found[1] and len(found[0]) == 30
