"""Small pictures on the disk in every form that sources of pictures read."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "emu")


def pixels(number: int, height: int = 8, width: int = 10) -> np.ndarray:
    """(H, W, 3) uint8, another for every number."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def encoded(array: np.ndarray, format: str = "PNG") -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, format)
    return sink.getvalue()


def write_folders(root: Path, count: int = 24, start: int = 0) -> Path:
    """`cat/0.png`, `dog/1.png`, ..."""
    for number in range(start, start + count):
        place = root / CLASSES[number % 3] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded(pixels(number)))
    return root


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def shard(numbers: range) -> bytes:
    """A .tar of pictures with a `.cls` and a `.json` beside each."""
    files = {}
    for number in numbers:
        facts = {"label": CLASSES[number % 3], "other": str(number % 2)}
        files |= {f"{number:04}.png": encoded(pixels(number)), f"{number:04}.cls": CLASSES[number % 3].encode(), f"{number:04}.json": json.dumps(facts).encode()}
    return tar_of(files)


def described(boxes: list[tuple[str, float, float, float, float]], difficult: int = 0) -> str:
    """Pascal VOC's description of a picture."""
    edges = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{''.join(f'<{e}>{v}</{e}>' for e, v in zip(edges, box, strict=True))}</bndbox></object>"
        for name, *box in boxes
    ]
    return f"<annotation>{''.join(objects)}</annotation>"


def write_voc(root: Path, count: int = 12) -> Path:
    """Pictures of 8×10 with a box or two each; two of three train, the last two are tested."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (root / "JPEGImages" / f"{number:03}.png").write_bytes(encoded(pixels(number)))
        boxes = [(CLASSES[number % 3], 1.0, 2.0, 5.0, 6.0), *([("dog", 3.0, 3.0, 10.0, 8.0)] if number % 2 else [])]
        (root / "Annotations" / f"{number:03}.xml").write_text(described(boxes, difficult=int(number == 1)))
    for part, numbers in {"train": range(count - 4), "val": range(count - 4, count - 2), "test": range(count - 2, count)}.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{number:03}\n" for number in numbers))
    return root


def write_coco(root: Path, name: str, numbers: range) -> Path:
    """Pictures of 8×10 in `root/pictures` and a JSON file of their boxes and shapes."""
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    things = []
    for number in numbers:
        (root / "pictures" / f"{number}.png").write_bytes(encoded(pixels(number)))
        shape = [[1, 2, 5, 2, 5, 6, 1, 6]] if number % 2 else {"size": [8, 10], "counts": [16, 8, 56]}
        things.append({"id": number, "image_id": number, "category_id": number % 3, "bbox": [1, 2, 4, 4], "segmentation": shape, "iscrowd": int(number % 7 == 0)})
    images = [{"id": number, "file_name": f"{number}.png", "height": 8, "width": 10} for number in numbers]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    (root / name).write_text(json.dumps({"images": images, "annotations": things, "categories": categories}))
    return root / name


def write_masks(root: Path, count: int = 12) -> Path:
    """Pictures of 8×10 in `image` and, in `label`, 0 on the left, 255 on the right and 7 in the last row."""
    for name in ("image", "label"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mask = np.zeros((8, 10), np.uint8)
        mask[:, 2 + number % 5 :] = 255
        mask[7] = 7
        (root / "image" / f"{number}.png").write_bytes(encoded(pixels(number)))
        (root / "label" / f"{number}.png").write_bytes(encoded(mask))
    return root
