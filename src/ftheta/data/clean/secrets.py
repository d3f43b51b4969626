"""Keys, tokens and passwords that stand in a text, above all in source code."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ftheta.data.clean.findings import Finder, Pattern, pattern

KINDS = Literal["private_key", "aws", "github", "openai", "slack", "google", "huggingface", "stripe", "jwt", "assigned"]
LEAST_BITS = 3.2
"""Entropy of a character, in bits, from which an assigned text is taken for a key; words and placeholders have less."""
PLACEHOLDERS = ("example", "your", "xxxx", "test", "dummy", "placeholder", "changeme", "1234", "abcd", "<", "{", "$", "%", "/", " ")


def bits(text: str) -> float:
    """Entropy of a character of the text, by its own counts."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def random_looking(text: str) -> bool:
    """Whether what stands in quotes behind a name such as `api_key` is a key: letters and digits, of high entropy, no placeholder."""
    lower = text.lower()
    return any(c.isdigit() for c in text) and any(c.isalpha() for c in text) and bits(text) >= LEAST_BITS and not any(part in lower for part in PLACEHOLDERS)


def several_sorts(text: str) -> bool:
    """Digits and letters both: `sk-` before an ordinary name is no key."""
    return any(c.isdigit() for c in text) and any(c.isalpha() for c in text[3:]) and bits(text) >= LEAST_BITS


ALONE, END = r"(?<![0-9A-Za-z_-])", r"(?![0-9A-Za-z_-])"
PATTERNS = (
    pattern("private_key",
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[^-]|-(?!-)){0,20000}+(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?", needs=("private key-----",)),
    pattern("aws", r"(?<![0-9A-Za-z])(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{16}(?![0-9A-Za-z])", needs=("akia", "asia", "agpa", "aida", "aroa")),
    pattern("github",
            ALONE + r"(?:gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{60,255})" + END, needs=("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_")),
    pattern("openai", ALONE + r"sk-[0-9A-Za-z_-]{20,250}" + END, several_sorts, needs=("sk-",)),
    pattern("slack", ALONE + r"(?:xox[abeoprs]-[0-9A-Za-z-]{10,250}|xapp-[0-9A-Za-z-]{10,250})" + END, needs=("xox", "xapp-")),
    pattern("google", ALONE + r"AIza[0-9A-Za-z_-]{35}" + END, needs=("aiza",)),
    pattern("huggingface", ALONE + r"hf_[0-9A-Za-z]{34,40}" + END, needs=("hf_",)),
    pattern("stripe", ALONE + r"[rs]k_(?:live|test)_[0-9A-Za-z]{16,250}" + END, needs=("k_live_", "k_test_")),
    pattern("jwt", ALONE + r"eyJ[0-9A-Za-z_-]{8,4000}\.eyJ[0-9A-Za-z_-]{8,8000}\.[0-9A-Za-z_-]{16,2000}" + END, needs=("eyj",)),
    pattern(
        "assigned",
        r"""(?i)(?:passw(?:or)?d|pwd|secret|token|key)[0-9A-Z_-]{0,20}["']?[ \t]{0,4}(?::=|=>|:|=)[ \t]{0,4}["'](?P<value>[^\s"']{12,200})["']""",
        random_looking, needs=("passw", "pwd", "secret", "token", "key"),
    ),
)


class Secrets(Finder):
    """Keys and tokens: blocks of private keys, those of AWS, GitHub, OpenAI's form (sk-...), Slack, Google, Hugging Face and Stripe, JSON web tokens, and
    random-looking texts assigned to a name such as `password` or `api_key`."""

    kind: Literal["secrets"] = "secrets"
    kinds: tuple[KINDS, ...] = ("private_key", "aws", "github", "openai", "slack", "google", "huggingface", "stripe", "jwt", "assigned")
    """What is looked for."""

    @functools.cached_property
    def chosen(self) -> tuple[Pattern, ...]:
        return tuple(one for one in PATTERNS if one.kind in self.kinds)

    def patterns(self) -> Sequence[Pattern]:
        return self.chosen
