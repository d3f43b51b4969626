"""Every equivalence holds for recipes of unlike families, and every check fails when the bug it is there for is put into the real code."""

import copy
import json

import pytest
import torch
from torch import nn

import tiny
from ftheta.blocks import recurrent
from ftheta.blocks.context import Context
from ftheta.core import tensors
from ftheta.core.contract import Loss
from ftheta.data.source import Shuffled
from ftheta.data.stream import Stream
from ftheta.evaluation.metrics import language as language_metrics
from ftheta.evaluation.metrics.labels import Accuracy
from ftheta.experience.rollouts import Rollouts
from ftheta.lifecycle import certify as certifying
from ftheta.lifecycle import equivalences
from ftheta.lifecycle.bench import Bench
from ftheta.lifecycle.certify import Certificate, certify, examine, show
from ftheta.lifecycle.recipe import load
from ftheta.models.folder import save
from ftheta.training import trainer as training
from ftheta.training.averaging import MovingAverage
from ftheta.training.trainer import Trainer


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """Tiny recipes by name, fresh copies."""
    language = tiny.language(tiny.write_texts(tmp_path_factory.mktemp("texts")))
    language["data"]["pack"] = {"length": 24}
    language["evaluate"] = [{"kind": "bits_per_byte"}]
    images = {**tiny.images(), "evaluate": ["accuracy"]}
    graph = {
        "format": 1, "name": "tiny-graph", "data": {"source": {"kind": "communities", "nodes": 60, "features": 6}}, "model": {"kind": "graph", "hidden": 8},
        "objective": "classification", "train": {"steps": 5, "batch": 1}, "evaluate": ["accuracy"],
    }
    clusters = {
        "format": 1, "name": "tiny-clusters", "data": {"source": {"kind": "sklearn_table", "name": "digits", "test": 0.2}},
        "model": {"kind": "kmeans", "clusters": 4, "restarts": 1}, "objective": "fit", "evaluate": ["clusters"],
    }
    lstm = {**language, "model": {"kind": "decoder", "dim": 8, "depth": 1, "positions": "none", "mixer": "lstm"}}
    encoder = {
        **language, "model": {"kind": "encoder", "dim": 8, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}, "objective": "masked", "evaluate": [],
    }
    rows = [{"text": "word " * (i % 7 + 1) + str(i), "label": "odd" if i % 2 else "even"} for i in range(60)]
    table = tmp_path_factory.mktemp("table") / "rows.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    reading = {
        "format": 1, "name": "tiny-reading", "data": {"source": {"kind": "text_table", "path": str(table), "longest": 24}, "tokenizer": "bytes"},
        "model": {"kind": "headed", "trunk": {"kind": "encoder", "dim": 8, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}},
        "objective": "classification", "train": {"steps": 5, "batch": 8}, "evaluate": ["accuracy"],
    }
    made = {
        "language": language, "lstm": lstm, "encoder": encoder, "reading": reading,
        "gan": tiny.gan(), "policy": tiny.policy(), "images": images, "graph": graph, "clusters": clusters,
    }
    return lambda name: copy.deepcopy(made[name])


@pytest.fixture
def bench(recipes):
    return lambda name: Bench.of(load(recipes(name)))


NAMES = ("language", "lstm", "encoder", "reading", "gan", "policy", "images", "graph", "clusters")
QUICK = [name for name in equivalences.CHECKS if name not in ("two processes = one", "compiled = eager")]
APPLIES = {
    "accumulation = big batch": {"language", "lstm", "encoder", "reading", "gan", "policy"}, "packed = unpacked": {"language", "lstm", "encoder"},
    "resumed = uninterrupted": set(NAMES) - {"clusters"}, "two processes = one": set(NAMES) - {"clusters"},
    "compiled = eager": {"language", "lstm", "encoder", "reading", "images"}, "saved = loaded": set(NAMES),
    "batch size changes no score": {"language", "lstm", "reading", "images", "graph"}, "padding changes nothing": {"language", "lstm", "encoder", "reading"},
    "fitted again = the same": {"clusters"},
}


def outcome(check, bench) -> list[Certificate]:
    return examine(check, equivalences.CHECKS[check], bench)


