"""What can be seen of a thing that a recipe names: everything it computes, as plain data that can be compared.

Each sort of catalogue entry has one observer, each section of the recipe is observed by a whole small run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from ftheta.adaptation.adaptation import Adaptation
from ftheta.adaptation.prompting import Prompting, choose
from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Estimator, call
from ftheta.core.atomic import commit
from ftheta.core.catalog import Catalogue
from ftheta.core.config import Slot, fill, merge
from ftheta.core.contract import PADDING, Batch, Ports, check, fits
from ftheta.core.errors import FthetaError
from ftheta.core.random import Draws, generator, key, seed_all
from ftheta.data.chat.conversations import Message
from ftheta.data.chat.prepare import Item, prepare_chat
from ftheta.data.clean.rules import judge
from ftheta.data.corpus.comparing import write_array
from ftheta.data.documents import Document
from ftheta.data.images import BoxDataset, ImageDataset, MaskDataset
from ftheta.data.pack import Pack
from ftheta.data.pairs import Pair, prepare_pairs
from ftheta.data.processors.plain import PlainProcessor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.questions import Asked, prepare_questions
from ftheta.data.source import Dataset, Groups, Mates
from ftheta.data.sources.source_config import Sections, SourceConfig
from ftheta.data.sources.text_table import TextTable
from ftheta.data.tagged import TaggedSentence, prepare_tagged
from ftheta.data.text import TextSource, as_many_as_needed
from ftheta.data.tokenizers.trained import Bytes
from ftheta.data.tokens import TokenDataset
from ftheta.evaluation.metrics.metric import Metric, Subject
from ftheta.evaluation.probes.small import scatter
from ftheta.experience.completions import CompletionsConfig
from ftheta.experience.rewards.reward import Completion, Reward, worth
from ftheta.experience.rollouts import RolloutsConfig
from ftheta.lifecycle.checking import VARIANTS
from ftheta.lifecycle.lifecycle import run
from ftheta.lifecycle.recipe import ALL_SOURCES
from ftheta.lifecycle.schema import catalogues, fields_of, parts, sections
from ftheta.models.model import Model
from ftheta.objectives.objective import Objective
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.optimizers.optimizer import OptimizerConfig, set_factor
from planted import speaks, spells

SIZES = {"V": 270, "T": 8, "C": 1, "K": 3, "D": 5, "A": 2, "H": 8, "W": 8, "B": 6, "N": 6, "E": 12, "*": 6}
TIMES = ("finished", "time", "seconds", "units_per_second", "flops_per_second", "ceiling_flops_per_second", "ceiling_share", "waited", "machine", "peak_memory")
"""Facts that differ from run to run by themselves."""


def plain(value: Any) -> Any:
    """Anything as data that is equal exactly when the thing looks the same."""
    if isinstance(value, Tensor):
        if value.is_sparse:
            return plain([value.coalesce().indices(), value.coalesce().values(), value.shape])
        value = value.detach().cpu()
        return plain(value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy())
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.md5(value.tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return hashlib.md5(value).hexdigest()
    if dataclasses.is_dataclass(value):
        return plain(vars(value))
    return repr(value)


# inputs made from ports


def stand_ins(specs: Mapping[str, str], sizes: Mapping[str, int]) -> Batch:
    """Random tensors for port specs; letters not in `sizes` have those of SIZES."""
    draws, known = generator("stand-ins"), {**SIZES, **sizes}
    known["T"] = min(known["T"], SIZES["T"])

    def make(spec: str) -> Tensor:
        kind, *dims = spec.split()
        shape = [int(dim) if dim.isdigit() else known.get(dim, 4) for dim in dims]
        highest = {"ids": known["V"], "label": known["K"], "place": known["T"], "edges": known["N"], "action": known["A"], "mask": 2}.get(kind)
        if highest is not None:
            found = torch.randint(highest, shape, generator=draws)
            return found.bool() if kind == "mask" else found
        if kind == "boxes":                                                               # in pictures of the size that pictures have here
            corners = torch.rand(*shape[:-1], 2, generator=draws) * known["W"] / 2
            return torch.cat([corners, corners + 1 + known["W"] / 2 * torch.rand(corners.shape, generator=draws)], -1)
        return torch.rand(shape, generator=draws) if kind == "image" else torch.randn(shape, generator=draws)

    batch = {name: make(spec) for name, spec in specs.items() if not name.endswith("?")}
    if fits(specs.get("log_probability", ""), "real B T"):                                # of tokens, near those that a model gives that knows nothing
        batch["log_probability"] -= math.log(known["V"])
    return batch


def with_sizes(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture's fields with the sizes that data would give."""
    return fill(ARCHITECTURES.load(kind), {"kind": kind, **fields}, SIZES)


