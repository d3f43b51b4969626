"""No dead knobs: whatever can be written in a recipe can be seen in what it does.

For every field of every section and of every entry of every catalogue another valid value is tried, and something must look different:
parameters, outputs, batches, files, results, how the model was run, an error. New fields, entries and catalogues are found by
themselves; one that cannot be seen, or that nothing here knows how to look at, fails.
"""

from __future__ import annotations

import base64
import copy
import functools
import gzip
import inspect
import itertools
import json
import struct
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest

import tiny
from ftheta.architectures import ARCHITECTURES, PATCH_TRUNKS, PICTURE_TRUNKS, TRUNKS
from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.atomic import commit
from ftheta.core.config import Config, Slot, merge
from ftheta.core.errors import ConfigError, FthetaError
from ftheta.data.clean import RULES
from ftheta.data.clean.classifier import train_quality
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.lifecycle import recipe as recipes
from ftheta.lifecycle.schema import catalogues, fields_of, sections
from ftheta.models.folder import save
from ftheta.models.model import Model
from observe import HOSTS, TEXTS, by_name, observe, observe_run, place, plain, put, with_sizes
from pictured import encoded, pixels, shard, tar_of, write_coco, write_folders, write_masks, write_voc


class Knob(NamedTuple):
    """One field: of a section (`sort` is empty) or of an entry `name` of the catalogue of a sort."""

    sort: str
    name: str
    field: str

    def __str__(self) -> str:
        return f"{self.sort} {self.name}.{self.field}".strip(" .")


def knobs() -> list[Knob]:
    found = [Knob("", place, name) for place, config in sections().items() for name in config.model_fields]
    for sort, catalogue in catalogues().items():
        for name in catalogue.names():
            for inside, config in sections(fields_of(catalogue.load(name))).items():
                found += [Knob(sort, name, f"{inside}.{field}".lstrip(".")) for field in config.model_fields if field != "kind"]
    return found


# where a field is looked at, when the usual place would not show it

