"""Our models under lm-evaluation-harness: its own Hugging Face adapter, on the same folder, finds the same likelihoods, texts and scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tokenizers import processors

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import ConfigError, UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.evaluation.harness import Harness, adapter, measure_harness
from ftheta.evaluation.metrics.metric import Measurement
from ftheta.evaluation.probes.small import scatter
from ftheta.models.folder import save
from ftheta.models.model import Model

lm_eval = pytest.importorskip("lm_eval")
CONFIG = {
    "kind": "decoder", "vocab": 260, "dim": 24, "depth": 2, "context": 48, "positions": "rotary", "norm": {"kind": "rmsnorm", "eps": 1e-5},
    "mixer": {"kind": "attention", "heads": 3}, "feedforward": {"kind": "gated", "hidden": 40},
}
QUESTIONS = [{"q": f"what is {i}", "good": f"it is {i}", "bad": "nothing of all this", "right": i % 2} for i in range(6)]
PAIRS = [("what is this", " it is a cat"), ("a", "b"), ("", "the whole text"), ("one two ", "three"), ("x" * 60, " and the end of it")]
TEXTS = ["short", "a text that is longer than the model can look at, so that it is read in windows", "é字"]


@pytest.fixture(scope="module")
def model() -> Model:
    architecture = DecoderConfig.parse(CONFIG).build()
    architecture.initialise(0)
    return Model(scatter(architecture, 0, 0.3), TextProcessor(Bytes().train([])), "text-generation")


@pytest.fixture(scope="module")
def theirs(model, tmp_path_factory):
    """The harness's own adapter on our folder."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    transformers = pytest.importorskip("transformers")
    folder = save(model, tmp_path_factory.mktemp("model") / "model")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", model.processor.id("bos"))])      # as we begin a text
    return huggingface.HFLM(pretrained=loaded, tokenizer=tokenizer, batch_size=2, max_length=48, add_bos_token=True, device="cpu")


def requests(sort: str, arguments: list) -> list:
    from lm_eval.api.instance import Instance

    return [Instance(request_type=sort, doc={}, arguments=one, idx=i, metadata=("test", i, 1)) for i, one in enumerate(arguments)]


def test_likelihoods_are_those_of_its_own_adapter(model, theirs):
    ours = adapter(model).loglikelihood(requests("loglikelihood", PAIRS))
    for (a, greedy), (b, other) in zip(ours, theirs.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True), strict=True):
        assert a == pytest.approx(b, abs=1e-3) and greedy == other


def test_whole_texts_are_those_of_its_own_adapter(model, theirs, monkeypatch):
    monkeypatch.setattr(theirs.tokenizer.backend_tokenizer, "post_processor", None)           # it puts the first token there itself
    arguments = [(text,) for text in TEXTS]
    ours = adapter(model).loglikelihood_rolling(requests("loglikelihood_rolling", arguments))
    assert ours == pytest.approx(theirs.loglikelihood_rolling(requests("loglikelihood_rolling", arguments), disable_tqdm=True), abs=1e-3)


def test_texts_are_those_of_its_own_adapter(model, theirs):
    arguments = [("what is", {"until": ["zz"], "max_gen_toks": 12}), ("a", {"until": [], "max_gen_toks": 5, "do_sample": False})]
    ours = adapter(model).generate_until(requests("generate_until", arguments))
    assert ours == theirs.generate_until(requests("generate_until", arguments), disable_tqdm=True)
    cut = ours[0][4:6]
    (short,) = adapter(model).generate_until(requests("generate_until", [("what is", {"until": [cut], "max_gen_toks": 12})]))
    assert short == ours[0][: ours[0].index(cut)]


@pytest.fixture
def tasks(tmp_path, monkeypatch) -> Path:
    """Tasks on files of our own."""
    for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    where = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\ntest_split: test\n"
    (tmp_path / "choose.yaml").write_text(
        f"task: our_choice\n{where}output_type: multiple_choice\ndoc_to_text: '{{{{q}}}}?'\ndoc_to_choice: '{{{{[good, bad]}}}}'\ndoc_to_target: right\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    (tmp_path / "read.yaml").write_text(
        f"task: our_reading\n{where}output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{{{q}}}}'\n"
        "metric_list: [{metric: byte_perplexity}, {metric: bits_per_byte}]\n"
    )
    return tmp_path


def test_a_task_of_our_own_gives_what_our_likelihoods_say(model, tasks):
    found = {m.name: m for m in measure_harness(model, Harness(tasks=("our_choice", "our_reading"), include=str(tasks)), 0).measurements}
    lm = adapter(model)
    scores = lm.loglikelihood(requests("loglikelihood", [(f"{row['q']}?", f" {row[side]}") for row in QUESTIONS for side in ("good", "bad")]))
    hits = [float((scores[2 * i][0] < scores[2 * i + 1][0]) == row["right"]) for i, row in enumerate(QUESTIONS)]
    accuracy = found["our_choice acc"]
    assert list(accuracy.per_unit["value"]) == hits and accuracy.value == sum(hits) / 6 and accuracy.low < accuracy.value < accuracy.high
    total = -sum(lm.loglikelihood_rolling(requests("loglikelihood_rolling", [(row["q"],) for row in QUESTIONS])))
    size = sum(len(row["q"].encode()) for row in QUESTIONS)
    assert found["our_reading byte_perplexity"].value == pytest.approx(math.exp(total / size), rel=1e-6)
    bits: Measurement = found["our_reading bits_per_byte"]
    assert bits.value == pytest.approx(total / size / math.log(2), rel=1e-6) and bits.better == "lower" and bits.low < bits.value < bits.high
    few = measure_harness(model, Harness(tasks=("our_choice",), include=str(tasks), limit=2, shots=0), 0).measurements
    assert few[0].n == 2


@pytest.mark.slow
def test_unknown_tasks_are_told(model, tasks):
    with pytest.raises(UsageError, match="no such task"):
        measure_harness(model, Harness(tasks=("our_choise",), include=str(tasks)), 0)
    with pytest.raises(ConfigError):
        Harness.parse({"tasks": []})
