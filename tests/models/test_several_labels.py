"""Models that name several classes say so in their folder as the ecosystem does, and are read so; transformers' own pipeline then gives what is given here."""

import json
from pathlib import Path

import pytest

from ftheta.evaluation.probes.small import scatter
from ftheta.models.folder import load, save
from wordpiece import VOCAB, bert_processor

transformers = pytest.importorskip("transformers")
SIZES = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 50, "max_position_embeddings": 24}
TEXT = "the cat sat."


@pytest.mark.parametrize(("problem", "task"), [("multi_label_classification", "multi-label-text-classification"), (None, "text-classification")])
def test_there_and_back_the_probabilities_are_the_same(problem: str | None, task: str, tmp_path: Path) -> None:
    names = {0: "sad", 1: "glad", 2: "odd"}
    config = transformers.BertConfig(vocab_size=VOCAB, id2label=names, label2id={name: i for i, name in names.items()}, problem_type=problem, **SIZES)
    theirs = transformers.BertForSequenceClassification(config).eval()
    scatter(theirs, 0, 0.3)                                                               # type: ignore[arg-type]
    theirs.save_pretrained(tmp_path / "theirs")
    for name, data in bert_processor().files().items():
        (tmp_path / "theirs" / name).write_bytes(data)
    model = load(tmp_path / "theirs")
    assert model.task.name == task
    found = model.predict({"text": TEXT}).probabilities
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-5) or problem is not None
    save(model, tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text()).get("problem_type") == problem
    assert load(tmp_path / "ours").predict({"text": TEXT}).probabilities == found
    answered = transformers.pipeline("text-classification", model=str(tmp_path / "ours"), top_k=None, device="cpu")([TEXT])
    assert {each["label"]: each["score"] for each in answered[0]} == pytest.approx(found, abs=1e-5)