def judge(check, name, certificates):
    for certificate in certificates:
        assert not certificate.failed, str(certificate)
        assert (certificate.verdict == "passed") == (name in APPLIES[check]), str(certificate)
        if certificate.verdict == "passed":
            assert certificate.difference is not None and certificate.difference <= certificate.tolerance <= 1e-5
        else:
            assert certificate.reason
    assert certificates


@pytest.mark.parametrize("check", QUICK)
@pytest.mark.parametrize("name", NAMES)
def test_what_should_make_no_difference_makes_none(check, name, bench):
    judge(check, name, outcome(check, bench(name)))


@pytest.mark.parametrize("name", ["language", "images"])
def test_two_processes_are_one(name, bench):
    judge("two processes = one", name, outcome("two processes = one", bench(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("language", "images")])
def test_two_processes_are_one_for_every_family(name, bench):
    judge("two processes = one", name, outcome("two processes = one", bench(name)))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_compiled_layers_are_the_same_layers(name, bench):
    judge("compiled = eager", name, outcome("compiled = eager", bench(name)))


def fails(check, bench, at_least=0.0):
    """Some certificate of this check has failed, by a difference and not by breaking."""
    found = [certificate for certificate in outcome(check, bench) if certificate.failed]
    assert found and all(certificate.difference is not None and not certificate.difference <= at_least for certificate in found), show(outcome(check, bench))


# accumulation


def mean_of_means(self, batch, phase, step):
    """Every micro-batch weighs the same, however much it counts."""
    parts = list(self.micro_batches(batch))
    for _, part in parts:
        loss = self.objective.loss(self.model, self.run, part, phase)
        (loss.total / loss.count / len(parts)).backward()
    return 1.0, 1.0, {}


def last_part_dropped(self, batch):
    rows = len(self.slots)
    for start in range(0, rows - rows % self.micro, self.micro):
        yield start, {name: value[start : start + self.micro] for name, value in batch.items()}


def cleared_between(self, batch, phase, step):
    """Gradients are cleared before every micro-batch instead of before every step."""
    total, count = 0.0, 0.0
    for _, part in self.micro_batches(batch):
        self.model.zero_grad()
        loss = self.objective.loss(self.model, self.run, part, phase)
        loss.total.backward()
        total, count = total + float(loss.total.detach()), count + float(loss.count)
    return total, count, {}


@pytest.mark.parametrize("name", ["language", "gan", "policy", "encoder"])
@pytest.mark.parametrize("bug", [mean_of_means, last_part_dropped, cleared_between])
def test_wrong_accumulation_is_caught(name, bug, bench, monkeypatch):
    monkeypatch.setattr(Trainer, "micro_batches" if bug is last_part_dropped else "backward", bug)
    fails("accumulation = big batch", bench(name), 1e-4)


def test_draws_that_depend_on_the_micro_batch_are_caught(bench, monkeypatch):
    real = Trainer.run

    def noisy(self, batch, **more):
        outputs = real(self, batch, **more)
        outputs["hidden"] = outputs["hidden"] * (1 + 1e-9 * torch.rand_like(outputs["hidden"]))
        return outputs

    monkeypatch.setattr(Trainer, "run", noisy)
    fails("accumulation = big batch", bench("language"))


# packing


def test_attention_across_documents_is_caught(bench, monkeypatch):
    real = Context.allowed
    monkeypatch.setattr(Context, "allowed", lambda self, *args: real(Context(self.positions, None, self.cache), *args))
    fails("packed = unpacked", bench("language"), 1e-4)
    fails("packed = unpacked", bench("encoder"), 1e-4)
    fails("padding changes nothing", bench("encoder"), 1e-4)


def test_left_padding_that_is_attended_is_caught(bench, monkeypatch):
    real = Context.allowed
    monkeypatch.setattr(Context, "allowed", lambda self, *args: real(Context(self.positions, None, self.cache), *args))
    fails("padding changes nothing", bench("language"), 1e-4)


def test_positions_that_do_not_start_again_are_caught(bench, monkeypatch):
    monkeypatch.setattr("ftheta.architectures.decoder.document_positions", lambda documents: torch.arange(documents.shape[1]).expand_as(documents))
    fails("packed = unpacked", bench("language"), 1e-4)
    fails("padding changes nothing", bench("language"), 1e-4)


def test_recurrent_state_carried_across_documents_is_caught(bench, monkeypatch):
    monkeypatch.setattr(recurrent.Recurrent, "by_document", lambda self, x, documents: self.rnn(x)[0])
    fails("packed = unpacked", bench("lstm"), 1e-4)
    fails("padding changes nothing", bench("lstm"), 1e-4)


def test_targets_across_documents_are_caught(bench, monkeypatch):
    """The last token of a document is made to predict the first of the next."""
    real = type(load(tiny.language(tiny.Path("."))).objective).loss

    def across(self, model, run, batch, phase):
        loss = real(self, model, run, batch, phase)
        return Loss(loss.total, torch.as_tensor(batch["tokens"][:, 1:].numel() + 0.0), loss.metrics)

    monkeypatch.setattr("ftheta.objectives.language.NextToken.loss", across)
    fails("packed = unpacked", bench("language"), 1e-4)


# resuming


def test_a_sampler_that_starts_again_is_caught(bench, monkeypatch):
    real = Stream.get
    monkeypatch.setattr(Stream, "get", lambda self, step, model: real(self, step - self.__dict__.setdefault("start", step), model))
    fails("resumed = uninterrupted", bench("language"), 1e-6)
    fails("resumed = uninterrupted", bench("gan"), 1e-6)


def test_a_sampler_that_is_seeded_again_is_caught(bench, monkeypatch):
    real, made = Shuffled.__init__, []

    def reseeded(self, dataset, batch_size, seed, *others):
        made.append(self)
        real(self, dataset, batch_size, seed + len(made), *others)

    monkeypatch.setattr(Shuffled, "__init__", reseeded)
    fails("resumed = uninterrupted", bench("images"), 1e-6)


def test_a_sampler_that_skips_a_batch_is_caught(bench, monkeypatch):
    real = Trainer.load

    def skips(self, state):
        real(self, state)
        self.progress.skipped_data += 1

    monkeypatch.setattr(Trainer, "load", skips)
    fails("resumed = uninterrupted", bench("language"), 1e-6)


@pytest.mark.parametrize("name", ["language", "gan", "policy", "images"])
def test_a_forgotten_optimizer_is_caught(name, bench, monkeypatch):
    monkeypatch.setattr(training, "restore_state", lambda optimizers, names, state: None)
    fails("resumed = uninterrupted", bench(name), 1e-6)


def test_an_optimizer_put_back_in_another_layout_is_caught(bench, monkeypatch):
    """Fused kernels walk through memory: contiguous entries beside a channels-last parameter mix its elements up."""
    real = training.restore_state

    def contiguous(optimizers, names, state):
        real(optimizers, names, state)
        for optimizer in optimizers:
            for entries in optimizer.state.values():
                entries.update({key: value.contiguous() for key, value in entries.items()})

    monkeypatch.setattr(training, "restore_state", contiguous)
    monkeypatch.setattr(Trainer, "to_device", lambda self, batch: batch)
    fails("resumed = uninterrupted", bench("images"), 1e-6)


def test_a_forgotten_average_is_caught(bench, monkeypatch):
    monkeypatch.setattr(MovingAverage, "restore", lambda self, values: None)
    fails("resumed = uninterrupted", bench("language"), 1e-6)


def test_forgotten_random_state_is_caught(bench, monkeypatch):
    """Dropout draws from a generator that nobody restores."""
    torch.manual_seed(0)
    monkeypatch.setattr(training, "seed_all", lambda *place: None)
    fails("resumed = uninterrupted", bench("language"), 1e-6)


def test_a_forgotten_schedule_is_caught(bench, monkeypatch):
    monkeypatch.setattr(Trainer, "factor", lambda self: 1.0 / (1 + (self.progress.step - self.__dict__.setdefault("from_", self.progress.step))))
    fails("resumed = uninterrupted", bench("images"), 1e-6)


@pytest.mark.parametrize("what", ["rollout", "environment"])
def test_forgotten_experience_is_caught(what, bench, monkeypatch):
    real = Rollouts.restore

    def forgets(self, tensors, facts):
        fresh = {f"{what}.{name}": value for name, value in (self.environment.state() if what == "environment" else {}).items()}
        kept = {name: value.flip(0) if name.startswith("rollout.") and what == "rollout" else value for name, value in tensors.items()}
        real(self, {**kept, **fresh}, facts)

    monkeypatch.setattr(Rollouts, "restore", forgets)
    fails("resumed = uninterrupted", bench("policy"), 1e-9)


def test_rounded_checkpoints_are_caught(bench, monkeypatch):
    real = Trainer.state

    def rounded(self):
        state = real(self)
        state.groups["optimizer"] = {name: value.bfloat16().float() if value.ndim else value for name, value in state.groups["optimizer"].items()}
        return state

    monkeypatch.setattr(Trainer, "state", rounded)
    fails("resumed = uninterrupted", bench("gan"), 1e-9)


# processes: the bug is put into the code of both children

CHILD = """
import sys
import torch
import torch.distributed as dist
from ftheta.core import distributed
from ftheta.training.trainer import Trainer
{bug}
from ftheta.lifecycle.equivalences import gradients_of_a_process
gradients_of_a_process(sys.argv[1])
"""
PROCESS_BUGS = {
    "mean per process": """
real = Trainer.backward
def backward(self, batch, phase, step):
    total, count, metrics = real(self, batch, phase, step)
    for p in self.model.parameters():
        if p.grad is not None: p.grad /= count
    return total / count, 1.0, metrics
Trainer.backward = backward""",
    "rows twice": """
def rank_slots(self, batch):
    share = -(-batch // distributed.world())
    return torch.arange(distributed.rank() * share, (distributed.rank() + 1) * share) % batch
Trainer.rank_slots = rank_slots""",
    "all rows everywhere": "Trainer.rank_slots = lambda self, batch: torch.arange(batch)",
    "gradients not added": "distributed.sum_ = lambda tensors: None",
}


@pytest.mark.parametrize("bug", ["mean per process", pytest.param("rows twice", marks=pytest.mark.slow), pytest.param("all rows everywhere", marks=pytest.mark.slow),
                                 pytest.param("gradients not added", marks=pytest.mark.slow)])
def test_wrong_data_parallelism_is_caught(bug, bench, monkeypatch):
    monkeypatch.setattr(equivalences, "PROGRAM", CHILD.format(bug=PROCESS_BUGS[bug]))
    fails("two processes = one", bench("language"), 1e-4)


def test_a_process_that_dies_is_a_failure_that_says_why(bench, monkeypatch):
    monkeypatch.setattr(equivalences, "PROGRAM", "import os, sys; sys.exit('no more memory' if os.environ['RANK'] == '1' else 0)")
    (certificate,) = outcome("two processes = one", bench("policy"))
    assert certificate.failed and "process 1 ended with 1: no more memory" in certificate.reason


# compiling


def test_a_compiler_that_changes_the_result_is_caught(bench, monkeypatch):
    monkeypatch.setattr(equivalences, "no_compiler", lambda: "")

    def compile_(self, *args, **options):
        real = self.forward
        self.forward = lambda *inputs: real(*inputs) * (1 + 1e-9)

    monkeypatch.setattr(nn.Module, "compile", compile_)
    fails("compiled = eager", bench("images"))


def test_without_a_compiler_the_check_says_so(bench, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(equivalences.shutil, "which", lambda name: None)
    (certificate,) = outcome("compiled = eager", bench("language"))
    assert certificate.verdict == "not applicable" and "no C++ compiler" in certificate.reason


# saving


@pytest.mark.parametrize("name", ["language", "gan", "policy", "images"])
def test_parameters_saved_in_half_precision_are_caught(name, bench, monkeypatch):
    real = tensors.pieces

    def halved(values, metadata=None):
        return real({key: value.half() if value.is_floating_point() else value for key, value in values.items()}, metadata)

    monkeypatch.setattr(tensors, "pieces", halved)
    fails("saved = loaded", bench(name), 1e-6)


def test_a_forgotten_buffer_is_caught(bench, monkeypatch):
    real = tensors.read
    monkeypatch.setattr(tensors, "read", lambda place: {key: torch.zeros_like(value) if "running" in key else value for key, value in real(place).items()})
    fails("saved = loaded", bench("images"), 1e-6)


def test_exchanged_parameters_are_caught(bench, monkeypatch):
    real = equivalences.load

    def exchanged(folder):
        model = real(folder)
        values = model.architecture.theta()
        a, b = "layers.0.mix.inner.query.weight", "layers.0.mix.inner.key.weight"
        model.architecture.load_theta({**values, a: values[b].clone(), b: values[a].clone()})
        return model

    monkeypatch.setattr(equivalences, "load", exchanged)
    fails("saved = loaded", bench("language"), 1e-6)


def test_another_config_in_the_folder_is_caught(bench, monkeypatch):
    def changed(model, folder):
        model.architecture.config = model.architecture.config.replace(softcap=5.0)
        return save(model, folder)

    monkeypatch.setattr(equivalences, "save", changed)
    fails("saved = loaded", bench("language"), 1e-6)


def test_another_tokenization_after_loading_is_caught(bench, monkeypatch):
    real = equivalences.load

    def doubled(folder):
        model = real(folder)
        encode = model.processor.encode
        model.processor.encode = lambda text, start=True: [0, *encode(text, start)]
        return model

    monkeypatch.setattr(equivalences, "load", doubled)
    fails("saved = loaded", bench("language"))


# scoring


def test_a_mean_of_batch_means_is_caught(bench, monkeypatch):
    real = language_metrics.document_nats

    def means(model, documents, length, stride, batch):
        nats = real(model, documents, length, stride, batch)
        return nats * len(nats) / batch

    monkeypatch.setattr(language_metrics, "document_nats", means)
    fails("batch size changes no score", bench("language"), 1e-3)


def test_a_dropped_last_batch_is_caught(bench, monkeypatch):
    monkeypatch.setattr("ftheta.evaluation.metrics.labels.run_all", dropping_last)
    assert "batch" in Accuracy.model_fields
    fails("batch size changes no score", bench("images"), 1e-4)


def dropping_last(model, dataset, batch):
    results = []
    for start in range(0, max(1, len(dataset) - batch + 1), batch):
        examples = dataset.batch(torch.arange(start, min(start + batch, len(dataset))))
        results.append((examples, model.architecture(image=examples["image"])))
    return results


def test_batch_norm_left_in_training_mode_is_caught(bench, monkeypatch):
    monkeypatch.setattr(nn.Module, "eval", lambda self: self.train())
    fails("batch size changes no score", bench("images"), 1e-6)


# the whole


def test_certify_makes_every_check_and_shows_a_table(recipes, monkeypatch):
    monkeypatch.setattr(certifying, "CHECKS", {name: equivalences.CHECKS[name] for name in QUICK})
    found = certify(recipes("clusters"))
    assert {certificate.name for certificate in found} == set(QUICK)
    assert not any(certificate.failed for certificate in found)
    table = show(found).splitlines()
    assert len(table) == len(found) + 1 and table[0].startswith("equivalence") and "none, bit-equal" in show(found)
    assert [certificate.exact for certificate in found if certificate.verdict == "passed"] == [True] * 3
    assert "passed" in str(next(certificate for certificate in found if certificate.verdict == "passed"))


def test_a_check_that_breaks_has_failed_and_the_others_are_made(recipes, monkeypatch):
    def broken(bench):
        raise ValueError("no such thing\nmore")
        yield

    monkeypatch.setattr(certifying, "CHECKS", {"broken": broken, "fitted again = the same": equivalences.repeated})
    first, second = certify(recipes("clusters"))
    assert first.failed and first.reason == "ValueError: no such thing" and second.verdict == "passed"
    assert "broken" in show([first, second])


def test_changes_reach_the_recipe(recipes, monkeypatch):
    seen = []

    def look(bench):
        seen.append(bench.config.dump()["clusters"])
        yield from equivalences.repeated(bench)

    monkeypatch.setattr(certifying, "CHECKS", {"look": look})
    certify(recipes("clusters"), changes=["model.clusters=5"])
    assert seen == [5]


def test_not_a_number_is_never_a_pass():
    bad = {"a": torch.tensor([float("nan")])}
    assert not equivalences.difference(bad, {"a": torch.tensor([1.0])}) <= 1e9
    assert equivalences.difference({}, bad) == float("inf")
    assert equivalences.identical({"a": torch.ones(2)}, {"a": torch.ones(2)}) == 0.0
    assert equivalences.identical({"a": torch.ones(2).double()}, {"a": torch.ones(2)}) > 0
    assert equivalences.identical({"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(2)}) > 0
