"""BERT, RoBERTa, DistilBERT and ELECTRA, with every head: equal to transformers', loaded there with no convert step, and back bit-equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ftheta.architectures.architecture import Architecture, ArchitectureConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import FolderError
from ftheta.evaluation.probes.small import scatter
from ftheta.interop import FAMILIES
from ftheta.interop.mapping import Family, to_ours, to_theirs
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from wordpiece import VOCAB, bert_processor

transformers = pytest.importorskip("transformers")

SIZES: dict[str, list[dict[str, Any]]] = {
    "bert": [
        {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 50, "max_position_embeddings": 24},
        {"hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 5, "intermediate_size": 80, "max_position_embeddings": 20, "type_vocab_size": 3,
         "hidden_act": "relu", "layer_norm_eps": 1e-5},
    ],
    "roberta": [
        {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 50, "max_position_embeddings": 26, "type_vocab_size": 1},
        {"hidden_size": 28, "num_hidden_layers": 1, "num_attention_heads": 7, "intermediate_size": 30, "max_position_embeddings": 22, "hidden_act": "silu", "pad_token_id": 3},
    ],
    "distilbert": [
        {"dim": 36, "n_layers": 2, "n_heads": 3, "hidden_dim": 50, "max_position_embeddings": 24},
        {"dim": 20, "n_layers": 3, "n_heads": 1, "hidden_dim": 33, "max_position_embeddings": 20, "activation": "gelu_pytorch_tanh"},
    ],
    "electra": [
        {"embedding_size": 22, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 50, "max_position_embeddings": 24},
        {"embedding_size": 27, "hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 5, "intermediate_size": 80, "max_position_embeddings": 20,
         "type_vocab_size": 3, "hidden_act": "relu", "layer_norm_eps": 1e-5},
    ],
}
HEADS = ("ForMaskedLM", "Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
CLASSES = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert", "electra": "Electra"}
CASES = [pytest.param(family, size, head, id=f"{family}-{size}-{head}") for family in SIZES for size in (0, 1) for head in HEADS]
PRETRAINED = [pytest.param("bert", size, head, id=f"bert-{size}-{head}") for size in (0, 1) for head in ("ForPreTraining", "ForNextSentencePrediction")]
PRETRAINED += [pytest.param("electra", size, "ForPreTraining", id=f"electra-{size}-ForPreTraining") for size in (0, 1)]
CHOOSING = [pytest.param(family, size, "ForMultipleChoice", id=f"{family}-{size}-ForMultipleChoice") for family in SIZES for size in (0, 1)]


def theirs(family: str, size: int, head: str, labels: int = 4) -> Any:
    """One of their models, random in every tensor."""
    config = getattr(transformers, CLASSES[family] + "Config")(vocab_size=VOCAB, num_labels=2 if head == "ForQuestionAnswering" else labels, **SIZES[family][size])
    model = getattr(transformers, CLASSES[family] + head)(config).eval()
    scatter(model, 0, 0.3)                                                                # type: ignore[arg-type]
    return model


def ours_of(model: Any) -> tuple[ArchitectureConfig, Architecture]:
    """The same model here."""
    family = FAMILIES.load(model.config.model_type)()
    facts = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    config = family.import_config(facts)
    architecture = config.build()
    lines = family.lines(config)
    architecture.load_theta(to_ours(lines, family.tidied(model.state_dict(), lines), architecture.theta()))
    return config, architecture.eval()


def answers(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Their outputs by our names."""
    found = model(**batch)
    if "start_logits" in found:
        return {"span": torch.stack([found.start_logits, found.end_logits], -1)}
    if type(model).__name__.endswith("NextSentencePrediction"):
        return {"follows": found.logits}
    if type(model).__name__ == "ElectraForPreTraining":
        return {"replaced": found.logits}
    if "seq_relationship_logits" in found:
        return {"logits": found.prediction_logits, "follows": found.seq_relationship_logits}
    if "logits" in found:
        return {"value": found.logits[:, 0]} if model.config.num_labels == 1 else {"logits": found.logits}
    return {"hidden": found.last_hidden_state, **({"pooled": found.pooler_output} if "pooler_output" in found else {})}


