"""The hardened reader of picture files: what they are is told by their first bytes, how large by their header, before any pixel is decoded.

A picture comes out upright (EXIF), of its first frame, 8 bits deep and grey or in colour; transparency is dropped, as by `convert` of pillow.
"""

from __future__ import annotations

import io
import struct
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ftheta.core.errors import MissingExtraError
from ftheta.data.read.bad import BadFile
from ftheta.data.read.formats import NO_TEXT

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

LARGEST = 64_000_000
"""Pixels of a picture, all frames counted; a larger one is refused before it is decoded."""
LARGEST_FILE = 64 << 20
FORMATS = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "WEBP": b"RIFF", "BMP": b"BM"}
"""Formats that are read → how their files begin."""
ENDINGS = {".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".dib": "BMP"}
OTHERS = (".gif", ".tif", ".tiff", ".heic", ".avif", ".jp2", ".ico", ".ppm", ".pgm")
"""Endings of pictures that are not read, so that they are named instead of passed over."""
Channels = Literal[1, 3]
MODES: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}
DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""pillow's modes of grey pictures of 16 bits."""


class Decoded(NamedTuple):
    """A picture, and what was noticed about its file."""

    picture: Picture
    noticed: str = ""


def is_picture(name: str) -> bool:
    """Whether a file claims to be a picture."""
    return PurePosixPath(name).suffix.lower() in (*ENDINGS, *OTHERS)


def decode(data: bytes, channels: int, name: str = "", most: int = LARGEST) -> Decoded:
    """The picture in a file of at most `most` pixels, grey (1 channel) or in colour (3). Raises BadFile saying why there is none."""
    found = opened(data, name, most)
    return found._replace(picture=eight_bits(found.picture).convert(MODES[channels]))


def decode_values(data: bytes, name: str = "", most: int = LARGEST) -> np.ndarray:
    """The numbers (H, W) uint8 of a grey picture, or of one with a palette, as they are stored. Raises BadFile."""
    picture = opened(data, name, most).picture
    values = np.asarray(picture if picture.mode in ("1", "L", "P", *DEEP) else picture.convert("RGB"))
    if values.ndim == 3:
        if not (values == values[:, :, :1]).all():
            raise BadFile("a mask in colours: expected one number a pixel, as grey pictures and those with a palette have")
        values = values[:, :, 0]
    if values.max(initial=0) > 255:
        raise BadFile(f"a mask with the value {values.max()}, more than 255")
    return values.astype(np.uint8)


def opened(data: bytes, name: str, most: int) -> Decoded:
    """The picture in a file, upright, as deep and in the colours that it is stored in. Raises BadFile."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError("pillow", "vision", "reading picture files") from None
    format = format_of(data)
    ending = PurePosixPath(name).suffix.lower()
    noticed = [f"{ending} that is {format}"] if ending in ENDINGS and ENDINGS[ending] != format else []
    try:
        with Image.open(io.BytesIO(data), formats=[format]) as file:
            frames = getattr(file, "n_frames", 1)
            if file.width * file.height * frames > most:
                raise BadFile(f"{file.width}×{file.height} pixels{f' in {frames} frames' if frames > 1 else ''} are more than the {most:,} allowed")
            if frames > 1:
                noticed.append("an animated picture, of which the first frame is taken")
            file.load()
            return Decoded(upright(file, noticed), "; ".join(noticed))
    except BadFile:
        raise
    except Image.DecompressionBombError:
        raise BadFile(f"more than the {most:,} pixels allowed") from None
    except UnidentifiedImageError:                                                        # whose words are an address in memory
        raise BadFile(f"damaged {format} picture (its header cannot be read)") from None
    except Exception as error:                                                            # pillow's readers raise errors of every sort for damaged files
        raise BadFile(f"damaged {format} picture ({str(error).partition(chr(10))[0][:100] or type(error).__name__})") from None


def format_of(data: bytes) -> str:
    """Which of the formats a file is in, by its first bytes. Raises BadFile."""
    if not data:
        raise BadFile("empty")
    found = next((format for format, magic in FORMATS.items() if data.startswith(magic)), None)
    if found is None or (found == "WEBP" and data[8:12] != b"WEBP"):
        other = next((what for magic, what in NO_TEXT.items() if data.startswith(magic)), "")
        raise BadFile(f"not a picture file of a known format ({', '.join(FORMATS)})" + (f" but {other}: convert it" if other else ""))
    return found


def upright(picture: Picture, noticed: list[str]) -> Picture:
    """The picture turned as its EXIF data say; damaged EXIF data are noticed, and the picture is as it is stored."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, ZeroDivisionError, struct.error):
        noticed.append("damaged EXIF data")
        return picture


def eight_bits(picture: Picture) -> Picture:
    """A grey picture of 16 bits brought to 8: v · 255 / 65535, rounded. pillow would cut off what is above 255."""
    from PIL import Image

    if picture.mode not in DEEP:
        return picture
    values = np.asarray(picture).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