# one observer for each sort


def architecture(config: ArchitectureConfig) -> Any:
    """Names and values of initial parameters, outputs in training and in use, and what a step makes follow."""
    model = config.build()
    model.initialise(0)
    start = plain(model.theta())
    batch = stand_ins(config.ports().takes, config.ports().sizes)
    facts: Any = {}
    if isinstance(model, Estimator):
        examples = {name: value.repeat_interleave(10, 0) + torch.randn(60, *value.shape[1:], generator=generator("more")) for name, value in batch.items()}
        draws = generator("answers")
        answers = {"label": torch.randint(10, (60,), generator=draws).clamp(max=SIZES["K"] - 1), "target": torch.randn(60, generator=draws)}
        facts = model.fit({**examples, **answers}, 0)
    else:
        scatter(model, 0)
    seen = []
    for training in (True, False):
        model.train(training)
        seed_all("observe")
        outputs = call(model, batch)
        seen.append([outputs[name] for name in config.ports().gives])
        if training:
            model.follow()
    return plain([start, model.theta(), facts, seen])


def objective(config: Objective) -> Any:
    """The prepared batch, and loss, count, metrics and gradients of every phase, on a model that fits."""
    needs = config.needs()
    for kind, variant in [(name, variant) for name in ARCHITECTURES.names() for variant in VARIANTS.get(name, [{}])]:
        model_config = Slot(ARCHITECTURES).parse(with_sizes(kind, merge(HOSTS.get(kind, {}), variant)))
        assert isinstance(model_config, ArchitectureConfig)
        ports = model_config.ports()
        reads = {**needs.reads, **{name: spec for name, spec in ports.takes.items() if name not in needs.feeds}}
        if not check(Ports(gives=reads), ports, needs):
            break
    else:
        raise AssertionError(f"no architecture fits objective '{config.name}'")
    model = scatter(model_config.build(), 0)
    rows = torch.arange(SIZES["B"])
    batch = stand_ins(reads, ports.sizes)
    if "tokens" in reads:
        config = config.with_tokens(WORDED)
        batch["tokens"][0] = torch.tensor(WORDED.encode("a. bc! d", start=False))          # sentences
        batch["documents"] = (torch.arange(8) >= 5) * (torch.arange(6)[:, None] >= 2).long()       # two in the last rows
        batch["tokens"][1:4, :6] = torch.tensor(WORDED.encode("京大" * 3, start=False))     # words
    batch = config.prepare(batch, Draws(rows, len(rows), "observe"))
    before = scatter(model_config.build(), 1)
    batch |= config.reference(before, lambda part: call(before, part), batch) if config.compares else {}
    if config.companion is not None:
        other = scatter(model_config.build(), key(config.companion) % 1000)
        config = config.accompanied(other, lambda part, **more: call(other, part, **more))
    seen: list[Any] = [batch]
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for phase in config.phases():
        seed_all("observe")
        loss = config.loss(model, lambda part, **more: call(model, part, **more), batch, phase)
        seen.append([loss.total, loss.count, loss.metrics, torch.autograd.grad(loss.total, moving, allow_unused=True)])
    return plain(seen)


def adaptation(config: Adaptation) -> Any:
    """Which parameters move, what is added, and what the model then gives, in training and in use; of asking, what was asked and what came of it."""
    if isinstance(config, Prompting):
        return asking(config)
    model = scatter(Slot(ARCHITECTURES).parse(with_sizes("decoder", {**HOSTS["decoder"], "depth": 4, "context": 80, "dropout": 0.0})).build(), 0)
    config.apply(model, 0)
    begins = plain(model.theta())
    scatter(model, 1)
    seen = []
    for training in (True, False):
        model.train(training)
        seed_all("observe")
        seen.append(call(model, stand_ins(model.config.ports().takes, model.config.ports().sizes))["hidden"])
    return plain([{name: parameter.requires_grad for name, parameter in model.named_parameters()}, begins, model.theta(), seen])