@pytest.mark.parametrize(("family", "size", "head"), CASES + PRETRAINED)
@torch.no_grad()
def test_outputs_equal_theirs_with_segments_and_padding_on_either_side(family: str, size: int, head: str) -> None:
    model = theirs(family, size, head)
    config, ours = ours_of(model)
    draws = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, VOCAB, (3, 14), generator=draws)
    real = torch.ones(3, 14, dtype=torch.bool)
    real[1, 9:] = False
    real[2, :5] = False
    padding = model.config.pad_token_id
    tokens[~real] = padding if padding is not None else 0
    place = (real.cumsum(1) - 1).clamp(min=0)                                             # left padding moves nothing here
    batch = {"input_ids": tokens, "attention_mask": real.long()}
    mine = {"tokens": tokens, "documents": real.long() - 1}
    if family != "roberta":                                                               # which leaves out padding by itself
        batch["position_ids"] = place
    if "segments?" in config.ports().takes:
        kinds = torch.randint(config.trunk.segments if config.name == "headed" else config.segments, (3, 14), generator=draws)    # type: ignore[attr-defined]
        batch["token_type_ids"], mine["segments"] = kinds, kinds
    expected, found = answers(model, batch), ours(**mine)
    alone = answers(model, {name: value[2:, 5:] for name, value in batch.items()})        # they take padding for the first token: without it
    for name, value in expected.items():
        got = found[name]
        if value.shape[:2] == real.shape:
            value, got = value[real], got[real]
        else:
            value = torch.cat([value[:2], alone[name]])
        assert 0.01 < value.abs().max() < 300
        assert (got - value).abs().max() <= 1e-5 * max(1.0, float(value.abs().max())), name


@pytest.mark.parametrize("family", SIZES)
def test_they_have_no_name_for_plain_stacks_and_denser_heads(family: str) -> None:
    config, _ = ours_of(theirs(family, 0, "ForTokenClassification"))
    assert isinstance(config, HeadedConfig)
    other: Family = FAMILIES.load(family)()
    assert other.export_config(config) is not None
    assert other.export_config(config.replace(trunk={**config.trunk.dump(), "residual": False})) is None
    assert other.export_config(config.replace(readout={**config.readout.dump(), "hidden": 8})) is None


@pytest.mark.parametrize(("family", "size", "head"), CHOOSING)
@torch.no_grad()
def test_scores_of_choices_equal_theirs(family: str, size: int, head: str) -> None:
    model = theirs(family, size, head)
    config, ours = ours_of(model)
    draws = torch.Generator().manual_seed(1)
    tokens, real = torch.randint(4, VOCAB, (3, 4, 14), generator=draws), torch.ones(3, 4, 14, dtype=torch.bool)
    real[1, :, 9:] = False
    real[2, 1, 4:] = False
    tokens[~real] = model.config.pad_token_id or 0
    batch, mine = {"input_ids": tokens, "attention_mask": real.long()}, {"tokens": tokens, "documents": real.long() - 1}
    if "segments?" in config.ports().takes:
        kinds = torch.randint(config.trunk.segments, tokens.shape, generator=draws)      # type: ignore[attr-defined]
        batch["token_type_ids"], mine["segments"] = kinds, kinds
    expected, found = model(**batch).logits, ours(**mine)
    assert expected.shape == found["logits"].shape == (3, 4) and expected.std() > 0.01 and found["hidden"].shape[:3] == tokens.shape
    assert (found["logits"] - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    mine["documents"][0, 3] = -1                                                          # a choice that is not there
    fewer = ours(**mine)["logits"]
    assert fewer[0, 3] == -torch.inf and torch.equal(fewer[0, :3], found["logits"][0, :3])


@pytest.mark.parametrize(("family", "size", "head"), CASES + PRETRAINED + CHOOSING)
def test_table_is_a_bijection_and_the_config_comes_back(family: str, size: int, head: str) -> None:
    config, ours = ours_of(theirs(family, size, head))
    table = FAMILIES.load(family)()
    lines, theta = table.lines(config), ours.theta()
    assert sorted(line.ours[0] for line in lines) == sorted(theta) and len({line.theirs for line in lines}) == len(lines)
    back = to_ours(lines, to_theirs(lines, theta), theta)
    assert all(torch.equal(back[name], theta[name]) for name in theta)
    others = [name for name in FAMILIES.names() if FAMILIES.load(name)().export_config(config) is not None]
    assert others == [family]


TASKS = {
    "ForMaskedLM": "fill-mask", "Model": "feature-extraction", "ForSequenceClassification": "text-classification", "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering", "ForMultipleChoice": "multiple-choice",
    "ForPreTraining": "fill-mask", "ForNextSentencePrediction": "feature-extraction",
}


SAVED = CASES[: len(HEADS)] + CASES[2 * len(HEADS) : 3 * len(HEADS)] + CASES[-len(HEADS) :] + CHOOSING[::2] + PRETRAINED[:2] + PRETRAINED[-2:]


@pytest.mark.parametrize(("family", "size", "head"), SAVED)
def test_their_tools_load_our_folder_and_we_load_theirs(tmp_path: Path, family: str, size: int, head: str) -> None:
    config, ours = ours_of(theirs(family, size, head))
    task = TASKS[head] if "replaced" not in config.ports().gives else "feature-extraction"
    save(Model(ours, bert_processor(("a", "b", "c", "d")), task), tmp_path / "ours")
    model, report = getattr(transformers, CLASSES[family] + head).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    if head == "ForSequenceClassification":
        assert model.config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}
    model.save_pretrained(tmp_path / "theirs")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back = load(tmp_path / "theirs")
    theta, again = ours.theta(), back.architecture.theta()
    assert theta.keys() == again.keys() and all(torch.equal(value, again[name]) for name, value in theta.items())
    assert back.task.name == task and back.processor.label(1) == ("b" if "Classification" in head else "1")


