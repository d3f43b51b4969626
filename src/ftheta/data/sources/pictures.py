"""Labelled pictures from files: folders named like classes, rows of tables, shards with a label beside each picture; CIFAR-10."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

import torch

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError, suggest
from ftheta.data.images import ImageDataset, Pictures, picture_ports
from ftheta.data.kept import Kept
from ftheta.data.pictures.found import Found
from ftheta.data.pictures.reader import Role
from ftheta.data.pictures.source import Example, FolderSource, PictureSource
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.read.account import Account, Bad
from ftheta.data.read.pictures import is_picture
from ftheta.data.read.walk import ARCHIVES, File, walk
from ftheta.data.source import Groups
from ftheta.data.sources.tables import by_size

FEWEST = 2
"""Pictures of a class: one to train on, one to keep."""


class LabelledPictures(PictureSource):
    """A source of pictures with a class each."""

    def ports(self) -> Ports:
        return self.sized_ports(ImageDataset.answers)

    @abstractmethod
    def class_of(self, name: str, texts: Mapping[str, str]) -> str:
        """The class of the picture of this name, given what stands beside pictures. Raises ValueError saying why there is none."""

    def examples(self, found: Found, account: Account) -> list[Example]:
        texts = self.beside(found)
        examples = []
        for row, name in enumerate(found.pictures.names):
            try:
                label = self.class_of(name, texts)
                examples.append(Example(found, row, label, label))
            except ValueError as reason:
                self.refuse(name, str(reason), account)
        return examples

    def beside(self, found: Found) -> dict[str, str]:
        """Texts by what they belong to."""
        return found.texts

    def refuse(self, name: str, reason: str, account: Account) -> None:
        """Count a picture, so far good, as bad."""
        account.good -= 1
        account.refuse(Bad(name, None, 0, 0, reason), self.on_bad)

    def names(self, examples: Sequence[Example]) -> list[str]:
        return sorted({example.answer for example in examples}, key=by_size)

    def dataset(self, examples: Sequence[Example], names: Sequence[str], processor: ImageProcessor) -> Pictures:
        numbers = {name: number for number, name in enumerate(names)}
        for example in examples:
            if example.answer not in numbers:
                raise DataError(f"{example.name}: no training picture is of class '{example.answer}'{suggest(example.answer, names, 'classes')}")
        labels = torch.tensor([numbers[example.answer] for example in examples])
        groups = [example.group for example in examples if example.group is not None]
        return ImageDataset(examples[0].found.pictures.stored([example.row for example in examples]), labels, names, processor, Groups.of(groups) if groups else None)


class InFolders(LabelledPictures):
    """A source whose pictures are in folders called like their classes."""

    def class_of(self, name: str, texts: Mapping[str, str]) -> str:
        found = PurePosixPath(name).parent.name
        if not found or found.lower().endswith(ARCHIVES):
            raise ValueError("stands in no folder called like a class")
        return found

    def examples(self, found: Found, account: Account) -> list[Example]:
        examples = super().examples(found, account)
        counts = Counter(example.answer for example in examples)
        few = {name for name, count in counts.items() if count < FEWEST}
        for example in examples:
            if example.answer in few:
                self.refuse(example.name, f"the only picture of class '{example.answer}', which can be trained on or kept, not both: add more", account)
        return [example for example in examples if example.answer not in few]


class ImageFolder(InFolders, FolderSource):
    """Pictures in folders, or in folders of an archive, each of which is a class."""

    kind: Literal["image_folder"] = "image_folder"


class CIFAR10(InFolders):
    """32×32 pictures in colour of ten classes (Krizhevsky 2009), in a copy that is lossy (JPEG): 10,000 of the 50,000 for training, and the official 10,000 for test."""

    kind: Literal["cifar10"] = "cifar10"
    test: Kept = "data:cifar10_jpeg/test.tar.xz"
    """Kept for the final measurement: the official pictures, others of the same form, or a share of the training pictures."""

    def ports(self) -> Ports:
        return picture_ports(ImageDataset.answers, self.channels, 10, self.crop or self.size or (32, 32))

    def files(self) -> list[File]:
        return walk(["data:cifar10_jpeg/train_10k.tar.xz"], ("**/*",), ())

    def role(self, name: str) -> Role:
        return "picture" if is_picture(name) else ""

    def at(self, path: str) -> ImageFolder:
        return ImageFolder.parse({**self.reading(), "kind": "image_folder", "path": path})


class ImageShards(LabelledPictures, FolderSource):
    """Pictures in .tar files with a file beside each that holds its class, both called alike but for the ending: `00017.jpg`, `00017.cls` (webdataset)."""

    kind: Literal["image_shards"] = "image_shards"
    label_ending: str = "cls"
    """The ending of the file that holds the class: `cls`, `txt`, `json`, ..."""
    field: str = "label"
    """The field of a .json file that holds it."""

    def role(self, name: str) -> Role:
        if not self.takes(name):
            return ""
        return "text" if name.endswith(f".{self.label_ending}") else super().role(name)

    def beside(self, found: Found) -> dict[str, str]:
        return {key_of(name): text for name, text in found.texts.items()}

    def class_of(self, name: str, texts: Mapping[str, str]) -> str:
        if (text := texts.get(key_of(name))) is None:
            raise ValueError(f"no file .{self.label_ending} beside it says of which class it is")
        if self.label_ending.endswith("json"):
            value = json.loads(text)
            if not isinstance(value, dict) or not isinstance(value.get(self.field), str | int) or isinstance(value[self.field], bool):
                raise ValueError(f"the .{self.label_ending} beside it has no field '{self.field}' that names a class")
            text = str(value[self.field])
        if not text.strip():
            raise ValueError(f"the .{self.label_ending} beside it is empty")
        return text.strip()


def key_of(name: str) -> str:
    """What the files of one example have in common: their name up to its first dot."""
    place = PurePosixPath(name)
    return str(place.with_name(place.name.partition(".")[0]))
