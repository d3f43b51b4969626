"""Picture files as they come: good ones give what they hold, everything else is named, and nothing large is decoded first."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from ftheta.data.read.bad import BadFile
from ftheta.data.read.pictures import decode, decode_values
from pictured import encoded, pixels

Image = pytest.importorskip("PIL.Image")


def saved(picture, format: str, **options) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, format, **options)
    return sink.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


COLOUR = pixels(0)
SMOOTH = np.stack([np.linspace(c, 255 - c, 80).astype(np.uint8).reshape(8, 10) for c in (0, 60, 120)], -1)


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_come_out_exactly(format: str) -> None:
    data = saved(Image.fromarray(COLOUR), format, **({"lossless": True} if format == "WEBP" else {}))
    assert np.array_equal(np.asarray(decode(data, 3).picture), COLOUR)


def test_jpeg_comes_out_nearly() -> None:
    found = decode(saved(Image.fromarray(SMOOTH), "JPEG", quality=95), 3)
    assert np.abs(np.asarray(found.picture).astype(int) - SMOOTH).max() < 30 and not found.noticed


def test_grey_palette_and_transparent_pictures_are_in_colour_and_back() -> None:
    grey = Image.fromarray(COLOUR[:, :, 0])
    assert np.array_equal(np.asarray(decode(saved(grey, "PNG"), 3).picture), COLOUR[:, :, :1].repeat(3, 2))
    assert np.array_equal(np.asarray(decode(saved(grey, "PNG"), 1).picture), COLOUR[:, :, 0])
    luma = (COLOUR @ np.array([0.299, 0.587, 0.114])).round()
    assert np.abs(np.asarray(decode(encoded(COLOUR), 1).picture) - luma).max() <= 1
    few = Image.fromarray(COLOUR // 128 * 255)
    assert np.array_equal(np.asarray(decode(saved(few.quantize(8), "PNG"), 3).picture), np.asarray(few))
    assert np.array_equal(np.asarray(decode(saved(few.convert("RGBA"), "PNG"), 3).picture), np.asarray(few))
    assert set(np.unique(np.asarray(decode(saved(grey.convert("1"), "PNG"), 1).picture))) <= {0, 255}


def test_cmyk_is_brought_to_colour() -> None:
    red = np.zeros((16, 16, 4), np.uint8)
    red[..., 1:3] = 255                                                                   # no cyan, all magenta and yellow, no black
    found = np.asarray(decode(saved(Image.fromarray(red, "CMYK"), "JPEG", quality=95), 3).picture).astype(int)
    assert np.abs(found - [255, 0, 0]).max() < 12


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    values = (np.arange(80, dtype=np.uint16).reshape(8, 10) * 829)
    data = saved(Image.fromarray(values), "PNG")                                          # PNG holds big-endian numbers whatever the machine's
    assert np.array_equal(np.asarray(decode(data, 1).picture), np.rint(values / 65535 * 255).astype(np.uint8))
    rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in values)
    coloured = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 8, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    found = np.asarray(decode(coloured, 3).picture).astype(int)
    assert np.abs(found - (values / 257)[..., None]).max() <= 1                           # pillow drops the lower byte


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_pictures_upright(orientation: int) -> None:
    turn = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: lambda a: np.rot90(a),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(decode(saved(Image.fromarray(COLOUR), "PNG", exif=exif.tobytes()), 3).picture), turn[orientation](COLOUR))


def test_damaged_exif_data_do_not_cost_the_picture() -> None:
    data = encoded(COLOUR)
    broken = data[:33] + chunk(b"eXIf", b"II*\0\xff\xff\xff\xff") + data[33:]
    assert np.array_equal(np.asarray(decode(broken, 3).picture), COLOUR)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animated_picture_the_first_frame_is_taken_and_it_is_noticed(format: str) -> None:
    frames = [Image.fromarray(pixels(number)) for number in range(3)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **({"lossless": True} if format == "WEBP" else {}))
    found = decode(data, 3)
    assert np.array_equal(np.asarray(found.picture), COLOUR) and "animated" in found.noticed
    with pytest.raises(BadFile, match="in 3 frames are more than"):
        decode(data, 3, most=200)                                                         # 80 pixels a frame


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_what_is_cut_off_is_named(format: str) -> None:
    data = saved(Image.fromarray(np.tile(COLOUR, (8, 8, 1))), format)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(BadFile, match=format):
            decode(data[: int(part * len(data))], 3)


def test_flipped_bytes_never_raise_anything_else() -> None:
    draws = np.random.default_rng(0)
    for format in ("PNG", "JPEG", "WEBP", "BMP"):
        data = saved(Image.fromarray(np.tile(COLOUR, (4, 4, 1))), format)
        for _ in range(60):
            broken = bytearray(data)
            for place in draws.integers(0, len(data), 4):
                broken[place] = draws.integers(256)
            try:
                assert np.asarray(decode(bytes(broken), 3).picture).shape[2] == 3
            except BadFile as reason:
                assert str(reason)


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "empty"), (b"GIF89a" + b"x" * 50, "not a picture file .* but a GIF picture"), (b"some text", "not a picture file"), (b"RIFF1234WAVEfmt ", "not a picture file"),
        (b"%PDF-1.7", "not a picture file"), (b"II*\0" + b"\0" * 20, "not a picture file .* but a TIFF picture: convert it"),
        (b"<svg></svg>", "not a picture file"), (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, said: str) -> None:
    with pytest.raises(BadFile, match=said):
        decode(data, 3)


def test_a_wrong_ending_is_noticed_and_one_pixel_is_a_picture() -> None:
    assert decode(encoded(COLOUR), 3, "x.jpg").noticed == ".jpg that is PNG"
    assert decode(encoded(COLOUR), 3, "x.png").noticed == ""
    assert np.asarray(decode(encoded(COLOUR[:1, :1]), 3).picture).shape == (1, 1, 3)


@pytest.mark.parametrize("size", [(20_000, 20_000), (100_000, 100_000), (1, 2_000_000_000)])
def test_a_bomb_is_refused_before_it_takes_memory(size: tuple[int, int]) -> None:
    rows = zlib.compress(b"\0" * 10_000_000, 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    tracemalloc.start()
    with pytest.raises(BadFile, match="allowed"):
        decode(data, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_webp_that_claims_a_large_canvas_is_refused() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(saved(Image.fromarray(COLOUR), "WEBP", lossless=True, exif=exif.tobytes()))
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_000).to_bytes(3, "little") * 2
    with pytest.raises(BadFile):
        decode(bytes(data), 3)


def test_values_of_masks_are_as_they_are_stored() -> None:
    values = np.arange(80, dtype=np.uint8).reshape(8, 10) % 5
    palette = Image.fromarray(values, "P")
    palette.putpalette([number * 50 for number in range(5) for _ in range(3)])
    for picture in (Image.fromarray(values), palette, Image.fromarray(values[:, :, None].repeat(3, 2))):
        assert np.array_equal(decode_values(saved(picture, "PNG")), values)
    with pytest.raises(BadFile, match="in colours"):
        decode_values(encoded(COLOUR))
    with pytest.raises(BadFile, match="1000, more than 255"):
        decode_values(saved(Image.fromarray(values.astype(np.uint16) * 250), "PNG"))
