"""Sources of pictures: every form gives the same pictures, what is wrong is named and counted and costs nothing else, splits keep what they promise."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError, DataError
from ftheta.core.random import generator
from ftheta.data.corpus import reading
from ftheta.data.corpus.executors import Local
from ftheta.data.pictures import decoding
from ftheta.data.pictures.coco import spelled
from ftheta.data.sources import SOURCES
from ftheta.data.sources.source_config import Prepared, Sections, SourceConfig
from ftheta.data.tokenizers.trained import Bytes
from pictured import CLASSES, described, encoded, pixels, shard, tar_of, write_coco, write_folders, write_masks, write_voc

PIL = pytest.importorskip("PIL.Image")


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Prepared]:
    def prepare(kind: str, workers: int = 1, **fields: object) -> Prepared:
        config = Slot(SOURCES).parse({"kind": kind, **json.loads(json.dumps(fields, default=str))})
        assert isinstance(config, SourceConfig)
        executor = Local(workers)
        try:
            return config.prepare(Sections(Bytes(), tmp_path / "stages", executor=executor))
        finally:
            executor.close()

    return prepare


def everything(data: Prepared) -> dict[bytes, str]:
    """Every picture as it is given, and its class."""
    found = {}
    for split in data.splits.values():
        batch = split.batch(torch.arange(len(split)))
        for image, label in zip(batch["image"], batch["label"].tolist(), strict=True):
            found[(image * 255).round().byte().numpy().tobytes()] = data.processor.label(label)
    return found


EXPECTED = {pixels(number).transpose(2, 0, 1).tobytes(): CLASSES[number % 3] for number in range(24)}


# labelled pictures


def test_every_form_gives_the_same_pictures(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_folders(tmp_path / "seen" / "root")
    files = {place.relative_to(root.parent).as_posix(): place.read_bytes() for place in sorted(root.glob("*/*.png"))}
    (tmp_path / "seen.tar.xz").write_bytes(tar_of(files, "w:xz"))
    with zipfile.ZipFile(tmp_path / "seen.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    (tmp_path / "shards").mkdir()
    for number, numbers in enumerate((range(10), range(10, 24))):
        (tmp_path / "shards" / f"{number}.tar").write_bytes(shard(numbers))
    rows = [{"image": name, "label": name.split("/")[1]} for name in files]
    (tmp_path / "seen" / "rows.csv").write_text("image,label\n" + "".join(f"{row['image']},{row['label']}\n" for row in rows))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "seen" / "rows.parquet")
    pq.write_table(pa.Table.from_pylist([{"image": files[row["image"]], "label": row["label"]} for row in rows]), tmp_path / "bytes.parquet")
    pq.write_table(pa.Table.from_pylist([{"image": {"bytes": files[row["image"]], "path": None}, "label": row["label"]} for row in rows]), tmp_path / "hub.parquet")
    for kind, fields in (
        ("image_folder", {"path": root}), ("image_folder", {"path": tmp_path / "seen.tar.xz"}), ("image_folder", {"path": tmp_path / "seen.zip"}),
        ("image_shards", {"path": tmp_path / "shards"}), ("image_shards", {"path": tmp_path / "shards", "label_ending": "json"}),
        ("image_table", {"path": tmp_path / "seen" / "rows.csv"}), ("image_table", {"path": tmp_path / "rows.jsonl", "root": tmp_path / "seen"}),
        ("image_table", {"path": tmp_path / "seen" / "rows.parquet"}), ("image_table", {"path": tmp_path / "bytes.parquet"}), ("image_table", {"path": tmp_path / "hub.parquet"}),
    ):
        data = prepared(kind, **fields)
        assert everything(data) == EXPECTED, fields
        assert data.ports.sizes == {"C": 3, "K": 3, "H": 8, "W": 10} and data.account["rows"]["good"] == 24
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 18, "validation": 3, "test": 3}


def test_tables_say_the_group_of_a_picture(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    """From paths and from bytes, and the split is the one without groups; a row without one is bad."""
    root = write_folders(tmp_path / "root")
    places = sorted(root.glob("*/*.png"))
    rows = [{"image": str(place.relative_to(tmp_path)), "label": place.parent.name, "site": ("north", "south", 7)[n % 3]} for n, place in enumerate(places)]
    (tmp_path / "rows.csv").write_text("image,label,site\n" + "".join(f"{row['image']},{row['label']},{row['site']}\n" for row in rows))
    held = [{**row, "image": place.read_bytes(), "site": str(row["site"])} for row, place in zip(rows, places, strict=True)]
    pq.write_table(pa.Table.from_pylist(held), tmp_path / "bytes.parquet")
    expected = {}
    for row in held:
        with PIL.open(io.BytesIO(row["image"])) as picture:
            expected[np.asarray(picture).transpose(2, 0, 1).tobytes()] = row["site"]
    for name in ("rows.csv", "bytes.parquet"):
        data, without = (prepared("image_table", path=tmp_path / name, **fields) for fields in ({"group": "site"}, {}))
        assert data.ports.gives["group"] == "label B" and "group" not in without.ports.gives
        for part, split in data.splits.items():
            every = torch.arange(len(split))
            batch, plain = split.batch(every), without.splits[part].batch(every)
            assert torch.equal(batch["image"], plain["image"]) and torch.equal(batch["label"], plain["label"]) and split.groups is not None
            said = [split.groups.names[number] for number in batch["group"]]
            assert said == [expected[(image * 255).round().byte().numpy().tobytes()] for image in batch["image"]]
    pq.write_table(pa.Table.from_pylist([*held[:-1], {**held[-1], "site": None}]), tmp_path / "bytes.parquet")
    with pytest.raises(DataError, match="without a class or a group"):
        prepared("image_table", path=tmp_path / "bytes.parquet", group="site")
    with pytest.raises(ConfigError, match="group is for pictures of one class each"):
        Slot(SOURCES).parse({"kind": "image_table", "path": "x", "group": "site", "separator": ";"})


def test_any_cut_and_any_number_of_workers_give_the_same(prepared: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folders(tmp_path / "root")
    whole = prepared("image_folder", path=root)
    monkeypatch.setattr(reading, "PART", 1500)
    monkeypatch.setattr(decoding, "HELD", 500)
    cut = prepared("image_folder", path=root, size=[8, 10])
    several = prepared("image_folder", workers=2, path=root, resample="bicubic")
    for other in (cut, several):
        for name, split in whole.splits.items():
            rows = torch.randperm(len(split), generator=generator(name))
            assert all(torch.equal(split.batch(rows)[key], other.splits[name].batch(rows)[key]) for key in ("image", "label"))


def test_nothing_is_decoded_again_for_what_does_not_change_pixels(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_folders(tmp_path / "root")
    first = prepared("image_folder", path=root)
    stages = sorted((tmp_path / "stages" / "decode").iterdir())
    other = prepared("image_folder", path=root, test=0.3, split_seed=3, crop=[4, 4], standardise=True, quarantine=tmp_path / "bad", most_bad=0.5)
    assert sorted((tmp_path / "stages" / "decode").iterdir()) == stages and other.account["fingerprint"] != first.account["fingerprint"]
    assert other.splits["test"].batch(torch.arange(2))["image"].shape == (2, 3, 4, 4) == (2, 3, other.ports.sizes["H"], other.ports.sizes["W"])
    (root / "cat" / "0.png").write_bytes(encoded(pixels(99)))
    changed = prepared("image_folder", path=root)
    assert pixels(99).transpose(2, 0, 1).tobytes() in everything(changed) and changed.account["fingerprint"] != first.account["fingerprint"]


def test_a_damaged_array_is_made_again(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_folders(tmp_path / "root")
    prepared("image_folder", path=root)
    [place] = (tmp_path / "stages" / "decode").glob("*/kept.json")
    place.write_text(place.read_text().replace("cat", "dog"))
    assert everything(prepared("image_folder", path=root)) == EXPECTED


def test_standardised_pictures_have_mean_0_and_spread_1_and_serving_does_the_same(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_folders(tmp_path / "root")
    data = prepared("image_folder", path=root, standardise=True, size=[6, 6], fit="crop")
    train = data.splits["train"]
    image = train.batch(torch.arange(len(train)))["image"].double()
    assert image.mean((0, 2, 3)).abs().max() < 1e-5 and (image.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    served = {data.processor.encode([place])["image"].numpy().tobytes() for place in root.glob("*/*.png")}
    assert {row.float().numpy().tobytes() for row in image} <= served


def test_what_cannot_be_used_is_named_counted_and_costs_nothing_else(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_folders(tmp_path / "root")
    bomb = encoded(pixels(0))[:16] + (30_000).to_bytes(4, "big") * 2 + encoded(pixels(0))[24:]
    for name, data in {
        "cat/empty.png": b"", "cat/cut.png": encoded(pixels(0))[:60], "dog/bomb.png": bomb, "dog/page.jpg": b"<html>", "dog/moving.gif": b"GIF89a", "top.png": encoded(pixels(0)),
        "yak/one.png": encoded(pixels(50)), "dog/.hidden.png": b"", "dog/notes.txt": b"notes",
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    (root / "dog" / "wrong.jpg").write_bytes(encoded(pixels(60)))
    with pytest.raises(DataError, match=r"cat/cut.png: damaged PNG picture .*on_bad: skip or quarantine"):
        prepared("image_folder", path=root)
    with pytest.raises(DataError, match=r"7 of 32 rows are bad .*most_bad allows"):
        prepared("image_folder", path=root, on_bad="skip")
    data = prepared("image_folder", path=root, on_bad="quarantine", most_bad=0.3, quarantine=tmp_path / "bad.jsonl")
    rows = data.account["rows"]
    assert rows["good"] == 25 and sum(rows["bad"].values()) == 7 and rows["passed"] == {"hidden": 1, "no picture": 1} and rows["noticed"] == {".jpg that is PNG": 1}
    listed = {row["file"]: row["reason"] for row in map(json.loads, (tmp_path / "bad.jsonl").read_text().splitlines())}
    assert listed.keys() == {"cat/empty.png", "cat/cut.png", "dog/bomb.png", "dog/page.jpg", "dog/moving.gif", "top.png", "yak/one.png"}
    assert "empty" in listed["cat/empty.png"] and "900000000" not in listed["dog/bomb.png"] and "GIF" in listed["dog/moving.gif"]
    assert "no folder" in listed["top.png"] and "only picture of class 'yak'" in listed["yak/one.png"]
    assert everything(data) == {**EXPECTED, pixels(60).transpose(2, 0, 1).tobytes(): "dog"}


def test_where_nothing_is_left_that_is_said(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    write_folders(tmp_path / "root", 3)
    with pytest.raises(DataError, match="no picture, only 1 × the only picture of class 'cat'"):
        prepared("image_folder", path=tmp_path / "root", on_bad="skip", most_bad=1.0)
    write_folders(tmp_path / "more", 12)
    for place in (tmp_path / "more").rglob("*.png"):
        place.write_bytes(b"")
    with pytest.raises(DataError, match="no picture, only 12 × empty"):
        prepared("image_folder", path=tmp_path / "more", on_bad="skip", most_bad=1.0)


def test_damaged_archives_and_links_in_them_are_named(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    data = tar_of({f"root/{CLASSES[number % 3]}/{number}.png": encoded(pixels(number)) for number in range(24)})
    (tmp_path / "cut.tar").write_bytes(data[:15000])
    with pytest.raises(DataError, match=r"cut.tar.*damaged .tar|cut.tar/.*"):
        prepared("image_folder", path=tmp_path / "cut.tar")
    (tmp_path / "none.tar").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"none.tar: is called like an archive"):
        prepared("image_folder", path=tmp_path / "none.tar")
    (tmp_path / "out.tar").write_bytes(tar_of({"../cat/1.png": encoded(pixels(0))}))
    with pytest.raises(DataError, match="leads out of the archive"):
        prepared("image_folder", path=tmp_path / "out.tar")


def test_pictures_of_several_sizes_need_one(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_folders(tmp_path / "root")
    (root / "cat" / "odd.png").write_bytes(encoded(pixels(0, 5, 5)))
    with pytest.raises(DataError, match=r"8×10 pixels, cat/odd.png has 5×5 pixels: set data.source.size"):
        prepared("image_folder", path=root)
    assert prepared("image_folder", path=root, size=[4, 4]).account["rows"]["good"] == 25


def test_parts_kept_elsewhere_and_classes_unknown_there(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root, other = write_folders(tmp_path / "root"), write_folders(tmp_path / "other", 9, 24)
    data = prepared("image_folder", path=root, test=other, validation=0.0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 24, "test": 9}
    (other / "cat").rename(other / "cats")
    with pytest.raises(DataError, match="no training picture is of class 'cats'; did you mean 'cat'"):
        prepared("image_folder", path=root, test=other, validation=0.0)


def test_tables_that_name_what_is_not_there(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    write_folders(tmp_path / "root")
    names = [f"root/{CLASSES[number % 3]}/{number}.png" for number in range(24)]
    rows = [*(f"{name},{name.split('/')[1]}" for name in names), "root/gone.png,cat", "../secret.png,cat", f"{names[0]},dog", "root/cat/3.png"]
    (tmp_path / "rows.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"rows.csv, line 29 .*: 1 values, expected 2"):
        prepared("image_table", path=tmp_path / "rows.csv")
    data = prepared("image_table", path=tmp_path / "rows.csv", on_bad="skip", most_bad=0.2)
    assert everything(data) == EXPECTED
    assert sorted(data.account["rows"]["bad"]) == [
        "1 values, expected 2", f"names a picture a second time ({names[0]})",
        "names a picture outside of its folder (../secret.png)", "names a picture that is not there (root/gone.png)",
    ]
    with pytest.raises(DataError, match=r"no column 'picture' \(columns: image, label\)"):
        prepared("image_table", path=tmp_path / "rows.csv", image="picture")


def test_shards_without_a_class(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({"1.png": encoded(pixels(1)), "2.png": encoded(pixels(2)), "2.cls": b"cat"}))
    with pytest.raises(DataError, match=r"1.png: no file .cls beside it"):
        prepared("image_shards", path=tmp_path / "a.tar")


def test_cifar10_is_the_mirrors(prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    members = {f"train/{name}/{number}.png": encoded(pixels(number * 3 + place)) for place, name in enumerate(CLASSES) for number in range(8)}
    for name in ("train_10k", "test"):
        (tmp_path / f"{name}.tar.xz").write_bytes(tar_of(members, "w:xz"))
    monkeypatch.setattr("ftheta.data.read.walk.named", lambda path: tmp_path / Path(path).name)
    data = prepared("cifar10", validation=0.25)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 18, "validation": 6, "test": 24}
    assert Slot(SOURCES).parse("cifar10").ports().sizes == {"C": 3, "K": 10, "H": 32, "W": 32}                # type: ignore[union-attr]


def test_settings_that_do_not_go_together() -> None:
    for fields, said in (
        ({"crop": [9, 9], "size": [8, 8]}, "larger than size"), ({"mean": [0.1, 0.2]}, "one number or 3"), ({"standardise": True, "mean": [0.5]}, "leave out one"),
        ({"fit": "squeeze"}, "did you mean|not allowed"),
    ):
        with pytest.raises(ConfigError, match=said):
            Slot(SOURCES).parse({"kind": "image_folder", "path": "x", **fields})


# boxes


def test_voc_uses_the_official_lists_and_takes_its_boxes_from_1(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    data = prepared("voc", path=root)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 8, "validation": 2, "test": 2} and data.processor.labels == list(CLASSES)
    batch = data.splits["train"].batch(torch.arange(4))
    assert batch["boxes"].shape == (4, 2, 4) and batch["box_label"].tolist() == [[0, -1], [-1, -1], [2, -1], [0, 1]]
    assert batch["boxes"][3].tolist() == [[0, 1, 5, 6], [2, 2, 10, 8]] and batch["boxes"][1].abs().sum() == 0
    more = prepared("voc", path=root, trainval=True)
    assert {name: len(split) for name, split in more.splits.items()} == {"train": 10, "test": 2}
    archive = tmp_path / "voc.tar"
    archive.write_bytes(tar_of({f"VOC/{place.relative_to(root)}": place.read_bytes() for place in sorted(root.rglob("*.*"))}))
    packed = prepared("voc", path=archive).splits["train"].batch(torch.arange(4))
    assert all(torch.equal(packed[name], batch[name]) for name in batch)
    free = prepared("voc", path=root, official=False, first=0, difficult=True)
    assert len(free.splits["train"]) == 10 and free.splits["train"].batch(torch.arange(1))["boxes"][0, 0].tolist() in ([1, 2, 5, 6], [3, 3, 10, 8])


@pytest.mark.parametrize("fit, box", [("stretch", [0.0, 2.0, 10.0, 12.0]), ("crop", [-2.0, 2.0, 10.0, 12.0]), ("letterbox", [0.0, 3.0, 8.0, 11.0])])
def test_boxes_go_with_their_pictures_into_the_frame_and_back(prepared: Callable[..., Prepared], tmp_path: Path, fit: str, box: list[float]) -> None:
    root = write_voc(tmp_path / "voc")
    data = prepared("voc", path=root, size=[16, 16], fit=fit)
    found = data.splits["train"].batch(torch.tensor([0]))["boxes"][0, 0]
    frame = data.processor.frame((8, 10))
    scale = {"stretch": (1.6, 2.0, 0, 0), "crop": (2.0, 2.0, -2, 0), "letterbox": (1.6, 13 / 8, 0, 1)}[fit]
    expected = torch.tensor([0 * scale[0] + scale[2], 1 * scale[1] + scale[3], 5 * scale[0] + scale[2], 6 * scale[1] + scale[3]])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(frame.back(found), torch.tensor([0.0, 1.0, 5.0, 6.0]))


def test_bad_boxes_are_named_and_the_others_stay(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    boxes = [("cat", 6, 1, 2, 5), ("cat", 3, 3, 2, 6), ("cat", 30, 1, 40, 5), ("cat", -9, 1, 40, 5), ("cat", 1, 1, 10.5, 8), ("cat", float("nan"), 1, 4, 5), ("cat", 1, 1, 4, 4)]
    (root / "Annotations" / "000.xml").write_text(described(boxes))
    for number, text in ((1, "<annotation>"), (4, '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'), (6, described([("", 1, 1, 2, 2)]))):
        (root / "Annotations" / f"{number:03}.xml").write_text(text)
    (root / "Annotations" / "005.xml").unlink()
    (root / "Annotations" / "777.xml").write_text(described([]))
    with (root / "ImageSets" / "Main" / "train.txt").open("a") as file:
        file.write("888\n")
    with pytest.raises(DataError, match="on_bad: skip"):
        prepared("voc", path=root)
    data = prepared("voc", path=root, on_bad="skip", most_bad=0.9)
    bad = data.account["rows"]["bad"]
    assert {reason.split(" (")[0] for reason in bad} == {
        "a box whose end is before its beginning", "a box without any area", "a box that lies outside its picture", "a box whose edges are not numbers", "is not XML",
        "declares a document type or entities, which descriptions of pictures do not need", "an object without a name", "no 005.xml says what is in it",
        "describes a picture that is not there, or is bad", "lists a picture that is not there",
    }
    assert data.account["rows"]["noticed"] == {"a box that stands out of its picture, cut off at the edge": 1} and len(data.splits["train"]) == 4
    assert data.splits["train"].batch(torch.tensor([0]))["boxes"][0].tolist() == [[0, 0, 10, 5], [0, 0, 10, 8], [0, 0, 4, 4]]


def test_a_picture_listed_twice_is_refused(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc")
    (root / "ImageSets" / "Main" / "test.txt").write_text("000\n")
    with pytest.raises(DataError, match="lists 000 for"):
        prepared("voc", path=root)


def test_coco_gives_boxes_and_masks(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    path = write_coco(tmp_path, "boxes.json", range(12))
    data = prepared("coco", path=path, pictures=tmp_path / "pictures", validation=0.0, test=0.0)
    batch = data.splits["train"].batch(torch.arange(12))
    order = [int(name.removesuffix(".png")) for name in sorted(f"{n}.png" for n in range(12))]
    by_picture = {(image * 255).round().byte().numpy().tobytes(): place for place, image in enumerate(batch["image"])}
    for number in order:
        place = by_picture[pixels(number).transpose(2, 0, 1).tobytes()]
        assert batch["box_label"][place].tolist() == ([-1] if number % 7 == 0 else [number % 3])
        assert batch["boxes"][place].tolist() == ([[0, 0, 0, 0]] if number % 7 == 0 else [[1, 2, 5, 6]])
    masks = prepared("coco_masks", path=path, pictures=tmp_path / "pictures", validation=0.0, test=0.0)
    assert masks.processor.labels == ["background", *CLASSES]
    batch = masks.splits["train"].batch(torch.arange(12))
    for number in order:
        mask = batch["mask"][by_picture[pixels(number).transpose(2, 0, 1).tobytes()]]
        expected = torch.zeros(8, 10, dtype=torch.long)
        if number % 2:
            expected[2:7, 1:6] = number % 3 + 1                                            # pillow draws the points of a polygon too
        else:
            expected[:, 2] = number % 3 + 1                                                # 16 pixels outside, 8 inside, column by column
        assert torch.equal(mask, expected)


def test_cocos_letters_spell_runs() -> None:
    def spell(counts: list[int]) -> str:                                                  # rleToString of the COCO API, written out
        text = ""
        for place, count in enumerate(counts):
            value, more = count - (counts[place - 2] if place > 2 else 0), True
            while more:
                letter, value = value & 31, value >> 5
                more = value != -1 if letter & 16 else value != 0
                text += chr((letter | (32 if more else 0)) + 48)
        return text

    draws = np.random.default_rng(0)
    for _ in range(50):
        counts = draws.integers(0, 5000, draws.integers(1, 30)).tolist()
        assert spelled(spell(counts)) == counts


def test_coco_files_that_do_not_fit(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    path = write_coco(tmp_path, "boxes.json", range(12))
    facts = json.loads(path.read_text())
    facts["annotations"] += [{"id": 90, "image_id": 77, "category_id": 0, "bbox": [0, 0, 1, 1]}, {"id": 91, "image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1]},
                             {"id": 92, "image_id": 1, "category_id": 0, "bbox": [0, 0, "1", 1]}]
    facts["images"].append({"id": 99, "file_name": "99.png"})
    path.write_text(json.dumps(facts))
    data = prepared("coco", path=path, pictures=tmp_path / "pictures", on_bad="skip", most_bad=0.9)
    assert sorted(data.account["rows"]["bad"]) == [
        "is of a class (9) that the file does not name", "is of a picture (77) that the file does not name", "its bbox is not four numbers",
        "names a picture that is not there, or is bad (99.png)",
    ]
    path.write_text('{"images": []}')
    with pytest.raises(DataError, match=r"not a COCO file .*no 'categories'"):
        prepared("coco", path=path, pictures=tmp_path / "pictures")


# masks

SIDES = {"left": 0, "right": 255, "below": 7}


def test_masks_are_classes_and_bars_are_not_known(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_masks(tmp_path / "masks")
    data = prepared("masks", path=root, classes=SIDES, validation=0.0)
    batch = data.splits["train"].batch(torch.arange(3))
    assert data.processor.labels == list(SIDES) and batch["mask"].shape == (3, 8, 10) and batch["mask"].dtype == torch.int64
    assert batch["mask"][:, :7, :2].unique().tolist() == [0] and batch["mask"][:, :7, 6:].unique().tolist() == [1] and batch["mask"][:, 7].unique().tolist() == [2]
    ignored = prepared("masks", path=root, classes={"left": 0, "right": 255}, unknown=7, size=[20, 20], fit="letterbox", validation=0.0)
    mask = ignored.splits["train"].batch(torch.arange(3))["mask"]
    assert mask[:, :2].unique().tolist() == [-1] and mask[:, 17:].unique().tolist() == [-1] and mask[:, 2:16].min() == 0 and mask.max() == 1


def test_masks_that_do_not_fit_are_named(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    root = write_masks(tmp_path / "masks", 20)
    (root / "label" / "0.png").unlink()
    (root / "image" / "1.png").unlink()
    (root / "label" / "2.png").write_bytes(encoded(np.zeros((4, 4), np.uint8)))
    (root / "label" / "3.png").write_bytes(encoded(np.full((8, 10), 9, np.uint8)))
    (root / "label" / "4.png").write_bytes(encoded(pixels(0)))
    data = prepared("masks", path=root, classes=SIDES, size=[8, 8], on_bad="skip", most_bad=0.9)
    assert data.account["rows"]["bad"] == {
        "a mask with the value 9, which data.source.classes gives no class": 1, "a mask in colours: expected one number a pixel, as grey pictures and those with a palette have": 1,
        "a picture without a mask": 3, "a mask without a picture": 1, "a picture of 8×10 pixels whose mask has 4×4": 1,
    }
    assert sum(len(split) for split in data.splits.values()) == 15
    with pytest.raises(ConfigError, match="each needs a number of its own"):
        prepared("masks", path=root, classes={"left": 0, "right": 0})
