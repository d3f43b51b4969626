"""g2pM's BiLSTM, loaded by name, computes what its tensors say and reads as many characters right as published (97.36 % and 97.31 %)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from ftheta.core import tensors
from ftheta.core.errors import UsageError
from ftheta.data.catalogue import locate
from ftheta.interop.g2pm import SOURCE
from ftheta.interop.published import published
from ftheta.models.folder import load, save

MIRROR = os.environ.get("FTHETA_MIRROR")
PUBLISHED = {"dev": (9893, 97.36), "test": (10254, 97.31)}
"""Sentences, and the share of marked characters that are read right, in percent."""


@pytest.fixture(scope="module")
def folder() -> Path:
    if not MIRROR or not all((Path(MIRROR) / name).is_dir() for name in (SOURCE, "g2pm_cpp")):
        pytest.skip(f"FTHETA_MIRROR names no folder with {SOURCE} and g2pm_cpp")
    return published("g2pm")


def lines(name: str) -> list[str]:
    return (locate("g2pm_cpp") / name).read_text(encoding="utf-8").splitlines()


@torch.no_grad()
def test_logits_are_those_of_the_published_tensors(folder: Path, tmp_path: Path) -> None:
    """Equal to torch's own LSTM and linear maps on each sentence alone, in one padded batch."""
    theirs = tensors.read(locate(SOURCE) / "model.safetensors")
    ids = json.loads((locate(SOURCE) / "char2idx.json").read_bytes())
    lstm = nn.LSTM(64, 32, batch_first=True, bidirectional=True)
    lstm.load_state_dict({name.removeprefix("lstm."): value for name, value in theirs.items() if name.startswith("lstm.")})
    texts = [text.replace("▁", "") for text in lines("test.sent")[:40]] + ["시끝<PAD> a\n☃"]
    model = load(folder)
    model.architecture.eval()
    encodings = [model.processor.frame(text, None, 1024) for text in texts]
    batch = model.processor.batch(encodings)
    found = model.architecture(tokens=batch["tokens"], documents=batch["documents"])["logits"]
    for row, text, encoding in zip(found, texts, encodings, strict=True):
        numbers = [2, *(ids.get(character, 1) for character in text), 3]
        assert encoding.ids == numbers
        hidden = lstm(theirs["embedding.weight"][torch.tensor([numbers])])[0][0]
        dense = (hidden @ theirs["logit_layer.0.weight"].T + theirs["logit_layer.0.bias"]).relu()
        torch.testing.assert_close(row[: len(numbers)], dense @ theirs["logit_layer.2.weight"].T + theirs["logit_layer.2.bias"], atol=2e-5, rtol=1e-5)
    added = 64 * 64                                                                       # the map after the LSTMs, which is the identity
    assert sum(value.numel() for value in model.architecture.theta().values()) == 401_548 + added
    save(model, tmp_path / "m")
    assert load(tmp_path / "m").predict("商业银▁行▁。") == model.predict("商业银▁行▁。")


def test_a_character_has_the_reading_of_its_place(folder: Path) -> None:
    model = load("g2pm")
    answers = model.predict(["2005年1月，中国银监会批准筹建莱芜市商业银▁行▁。", "在世界许多地方，童工依然盛▁行▁。"])
    assert [answer.label for answer in answers] == ["hang2", "xing2"]
    with pytest.raises(UsageError, match="put one ▁ before and one after"):
        model.predict("他走了。")


@pytest.mark.slow
@pytest.mark.parametrize("split", PUBLISHED)
def test_accuracy_is_as_published(folder: Path, split: str) -> None:
    sentences, readings = lines(f"{split}.sent"), lines(f"{split}.lb")
    count, share = PUBLISHED[split]
    assert len(sentences) == len(readings) == count
    answers = load(folder).predict(sentences)
    found = 100 * sum(answer.label == reading for answer, reading in zip(answers, readings, strict=True)) / count
    print(f"{split}: {found:.2f} %, published {share:.2f} %")
    assert round(found, 2) == share