def test_square_electra_without_parts_of_its_own_is_written_as_bert() -> None:
    sizes = {"embedding_size": 36, "hidden_size": 36, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 50, "max_position_embeddings": 24}
    for head, family in (("ForMaskedLM", "bert"), ("ForTokenClassification", "bert"), ("ForSequenceClassification", "electra"), ("ForPreTraining", "electra")):
        config, _ = ours_of(getattr(transformers, f"Electra{head}")(transformers.ElectraConfig(vocab_size=VOCAB, **sizes)))
        assert [name for name in FAMILIES.names() if FAMILIES.load(name)().export_config(config) is not None] == [family]


def test_one_label_is_a_number() -> None:
    config, ours = ours_of(theirs("bert", 0, "ForSequenceClassification", labels=1))
    assert config.ports().gives["value"] == "real B" and ours.get_parameter("readout.output.weight").shape == (1, 36)
    fields = FAMILIES.load("bert")().export_config(config)
    assert fields is not None and len(fields["id2label"]) == 1


def test_old_names_and_tensors_that_say_nothing_new(tmp_path: Path) -> None:
    family, model = FAMILIES.load("bert")(), theirs("bert", 0, "ForMaskedLM")
    values = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in model.state_dict().items()}
    values |= {"bert.embeddings.position_ids": torch.arange(24)[None], "cls.seq_relationship.weight": torch.zeros(2, 36)}
    config, ours = ours_of(model)
    lines = family.lines(config)
    assert {line.theirs for line in lines} == family.tidied(values, lines).keys()
    assert torch.equal(ours.get_parameter("embed_norm.weight"), family.tidied(values, lines)["bert.embeddings.LayerNorm.weight"])


def test_what_they_have_no_name_for_is_not_exported() -> None:
    config, _ = ours_of(theirs("bert", 0, "ForMaskedLM"))
    assert isinstance(config, EncoderConfig)
    family = FAMILIES.load("bert")()
    assert family.export_config(config) is not None
    changes: list[dict[str, Any]] = [
        {"norm_place": "before"}, {"tie": False}, {"softcap": 5.0}, {"embed_norm": False}, {"head": "linear"}, {"head": None}, {"segments": 0},
        {"positions": "rotary"}, {"norm": "rmsnorm"}, {"mixer": {"kind": "attention", "heads": 3, "causal": False}}, {"value_embed": True},
        {"feedforward": {"kind": "gated", "bias": True}}, {"embed_dim": 20},
    ]
    for change in changes:
        assert family.export_config(config.replace(**change)) is None, change
    assert family.export_config(config.replace(dropout=0.3, std=0.5)) is not None


def test_unsupported_fields_are_named() -> None:
    family, facts = FAMILIES.load("bert")(), {**theirs("bert", 0, "ForMaskedLM").config.to_dict(), "architectures": ["BertForMaskedLM"]}
    for change, field in (({"is_decoder": True}, "is_decoder"), ({"architectures": ["BertLMHeadModel"]}, "architectures"), ({"hidden_act": "mish"}, "mish")):
        with pytest.raises(FolderError, match=field):
            family.import_config({**facts, **change})


def test_fill_mask_equals_theirs(tmp_path: Path) -> None:
    _, ours = ours_of(theirs("bert", 0, "ForMaskedLM"))
    save(Model(ours, bert_processor(), "fill-mask"), tmp_path / "m")
    answer = load(tmp_path / "m").predict({"text": "the <mask> sat.", "choices": 3}).fillings[0]
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(tmp_path / "m"), transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "m")
    found = transformers.FillMaskPipeline(model=model, tokenizer=tokenizer)("the [MASK] sat.", top_k=3)
    assert [text for text, _ in answer] == [row["token_str"].removeprefix("##").replace("[UNK]", "") for row in found]
    assert [p for _, p in answer] == pytest.approx([row["score"] for row in found], abs=1e-5)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
