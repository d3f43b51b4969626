"""Translation, summarization and text2text-generation: typed, the same through Python, a folder and the command line, equal to transformers' words."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ftheta.architectures.encoder_decoder import EncoderDecoderConfig
from ftheta.core.errors import ConfigError, UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.lifecycle.build import task_of
from ftheta.lifecycle.recipe import Recipe
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from ftheta.models.tasks import TASKS

WORDS = ["<pad>", "</s>", "<unk>", "<s>", *"abcdefghijklmnopqrst"]


def words(begin: bool = False) -> Tokenizer:
    """A tokenizer of single letters that puts control tokens around texts as T5's does, or BART's."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>" if begin else "$A </s>", special_tokens=[("<s>", 3), ("</s>", 1)])
    made.add_special_tokens(WORDS[:4])
    return made


def model(task="translation", processor=None, **fields):
    processor = processor or TextProcessor(words(), {"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "decoder_start": "<pad>"}, [], ["</s>"])
    fields = {"vocab": len(WORDS), "dim": 16, "depth": 1, "context": 24, "mixer": {"kind": "attention", "heads": 2}, "std": 0.6, **fields}
    architecture = EncoderDecoderConfig.parse({"positions": "relative", **fields}).build()
    architecture.initialise(0)
    return Model(architecture, processor, task)


def greedy(opened, source, start, most):
    tokens = list(start)
    end = opened.processor.id("eos")
    banned = [i for i in map(opened.processor.id, ("bos", "pad", "mask", "cls")) if i not in (None, end)]
    for _ in range(most):
        logits = opened.architecture(tokens=torch.tensor([tokens]), source=torch.tensor([source]))["logits"][0, -1]
        logits[banned] = float("-inf")
        if int(logits.argmax()) == end:
            break
        tokens.append(int(logits.argmax()))
    return opened.processor.decode(tokens[len(start):])


@torch.no_grad()
def test_an_answer_begins_where_training_does_and_is_greedy_unless_asked():
    opened = model()
    answer = opened.predict({"text": "a b c d", "most": 12})
    assert answer.text == greedy(opened, [4, 5, 6, 7, 1], [0], 12) and answer.text
    assert opened.predict({"text": "a b c d", "temperature": 1.0, "seed": 1}).text != opened.predict({"text": "a b c d", "temperature": 1.0, "seed": 2}).text
    several = opened.predict([{"text": "a b c d", "most": 12}, {"text": "q", "most": 3}, {"text": "a b c d", "beams": 3, "samples": 2, "length_penalty": 0.5}])
    assert several[0] == answer and several[1].tokens <= 3 and len(several[2].more) == 1
    assert opened.task.read('{"text": "a b c d", "most": 2}') == {"text": "a b c d", "most": 2}
    assert "".join(piece for piece, _ in opened.task.stream(opened.parse({"text": "a b c d", "most": 12}, None))) == answer.text
    assert opened.predict("a b c d").tokens == 24


@torch.no_grad()
def test_long_texts_lose_their_end_and_keep_what_ends_them():
    opened = model()
    long = " ".join("abcdefghij" * 5)
    assert opened.processor.source(long, 24) == [*opened.processor.source(long, 100)[:23], 1]
    assert opened.predict({"text": long, "most": 12}).text == greedy(opened, opened.processor.source(long, 24), [0], 12)


@pytest.mark.parametrize(("roles", "begin", "end", "start"), [
    ({"pad": "<pad>", "eos": "</s>", "decoder_start": "<pad>"}, [], ["</s>"], [0]),                 # T5, Marian
    ({"bos": "<s>", "eos": "</s>", "decoder_start": "</s>"}, ["<s>"], ["</s>"], [1, 3]),            # BART
    ({"bos": "<s>", "eos": "</s>"}, ["<s>"], [], [3]),                                              # a tokenizer made here
    ({"eos": "</s>"}, [], [], [1]), ({}, [], [], []),
])
def test_what_an_answer_begins_with(roles, begin, end, start):
    assert TextProcessor(words(), roles, begin, end).answer_start == start


def test_what_cannot_be_answered_is_refused():
    with pytest.raises(UsageError, match="decoder_start"):
        model(processor=TextProcessor(words(), {}, [], [])).predict("a")
    with pytest.raises(UsageError, match="at least one character"):
        model().predict("")
    with pytest.raises(ConfigError, match="did you mean 'beams'"):
        model().predict({"text": "a", "beam": 2})
    with pytest.raises(UsageError, match="not text-generation"):
        model().generate("a")


def test_three_names_one_way():
    assert {model(task).predict("a b").text for task in ("translation", "summarization", "text2text-generation")} == {model().predict("a b").text}
    assert all(TASKS.load(task).name == task for task in ("translation", "summarization", "text2text-generation"))


def test_the_task_follows_from_what_the_model_takes(tmp_path):
    def recipe(kind):
        fields = {"kind": kind, "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}}
        source = {"kind": "text_files", "path": str(tmp_path)}
        return Recipe.parse({"format": 1, "name": "t", "data": {"source": source}, "model": fields, "objective": "next_token", "train": {"steps": 1}})

    for kind, task in (("encoder_decoder", "translation"), ("decoder", "text-generation")):
        parsed = recipe(kind)
        assert task_of(parsed, parsed.architecture({"V": 20, "T": 8})) == task


def test_a_folder_and_the_command_line_answer_the_same(tmp_path):
    for name, opened in (("ours", model(positions="rotary")), ("bytes", model(processor=TextProcessor(Bytes().train([])), vocab=260))):
        save(opened, tmp_path / name)
        again = load(tmp_path / name)
        assert again.task.name == "translation" and again.processor.answer_start == opened.processor.answer_start
        assert again.predict({"text": "a b", "most": 9}) == opened.predict({"text": "a b", "most": 9})
    shown = subprocess.run(
        [sys.executable, "-c", "from ftheta.cli import main; main()", "predict", tmp_path / "ours", '{"text": "a b", "most": 9}', "--json"],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout
    assert json.loads(shown) == model(positions="rotary").predict({"text": "a b", "most": 9}).dump()


def test_their_words_are_ours(tmp_path):
    transformers = pytest.importorskip("transformers")
    t5 = {"norm": "rmsnorm", "head": {"kind": "linear", "shrink": True}, "mixer": {"kind": "attention", "heads": 3, "head_dim": 7, "scale": 1.0}, "dropout": 0.0}
    bart = {
        "positions": {"kind": "learned", "offset": 2}, "norm_place": "after", "embed_norm": True, "mixer": {"kind": "attention", "heads": 2, "bias": True},
        "feedforward": {"kind": "mlp", "bias": True}, "head": {"kind": "linear", "bias": True},
    }
    of_bart = TextProcessor(words(True), {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "decoder_start": "</s>"}, ["<s>"], ["</s>"])
    for name, opened, start in (("t5", model(**t5, feedforward={"kind": "mlp", "activation": "relu"}), [[0]]), ("bart", model(processor=of_bart, **bart), [[1, 3]])):
        save(opened, tmp_path / name)
        assert json.loads((tmp_path / name / "config.json").read_text())["model_type"] == name
        theirs, tokenizer = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / name), transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        for text in ("a b c d e", "t s r"):
            given = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            banned = [[opened.processor.id(role)] for role in ("pad", "bos") if opened.processor.id(role) is not None]
            row = theirs.generate(**given, decoder_input_ids=torch.tensor(start), do_sample=False, max_new_tokens=12, bad_words_ids=banned)[0]
            assert opened.predict({"text": text, "most": 12}).text == tokenizer.decode(row, skip_special_tokens=True)


def test_a_text_longer_than_is_read_is_said(caplog):
    opened = model()
    short, long = "a b c", "a b c d e f g h i j " * 3
    opened.predict({"text": short, "most": 2})
    assert not caplog.records
    answer = opened.predict({"text": long, "most": 5, "samples": 2})
    (heard,) = [record.getMessage() for record in caplog.records]
    assert heard.startswith("the text has 31 tokens and the model reads 24: ") and answer.text == opened.predict({"text": long[: 2 * 23], "most": 5}).text