def asking(config: Prompting) -> Any:
    """The ways tried on a few labelled texts."""
    examples = [[f"text {i} {'ab'[i % 2] * 3}", "ab"[i % 2]] for i in range(40)]
    (place() / "asked.jsonl").write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in examples))
    prepared = TextTable(path=str(place() / "asked.jsonl"), validation=0.4).prepare(Sections(Bytes(), place()))
    model = scatter(Slot(ARCHITECTURES).parse(with_sizes("decoder", {**HOSTS["decoder"], "context": 90})).build(), 0)
    return plain(choose(config, model, prepared.processor, prepared.splits, 0).facts)


def optimizer(config: OptimizerConfig) -> Any:
    """Parameters of every role after a few steps."""
    shapes = {"embed.weight": (6, 4), "layers.0.up.weight": (8, 4), "layers.0.norm.weight": (4,), "stem.weight": (4, 2, 3, 3), "head.weight": (6, 4)}
    draws = generator("optimizer")
    parameters = {name: nn.Parameter(torch.randn(shape, generator=draws, dtype=torch.float64)) for name, shape in shapes.items()}
    made = config.build(list(parameters.items()))
    for step in range(3):
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
        for one in made:
            set_factor(one, 1 - step / 4)
            one.step()
    return plain(parameters)


def source(config: Any) -> Any:
    """Documents, splits or the batches of a few steps of acting; or why there are none."""
    try:
        if isinstance(config, TextSource):
            return plain([list(config.documents()), leftovers(config), config.epochs({"first": 100, "second": 300})])
        if isinstance(config, RolloutsConfig):
            acting, model = config.source(8, 0, PlainProcessor()), subjects("policy").model.architecture
            return plain([acting.batch(step, torch.arange(8), model) for step in range(acting.steps_per_iteration + 2)])
        if isinstance(config, CompletionsConfig):
            writer = subjects("critic" if config.valued else "writer").model.architecture
            acting = config.source(8, 0, config.prepare(Sections(Bytes(), place())))
            return plain([vars(config.ports()), [[acting.batch(step, torch.arange(8), writer), acting.statistics()] for step in range(acting.steps_per_iteration + 1)]])
        assert isinstance(config, SourceConfig)
        prepared = config.prepare(Sections(Bytes(), place(), pack=Pack(length=64), lookahead=1))
        splits = {name: [len(split), split.fingerprint] for name, split in prepared.splits.items()}
        return plain([splits, prepared.processor.dump(), prepared.account, vars(config.ports()), leftovers(config)])
    except FthetaError as error:
        return str(error)


def leftovers(config: SourceConfig) -> Any:
    """Files a source wrote on the way, such as its list of bad rows."""
    written = getattr(config, "quarantine", None)
    return [written, Path(written).read_text() if written and Path(written).exists() else ""]


def metric(config: Metric) -> Any:
    """What it found, and how it ran the model."""
    subject = subjects(SUBJECTS[config.name])
    model, shapes = subject.model.architecture, []
    forward = model.forward

    def watched(*args: Any, **inputs: Any) -> Any:
        shapes.append([str(model.compute_dtype), *(list(value.shape) for value in (*args, *inputs.values()) if isinstance(value, Tensor))])
        return forward(*args, **inputs)

    with mock.patch.object(model, "forward", watched), mock.patch("ftheta.evaluation.generated.STEPS", 2):
        return plain([config.measure(subject), shapes])


def reward(config: Reward) -> Any:
    """What completions are worth, rightly and wrongly answered, short and long, in the form asked for and not."""
    texts = ("46", "Forty-six", "forty-six", "<think>a</think><answer>46</answer>", "<other>46</other>", "a")
    completions = [Completion([5], [6] * (n + 1) * 16, "12+34=", text, answer, True) for n, (text, answer) in enumerate(itertools.product(texts, ("46", "forty-six")))]
    total, each = worth([config], completions, lambda folder, rows: [len(row) + len(folder) / 8 for row in rows])
    return plain([total, each])


