"""Pairs of texts: how they are read, split and encoded, and batches of like length."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ftheta.core.contract import PADDING
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.parallel import Pair, ParallelTexts, divide
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Shuffled
from ftheta.data.sources.parallel import Parallel
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.tokenizers.trained import BOS, EOS, Bytes

PAIRS = [(f"a{'b' * (i % 9)} {i}", f"c{'d' * (i % 7)} {i}") for i in range(60)]


def files(folder: Path, pairs: list[tuple[str, str]] = PAIRS) -> str:
    """Two files line by line, one of them packed."""
    (folder / "train.en").write_text("".join(f"{first}\n" for first, _ in pairs))
    (folder / "train.de").write_text("".join(f"{second}\n" for _, second in pairs))
    return str(folder / "train.{}")


def prepared(folder: Path, **fields: Any) -> Prepared:
    given = {"kind": "parallel", "languages": ["en", "de"], "path": "", **fields}
    given["path"] = given["path"] or files(folder)
    return Parallel.parse(given).prepare(Sections(Bytes(), folder / "cache"))


def dataset(found: Prepared, part: str = "train") -> ParallelTexts:
    split = found.splits[part]
    assert isinstance(split, ParallelTexts)
    return split


def test_all_ways_to_write_pairs_give_the_same(tmp_path: Path) -> None:
    wanted = dataset(prepared(tmp_path)).pairs
    (tmp_path / "p.tsv").write_text("de\ten\n" + "".join(f"{second}\t{first}\n" for first, second in PAIRS))
    (tmp_path / "p.csv").write_text("".join(f'"{first}",{second}\n' for first, second in PAIRS))
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps({"en": first, "de": second}) + "\n" for first, second in PAIRS).encode()))
    for name, more in (("p.tsv", {}), ("p.csv", {"header": False, "languages": ["1", "2"]}), ("p.jsonl.gz", {})):
        assert dataset(prepared(tmp_path, path=str(tmp_path / name), **more)).pairs == wanted


def test_rows_are_what_a_decoder_learns_from(tmp_path: Path) -> None:
    found = prepared(tmp_path, validation=0.0, test=0.0)
    train = dataset(found)
    assert len(train) == len(PAIRS) and list(found.splits) == ["train"]
    batch = train.batch(torch.tensor([3, 8]))
    assert train.texts(torch.tensor([3, 8])) == [PAIRS[3], PAIRS[8]]
    for row, (first, second) in enumerate((PAIRS[3], PAIRS[8])):
        source, target = (batch[name][row][batch[number][row] >= 0].tolist() for name, number in (("source", "source_documents"), ("tokens", "documents")))
        assert source == [*found.processor.encode(first, start=False), EOS]               # type: ignore[attr-defined]
        assert target == [BOS, *found.processor.encode(second, start=False), EOS]         # type: ignore[attr-defined]
    assert set(batch["documents"].unique().tolist()) == {0, PADDING}
    assert train.units_per_example == round(sum(len(first) + len(second) + 3 for first, second in PAIRS) / len(PAIRS))


def test_the_model_folder_frames_texts_the_same_way(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    for name, data in found.processor.files().items():
        (tmp_path / name).write_bytes(data)
    again = type(found.processor).load(found.processor.dump(), tmp_path)
    assert isinstance(again, TextProcessor) and again.answer_start == [BOS]
    assert again.source("abc", 16) == [*again.encode("abc", start=False), EOS]


def test_training_can_go_both_ways_and_the_test_does_not(tmp_path: Path) -> None:
    one, two = prepared(tmp_path), prepared(tmp_path, reverse=True)
    assert dataset(two).pairs == [*dataset(one).pairs, *(Pair(pair.target, pair.source) for pair in dataset(one).pairs)]
    assert dataset(two, "test").pairs == dataset(one, "test").pairs


def test_long_pairs_are_left_out_of_training_and_cut_elsewhere(tmp_path: Path) -> None:
    found = prepared(tmp_path, path=files(tmp_path, [("x" * i, "y") for i in range(1, 21)]), validation=0.0, longest=10, test=str(tmp_path / "train.{}"))
    assert len(dataset(found)) == 9 and found.account["dropped"] == {"more than 10 tokens": 11}
    test = dataset(found, "test").batch(torch.tensor([19]))
    assert test["source"].shape == (1, 10) and int(test["source"][0, -1]) == EOS


def test_no_text_is_in_two_parts() -> None:
    pairs = [Pair(f"a{i // 2}", f"b{(i + 1) // 3}") for i in range(0, 400, 1) if i % 5]
    parts = divide({"train": pairs, "validation": 0.2, "test": 0.2}, 0)
    assert sorted(pair for part in parts.values() for pair in part) == sorted(pairs) and all(parts.values())
    for side in (0, 1):
        texts = [{pair[side] for pair in part} for part in parts.values()]
        assert not any(texts[a] & texts[b] for a, b in ((0, 1), (0, 2), (1, 2)))


def test_batches_hold_like_lengths_in_an_order_that_seed_and_epoch_decide(tmp_path: Path) -> None:
    train = dataset(prepared(tmp_path, validation=0.0, test=0.0))
    source = Shuffled(train, 6, seed=1)
    epochs = [[source.rows(step, torch.arange(6)) for step in range(start, start + 10)] for start in (0, 10, 0)]
    assert all(sorted(torch.cat(epoch).tolist()) == list(range(60)) for epoch in epochs)
    assert torch.equal(torch.stack(epochs[0]), torch.stack(epochs[2])) and not torch.equal(torch.stack(epochs[0]), torch.stack(epochs[1]))
    spreads = [int(train.lengths[rows].max() - train.lengths[rows].min()) for rows in epochs[0]]
    assert max(spreads) <= 4 < int(train.lengths.max() - train.lengths.min())
    means = [float(train.lengths[rows].float().mean()) for rows in epochs[0]]
    assert means != sorted(means)


@pytest.mark.parametrize(("fields", "message"), [
    ({"languages": ["en", "en"]}, "both are 'en'"), ({"validation": 0.6, "test": 0.5}, "leaves none to train on"),
    ({"languages": ["en", "fr"]}, "cannot be read"), ({"path": "PLACE/p.csv"}, "no column 'en'"), ({"path": "data:multi30k_en_d/train.{}"}, "did you mean 'multi30k_en_de'"),
])
def test_what_does_not_fit_is_said(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("ens,de\na,b\n")
    with pytest.raises((ConfigError, DataError), match=message):
        prepared(tmp_path, **json.loads(json.dumps(fields).replace("PLACE", str(tmp_path))))


def test_files_must_go_together(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "train.de").write_text("only one\n")
    with pytest.raises(DataError, match=r"60 lines and .*train\.de 1"):
        Parallel(path=str(tmp_path / "train.{}"), languages=("en", "de")).parts()
