"""What a run shows of its model while it learns: texts and pictures at every so many steps, in files and events, and no bit of the training is another."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests import tiny

from ftheta import run
from ftheta.core.config import merge
from ftheta.serving.http.errors import Refusal
from ftheta.web.runs import Runs

SAMPLES = [{"kind": "samples", "prompts": ["the ", "a "], "most": 8}]


def exhibits(folder: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "exhibit"]


def test_texts_over_time_and_the_same_training(tmp_path: Path) -> None:
    recipe = merge(tiny.language(tiny.write_texts(tmp_path / "texts")), {"evaluate": SAMPLES})
    plain = run(recipe, out=tmp_path / "plain")
    shown = run(merge(recipe, {"train": {"show_every": 5}}), out=tmp_path / "shown")
    weights = [(each.folder / "model" / "model.safetensors").read_bytes() for each in (plain, shown)]
    assert weights[0] == weights[1] and exhibits(plain.folder) == []
    found = exhibits(shown.folder)
    assert [event["step"] for event in found] == [5, 10, 12]
    titles = {"continuation of 'the '", "continuation of 'a '"}
    assert all(titles <= event.keys() for event in found)
    card = (shown.folder / "report" / "card.md").read_text()
    assert all(json.dumps(found[-1][title])[1:-1].split("\\")[0] in card for title in titles)             # the last is the finished model's, as the card has it
    assert len({found[0][title] for title in titles} | {found[-1][title] for title in titles}) == 4      # it has learned meanwhile


def test_pictures_over_time(tmp_path: Path) -> None:
    recipe = merge(tiny.gan(), {"evaluate": [{"kind": "generated", "samples": 20}], "train": {"steps": 6, "show_every": 3, "checkpoint": {"every": None}}})
    folder = run(recipe, out=tmp_path / "gan").folder
    found = exhibits(folder)
    assert [event["pictures"] for event in found] == [["exhibits/step-3-samples.png"], ["exhibits/step-6-samples.png"]]
    drawn = [(folder / event["pictures"][0]).read_bytes() for event in found]
    sizes = {Image.open(io.BytesIO(data)).size for data in drawn}
    assert drawn[0] != drawn[1] and sizes == {Image.open(folder / "report" / "samples.png").size}
    runs = Runs(tmp_path)
    assert runs.picture("gan", "exhibits/step-3-samples.png") == drawn[0]
    for other in ("exhibits/step-4-samples.png", "exhibits/../recipe.yaml", "exhibits"):
        with pytest.raises(Refusal, match="no such picture"):
            runs.picture("gan", other)