SEEN: dict[str, dict[str, Any]] = {
    "cifar10": {"on_bad": "skip", "most_bad": 0.9}, "coco": {"path": "FILES/seen/boxes.json", "pictures": "FILES/seen/pictures"},
    "coco_masks": {"path": "FILES/seen/boxes.json", "pictures": "FILES/seen/pictures"}, "image_folder": {"path": "FILES/seen/folders"},
    "image_shards": {"path": "FILES/seen/shards"}, "image_table": {"path": "FILES/seen/table.csv"},
    "masks": {"path": "FILES/seen/masks", "classes": {"left": 0, "right": 255, "below": 7}}, "voc": {"path": "FILES/seen/voc"},
}
"""Sources of pictures, each with small files of its own."""
BROKEN = {kind: json.loads(json.dumps(fields).replace("FILES/seen", "FILES/broken")) for kind, fields in SEEN.items()}
"""The same with a damaged picture among them."""
CLASSIFIER = {"good": ["FILES/well.jsonl"], "bad": ["FILES/badly.jsonl"]}
ENTRIES: dict[str, dict[str, Any]] = {
    "cleaning rule classifier": CLASSIFIER,
    "cleaning rule classifier.model": {"model": "FILES/judge"},
    "cleaning rule language.paragraphs": {"keep": ["en"]},
    "cleaning rule personal.most": {"action": "drop"},
    "cleaning rule secrets.most": {"action": "drop"},
    "cleaning rule quality": {"repeated_lines": [None, 1.0]},
    "cleaning rule quality.bullet_lines": {"bullets": ["-"]},
    "cleaning rule quality.bullets": {"bullet_lines": [None, 0.5], "bullets": ["-"]},
    "cleaning rule quality.ended_lines": {"ends": "."},
    "cleaning rule quality.ends": {"ended_lines": [0.5, None], "ends": "."},
    "cleaning rule quality.short": {"short_lines": [None, 0.5], "short": 12},
    "cleaning rule quality.short_lines": {"short": 12},
    "cleaning rule quality.stop_list": {"stop_words": [1, None], "stop_list": ["and"]},
    "cleaning rule quality.stop_words": {"stop_list": ["and", "the"]},
    "architecture resnet.groups": {"block": "bottleneck"},
    "architecture resnet.narrower": {"block": "bottleneck"},
    "architecture vit.class_token": {"pooling": "mean"},
    "patch stem convolutions": {"widths": [4]},
    "patch stem patches": {"size": 2},
    "adaptation lora.base.bits": {"base": {"bits": 4}},
    "adaptation lora.base.block": {"base": {"bits": 4}},
    "adaptation lora.base.double": {"base": {"bits": 4}},
    "adaptation prompting.draws": {"shots": 1},
    "adaptation prompting.rows": {"rows": 4},
    "deduplication contamination": {"against": [{"path": "FILES/evaluation.csv"}], "words": 4, "characters": 3, "found": "cut", "margin": 2},
    "deduplication contamination.least": {"against": [{"path": "FILES/evaluation.csv"}], "words": 10, "characters": 10},
    "deduplication exact": {"shortest": 20, "ignore": "signs"},
    "deduplication exact.fact": {"ignore": "signs", "keep": "best", "fact": "score"},
    "deduplication near": {"threshold": 0.5, "shingle": 1, "permutations": 16},
    "deduplication near.fact": {"keep": "best", "fact": "score"},
    "deduplication substring": {"length": 20},
    **{f"{sort}.embed_dim": {"tie": False} for sort in ("architecture decoder", "architecture encoder", "architecture encoder_decoder", "trunk decoder", "trunk encoder")},
    "environment cartpole": {"limit": 4},
    "objective distillation": {"teacher": "teacher"},
    "objective preference.margin": {"form": "simpo"},
    "prompt source arithmetic": {"count": 60, "digits": 1, "operations": ["+", "-"]},
    "prompt source chat": {"path": "FILES/talks.jsonl", "on_bad": "skip", "largest": 100_000},
    "prompt source prompts": {"path": "FILES/prompts.jsonl", "on_bad": "skip", "largest": 100_000},
    "reward length": {"free": 30, "most": 120},
    "source arithmetic": {"count": 60, "digits": 1, "operations": ["+", "-"]},
    **{f"source completions.{name}": {"advantage": "generalised"} for name in ("gamma", "trace")},
    "objective completion_policy.value_clip": {"value": 0.5},
    "source completions": {"rewards": [{"kind": "regex", "pattern": "(?s)[\\x00-\\x7f].*"}]},
    "metric mean_reward": {"rewards": [{"kind": "regex", "pattern": "(?s)[\\x00-\\x7f].*"}], "most": 6, "prompts": 2, "shown": 1},
    "source judged": {"path": "FILES/judged.jsonl", "on_bad": "skip", "largest": 100_000},
    "metric preferred": {"objective": {"kind": "preference", "form": "simpo"}},
    "preference objective preference.margin": {"form": "simpo"},
    "source prompts": {"path": "FILES/prompts.jsonl", "on_bad": "skip", "largest": 100_000},
    "objective completion_policy.length": {"normalise": "constant"},
    "source chat": {"path": "FILES/talks.jsonl", "on_bad": "skip", "largest": 100_000},
    "source preferences": {"path": "FILES/pairs.jsonl", "on_bad": "skip", "largest": 100_000},
    "metric loss": {"objective": "next_token", "rows": 8},
    "metric mean_return": {"episodes": 4},
    "metric generated": {"samples": 20},
    "metric accuracy": {"batch": 16},
    **{f"metric {name}": {"limit": 2, "most": 4} for name in ("bleu", "chrf", "exact_match", "span_f1")},
    "metric benchmark": {"which": "FILES/questions.yaml", "limit": 3},
    "metric bleu.tokenizer": {},
    "metric crows_pairs": {"limit": 2},
    "metric exact_match.language": {},
    "metric f1": {"batch": 16},
    "metric calibration": {"batch": 16},
    "metric gaps": {"batch": 16},
    "metric confusion": {"batch": 16},
    "metric robustness": {"batch": 16, "most": 20},
    "objective contrastive.views": {"form": "views"},
    "metric rouge": {"limit": 3, "most": 4},
    "metric rouge.stem": {},
    "metric retrieval": {"batch": 16},
    "metric answers": {"language": "english", "batch": 8},
    "metric answers.threshold": {"language": "english", "batch": 8, "threshold": -50.0},
    "metric samples": {"prompts": ["a "], "most": 8},
    "objective adversarial": {"noise": 4},
    **{f"{sort}objective masked.whole_words": {"rate": 0.5} for sort in ("", "taught ")},
    **{f"{sort}objective masked.word_list": {"whole_words": True, "rate": 0.5} for sort in ("", "taught ")},
    "objective next_sentence.word_list": {"whole_words": True, "rate": 0.5},
    "objective replaced_token.whole_words": {"rate": 0.5},
    "objective replaced_token.word_list": {"whole_words": True, "rate": 0.5},
    "objective span_corruption": {"rate": 0.5, "span": 1.5, "sentinels": 3},
    "position relative.distance": {"buckets": 4, "distance": 4},
    "rotary scaling dynamic": {"factor": 2.0, "original": 4},
    "rotary scaling linear": {"factor": 2.0},
    "rotary scaling llama3": {"original": 200},
    "rotary scaling yarn": {"factor": 2.0, "original": 4000},
    "source choices": {"path": "FILES/choices.jsonl", "context": "story"},
    "source choices.written": {"path": "FILES/choices.jsonl", "label": "text", "written": "text"},
    **{f"source {kind}": fields for kind, fields in SEEN.items()},
    "source communities": {"nodes": 60},
    "source image_shards.field": {"path": "FILES/seen/shards", "label_ending": "json"},
    "source image_table.header": {"path": "FILES/seen/headless.csv", "image": "1", "label": "2", "header": False},
    "source masks.unknown": {"path": "FILES/seen/masks", "classes": {"left": 0, "right": 255}, "unknown": 7},
    **{f"source voc.{part}": {"path": "FILES/seen/voc", "official": False} for part in ("validation", "test", "split_seed")},
    **{f"source {kind}.{field}": {**fields, "size": [6, 6], "standardise": False} for kind, fields in SEEN.items() for field in ("fit", "crop", "resample")},
    **{f"source {kind}.{field}": {**fields, "on_bad": "skip", "most_bad": 0.9} for kind, fields in BROKEN.items() for field in ("on_bad", "most_bad")},
    **{f"source {kind}.quarantine": {**fields, "on_bad": "quarantine", "most_bad": 0.9} for kind, fields in BROKEN.items()},
    "source mixture": {"sources": {"first": {"source": {"kind": "text_files", "path": "FILES/a.txt"}}, "second": {"source": {"kind": "text_files", "path": "FILES/b.md"}}}},
    **{f"source mixture.sources.{field}": {"sources": {
        name: {"source": {"kind": "text_files", "path": f"FILES/{file}"}, field: 1.0} for name, file in (("first", "a.txt"), ("second", "b.md"))
    }} for field in ("weight", "epochs")},
    "source mnist": {"validation": 0.3},
    "source questions": {"path": "FILES/asked.json", "longest": 32, "stride": 8},
    "source sklearn_table": {"name": "iris"},
    "source text_files": {"path": "FILES", "on_bad": "skip", "most_bad": 1.0, "largest": 300},
    "source text_files.most_bad": {"path": "FILES/lines.jsonl", "on_bad": "skip", "most_bad": 0.9},
    "source text_files.header": {"path": "FILES/reviews.csv"},
    "source text_files.inside": {"path": "FILES/asked.json", "text": "context", "inside": "data.paragraphs", "facts": ["title"]},
    "metric entities": {"batch": 16},
    **{f"objective detection.{field}": {"score": "focal"} for field in ("balance", "focus")},
    "objective detection.radius": {"assignment": "centre", "radius": 0.5},
    "objective detection.top": {"top": 2},
    "metric coco_map": {"batch": 4},
    "objective segmentation": {"dice": 0.5, "focus": 1.0},
    "source tagged_text": {"path": "FILES/names.conll"},
    "source pairs": {"path": "FILES/alike.csv", "score": "score", "negative": "negative"},
    "source text_table": {"path": "FILES/reviews.csv"},
    "source parallel": {"path": "FILES/reviews.csv", "languages": ["text", "other"], "longest": 20},
    "source csv": {"path": "FILES/table.csv", "target": "kind"},
    "tokenizer bpe": {"vocab": 320, "coverage": 0.9},
    "tokenizer byte_bpe": {"vocab": 280},
    "tokenizer file": {"path": "FILES/ranks.tiktoken"},
    "tokenizer file.lower": {"path": "FILES/vocab.txt"},
    "tokenizer unigram": {"vocab": 290, "coverage": 0.9},
    "tokenizer wordpiece": {"vocab": 120, "coverage": 0.9},
}
"""The entry (or, where a field needs another, that field's) as it is before a field is changed; FILES is a folder of small files."""