OBSERVERS: dict[str, Callable[[Any], Any]] = {
    "adaptation": adaptation,
    "architecture": architecture,
    "trunk": architecture,
    "picture trunk": architecture,
    "patch trunk": architecture,
    "objective": objective,
    "taught objective": objective,
    "optimizer": optimizer,
    "preference objective": objective,
    "source": source,
    "metric": metric,
    "prompt source": source,
    "source of documents": source,
    "reward": reward,
    "schedule": lambda config: plain([config.factor(step / 40) for step in range(41)]),
    "cleaning rule": lambda config: plain([judge(document, [config]) for document in UNCLEAN]),
    "deduplication": lambda config: plain([(signature := config.signature(DOCUMENTS)), config.decide([signature]), config.account([signature])]),
    "tokenizer": lambda config: plain([(made := config.train(as_many_as_needed(TEXTS * 20, config.enough))).to_str(), config.roles(made)]),
    "augmentation": lambda config: plain(config(PICTURES, Draws(torch.arange(16), 16, "observe"), Mates(3, lambda slots: {n: v[slots] for n, v in PICTURES.items()}))),
}
PICTURES = {
    "image": torch.rand(16, 3, 9, 9, generator=generator("pictures")), "label": torch.arange(16) % 3, "mask": torch.arange(81).view(1, 9, 9).expand(16, 9, 9) % 3,
    "boxes": torch.tensor([[1.0, 2.0, 6.0, 7.0], [0.0, 0.0, 3.0, 3.0]]).expand(16, 2, 4), "box_label": torch.tensor([[0, 1]]).expand(16, 2),
}
HOSTED = (
    "mixer", "cross mixer", "norm", "feedforward", "position", "vocabulary head", "readout", "message_passing", "environment", "rotary scaling",
    "channel gate", "convolution layer", "detection head", "map norm", "neck", "patch mixer", "patch position", "patch stem", "reduction", "shortcut",
)
"""Sorts that are seen through whatever they are a part of."""
HOSTS: dict[str, dict[str, Any]] = {
    "decoder": {"dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}, "dropout": 0.1},
    "encoder": {"dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}},
    "encoder_decoder": {"dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}},
    "generator_discriminator": {
        name: {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}} for name in ("trunk", "generator")
    },
    "headed": {"trunk": {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}}},
    "prompted": {
        "trunk": {"kind": "encoder", "vocab": 270, "dim": 16, "depth": 1, "context": 12, "mixer": {"kind": "attention", "heads": 2, "causal": False}},
        "template": ["text", [1], "answer"], "words": [[2], [3]], "blank": 4,
    },
    "convnet": {"stages": [
        {"width": 8, "depth": 2, "reduce": 2}, {"width": 8, "depth": 2, "layer": {"kind": "inverted", "gate": "squeeze_excite"}},
    ], "skipped": 0.5},
    "inverted": {"gate": "squeeze_excite"},
    "resnet": {"depths": [1, 1], "widths": [8, 8], "stem_width": 4, "stem": "small"},
    "detector": {"trunk": {"kind": "resnet", "depths": [1, 1], "widths": [8, 8], "stem_width": 4, "stem": "small"}, "width": 8, "depth": 1},
    "segmenter": {"trunk": {"kind": "resnet", "depths": [1, 1], "widths": [8, 8], "stem_width": 4, "stem": "small"}, "width": 8, "dropout": 0.5},
    "masked_autoencoder": {
        "trunk": {"kind": "vit", "stem": {"kind": "patches", "size": 2}, "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}},
        "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2},
    },
    "projected": {"trunk": {"kind": "resnet", "depths": [1, 1], "widths": [8, 8], "stem_width": 4, "stem": "small"}, "width": 8},
    "self_taught": {"trunk": {"kind": "resnet", "depths": [1, 1], "widths": [8, 8], "stem_width": 4, "stem": "small"}, "width": 8, "prototypes": 8},
    "unet": {"trunk": {"kind": "resnet", "depths": [1, 1], "widths": [8, 8], "stem_width": 4, "stem": "small"}, "dropout": 0.5},
    "vit": {
        "stem": {"kind": "patches", "size": 2}, "dim": 16, "depth": 2, "mixer": {"kind": "attention", "heads": 2}, "dropout": 0.1, "skipped": 0.5,
        "layer_scale": 0.5,
    },
    "gan": {"noise": 4, "width": 4},
    "actor_critic": {"hidden": [8]},
    "kmeans": {"clusters": 6, "restarts": 1, "iterations": 4, "tolerance": 0.0},
    "forest": {"trees": 5},
    "completions": {"prompts": {"kind": "arithmetic", "digits": 1, "count": 60}, "asked": 4, "group": 2, "most": 3, "longest": 16},
    "rollouts": {"envs": 4, "horizon": 8, "epochs": 2},
}
"""Fields that make an architecture or source small; others are left at their defaults."""
AROUND: dict[str, dict[str, Any]] = {
    f"convolution layer {name}": {"stages": [{"width": 8, "depth": 2, "reduce": 2, "by": "patches"}]} for name in ("convnext", "mix_transformer")
}
"""What else must stand in the host of a part that does not go with every other part."""
SUBJECTS = {
    "calibration": "unsure", **dict.fromkeys(("confusion", "evidence", "gaps", "robustness"), "images"),
    "accuracy": "images", "coco_map": "boxes", "answers": "questions", "bits_per_byte": "language", "entities": "tags", "f1": "images", "generated": "gan", "loss": "language",
    "mean_return": "policy", "mean_reward": "writer", "pearson": "scores", "perplexity": "language", "preferred": "pairs", "retrieval": "vectors",
    "samples": "language", "spearman": "scores",
    **dict.fromkeys(("dice", "miou", "pixel_accuracy"), "masks"),
    **dict.fromkeys(("benchmark", "bleu", "chrf", "crows_pairs", "exact_match", "occupations", "rouge", "span_f1", "winogender"), "answered"),
}
"""Which of the subjects below a metric looks at."""
SHARED = "a line that stands in the training documents as well\n"
TEXTS = [
    "short", "of twenty characters", "A first text,\r\nwith a control \x07 character and ﬁ (a ligature), number 12.5.\n", "the same line\n" * 12,
    "def f(x):\n    return [x[0] + 1, {}]\n" * 3,
    "1234 5678 90 -- 12 // 34 == 56 ;; 78", SHARED + "and some words of its own, nine of them\n", "nothing in common with anything else at all\n",
]

UNCLEAN = [Document(f"one-{i}", text, {"language": ("en", "de")[i % 2]}) for i, text in enumerate([
    *TEXTS,
    "AT&amp;T said: “naïve cafÃ©” &lt;1&gt;, ﬁne\u200b and ＦＵＬＬ！", "漢語繁體字，頭髮和發展。", "<b>AT&amp;T</b> “quoted”",
    "- a point\n- another point # one\nand so on...",
    "A line that ends well [1].\nA second line with words, many of them, that ends well.\nShort one.\nNo end\nWe take the privacy policy to heart.",
    "A paragraph stands here.\n\nA paragraph stands here.\n\nAnother stands there.", "Write to someone@example.org, or call 13812345678 or +49 30 1234 5678.",
    "AKIA7ABCDEFGHIJKLMNO and hf_" + "a7Bc9" * 7, "The house stands on the hill, and nobody lives in it.\n" * 9 + "Das Haus steht auf dem Hügel, und niemand wohnt darin.\n",
    "Das Haus steht auf dem Hügel. " * 20 + "The house stands on the hill. " * 20, "the words and the text of the page, and all that it has to say to us",
])]
"""Documents that every cleaning rule finds something in, said to be in two languages."""


NEAR = [*(text.upper() for text in TEXTS), *(f"{text}\n\nand {text[:80]}" for text in TEXTS)]
DOCUMENTS = [
    Document(str(number), text, {"source": "ab"[number % 2], "score": number % 3})
    for number, text in enumerate([*TEXTS, *NEAR, "老虎吃草老虎吃草老虎吃草", "what follows: a film of 3 words, and more"])
]
"""Documents, copies of them with other capitals, and copies with something added."""


WORDED = TextProcessor(Bytes().train([]))
WORDED.tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in range(8)])
WORDED.tokenizer.add_tokens(["京", "大"])
"""What objectives that must know of tokens are told."""


