"""`python -m benchmarks.noisy FOLDER`: real text with known noise planted in it, as pages of HTML, as a WARC file, and a recipe to find out by what each rule is worth.

Pages of English classics, about 3,000 characters each. Planted: a menu and a notice about cookies around two thirds of them; a page of the wrong encoding for every
fifth (UTF-8 read as Windows-1252); two copies of every third, with one word in a hundred changed; and as many tables of signs and numbers as a fifth of the pages.
"""

from __future__ import annotations

import argparse
import gzip
import html
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ftheta.data.catalogue import locate

PAGE = 3000
"""Characters."""
BEFORE = ("Home | About | Contact | Sign in", "We use cookies to improve your experience. By continuing you accept our cookie policy.", "Skip to main content")
AFTER = ("Share this page on Facebook or Twitter", "All rights reserved. Terms of use. Privacy policy.", "Subscribe to our newsletter!")
RECIPE = {
    "format": 1, "name": "noisy",
    "data": {
        "clean": ["repair", "normalise", {"kind": "lines", "rules": "boilerplate"}, {"kind": "quality", "rules": "gopher"}],
        "deduplicate": [{"kind": "near", "threshold": 0.7}], "split": {"validation": 0.03, "test": 0.1},
        "tokenizer": {"kind": "byte_bpe", "vocab": 2048}, "pack": {"length": 128},
    },
    "model": {"preset": "decoder/small", "dim": 128, "depth": 4, "value_embed": False, "mixer": {"heads": 4}},
    "objective": "next_token",
    "train": {
        "flops": 1e12, "threads": 1, "batch_tokens": 2048, "optimizer": {"kind": "muon", "rate": 0.04, "embed_rate": 0.1, "head_rate": 0.01, "decay": 0.1},
        "schedule": {"kind": "linear_decay", "warmup": 0.05}, "validation": None, "precision": "float32",
    },
}


def pages(count: int) -> Iterator[str]:
    """The first pages of the books, cut at ends of lines."""
    with tarfile.open(locate("english_classics") / "books_small.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            held = list[str]()
            for line in file.read().decode().splitlines() if file else ():
                held.append(line)
                if sum(map(len, held)) >= PAGE:
                    yield "\n".join(held)
                    held = []
                    if (count := count - 1) <= 0:
                        return


def noisy(clean: list[str], draws: random.Random) -> dict[str, str]:
    """The pages with what is planted, by name."""
    found = {}
    words = [word for page in clean[:20] for word in page.split()]
    for number, page in enumerate(clean):
        copies = [page]
        if number % 3 == 0:
            copies += [" ".join(draws.choice(words) if draws.random() < 0.01 else word for word in page.split(" ")) for _ in range(2)]
        for copy, text in enumerate(copies):
            if draws.random() < 2 / 3:
                text = "\n\n".join([*BEFORE, text, *AFTER])
            if draws.random() < 1 / 5:
                text = text.encode().decode("cp1252", "replace")
            found[f"{number:05}-{copy}"] = text
        if number % 5 == 0:
            found[f"{number:05}-table"] = "\n".join(" ".join(f"{draws.choice('#*|$%')}{draws.randrange(10**6)}" for _ in range(8)) for _ in range(40))
    return found


def page_of(name: str, text: str) -> bytes:
    """As a page of HTML."""
    body = "".join(f"<p>{html.escape(part)}</p>\n" for part in text.split("\n\n"))
    return f"<!DOCTYPE html>\n<html><head><meta charset='utf-8'><title>{name}</title></head><body><nav><a href='/'>Home</a></nav><article>{body}</article></body></html>".encode()


def warc(texts: dict[str, str]) -> Iterator[bytes]:
    """Records of a WARC file, each packed by itself."""
    for name, text in texts.items():
        body = page_of(name, text)
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{name}>\r\nWARC-Target-URI: http://localhost/{name}.html\r\n"
            f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(answer)}\r\n\r\n"
        )
        yield gzip.compress(head.encode() + answer + b"\r\n\r\n", mtime=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=900)
    given = parser.parse_args()
    texts = noisy(list(pages(given.pages)), random.Random(0))
    (given.folder / "text").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (given.folder / "text" / f"{name}.txt").write_text(text)
    (given.folder / "pages.warc.gz").write_bytes(b"".join(warc(texts)))
    for name, path in (("noisy", "text"), ("noisy-warc", "pages.warc.gz")):
        recipe = {**RECIPE, "name": name, "data": {"source": {"kind": "text_files", "path": str(given.folder.resolve() / path)}, **RECIPE["data"]}}
        (given.folder / f"{name}.yaml").write_text(json.dumps(recipe, indent=1))          # JSON is YAML
    print(f"{len(texts):,} pages, {sum(len(text.encode()) for text in texts.values()) / 1e6:.1f} MB, in {given.folder}")


if __name__ == "__main__":
    main()