VALUES: dict[str, list[Any]] = {
    **{f"cleaning rule {name}.languages": [["fr"]] for name in RULES.names()},
    "cleaning rule classifier.bad": [["FILES/badly.jsonl", "FILES/others.jsonl"]],
    "cleaning rule classifier.field": ["other"],
    "cleaning rule classifier.good": [["FILES/well.jsonl", "FILES/others.jsonl"]],
    "cleaning rule classifier.least": [0.99],
    "cleaning rule classifier.model": ["FILES/nothing"],
    "cleaning rule classifier.sizes": [[1]],
    "cleaning rule language.keep": [["de"]],
    "cleaning rule language.least": [1.0],
    "cleaning rule lines.citations": [False],
    "cleaning rule lines.ends": ["s"],
    "cleaning rule lines.fewest_characters": [35],
    "cleaning rule lines.longest_word": [4],
    "cleaning rule lines.fewest_words": [5],
    "cleaning rule lines.phrases": [{"many": "line"}],
    "cleaning rule personal.kinds": [["email"]],
    "cleaning rule personal.most": [9],
    "cleaning rule secrets.most": [9],
    "cleaning rule personal.mask": ["..."],
    "cleaning rule secrets.kinds": [["aws"]],
    "cleaning rule secrets.mask": ["..."],
    **{f"cleaning rule quality.{name}": values for name, values in {
        "characters": [[30, None]],
        "letters": [[0.9, None]],
        "repeated_lines": [[None, 0.1]],
        "forbidden": [["line"]],
        "words": [[5, None]],
        "mean_word_length": [[None, 4]],
        "hashes_per_word": [[None, 0.0]],
        "ellipses_per_word": [[None, 0.0]],
        "bullet_lines": [[None, 0.5]],
        "bullets": [["*"]],
        "ellipsis_lines": [[None, 0.0]],
        "alphabetic_words": [[1, None]],
        "stop_words": [[2, None]],
        "stop_list": [["page"]],
        "ended_lines": [[0.5, None]],
        "ends": ["n"],
        "short_lines": [[None, 0.5]],
        "repeated_characters": [[None, 0.0]],
        "newlines_per_word": [[None, 0.0]],
        "sentences": [[3, None]],
        "duplicate_lines": [[None, 0.0]],
        "duplicate_line_characters": [[None, 0.0]],
        "duplicate_paragraphs": [[None, 0.0]],
        "duplicate_paragraph_characters": [[None, 0.0]],
        "top_ngrams": [{"2": 0.1}],
        "duplicate_ngrams": [{"2": 0.0}],
    }.items()},
    "adapt": ["lora"],
    "architecture convnet.stages": [[{"width": 4}]],
    "architecture detector.strides": [[2]],
    "detection head anchors.ratios": [[3.0]],
    "detection head anchors.scales": [[1.0]],
    "detection head regions.ratios": [[3.0]],
    "detection head regions.scales": [[1.0]],
    "architecture detector.trunk": [{"kind": "convnet", "channels": 1, "classes": 3, "stages": [{"width": 4}, {"width": 6, "reduce": 2}]}],
    "architecture segmenter.strides": [[2]],
    "architecture segmenter.trunk": [{"kind": "convnet", "channels": 1, "classes": 3, "stages": [{"width": 4}, {"width": 6, "reduce": 2}]}],
    "architecture unet.skips": [[]],
    "architecture unet.trunk": [{"kind": "convnet", "channels": 1, "classes": 3, "stages": [{"width": 4}, {"width": 6, "reduce": 2}]}],
    "architecture unet.widths": [[6]],
    "channel gate squeeze_excite.multiple": [8],
    "convolution layer convnext.kernel": [5],
    "convolution layer inverted.kernel": [5],
    "patch stem convolutions.widths": [[6]],
    "augmentation resized_crop.size": [[5, 6]],
    "adaptation lora.targets": [["query"]],
    "objective distillation.teacher": ["another"],
    "adaptation lora.base": [{"bits": 8}],
    "adaptation lora.base.block": [16],
    "adaptation prompting.draws": [2],
    "adaptation prompting.labels": [{"a": "yes"}],
    "adaptation prompting.templates": [["{text} so {label}"]],
    "architecture prompted.control": [[5, 6, 7]],
    "architecture prompted.template": [["text", [1], "answer", [2]]],
    "architecture prompted.words": [[[2], [5]]],
    "arms": [[{"adapt": "probe"}]],
    "deduplication contamination.against": [[{"path": "FILES/reviews.csv"}]],
    "deduplication contamination.against.columns": [["answer"]],
    "deduplication contamination.against.format": ["tsv"],
    "deduplication contamination.against.path": ["FILES/reviews.csv"],
    "deduplication exact.fact": ["other"],
    "deduplication near.fact": ["other"],
    "deduplication exact.sources": [["b"]],
    "deduplication near.sources": [["b"]],
    "objective preference.smoothing": [0.2],
    **{f"{sort} {name}": values for sort in ("source", "prompt source") for name, values in {
        "arithmetic.template": ["chatml"], "chat.largest": [10], "chat.path": ["FILES/pairs.jsonl"], "chat.template": ["chatml"],
        "prompts.answer": ["other"], "prompts.largest": [10], "prompts.path": ["FILES/talks.jsonl"], "prompts.question": ["other"],
        "prompts.template": ["chatml"],
    }.items()},
    "source judged.path": ["FILES/pairs.jsonl"],
    "source judged.template": ["chatml"],
    "source judged.largest": [10],
    "source judged.verdict": ["other"],
    "metric preferred.objective": [{"kind": "preference", "form": "simpo", "beta": 0.5}],
    "preference objective preference.smoothing": [0.2],
    "reward format.tags": [["other"]],
    "reward model.path": ["other"],
    "reward regex.pattern": ["[0-9]+"],
    "source completions.rewards": [["length"]],
    "source completions.prompts": [{"kind": "arithmetic", "digits": 1, "count": 61}],
    "metric mean_reward.rewards": [[{"kind": "length", "free": 0, "most": 4}]],
    "objective span_corruption.longest": [8],
    **{f"{sort}objective masked.word_list": ["FILES/words.txt"] for sort in ("", "taught ")},
    "objective next_sentence.word_list": ["FILES/words.txt"],
    "objective replaced_token.word_list": ["FILES/words.txt"],
    "start": ["FILES/model"],
    "source preferences.largest": [10],
    "source preferences.path": ["FILES/talks.jsonl"],
    "source preferences.template": ["chatml"],
    "architecture forest.max_features": [1],
    "architecture kmeans.restarts": [20],
    "architecture kmeans.tolerance": [1.0],
    "metric benchmark.which": ["FILES/others.yaml"],
    "metric gaps.least": [40],
    "metric retrieval.least": [0.9],
    "objective contrastive.views": [["flip"]],
    "metric answers.most": [1],
    "metric answers.threshold": [50.0],
    "metric samples.prompts": [["b "]],
    "optimizer adamw.betas": [[0.5, 0.6]],
    "optimizer muon.betas": [[0.5, 0.6]],
    **{f"source {kind}.{field}": values for kind in SEEN for field, values in {
        "size": [[4, 6]], "crop": [[4, 4]], "mean": [[0.5]], "std": [[0.5]], "channels": [1], "split_seed": [1], "validation": [0.3], "test": [0.3],
        "fit": ["crop"], "resample": ["nearest"], "standardise": [True], "most_bad": [0.001], "on_bad": ["error"], "quarantine": ["FILES/bad-pictures.jsonl"],
        **({"path": [f"FILES/broken{SEEN[kind]['path'].removeprefix('FILES/seen')}"]} if "path" in SEEN[kind] else {}),
    }.items()},
    **{f"source {kind}.{field}": values for kind in ("image_folder", "image_shards", "masks", "voc") for field, values in {
        "include": [["**/*1.*", "**/*3.*", "**/*.txt", "**/*.tar"]], "exclude": [["**/*1.png"]],
    }.items()},
    **{f"source {kind}.pictures": ["FILES/other"] for kind in ("coco", "coco_masks")},
    "source image_shards.field": ["other"],
    "source image_shards.label_ending": ["txt"],
    "source image_table.separator": ["o"],
    "source image_table.group": ["stars"],
    "source image_table.header": [True],
    "source image_table.image": ["other"],
    "source image_table.label": ["stars"],
    "source image_table.root": ["FILES/seen/folders/cat"],
    "source masks.classes": [{"left": 0, "right": 7, "below": 255}],
    "source masks.masks": [["**/image/*"]],
    "source masks.pictures": [["**/label/*"]],
    "source masks.unknown": [None],
    **{f"source {kind}.path": ["FILES/seen/other.json"] for kind in ("coco", "coco_masks")},
    "source choices.context": ["question"],
    "source choices.label": ["other"],
    "source choices.longest": [12],
    "source choices.offered": [["more"]],
    "source choices.path": ["FILES/others.jsonl"],
    "source choices.question": ["story"],
    "source choices.test": [0.5, "FILES/others.jsonl"],
    "source choices.validation": [0.5, "FILES/others.jsonl"],
    "source choices.written": ["number", "letter"],
    "source mixture.sources.source": [{"kind": "text_files", "path": "FILES/sub/c.txt"}],
    "source mixture.sources": [{"other": {"source": {"kind": "text_files", "path": "FILES/a.txt"}}}],
    "source csv.features": [["b"]],
    "source csv.path": ["FILES/other.csv"],
    "source csv.separator": [";"],
    "source csv.target": ["b", None],
    "metric loss.objective": [{"kind": "masked"}],
    "source text_files.most_bad": [0.01],
    "source pairs.path": ["FILES/alike.jsonl"],
    "source pairs.first": ["other"],
    "source pairs.second": ["other"],
    "source pairs.score": ["level"],
    "source pairs.negative": ["other"],
    "source pairs.longest": [8],
    "source tagged_text.path": ["FILES/more.conll"],
    "source tagged_text.test": ["FILES/more.conll"],
    "source tagged_text.validation": ["FILES/more.conll"],
    "source questions.more": [["FILES/more.json"]],
    "source questions.path": ["FILES/more.json"],
    "source questions.test": [0.5, "FILES/more.json"],
    "source questions.validation": [0.5, "FILES/more.json"],
    "source rollouts.environment": [{"kind": "cartpole", "limit": 3}],
    "source text_files.exclude": [["*.txt"]],
    "source text_files.include": [["*.md"]],
    "source text_files.path": ["FILES/a.txt"],
    "source text_table.separator": ["o"],
    "source text_table.format": ["label_first"],
    "source parallel.header": [False],
    "source parallel.languages": [["other", "text"]],
    "source parallel.longest": [12],
    "source parallel.path": ["FILES/reviews.jsonl"],
    "source text_table.group": ["stars"],
    "source text_table.label": ["stars"],
    "source text_table.longest": [8],
    "source text_table.path": ["FILES/reviews.jsonl"],
    "source text_table.predict": ["number"],
    "source text_table.second": ["stars"],
    "source text_table.test": [0.5, "FILES/reviews.jsonl"],
    "source text_table.validation": [0.5, "FILES/reviews.jsonl"],
    "source text_table.text": ["other"],
    "source text_files.called": ["notes"],
    "source text_files.consent": ["asked"],
    "source text_files.encoding": ["latin-1"],
    "source text_files.facts": [["title"]],
    "source text_files.format": ["lines"],
    "source text_files.header": [False],
    "source text_files.inside": ["data"],
    "source text_files.language": ["en"],
    "source text_files.licence": ["MIT"],
    "source text_files.quarantine": ["FILES/bad.jsonl"],
    "source text_files.text": ["title"],
    "tokenizer file.lower": [False],
    "tokenizer file.path": ["FILES/other.tiktoken"],
    "tokenizer file.special": [{"eos": "a"}],
    **{f"tokenizer {kind}.sample": [200] for kind in ("bpe", "byte_bpe", "characters", "unigram", "wordpiece")},
    "data.pack": [{"length": 8}],
    "data.pack.ramp": [[]],
    "data.source": [{"kind": "text_files", "path": "FILES"}],
    "data.deduplicate": [["exact"]],
    "data.split": [{"validation": 0.3, "test": 0.1}],
    "data.split.near": [0.5],
    "evaluate": [[{"kind": "samples", "prompts": ["a "], "most": 2}]],
    "model": [{"kind": "decoder", "dim": 16, "depth": 1, "mixer": "lstm"}],
    "name": ["other"],
    "train.checkpoint": [{"every": 6}],
    "train.checkpoint.minutes": [1e-9],
    "train.device": ["cuda:9"],
    "train.flops": [6.0],
    "train.minutes": [0.00001],
    "train.players": [{"generator": "sgd"}],
    "train.show_every": [2],
    "train.validation": [{"every": 4, "batches": 2}],
}
"""Other values for fields whose other values cannot be guessed from their types."""

