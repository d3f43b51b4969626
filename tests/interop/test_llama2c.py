"""A real model of llama2.c: its golden story token for token, its tokenizer piece for piece, and what is no such file is refused."""

import os
import random
import struct
from itertools import pairwise
from pathlib import Path

import pytest

from ftheta.core.errors import FolderError
from ftheta.inference.generate import Generation
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.interop.llama2c import read_pieces
from ftheta.models.folder import load, save

STORIES = Path(os.environ.get("FTHETA_MIRROR", "/nowhere")) / "stories260k"
stories = pytest.mark.skipif(not STORIES.exists(), reason="FTHETA_MIRROR holds no stories260k")


@pytest.fixture(scope="module")
def model():
    return load(STORIES / "stories260K.bin")


@stories
def test_the_golden_story_token_for_token(model, tmp_path):
    golden = (STORIES / "golden.txt").read_text().rstrip("\n")
    assert sum(parameter.numel() for parameter in model.architecture.parameters()) == 260_032
    request = Request([1], Sampling(temperature=0), most=256)
    generation = Generation(model.architecture, [request], longest=512, end=None)
    while request.finish is None:
        generation.step()
    tokens = request.new
    assert model.processor.decode(tokens) == golden
    assert model.generate("", most=256, temperature=0) == golden
    begun = model.processor.encode(golden)
    assert begun == [1, *tokens][: len(begun)]                                            # the story's own text gives the same tokens
    save(model, tmp_path / "m")
    assert load(tmp_path / "m").generate("Lily", most=20, temperature=0) == model.generate("Lily", most=20, temperature=0)


def by_scores(text, pieces, scores):
    """llama2.c's own way: join the best pair, the first of equals, until none is known."""
    ids = {piece: i for i, piece in enumerate(pieces) if i >= 259}
    tokens = []
    for character in " " + text if text else "":
        tokens += [ids[character]] if character in ids else [byte + 3 for byte in character.encode()]
    while True:
        best = None
        for i, (a, b) in enumerate(pairwise(tokens)):
            joined = ids.get(pieces[a] + pieces[b]) if min(a, b) >= 259 else None
            if joined is not None and (best is None or scores[joined] > best[0]):
                best = scores[joined], i, joined
        if best is None:
            return tokens
        tokens[best[1] : best[1] + 2] = [best[2]]


@stories
def test_the_tokenizer_joins_as_llama2c_does(model):
    pieces, scores = read_pieces(STORIES / "tok512.bin", 512)
    draws = random.Random(0)
    texts = ["", "a", " ", "  two  spaces ", "Once upon a time", "Ünïcödé 中文 🙂\n\ttabs", "<bos> <s> </s>", (STORIES / "golden.txt").read_text()]
    texts += ["".join(draws.choices("aeiou rstlnh Lilywandedt.,\n\"", k=draws.randint(1, 60))) for _ in range(1000)]
    texts += [" ".join("".join(draws.choices(pieces[259:], k=3)) for _ in range(5)) for _ in range(500)]
    for text in texts:
        assert model.processor.encode(text, start=False) == by_scores(text, pieces, scores), text
        assert model.processor.decode(model.processor.encode(text)) == text


@pytest.fixture
def small(tmp_path):
    """A file of a model with random weights and a tokenizer of bytes."""
    dim, hidden, depth, heads, kv_heads, vocab, context = sizes = (8, 12, 1, 2, 1, 262, 16)
    count = vocab * dim + depth * (2 * dim + 2 * dim * dim + 2 * (dim // heads * kv_heads) * dim + 3 * dim * hidden) + dim + context * (dim // heads)
    draws = random.Random(0)
    values = struct.pack(f"<{count}f", *(draws.gauss(0, 0.2) for _ in range(count)))
    (tmp_path / "model.bin").write_bytes(struct.pack("<7i", *sizes) + values)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), " ", "a", " a"]
    packed = b"".join(struct.pack("<fi", -float(i), len(piece)) + piece.encode() for i, piece in enumerate(pieces))
    (tmp_path / "tok262.bin").write_bytes(struct.pack("<i", 6) + packed)
    return tmp_path / "model.bin"


def test_any_file_of_this_format_is_read(small):
    model = load(small)
    assert model.processor.encode("aa b") == [1, 261, 260, 259, ord("b") + 3]
    assert model.processor.decode(model.processor.encode("é a")) == "é a"
    assert model.architecture.config.ports().sizes == {"V": 262, "T": 16}


@pytest.mark.parametrize(("change", "reason"), [
    (lambda data: data[:20], "too short"), (lambda data: data[:-4], "bytes, but its header means"),
    (lambda data: b"PK\x03\x04" + data[4:], "not a llama2.c file of version 0"), (lambda data: struct.pack("<i", -8) + data[4:], "not a llama2.c file"),
])
def test_other_files_are_refused(small, change, reason):
    small.write_bytes(change(small.read_bytes()))
    with pytest.raises(FolderError, match=reason):
        load(small)


def test_the_tokenizer_must_be_there_and_be_one(small):
    place = small.parent / "tok262.bin"
    whole = place.read_bytes()
    for damaged in (whole[:100], whole[:4] + struct.pack("<fi", 0.0, -5) + whole[12:], whole.replace(b"<0x41>", b"<0x42>")):
        place.write_bytes(damaged)
        with pytest.raises(FolderError, match=r"tok262.bin is not a llama2.c tokenizer"):
            load(small)
    place.unlink()
    with pytest.raises(FolderError, match=r"put tok262.bin or tokenizer.bin beside it"):
        load(small)