def observe(sort: str, config: Any) -> Any:
    """What can be seen of one parsed entry of a catalogue."""
    while sort in HOSTED:
        catalogue, path, host = host_of(sort)
        host |= AROUND.get(f"{sort} {config.dump()['kind']}", {})
        config, sort = Slot(catalogue).parse(put(host, path, config.dump())), catalogue.sort
    return OBSERVERS[sort](config)


def host_of(sort: str) -> tuple[Catalogue, list[str], dict[str, Any]]:
    """The first architecture, source or part with a slot for this sort of part: its catalogue, the way to the slot's field and the host's fields."""
    for catalogue in (ARCHITECTURES, ALL_SOURCES, *catalogues().values()):
        for kind in catalogue.names():
            for inside, section in sections(fields_of(catalogue.load(kind))).items():
                for name, field in section.model_fields.items():
                    if any(isinstance(item, Slot) and item.catalogue.sort == sort for item in parts(field.annotation, field.metadata)):
                        fields = HOSTS.get(kind, {})
                        return catalogue, [*inside.split("."), name] if inside else [name], with_sizes(kind, fields) if catalogue is ARCHITECTURES else {"kind": kind, **fields}
    raise AssertionError(f"nothing has a slot for a {sort}")


def by_name(data: Any, step: str) -> bool:
    """Whether entries stand under names that the user gives, which are no fields of a section."""
    given = isinstance(data, dict) and step not in data and all(isinstance(value, dict) for value in data.values())
    return given and not data.keys() <= {name for config in sections().values() for name in config.model_fields}