for table in (ENTRIES, VALUES):
    table |= {key.replace("source", "source of documents", 1): value for key, value in table.items() if key.startswith("source text_files")}
    for trunks in (PICTURE_TRUNKS, PATCH_TRUNKS):
        table |= {key.replace("architecture", trunks.sort, 1): value for key, value in table.items() for name in trunks.names() if key.startswith(f"architecture {name}.")}

LANGUAGE = "language"
GIVEN = {"tokenizer": {"kind": "file", "path": "FILES/model/tokenizer.json"}}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "adapt": (LANGUAGE, {"start": "FILES/model", "data": GIVEN}),
    "arms": (LANGUAGE, {"start": "FILES/model", "data": GIVEN, "arms": [{"adapt": "last_layers", "rate": 0.1}]}),
    "start": (LANGUAGE, {"data": GIVEN}),
    "data.augment": ("gan", {"data": {"augment": []}}),
    "data.pack.ramp": (LANGUAGE, {"data": {"pack": {"ramp": [{"until": 0.5, "length": 4}]}}}),
    "train.epochs": (LANGUAGE, {"train": {"steps": None, "epochs": 0.5}}),
    "train.tokens": (LANGUAGE, {"train": {"steps": None, "tokens": 640}}),
    "train.flops": (LANGUAGE, {"train": {"steps": None, "flops": 4.0}}),
    "train.minutes": (LANGUAGE, {"train": {"steps": None, "minutes": 0.001}}),
    "train.batch_tokens": (LANGUAGE, {"train": {"batch": None, "batch_tokens": 128}}),
    "train.players": ("gan", {}),
    "train.average": (LANGUAGE, {"train": {"average": {"decay": 0.9}}}),
    "train.statistics": ("images", {}),
    "train.early_stop": (LANGUAGE, {"train": {"early_stop": {"patience": 2}, "optimizer": {"rate": 3.0}, "validation": {"every": 1}, "average": None}}),
    "train.show_every": (LANGUAGE, {"evaluate": [{"kind": "samples", "prompts": ["a "], "most": 2}]}),
    "train.on_nonfinite": (LANGUAGE, {"broken": 7}),
}
"""The recipe that shows a field of a section or of a section's sections, and what is changed in it first; others use the language model."""


