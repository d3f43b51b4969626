"""Pictures with boxes: Pascal VOC's XML, a file for each picture, and COCO's JSON, one for all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import torch

from ftheta.core.contract import PADDED, Ports
from ftheta.core.errors import DataError, suggest
from ftheta.data.frame import Size
from ftheta.data.images import BoxDataset
from ftheta.data.pictures.coco import CocoSource, read_coco
from ftheta.data.pictures.found import Found
from ftheta.data.pictures.reader import Role
from ftheta.data.pictures.source import Example, FolderSource, PictureSource
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.read.account import Account, Bad

SLACK = 1.0
"""Pixels by which a box may stand out of its picture: coordinates begin with 0 in some files and with 1 in others."""
PARTS = {"train": "train", "val": "validation", "test": "test"}
"""Lists of pictures → the part they are of."""
DECLARED = re.compile(r"<!(DOCTYPE|ENTITY)")


class Box(NamedTuple):
    """A box x₁ y₁ x₂ y₂ in pixels of the picture, from its left and top edge, and its class."""

    edges: tuple[float, float, float, float]
    name: str


class BoxPictures(PictureSource):
    """A source of pictures with boxes."""

    def ports(self) -> Ports:
        return self.sized_ports(BoxDataset.answers)

    def names(self, examples: Sequence[Example]) -> list[str]:
        found = sorted({box.name for example in examples for box in example.answer})
        if not found:
            raise DataError("data.source: no training picture has a box")
        return found

    def dataset(self, examples: Sequence[Example], names: Sequence[str], processor: ImageProcessor) -> BoxDataset:
        numbers = {name: number for number, name in enumerate(names)}
        most = max(1, *(len(example.answer) for example in examples))
        boxes, labels = torch.zeros(len(examples), most, 4), torch.full((len(examples), most), PADDED)
        laying = self.laying()
        for place, example in enumerate(examples):
            for box in example.answer:
                if box.name not in numbers:
                    raise DataError(f"{example.name}: no training picture has a box of class '{box.name}'{suggest(box.name, names, 'classes')}")
            if example.answer:
                found = torch.tensor([box.edges for box in example.answer], dtype=torch.float64)
                boxes[place, : len(found)] = laying.frame(example.found.pictures.sizes[example.row]).boxes(found).float()
                labels[place, : len(found)] = torch.tensor([numbers[box.name] for box in example.answer])
        return BoxDataset(examples[0].found.pictures.stored([example.row for example in examples]), boxes, labels, names, processor)

    def checked(self, boxes: Sequence[Box], size: Size, name: str, account: Account) -> list[Box]:
        """The boxes that lie in a picture of this height and width, cut off at its edges; others are counted and left out."""
        kept = []
        for number, box in enumerate(boxes, 1):
            x1, y1, x2, y2 = box.edges
            cut = (max(0.0, x1), max(0.0, y1), min(float(size[1]), x2), min(float(size[0]), y2))
            reason = ""
            if not all(map(math.isfinite, box.edges)):
                reason = "a box whose edges are not numbers"
            elif x2 < x1 or y2 < y1:
                reason = "a box whose end is before its beginning"
            elif x1 == x2 or y1 == y2:
                reason = "a box without any area"
            elif cut[0] >= cut[2] or cut[1] >= cut[3]:
                reason = "a box that lies outside its picture"
            if reason:
                account.refuse(Bad(f"{name}, box {number} ({box.name} {x1:g} {y1:g} {x2:g} {y2:g})", None, 0, 0, reason), self.on_bad)
                continue
            if max(abs(a - b) for a, b in zip(box.edges, cut, strict=True)) > SLACK:
                account.noticed["a box that stands out of its picture, cut off at the edge"] += 1
            kept.append(Box(cut, box.name))
        return kept


class VOC(BoxPictures, FolderSource):
    """Pascal VOC: `JPEGImages/X.jpg`, `Annotations/X.xml` and `ImageSets/Main/{train,val,test}.txt`, in a folder or an archive."""

    kind: Literal["voc"] = "voc"
    official: bool = True
    """Whether the lists in ImageSets/Main say what trains, validates and tests, where there are such; pictures on none of them are left out."""
    trainval: bool = False
    """Whether the pictures of list `val` train too, as is usual where a model is compared on `test`; none are left to validate with."""
    first: Literal[0, 1] = 1
    """The number of a picture's first pixel: 1 in Pascal VOC itself, where a box from 1 to 1 is one pixel wide."""
    difficult: bool = False
    """Whether boxes marked as difficult are taken too."""

    def role(self, name: str) -> Role:
        if not self.takes(name):
            return ""
        place = PurePosixPath(name)
        listed = place.suffix == ".txt" and place.parent.name == "Main"
        return "text" if place.suffix.lower() == ".xml" or listed else super().role(name)

    def examples(self, found: Found, account: Account) -> list[Example]:
        said = {PurePosixPath(name).stem: (name, text) for name, text in found.texts.items() if name.lower().endswith(".xml")}
        lists = self.lists(found)
        parts = {stem: part for part, stems in lists.items() for stem in stems}
        examples = []
        pictures = found.stems(found.pictures)
        for stem, (name, _) in said.items():
            if stem not in pictures:
                account.refuse(Bad(name, None, 0, 0, "describes a picture that is not there, or is bad"), self.on_bad)
        for stem in parts.keys() - pictures.keys() - said.keys():
            account.refuse(Bad(f"ImageSets/Main/{parts[stem]}", None, 0, 0, f"lists a picture that is not there ({stem})"), self.on_bad)
        for stem, row in pictures.items():
            if lists and stem not in parts:
                account.good, account.passed["on no list of ImageSets/Main"] = account.good - 1, account.passed["on no list of ImageSets/Main"] + 1
                continue
            name = found.pictures.names[row]
            try:
                if stem not in said:
                    raise ValueError(f"no {stem}.xml says what is in it")
                boxes = list(self.boxes(said[stem][1]))
            except ValueError as reason:
                account.good -= 1
                account.refuse(Bad(said.get(stem, (name,))[0], None, 0, 0, str(reason)), self.on_bad)
                continue
            examples.append(Example(found, row, self.checked(boxes, found.pictures.sizes[row], said[stem][0], account), part=parts.get(stem, "")))
        return examples

    def lists(self, found: Found) -> dict[str, list[str]]:
        """The pictures of every part, by the lists of it. Raises DataError when one is on two of them."""
        if not self.official:
            return {}
        lists: dict[str, list[str]] = {}
        for name, text in found.texts.items():
            if name.endswith(".txt") and (part := PARTS.get(PurePosixPath(name).stem)):
                lists.setdefault("train" if self.trainval and part == "validation" else part, []).extend(line.split()[0] for line in text.splitlines() if line.strip())
        where: dict[str, str] = {}
        for part, stems in lists.items():
            for stem in stems:
                if where.setdefault(stem, part) != part:
                    raise DataError(f"ImageSets/Main lists {stem} for {where[stem]} and for {part}: what is tested must not be trained on; set data.source.official: false")
        return lists

    def boxes(self, text: str) -> Iterator[Box]:
        """Every object of a description. Raises ValueError saying what is wrong with it."""
        if DECLARED.search(text):
            raise ValueError("declares a document type or entities, which descriptions of pictures do not need")
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise ValueError(f"is not XML ({error})") from None
        for thing in root.iter("object"):
            name = (thing.findtext("name") or "").strip()
            if not name:
                raise ValueError("an object without a name")
            if (thing.findtext("difficult") or "0").strip() == "1" and not self.difficult:
                continue
            try:
                x1, y1, x2, y2 = (float(thing.findtext(f"bndbox/{edge}") or "") for edge in ("xmin", "ymin", "xmax", "ymax"))
            except ValueError:
                raise ValueError(f"an object ({name}) whose box is not four numbers") from None
            yield Box((x1 - self.first, y1 - self.first, x2, y2), name)


class COCO(BoxPictures, CocoSource):
    """Microsoft COCO: one JSON file with `images`, `annotations` with a `bbox` each, and `categories`."""

    kind: Literal["coco"] = "coco"
    crowd: bool = False
    """Whether boxes around crowds (`iscrowd`) are taken too."""

    def examples(self, found: Found, account: Account) -> list[Example]:
        coco = read_coco(self.path)
        examples = []
        for row, image in coco.joined(found, account, self.on_bad):
            boxes = []
            for thing in image.things:
                if not thing.get("iscrowd") or self.crowd:
                    edges = thing.get("bbox")
                    if not (isinstance(edges, list) and len(edges) == 4 and all(isinstance(edge, int | float) for edge in edges)):
                        account.refuse(Bad(f"{self.path}, annotation {thing.get('id')}", None, 0, 0, "its bbox is not four numbers"), self.on_bad)
                        continue
                    x, y, width, height = map(float, edges)
                    boxes.append(Box((x, y, x + width, y + height), coco.classes[thing["category_id"]]))
            examples.append(Example(found, row, self.checked(boxes, found.pictures.sizes[row], f"{self.path}, {image.file}", account)))
        return examples
