"""The life of pictures: files → decoded arrays → joined with what is said of them → split, with an account of what happened."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from pydantic import Field, model_validator

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError, FolderError
from ftheta.data.corpus.contents import Contents
from ftheta.data.corpus.reading import grouped, rows_of
from ftheta.data.frame import Fit, Resample
from ftheta.data.images import Pictures, picture_ports
from ftheta.data.kept import KeepsApart, parted
from ftheta.data.pictures.decoding import Decode, refuse_other_sizes
from ftheta.data.pictures.found import Found
from ftheta.data.pictures.reader import PictureReader, Role
from ftheta.data.processors.image import FILE, ImageProcessor
from ftheta.data.read.account import Account
from ftheta.data.read.pictures import Channels, is_picture
from ftheta.data.read.walk import File, matches, walk
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, account_of
from ftheta.data.stages import undamaged

CHUNK = 256
"""Pictures that are in memory at once while their mean is taken."""


@dataclass(frozen=True)
class Example:
    """A picture and what is said of it."""

    found: Found
    """Where it is kept ..."""
    row: int
    """... and which there."""
    answer: Any
    """Its class, boxes or mask."""
    stratum: str = ""
    """Those of a stratum are split in the same proportion."""
    group: str | None = None
    """The group that metrics compare it by."""
    part: str = ""
    """The part that it is of by what its source says, where that says so."""

    @property
    def name(self) -> str:
        return self.found.pictures.names[self.row]


class PictureSource(PictureReader, KeepsApart):
    """A source of pictures, decoded once and kept as 8-bit arrays that are mapped into memory."""

    size: tuple[int, int] | None = None
    """Height and width that every picture is brought to; none: all have the same already."""
    fit: Fit = "stretch"
    """How they are brought to it: stretched; filling it, what stands out cut off (`crop`); or fitting inside it, with black bars (`letterbox`)."""
    resample: Resample = "bilinear"
    """How pictures are resized."""
    crop: tuple[int, int] | None = None
    """Height and width of the middle that a model sees; random crops in training are out of the whole."""
    channels: Channels = 3
    """3 for colour, 1 for grey; pictures of the other sort are converted."""
    mean: tuple[float, ...] = (0.0,)
    """What is subtracted of values in [0, 1], one number or one a channel."""
    std: tuple[float, ...] = (1.0,)
    """What they are then divided by."""
    standardise: bool = False
    """Whether mean and std are those of the training pictures."""
    most_bad: float = Field(0.01, ge=0, le=1)
    """Share of bad files and labels above which the run stops whatever `on_bad` says."""
    split_seed: int = 0
    """Which pictures are kept; apart from the run's seed, so that runs with other seeds are measured on the same pictures."""

    @model_validator(mode="after")
    def frames_fit(self) -> Self:
        try:
            ImageProcessor(self.size, self.channels, self.mean, self.std, fit=self.fit, crop=self.crop, resample=self.resample)
        except FolderError as error:
            raise ValueError(str(error).removeprefix(f"{FILE}: ")) from None
        if self.standardise and (self.mean, self.std) != ((0.0,), (1.0,)):
            raise ValueError("standardise takes mean and std from the training pictures: leave out one or the other")
        return self

    @abstractmethod
    def examples(self, found: Found, account: Account) -> list[Example]:
        """The pictures that something is said of, in order; what does not go together is counted. Raises DataError where that is to stop the run."""

    @abstractmethod
    def names(self, examples: Sequence[Example]) -> list[str]:
        """The classes, in the order of their numbers."""

    @abstractmethod
    def dataset(self, examples: Sequence[Example], names: Sequence[str], processor: ImageProcessor) -> Pictures:
        """Examples that are kept in one place. Raises DataError for a class that `names` does not hold."""

    def at(self, path: str) -> PictureSource:
        """The source that reads the pictures of a part kept elsewhere."""
        return self.replace(path=path)

    def laying(self) -> ImageProcessor:
        return ImageProcessor(self.size, self.channels, fit=self.fit, resample=self.resample)

    def reading(self) -> dict[str, Any]:
        """The source as far as it decides how files are read, so that nothing is decoded again when something else changes."""
        left = {"crop", "mean", "std", "standardise", "most_bad", "quarantine", "split_seed", "validation", "test"}
        return {name: value for name, value in self.dump().items() if name not in left}

    def prepare(self, sections: Sections) -> Prepared:
        return undamaged(lambda: self.prepared(sections))

    def prepared(self, sections: Sections) -> Prepared:
        total = Account()
        mine = self.load(sections, total)
        if not mine:
            self.told(total)
            raise DataError("data.source: there is no picture to train on")
        if any(example.part for example in mine):
            parts = {name: [example for example in mine if example.part == name] for name in ("train", "validation", "test")}
        else:
            strata = sorted({example.stratum for example in mine})
            numbers = torch.tensor([strata.index(example.stratum) for example in mine])
            parts = parted(mine, numbers, self.kept, lambda path: self.at(path).load(sections, total), self.split_seed)
        if not parts["train"]:
            raise DataError("data.source: there is no picture to train on")
        self.told(total)
        for examples in parts.values():
            for example in examples[:1]:
                refuse_other_sizes(mine[0].name, mine[0].found.size(), example.name, example.found.size())
        names = self.names(parts["train"])
        processor = ImageProcessor(mine[0].found.size(), self.channels, self.mean, self.std, names, fit=self.fit, crop=self.crop, resample=self.resample)
        if self.standardise:
            mean, std = statistics(self.dataset(parts["train"], names, processor))
            processor = ImageProcessor(processor.size, self.channels, mean, std, names, fit=self.fit, crop=self.crop, resample=self.resample)
        splits: dict[str, Dataset] = {name: self.dataset(examples, names, processor) for name, examples in parts.items() if examples}
        return Prepared(splits["train"].ports, processor, splits, account={**account_of(splits), "rows": total.dump()})

    def load(self, sections: Sections, total: Account) -> list[Example]:
        """Decode the pictures, or find them decoded, and join them with what is said of them."""
        contents = Contents(sections.cache, self.reading())
        work = [(Decode(source=self.reading(), files=files, contents=of), ()) for _, files, of in grouped(self.files(), content=contents.of)]
        contents.keep()
        folders = sections.executor.each("decode", work, sections.cache)
        account = rows_of(folders)
        examples = self.examples(Found(folders), account)
        total.add(account)
        return examples

    def told(self, total: Account) -> None:
        """Say what was left out. Raises DataError for too much of it, and where nothing is good."""
        self.close(total, "no picture", "looked for pictures with something said of them")

    def sized_ports(self, answers: dict[str, str]) -> Ports:
        """The ports, with the sizes that are known before anything is read."""
        return picture_ports(answers, self.channels, None, self.crop or self.size)


class FolderSource(PictureSource):
    """A source whose pictures are files of a folder, or members of an archive."""

    path: str
    """A folder, an archive (.tar, .tar.xz, .zip, ...), a pattern of these, or `data:NAME/FILE` (a named data set)."""
    include: tuple[str, ...] = ("**/*",)
    """Patterns of files to take, relative to the folder, or to the archive for its members."""
    exclude: tuple[str, ...] = ()
    """Patterns of files to leave out."""

    def files(self) -> list[File]:
        return walk([self.path], self.include, self.exclude)

    def role(self, name: str) -> Role:
        return "picture" if is_picture(name) and self.takes(name) else ""

    def takes(self, name: str) -> bool:
        """Whether a file, or a member of an archive, is wanted."""
        return matches(name, self.include) and not matches(name, self.exclude)


def statistics(pictures: Pictures) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel, of values in [0, 1], over whole pictures."""
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for rows in torch.arange(len(pictures)).split(CHUNK):
        image = pictures.images[rows].double() / 255
        total, squares = total + image.sum((0, 2, 3)), squares + (image**2).sum((0, 2, 3))
        count += image[:, 0].numel()
    mean = total / count
    return mean.tolist(), (squares / count - mean**2).clamp(min=1e-12).sqrt().tolist()