# other values


def others(annotation: Any, metadata: list[Any], value: Any) -> Iterator[Any]:
    """Values of this type other than `value`; some may break a rule of the config."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    slots = [item for item in metadata if isinstance(item, Slot)]
    if slots:
        fields = value if isinstance(value, dict) else {"kind": value}
        yield from ({"kind": name} for name in slots[0].catalogue.names() if name != fields["kind"])
        if value is not None:
            entry = fields_of(slots[0].catalogue.load(fields["kind"]))
            for name, field in entry.model_fields.items():
                if name in fields and name != "kind":
                    yield from ({**fields, name: other} for other in others(field.annotation, field.metadata, fields[name]))
    elif origin is Annotated:
        yield from others(arguments[0], [*metadata, *arguments[1:]], value)
    elif origin in (types.UnionType, typing.Union):
        for argument in arguments:
            if argument is type(None):
                if value is not None:
                    yield None
            else:
                yield from others(argument, metadata, value)
    elif origin is Literal:
        yield from (choice for choice in arguments if choice != value)
    elif annotation is bool:
        yield not value
    elif annotation is int:
        yield from (value * 2, value + 1, value - 1) if isinstance(value, int) else (2, 1, 4)
    elif annotation is float:
        yield from (value / 2, value * 2, value + 0.5) if isinstance(value, int | float) else (0.5, 2.0)
    elif origin is tuple and isinstance(value, list):
        if value:
            yield from ([other, *value[1:]] for other in others(arguments[0], [], value[0]))
        else:
            yield from ([other] for other in others(arguments[0], [], None))
    elif inspect.isclass(annotation) and issubclass(annotation, Config):
        yield {}


def turned_off(value: Any) -> bool:
    """None and 0 often mean "without": seeing only them would not show that the numbers in between count."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value == 0)


