"""COCO's JSON: pictures, classes, and the things in each picture, with boxes, polygons and runs of pixels (Lin et al. 2014, arXiv:1405.0312)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftheta.core.errors import DataError
from ftheta.data.catalogue import place_of
from ftheta.data.frame import Size
from ftheta.data.pictures.found import Found
from ftheta.data.pictures.reader import Role
from ftheta.data.pictures.source import PictureSource
from ftheta.data.read.account import Account, Bad, Policy
from ftheta.data.read.bad import BadRow
from ftheta.data.read.lines import Caps, parsed
from ftheta.data.read.pictures import is_picture
from ftheta.data.read.walk import ARCHIVES, File, walk

MOST = 4 << 30
"""Bytes of a file in memory."""


@dataclass
class Image:
    """A picture that the file names, and the things in it."""

    file: str
    things: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Coco:
    """What a file says."""

    path: str
    images: dict[Any, Image]
    classes: dict[Any, str]
    lost: list[Bad] = field(default_factory=list)
    """Things of pictures or classes that the file does not name."""

    def joined(self, found: Found, account: Account, policy: Policy) -> Iterator[tuple[int, Image]]:
        """Every picture that is there, by its number; what is not, and things without a picture or a class, are counted."""
        for bad in self.lost:
            account.refuse(bad, policy)
        rows = {name: row for row, name in enumerate(found.pictures.names)}
        tails = {tail: row for name, row in rows.items() for tail in tails_of(name)}
        for image in self.images.values():
            if image.file in tails:
                yield tails[image.file], image
            else:
                account.refuse(Bad(self.path, None, 0, 0, f"names a picture that is not there, or is bad ({image.file})"), policy)


def read_coco(path: str) -> Coco:
    """Raises DataError for a file that is not such a one."""
    place = place_of(path)
    try:
        data = parsed(place.read_bytes(), Caps(row=MOST))
        images = {entry["id"]: Image(entry["file_name"]) for entry in data["images"]}
        coco = Coco(path, images, {entry["id"]: entry["name"] for entry in data["categories"]})
        for thing in data["annotations"]:
            known = thing["image_id"] in images, thing["category_id"] in coco.classes
            if all(known):
                images[thing["image_id"]].things.append(thing)
            else:
                what = f"a class ({thing['category_id']})" if known[0] else f"a picture ({thing['image_id']})"
                coco.lost.append(Bad(f"{path}, annotation {thing.get('id')}", None, 0, 0, f"is of {what} that the file does not name"))
    except OSError as error:
        raise DataError(f"data.source.path: {path} cannot be read ({error.strerror})") from None
    except (BadRow, KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{path} is not a COCO file of images, annotations and categories: {what}") from None
    return coco


def tails_of(name: str) -> Iterator[str]:
    """A name, and what is left of it without the folders it begins with."""
    while name:
        yield name
        name = name.partition("/")[2]


class CocoSource(PictureSource):
    """A source whose pictures are those that a JSON file of COCO's names."""

    path: str
    """The JSON file."""
    pictures: str
    """The folder, or the archive, of the pictures that it names."""

    def files(self) -> list[File]:
        return named_files(self.pictures, {image.file for image in read_coco(self.path).images.values()})

    def role(self, name: str) -> Role:
        return "picture" if is_picture(name) else ""


def named_files(pictures: str, names: set[str]) -> list[File]:
    """The files below a folder that are meant by these names, and all archives there."""
    files = walk([pictures], ("**/*",), ())
    return [file for file in files if file.name.lower().endswith(ARCHIVES) or not names.isdisjoint(tails_of(file.name))]


def pixels(thing: Mapping[str, Any], size: Size) -> np.ndarray:
    """(H, W) bool: where a thing is, from its polygons or its runs. Raises ValueError."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    shape = thing.get("segmentation")
    if isinstance(shape, dict):
        return runs(shape, size)
    if not isinstance(shape, list) or not shape:
        raise ValueError("has no segmentation")
    canvas = Pillow.new("1", (size[1], size[0]))
    for polygon in shape:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(isinstance(value, int | float) for value in polygon):
            raise ValueError("a polygon of fewer than three points, or not of pairs of numbers")
        ImageDraw.Draw(canvas).polygon(polygon, fill=1)
    return np.asarray(canvas)


def runs(shape: Mapping[str, Any], size: Size) -> np.ndarray:
    """Runs of pixels, outside and inside by turns, column by column; as numbers or in COCO's letters. Raises ValueError."""
    counts = shape.get("counts")
    if isinstance(counts, str):
        counts = spelled(counts)
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts) or list(shape.get("size", ())) != list(size):
        raise ValueError(f"its runs are not those of a picture of {size[0]}×{size[1]}")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"its runs are {sum(counts):,} pixels long, the picture has {size[0] * size[1]:,}")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return inside.reshape(size[::-1]).T


def spelled(text: str) -> list[int]:
    """Numbers of five bits a letter, lowest first; from the third on they are the difference to the last but one. Raises ValueError."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its runs hold {letter!r}, which spells no number")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
