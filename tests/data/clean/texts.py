"""Real and made-up texts that rules are tried on, and words as a formula of their own finds them."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from pydoc_data import topics

UNSPACED = "々-〇\u3040-\u30ff㐀-\u4dbf一-\u9fff\uf900-\ufaff\U00020000-\U00033fff"
WORD = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")
CHINESE = "他在北京的大学里学习了三年。今天天气很好，我们一起去公园吧！你喜欢吃什么水果？这是一本关于历史的书，也是我最喜欢的。"


def words(text: str) -> list[str]:
    """Runs without white space, every Han character and kana by itself."""
    return WORD.findall(text)


def real() -> list[str]:
    """Pages about Python's language, whole and in pieces, and modules of the standard library."""
    pages = list(topics.topics.values())
    files = sorted(Path(next(path for path in sys.path if (Path(path) / "textwrap.py").exists())).glob("[a-f]*.py"))
    pieces = [page[i : i + 1500] for page in pages for i in range(0, len(page), 1500)]
    return pages + pieces + [path.read_text(encoding="utf-8", errors="replace") for path in files]


def noisy(count: int, seed: int = 0) -> list[str]:
    """Texts from few words, lines and marks, so that every threshold is met from both sides."""
    draws, made = random.Random(seed), []
    bag = ["the", "of", "and", "cat", "on", "mat", "#", "...", "…", "-", "•", "12", "word", "(x)", "longerwordthanothers", *CHINESE]
    for _ in range(count):
        few = draws.sample(bag, draws.randint(2, 20))
        lines = []
        for _ in range(draws.randint(1, 40)):
            if lines and draws.random() < 0.2:
                lines.append(draws.choice(lines))
            else:
                end = draws.choice([".", "...", "", "!", "。", " "])
                lines.append(draws.choice(["", "", "- ", "• "]) + " ".join(draws.choices(few, k=draws.randint(0, 30))) + end)
        made.append(draws.choice(["\n", "\n\n", "\n\n\n"]).join(lines))
    return made