def values_of(knob: str, field: Any, value: Any) -> list[Any]:
    """Other values to try: from the table, else guessed, those that turn something off only where there are no others."""
    if knob in VALUES:
        return VALUES[knob]
    guessed = list(others(field.annotation, field.metadata, value))
    return [other for other in guessed if not turned_off(other) and other != {}] or guessed


def only_one(annotation: Any, metadata: list[Any]) -> bool:
    """Whether a type has a single value, or is a mapping whose own fields are looked at."""
    if any(isinstance(item, Slot) for item in metadata):
        return False
    section = inspect.isclass(annotation) and issubclass(annotation, Config)
    return section or (typing.get_origin(annotation) is Literal and len(typing.get_args(annotation)) == 1)


def field_of(config: type[Config], path: str) -> Any:
    *inside, name = path.split(".")
    return sections(config)[".".join(inside)].model_fields[name]


def get(data: Any, path: list[str]) -> Any:
    """A value in plain data; lists, and entries under names, are entered at their first."""
    for step in path:
        data = data[0] if isinstance(data, list) else next(iter(data.values())) if by_name(data, step) else data
        data = data.get(step) if isinstance(data, dict) else None
    return data


@pytest.fixture(scope="module", autouse=True)
def files() -> Path:
    """Small files of every sort that sources read, and MNIST's files with noise in them."""
    folder = place() / "files"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for name, text in {"a.txt": "one\n", "b.md": "two\n", "sub/c.txt": "three\n", "large.txt": "x" * 400}.items():
        (folder / name).write_text(text)
    (folder / "bad.txt").write_bytes(b"\xff\xfe\xfd")
    (folder / "lines.jsonl").write_text("\n".join([json.dumps({"text": f"row {i}", "title": f"title {i}"}) for i in range(8)] + ["not json"]) + "\n")
    rows = [f"{i},{i * i % 7},{'xyz'[i % 3]}" for i in range(30)]
    (folder / "table.csv").write_text("\n".join(["a,b,kind", *rows]) + "\n")
    (folder / "other.csv").write_text("\n".join(["a,b,kind", *rows[::-1]]) + "\n")
    for name, letters in {"ranks": "abc", "other": "abcd"}.items():
        (folder / f"{name}.tiktoken").write_text("".join(f"{base64.b64encode(letter.encode()).decode()} {i}\n" for i, letter in enumerate(letters)))
    (folder / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\na\n")
    reviews = [{"text": f"a film of {i} words", "other": f"row {i}", "stars": str(i % 3), "label": "bad" if i % 2 else "good"} for i in range(24)]
    (folder / "reviews.csv").write_text("\n".join([",".join(reviews[0]), *(",".join(row.values()) for row in reviews)]) + "\n")
    (folder / "reviews.jsonl").write_text("\n".join(json.dumps(row) for row in reviews[::-1]) + "\n")
    (folder / "evaluation.csv").write_text("question,answer\na film of 3 words,老虎吃草\n")
    alike = [
        {"first": f"a film of {i} words", "second": f"{i} words in a film", "negative": "a book", "other": f"row {i}", "score": str(i % 6), "level": str(i % 4)}
        for i in range(24)
    ]
    (folder / "alike.csv").write_text("\n".join([",".join(alike[0]), *(",".join(row.values()) for row in alike)]) + "\n")
    (folder / "alike.jsonl").write_text("\n".join(json.dumps(row) for row in alike[::-1]) + "\n")

    offered = [{"question": f"which {i}?", "story": f"story {i}", "choices": ["yes", f"no {i}"], "more": ["a", "b", "c"], "answer": i % 2, "other": 1 - i % 2,
                "text": ["yes", f"no {i}"][i % 2]} for i in range(24)]
    for name, rows in {"choices": offered, "others": offered[::-1]}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for name, numbers in {"asked": range(20), "more": range(18, 40)}.items():
        texts = [f"number {i} and a text of some more words" for i in numbers]
        asked = [{"question": "which?", "answers": [{"text": text.split()[1], "answer_start": 7}]} for text in texts]
        data = [{"title": text, "paragraphs": [{"context": text, "qas": [one]}]} for text, one in zip(texts, asked, strict=True)]
        (folder / f"{name}.json").write_text(json.dumps({"data": data}))
    (folder / "names.conll").write_text("Anna B-PER\nin O\nRome B-LOC\n\nBo B-PER\n")
    (folder / "more.conll").write_text("Bo B-PER\nin O\nRome B-LOC\n")
    (folder / "questions.jsonl").write_text("".join(json.dumps({"q": q, "right": i % 2}) + "\n" for i, q in enumerate("both walked")))
    asked = {"about": "what comes next", "files": ["questions.jsonl"], "examples": ["questions.jsonl"], "prompt": "{{ q }}", "answer": "{{ right }}"}
    for name, choices in {"questions": ["o", "t"], "others": ["o", "lk"]}.items():
        (folder / f"{name}.yaml").write_text(json.dumps({**asked, "choices": choices}))
    sides = [("He can walk", "She can walk"), ("The old walk", "All walk"), ("oth", "walked"), ("The young talk", "Some talk")]
    (folder / "crows_pairs_anonymized.csv").write_text("\n".join(["sent_more,sent_less,bias_type", *(f"{a},{b},x" for a, b in sides)]) + "\n")
    schemas = [f"{who}.someone.1.{gender}.txt\tThe {who} said {word} walked." for who in ("clerk", "cook") for gender, word in (("male", "he"), ("female", "she"))]
    (folder / "all_sentences.tsv").write_text("\n".join(["sentid\tsentence", *schemas]) + "\n")
    model = DecoderConfig.parse({**tiny.language(folder)["model"], "vocab": 260, "context": 16}).build()
    model.initialise(1)
    save(Model(model, TextProcessor(Bytes().train([])), "text-generation"), folder / "model", replace=True)
    talks = [{"instruction": f"what is {i}?", "output": f"it is {i}"} for i in range(24)]
    asked = [{"question": f"{i}?", "answer": f"it is {i}", "other": f"row {i}"} for i in range(24)] + [{}]
    verdicts = [{**talk, "good": i % 2 == 0, "other": i % 3 == 0} for i, talk in enumerate(talks)] + [{}]
    talks_and_pairs = {
        "prompts": asked, "judged": verdicts, "talks": [*talks, {"instruction": "no answer"}],
        "pairs": [{"prompt": t["instruction"], "chosen": t["output"], "rejected": "no"} for t in talks] + [{}],
    }
    for name, rows in talks_and_pairs.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for name, form in {"well": "{0} is what the book of {1} is about", "badly": "book about {0} the {1} is of what is"}.items():
        rows = [{"text": form.format("abcdefg"[i % 7], i), "other": f"{name[0]} {i} {i % 3}"} for i in range(60)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    learned = train_quality(*([json.loads(line)["text"] for line in (folder / f"{name}.jsonl").read_text().splitlines()] for name in ("well", "badly")))
    with commit(folder / "judge", replace=True) as attempt:
        learned.write(attempt)
    (folder / "words.txt").write_text("京大\n")
    for name in ("seen", "broken"):
        write_pictures(folder / name)
    for damaged in ("folders/cat/0.png", "voc/JPEGImages/000.png", "pictures/0.png", "masks/image/0.png"):
        (folder / "broken" / damaged).write_bytes(b"no picture")
    (folder / "broken" / "shards" / "b.tar").write_bytes(b"x" * 300)
    cats = {place.relative_to(folder / "seen").as_posix(): place.read_bytes() for place in sorted((folder / "seen" / "folders").glob("*/*.png"))}
    for name, members in {"train_10k": {**cats, "folders/cat/99.png": b"no picture"}, "test": cats}.items():
        (folder / f"{name}.tar.xz").write_bytes(tar_of(members, "w:xz"))
    (folder / "other").mkdir(exist_ok=True)
    for number in range(5):
        (folder / "other" / f"{number}.png").write_bytes(encoded(pixels(number)))
    draws = np.random.default_rng(0)
    for part in ("train", "t10k"):
        labels = np.arange(60, dtype=np.uint8) % 10
        pictures = draws.integers(256, size=(60, 28, 28), dtype=np.uint8)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 60) + labels.tobytes()))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 60, 28, 28) + pictures.tobytes()))
    return folder


