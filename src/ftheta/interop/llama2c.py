"""Models of llama2.c (github.com/karpathy/llama2.c): the version 0 file of weights, and `tokenizer.bin`, pieces with scores.

The file of weights is seven little-endian int32 (dim, hidden, depth, heads, kv_heads, vocab, context; a negative vocab says that the head is
a matrix of its own) and then float32 tensors, each of all layers together. Rotary pairs are neighbours (2i, 2i + 1) there and halves
(i, i + head_dim/2) here, so the rows of queries and keys change places. The norm's eps is 1e-5.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from torch import Tensor

from ftheta.architectures.decoder import DecoderConfig
from ftheta.core.errors import FolderError
from ftheta.data.tokenizers.trained import finish

FIELDS = ("dim", "hidden", "depth", "heads", "kv_heads", "vocab", "context")
HEADER = struct.Struct("<7i")
LARGEST = 1 << 24
"""What no field of a real header exceeds."""
CONTROL = ("<unk>", "<bos>", "<eos>")
"""Ids 0 to 2; the file's own spelling of them varies."""
BYTES = 256
"""Pieces after these that stand for one byte each."""


class Llama2c(NamedTuple):
    """What the two files say."""

    config: DecoderConfig
    theta: dict[str, Tensor]
    tokenizer: Tokenizer


def read(path: Path) -> Llama2c:
    """Read a file of weights and the tokenizer beside it. Raises FolderError when either is missing or is something else."""
    data = contents(path)
    if len(data) < HEADER.size:
        raise FolderError(f"{path} is too short to be a llama2.c file")
    sizes: dict[str, int] = dict(zip(FIELDS, HEADER.unpack_from(data), strict=True))
    tie, sizes["vocab"] = sizes["vocab"] > 0, abs(sizes["vocab"])
    if not all(0 < size <= LARGEST for size in sizes.values()) or sizes["dim"] % sizes["heads"] or sizes["heads"] % sizes["kv_heads"]:
        raise FolderError(f"{path} is not a llama2.c file of version 0: its header would mean {', '.join(f'{name} {size}' for name, size in sizes.items())}")
    config = DecoderConfig.parse({
        "kind": "decoder", "vocab": sizes["vocab"], "dim": sizes["dim"], "depth": sizes["depth"], "context": sizes["context"], "positions": "rotary",
        "norm": {"kind": "rmsnorm", "eps": 1e-5}, "mixer": {"kind": "attention", "heads": sizes["heads"], "kv_heads": sizes["kv_heads"]},
        "feedforward": {"kind": "gated", "hidden": sizes["hidden"]}, "tie": tie,
    })
    return Llama2c(config, tensors(path, data, sizes, tie), tokenizer(beside(path, sizes["vocab"]), sizes["vocab"]))


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror}") from None


def tensors(path: Path, data: bytes, sizes: dict[str, int], tie: bool) -> dict[str, Tensor]:
    """θ by our names. Raises FolderError when the file's length does not fit its header."""
    dim, hidden, depth, heads, vocab = (sizes[name] for name in ("dim", "hidden", "depth", "heads", "vocab"))
    head_dim = dim // heads
    narrow = sizes["kv_heads"] * head_dim
    layout: list[tuple[str, tuple[int, ...]]] = [
        ("embed.weight", (vocab, dim)), ("mix.before.weight", (depth, dim)), ("mix.inner.query.weight", (depth, dim, dim)),
        ("mix.inner.key.weight", (depth, narrow, dim)), ("mix.inner.value.weight", (depth, narrow, dim)), ("mix.inner.output.weight", (depth, dim, dim)),
        ("feed.before.weight", (depth, dim)), ("feed.inner.gate.weight", (depth, hidden, dim)), ("feed.inner.down.weight", (depth, dim, hidden)),
        ("feed.inner.up.weight", (depth, hidden, dim)), ("norm.weight", (dim,)), ("angles", (2, sizes["context"], head_dim // 2)),
    ]
    layout += [] if tie else [("head.weight", (vocab, dim))]
    expected = HEADER.size + 4 * sum(torch.Size(shape).numel() for _, shape in layout)
    if len(data) != expected:
        raise FolderError(f"{path} holds {len(data):,} bytes, but its header means {expected:,}: it is cut off, or not a llama2.c file of version 0")
    flat, theta = torch.from_numpy(np.frombuffer(data, "<f4", offset=HEADER.size).astype(np.float32)), {}
    for name, shape in layout:
        value, flat = flat[: torch.Size(shape).numel()].view(shape), flat[torch.Size(shape).numel() :]
        if name in ("mix.inner.query.weight", "mix.inner.key.weight"):
            value = value.view(depth, -1, head_dim // 2, 2, dim).transpose(2, 3).reshape(shape)
        if name.startswith(("mix.", "feed.")):
            theta |= {f"layers.{i}.{name}": value[i] for i in range(depth)}
        elif name != "angles":                                                            # cosines and sines, which are computed here
            theta[name] = value
    return theta


def beside(path: Path, vocab: int) -> Path:
    """The tokenizer that belongs to a file of weights, as llama2.c calls it."""
    for name in (f"tok{vocab}.bin", "tokenizer.bin"):
        if (path.parent / name).exists():
            return path.parent / name
    raise FolderError(f"{path}: its tokenizer is missing: put tok{vocab}.bin or tokenizer.bin beside it")


def tokenizer(path: Path, vocab: int) -> Tokenizer:
    """Byte-pair encoding by scores: of all neighbours whose joint piece is known, those with the highest score are joined, again and again.

    A text begins with a space; characters without a piece of their own are spelled in bytes.
    """
    pieces, scores = read_pieces(path, vocab)
    first = len(CONTROL) + BYTES
    pieces[: len(CONTROL)] = CONTROL
    ids = {piece: i for i, piece in enumerate(pieces)}
    if len(ids) != vocab or pieces[len(CONTROL)] != "<0x00>" or pieces[first - 1] != "<0xFF>":
        raise FolderError(f"{path} is not a llama2.c tokenizer: three control pieces and 256 bytes must come first, and no piece twice")
    merges = [
        (-scores[i], ids[piece[:cut]], ids[piece[cut:]], (piece[:cut], piece[cut:]))
        for i, piece in enumerate(pieces) if i >= first for cut in range(1, len(piece))
        if ids.get(piece[:cut], 0) >= first and ids.get(piece[cut:], 0) >= first
    ]
    made = Tokenizer(models.BPE(ids, [pair for *_, pair in sorted(merges)], unk_token=CONTROL[0], fuse_unk=True, byte_fallback=True))
    made.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in CONTROL])
    made.normalizer = normalizers.Prepend(" ")
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return finish(made)


def read_pieces(path: Path, vocab: int) -> tuple[list[str], list[float]]:
    """The longest piece's length, then for each piece its score, length and bytes."""
    data, place = contents(path), 4
    pieces, scores = [], []
    try:
        for _ in range(vocab):
            score, length = struct.unpack_from("<fi", data, place)
            place += 8 + length
            if length < 0 or place > len(data):
                raise ValueError("a piece is longer than the file")
            pieces.append(data[place - length : place].decode("utf-8"))
            scores.append(score)
    except (struct.error, ValueError) as error:
        raise FolderError(f"{path} is not a llama2.c tokenizer of {vocab} pieces: {error}") from None
    return pieces, scores