def put(data: Any, path: list[str], value: Any) -> Any:
    """A copy of plain data with one value replaced."""
    if not path:
        return value
    if isinstance(data, list):
        return [put(data[0], path, value), *data[1:]]
    if by_name(data, path[0]):
        return {**data, (first := next(iter(data))): put(data[first], path, value)}
    data = data or {}
    return {**data, path[0]: put(data.get(path[0]), path[1:], value)}


def subjects(name: str) -> Subject:
    """Small models with something to be measured on; made anew each time, always the same."""
    if name == "answered":
        return Subject(speaks(spells("both walked")), {"test": questions({"b": "The oth walks!", "t": "the h walked", " ": "walk", "h": "walked on"})}, {}, 0)
    kind = {
        "boxes": "detector", "images": "resnet", "unsure": "resnet", "language": "decoder", "masks": "unet", "pairs": "decoder", "policy": "actor_critic", "writer": "decoder",
        **dict.fromkeys(("critic", "questions", "scores", "tags", "vectors"), "headed"),
    }.get(name, name)
    more = {
        "language": {"dropout": 0.0}, "pairs": {"dropout": 0.0}, "questions": {"readout": "span"}, "scores": {"readout": "regress"}, "tags": {"readout": "tag"},
        "vectors": {"readout": "embed"}, "policy": {"features": 4, "actions": 2}, "writer": {"dropout": 0.0, "context": 16},
        "critic": {"readout": "values", "trunk": {"kind": "decoder", "head": "linear", "dim": 32, "depth": 1, "context": 16, "mixer": {"kind": "attention", "heads": 4}}},
    }.get(name, {})
    config = Slot(ARCHITECTURES).parse(with_sizes(kind, {**HOSTS.get(kind, {}), **more}))
    assert isinstance(config, ArchitectureConfig)
    model: Architecture = scatter(config.build(), 0, 0.1 if name == "unsure" else 0.4)
    if name == "policy":
        return Subject(Model(model.eval(), PlainProcessor(), "reinforcement-learning"), {}, {}, 0, RolloutsConfig())
    if name == "language":
        processor = TextProcessor(Bytes().train([]))
        ids = np.array([i for text in TEXTS for i in processor.encode(text)], dtype=np.uint16)
        with commit(place() / "tokens", replace=True) as attempt:
            write_array(attempt, "test.npy", ids)
            attempt.write_json("account.json", {"test": {"tokens": len(ids)}})
        rows = TokenDataset([place() / "tokens" / "test.npy"], "", SIZES["V"], SIZES["T"] - 1, 1)
        return Subject(Model(model, processor, "text-generation"), {"test": rows}, {"test": TEXTS[1:], "train": [SHARED]}, 0)
    if name == "scores":
        draws = generator("scores")
        examples = Examples({"tokens": torch.randint(SIZES["V"], (130, SIZES["T"]), generator=draws), "target": torch.randn(130, generator=draws)})
        return Subject(Model(model, TextProcessor(Bytes().train([])), "text-ranking"), {"test": examples}, {}, 0)
    if name in ("writer", "critic"):
        prepared = CompletionsConfig.parse({"kind": "completions", **HOSTS["completions"]}).prepare(Sections(Bytes(), place()))
        return Subject(Model(model, prepared.processor, "text-generation"), {}, {}, 0, None, prepared.prompts)
    if name == "pairs":
        talks = [tuple([Message("user", f"{i}?"), Message("assistant", answer)] for answer in (str(i), "no")) for i in range(60)]
        chat = prepare_chat([Item(str(i), talk) for i, talk in enumerate(talks)], "plain", Sections(Bytes(), place(), pack=Pack(length=SIZES["T"])))
        return Subject(Model(model, chat.processor, "text-generation"), chat.splits, {}, 0)
    if name == "tags":
        words, tags = ("a", "b", "c"), ("O", "B-x", "B-y")
        sentences = [TaggedSentence(tuple(words[(i + k) % 3] for k in range(4)), tuple(tags[(i + k) % 3] for k in range(4))) for i in range(60)]
        prepared = prepare_tagged({"train": sentences, "test": sentences}, SIZES["T"], Sections(Bytes(), place()))
        return Subject(Model(model, prepared.processor, "token-classification"), prepared.splits, {}, 0)
    if name == "vectors":
        pairs = [Pair(f"{i} a", f"b {i * i}", i % 5 / 4) for i in range(30)]
        prepared = prepare_pairs(pairs, pairs, SIZES["T"], 0.0, 0.0, Sections(Bytes(), place()))
        return Subject(Model(model, prepared.processor, "sentence-similarity"), prepared.splits, {}, 0)
    if name == "questions":
        asked = [
            Asked(str(i), str(i), "b?", context := " ".join("abc"[(i + k) % 3] for k in range(9)), () if i % 2 else ("The b.",), None if i % 2 else context.index("b"), "b")
            for i in range(40)
        ]
        prepared = prepare_questions({"train": asked, "test": asked}, SIZES["T"], 1, Sections(Bytes(), place()), {})
        return Subject(Model(model, prepared.processor, "question-answering"), prepared.splits, {}, 0)
    draws = generator("digits")
    if name == "masks":
        images = torch.randint(256, (10, 1, 8, 8), generator=draws, dtype=torch.uint8)
        return Subject(Model(model, PlainProcessor(), "image-segmentation"), {"test": MaskDataset(images, (images[:, 0] // 86), ("a", "b", "c"))}, {}, 0)
    if name == "boxes":
        images = torch.randint(256, (10, 1, 8, 8), generator=draws, dtype=torch.uint8)
        corners = 4 * torch.rand(10, 2, 2, generator=draws)
        labels = torch.tensor([[0, 1], [2, -1]]).repeat(5, 1)
        return Subject(Model(model, PlainProcessor(), "object-detection"), {"test": BoxDataset(images, torch.cat([corners, corners + 3], -1), labels, ("a", "b", "c"))}, {}, 0)
    groups = Groups.of([*("x" * 23), *("y" * 23), *("z" * 14)])
    images = torch.randint(256, (60, 1, 8, 8), generator=draws, dtype=torch.uint8)
    pictures = ImageDataset(images, torch.arange(60) % SIZES["K"], ("a", "b", "c"), groups=groups)
    task = "image-classification" if name in ("images", "unsure") else "unconditional-image-generation"
    return Subject(Model(model, PlainProcessor(), task), {"train": pictures, "test": pictures}, {}, 0)


class Examples(Dataset):
    """A few examples at hand."""

    def __init__(self, examples: Batch):
        self.examples = examples

    @property
    def ports(self) -> Ports:
        return Ports(gives=dict.fromkeys(self.examples, "ids B *"))

    @property
    def fingerprint(self) -> str:
        return ""

    def __len__(self) -> int:
        return len(next(iter(self.examples.values())))

    def batch(self, rows: Tensor) -> Batch:
        return {name: value[rows] for name, value in self.examples.items()}


def questions(pairs: Mapping[str, str]) -> Examples:
    """Texts on bytes, each with what it should be answered with."""
    processor, batch = TextProcessor(Bytes().train([])), {}
    for texts, tokens, documents in ((pairs.keys(), "source", "source_documents"), (pairs.values(), "tokens", "documents")):
        ids = [torch.tensor(processor.encode(text)) for text in texts]
        batch[tokens] = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        batch[documents] = nn.utils.rnn.pad_sequence([torch.zeros_like(row) for row in ids], batch_first=True, padding_value=PADDING)
    return Examples(batch)


# sections, by whole runs


def place() -> Path:
    """A folder for files that observations need."""
    folder = Path(os.environ["FTHETA_HOME"]) / "observe"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def observe_run(recipe: Mapping[str, Any], folder: Path, broken: int | None = None) -> Any:
    """What a whole run leaves behind and how it ran, apart from times; or why it failed.

    With `broken`, the loss of that call is not a number.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with spied(broken) as seen:
        try:
            results = run(recipe, out=folder).results
        except FthetaError as error:
            return [str(error).replace(str(folder), ""), seen]
    lines = {name: [json.loads(line) for line in (folder / name).read_text().splitlines()] for name in ("metrics.jsonl", "events.jsonl") if (folder / name).exists()}
    saved = {path.name: [(path / "PIN").exists(), json.loads((path / "state.json").read_text())] for path in sorted((folder / "checkpoints").glob("step-*"))}
    parameters = (folder / "model" / "model.safetensors").read_bytes()
    return plain([results, lines, saved, parameters, seen])


@contextlib.contextmanager
def spied(broken: int | None) -> Iterator[list[Any]]:
    """Notes how models are run, compiled and saved and batches fetched; leaves out what only takes time."""
    seen: list[Any] = []
    pool, save_behind, compute = ThreadPoolExecutor, Checkpoints.save_behind, nn.Module.__call__
    calls = 0

    def threads(count: int, prefix: str, begin: Callable[[], None]) -> ThreadPoolExecutor:
        seen.append(["threads", count])
        return pool(count, prefix, begin)

    def behind(self: Checkpoints, state: Any) -> None:
        seen.append("saved while training goes on")
        save_behind(self, state)

    def forward(self: nn.Module, *args: Any, **inputs: Any) -> Any:
        nonlocal calls
        result = compute(self, *args, **inputs)
        if isinstance(self, Architecture):
            calls += 1
            seen.append([list(value.shape) for value in inputs.values() if isinstance(value, Tensor)])
            if calls == broken:
                result.update({name: value * torch.nan for name, value in result.items()})
        return result

    with contextlib.ExitStack() as stack:
        for target, replacement in (
            ("ftheta.data.stream.ThreadPoolExecutor", threads), ("torch.nn.Module.__call__", forward), ("os.fsync", lambda descriptor: None),
            ("torch.set_num_threads", lambda count: seen.append(["compute threads", count])),
            ("torch.nn.Module.compile", lambda self: seen.append(["compiled", type(self).__name__])),
            ("ftheta.training.checkpoints.Checkpoints.save_behind", behind),
            ("ftheta.lifecycle.lifecycle.ceiling", lambda precision, device: 1.0), ("ftheta.lifecycle.lifecycle.curves", lambda lines, title: b""),
            ("ftheta.lifecycle.lifecycle.flops_per_step", lambda model, objective, source: 1.0),
        ):
            stack.enter_context(mock.patch(target, replacement))
        yield seen