def write_pictures(folder: Path) -> None:
    """Small pictures in every form that they are read in; CIFAR-10's files are among them."""
    write_folders(folder / "folders")
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    (folder / "shards" / "a.tar").write_bytes(shard(range(24)))
    names = [f"folders/{place.parent.name}/{place.name}" for place in sorted((folder / "folders").glob("*/*.png"))]
    rows = [f"{name},{name.split('/')[1]},{names[-1 - number]},{number % 2}" for number, name in enumerate(names)]
    (folder / "table.csv").write_text("\n".join(["image,label,other,stars", *rows]) + "\n")
    (folder / "headless.csv").write_text("\n".join(rows) + "\n")
    write_voc(folder / "voc", 24)
    write_coco(folder, "boxes.json", range(24))
    write_coco(folder, "other.json", range(12))
    write_masks(folder / "masks", 24)


def resolved(data: Any) -> Any:
    """Plain data with FILES replaced by the folder."""
    return json.loads(json.dumps(data).replace("FILES", str(place() / "files")))


# entries of catalogues


def parsed(knob: Knob, fields: dict[str, Any]) -> Any:
    return Slot(catalogues()[knob.sort]).parse(resolved(fields))


def entry_fields(knob: Knob) -> dict[str, Any]:
    """The entry before the change, with all its fields."""
    fields = {"kind": knob.name, **HOSTS.get(knob.name, {}), **ENTRIES.get(str(knob), ENTRIES.get(f"{knob.sort} {knob.name}", {}))}
    if knob.sort in (ARCHITECTURES.sort, TRUNKS.sort, PICTURE_TRUNKS.sort, PATCH_TRUNKS.sort):
        fields = with_sizes(knob.name, fields)
    return parsed(knob, fields).dump()


@functools.cache
def seen_before(knob: Knob) -> Any:
    """What the entry looks like before any change: the same each time, or comparing would prove nothing."""
    config = parsed(knob, entry_fields(knob))
    first = observe(knob.sort, config)
    assert observe(knob.sort, config) == first, f"{knob.sort} {knob.name} does not look the same twice"
    return first


ENTRY_KNOBS = [knob for knob in knobs() if knob.sort]


@pytest.mark.parametrize("knob", ENTRY_KNOBS, ids=str)
def test_every_field_of_every_entry_does_something(knob: Knob, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("data.sources.images", "evaluation.probes.crows_pairs", "evaluation.probes.occupations"):
        monkeypatch.setattr(f"ftheta.{module}.locate", lambda name: place() / "files")
    monkeypatch.setattr("ftheta.data.read.walk.named", lambda path: place() / "files" / Path(path).name)
    fields = entry_fields(knob)
    path = knob.field.split(".")
    field = field_of(fields_of(catalogues()[knob.sort].load(knob.name)), knob.field)
    values = values_of(str(knob), field, get(fields, path))
    tried = []
    for value in values:
        try:
            config = parsed(knob, put(fields, path, value))
        except ConfigError:
            continue
        if config.dump() == fields:
            continue
        tried.append(value)
        try:
            after = observe(knob.sort, config)
        except (FthetaError, ValueError) as error:                                        # a rule of the thing itself, met when it is built
            after = str(error)
        if after != seen_before(knob if str(knob) in ENTRIES else knob._replace(field="")):
            return
    if not tried:
        assert only_one(field.annotation, field.metadata), f"{knob}: no other valid value is known; add one to VALUES"
        return
    pytest.fail(f"{knob} is a dead knob: {', '.join(map(repr, tried))} look the same as {get(fields, path)!r}")


# sections


def base_of(knob: Knob) -> tuple[dict[str, Any], int | None]:
    """The recipe that shows a field, and which call of the model it breaks."""
    name, change = next(
        (RUNS[key] for key in (f"{knob.name}.{knob.field}".strip("."), *itertools.accumulate(knob.name.split("."), "{}.{}".format)) if key in RUNS),
        (LANGUAGE, {}),
    )
    change = copy.deepcopy(change)
    broken = change.pop("broken", None)
    recipe = tiny.language(tiny.write_texts(place() / "texts")) if name == LANGUAGE else getattr(tiny, name)()
    recipe = merge(recipe, {"train": {"steps": 8}} if name != LANGUAGE else {})
    return resolved(merge(recipe, change)), broken


@functools.cache
def ran_before(recipe: str, broken: int | None) -> Any:
    first = observe_run(json.loads(recipe), place() / "run", broken)
    assert observe_run(json.loads(recipe), place() / "run", broken) == first or '"minutes": 0.' in recipe, "the run does not look the same twice"
    return first


SECTION_KNOBS = [knob for knob in knobs() if not knob.sort]


@pytest.mark.parametrize("knob", SECTION_KNOBS, ids=str)
def test_every_field_of_every_section_does_something(knob: Knob) -> None:
    recipe, broken = base_of(knob)
    path = [step for step in (*knob.name.split("."), knob.field) if step]
    field = sections()[knob.name].model_fields[knob.field]
    if only_one(field.annotation, field.metadata):
        return
    full = recipes.load(recipe).dump()
    values = values_of(str(knob), field, get(full, path))
    tried = []
    for value in values:
        changed = resolved(put(recipe, path, value))
        try:
            if recipes.load(changed).dump() == full:
                continue
        except ConfigError:
            continue
        tried.append(value)
        if observe_run(changed, place() / "run", broken) != ran_before(json.dumps(recipe, sort_keys=True), broken):
            return
    assert tried, f"{'.'.join(path)}: no other valid value is known; add one to VALUES"
    pytest.fail(f"{'.'.join(path)} is a dead knob: {', '.join(map(repr, tried))} look the same as {get(full, path)!r}")


def test_the_tables_name_fields_that_exist() -> None:
    known = {str(knob) for knob in knobs()}
    places = known | {knob.name for knob in knobs() if not knob.sort} | {f"{knob.sort} {knob.name}" for knob in knobs()}
    assert not VALUES.keys() - known
    assert not ENTRIES.keys() - places
    assert not RUNS.keys() - known


def test_a_dead_knob_is_found() -> None:
    """The comparison itself: equal things look equal, unequal ones do not."""
    first = parsed(Knob("schedule", "constant", ""), {"kind": "constant"})
    assert observe("schedule", first) == observe("schedule", parsed(Knob("schedule", "constant", ""), {"kind": "constant", "warmup": 0.0}))
    assert observe("schedule", first) != observe("schedule", parsed(Knob("schedule", "constant", ""), {"kind": "constant", "warmup": 0.1}))
    assert plain(TEXTS) != plain(TEXTS[1:])
