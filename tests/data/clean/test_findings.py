"""Personal data and secrets: planted ones are found, look-alikes are not, everything takes linear time."""

import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.clean.texts import CHINESE, real
from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError
from ftheta.data.clean import RULES
from ftheta.data.clean.findings import masked
from ftheta.data.clean.personal import PATTERNS as PERSONAL
from ftheta.data.clean.personal import Personal
from ftheta.data.clean.rules import judge
from ftheta.data.clean.secrets import PATTERNS as SECRETS
from ftheta.data.clean.secrets import Secrets
from ftheta.data.documents import Document

PEM = "-----BEGIN {0}PRIVATE KEY-----"                                                 # put together here, so that no scanner takes this file for a leak


def digits(draws, count):
    return "".join(draws.choices(string.digits, k=count))


def token(draws, count, letters=string.ascii_letters + string.digits):
    return draws.choice("abcXYZ") + "7" + "".join(draws.choices(letters, k=count - 2))


def with_luhn(number):
    total = sum(d if i % 2 else (2 * d if d < 5 else 2 * d - 9) for i, d in enumerate(map(int, reversed(number))))
    return number + str(-total % 10)


def with_id_checksum(number):
    return number + "10X98765432"[sum(pow(2, 17 - i, 11) * int(c) for i, c in enumerate(number)) % 11]


def with_mod_97(country, account):
    letters = "".join(str(int(c, 36)) for c in account + country + "00")
    return f"{country}{98 - int(letters) % 97:02}{account}"


def spaced(number, sizes, sign):
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return sign.join(parts)


def born(draws):
    return f"{draws.randint(1940, 2015)}{draws.randint(1, 12):02}{draws.randint(1, 28):02}"


PLANTED = {
    "email": lambda d: f"{token(d, 6).lower()}.{token(d, 5).lower()}@{token(d, 5).lower()}.{d.choice(['com', 'com.cn', 'org', 'de', 'museum'])}",
    "iban": lambda d: d.choice([
        with_mod_97("DE", digits(d, 18)), spaced(with_mod_97("DE", digits(d, 18)), [4, 4, 4, 4, 4, 2], " "), with_mod_97("GB", "WEST" + digits(d, 14)),
    ]),
    "id_card": lambda d: with_id_checksum(d.choice(["110101", "440305", "310115"]) + born(d) + digits(d, 3)),
    "card": lambda d: d.choice([
        with_luhn("4" + digits(d, 14)), spaced(with_luhn("53" + digits(d, 13)), [4, 4, 4, 4], d.choice(" -")),
        spaced(with_luhn("37" + digits(d, 12)), [4, 6, 5], " "),
        with_luhn("622848" + digits(d, 12)),
    ]),
    "ssn": lambda d: f"{d.randint(1, 665):03}-{d.randint(1, 99):02}-{d.randint(1, 9999):04}",
    "ip": lambda d: d.choice([f"8.{d.randint(0, 255)}.{d.randint(0, 255)}.{d.randint(1, 255)}", f"2a00:1450:{d.randint(4096, 9999)}::{d.randint(1, 9999)}"]),
    "phone": lambda d: d.choice([
        f"+49 {d.randint(30, 99)} {d.randint(1000, 9999)} {d.randint(1000, 9999)}", f"+86138{digits(d, 8)}",
        f"1{d.choice('3578')}{d.randint(0, 9)}{digits(d, 8)}",
        f"139 {digits(d, 4)} {digits(d, 4)}", f"010-6{digits(d, 7)}", f"（0755）2{digits(d, 7)}", f"({d.randint(212, 989)}) {d.randint(200, 999)}-{digits(d, 4)}",
        f"{d.randint(212, 989)}-{d.randint(200, 999)}-{digits(d, 4)}", f"400-{digits(d, 3)}-{digits(d, 4)}",
    ]),
    "private_key": lambda d: "\n".join([PEM.format(d.choice(["RSA ", "", "EC "])), token(d, 64), token(d, 40) + "==", PEM.format("").replace("BEGIN", "END")]),
    "aws": lambda d: "AKIA" + token(d, 16).upper(),
    "github": lambda d: d.choice(["ghp_" + token(d, 36), "github_pat_" + token(d, 82)]),
    "openai": lambda d: d.choice(["sk-" + token(d, 48), "sk-proj-" + token(d, 80)]),
    "slack": lambda d: f"xoxb-{digits(d, 11)}-{digits(d, 11)}-{token(d, 24)}",
    "google": lambda d: "AIza" + token(d, 35),
    "huggingface": lambda d: "hf_" + token(d, 34),
    "stripe": lambda d: "sk_live_" + token(d, 24),
    "jwt": lambda d: f"eyJ{token(d, 33)}.eyJ{token(d, 60)}.{token(d, 43)}",
    "assigned": lambda d: d.choice(["DB_PASSWORD = '{}'", 'api_key: "{}"', '"client_secret": "{}"', "AccessKey=>'{}'"]).format(token(d, 24)),
}
AROUND = ["{}", "write to {}.", "({})", "请联系{}。", "编号：{}，谢谢", "a {} b", "<b>{}</b>", "x={}\n"]
TRIES = 300


@pytest.mark.parametrize(("rule", "patterns"), [(Personal(), PERSONAL), (Secrets(), SECRETS)], ids=["personal", "secrets"])
def test_what_is_planted_is_found(rule, patterns):
    """Recall of every kind over many forms and surroundings; what is found has the right name and leaves the rest of the text alone."""
    draws = random.Random(0)
    for kind in dict.fromkeys(one.kind for one in patterns):
        right = 0
        for _ in range(TRIES):
            around, planted = draws.choice(AROUND), PLANTED[kind](draws)
            text, found = masked(around.format(planted), patterns, "<{kind}>")
            whole = around.format(f"<{kind}>")
            right += found == {kind: 1} and (text == whole or (kind == "assigned" and text.count("<assigned>") == 1))
        assert right >= 0.98 * TRIES, (kind, right)


@pytest.mark.parametrize("text", [
    "version 3.11.7 of 2024-05-06 at 12:30:45", "pages 123-456 and 1914-1918, section 1.2.3", "127.0.0.1 and 192.168.1.10 and 10.0.0.1",
    "std::vector<int> a::b::c",
    "4111111111111112", "110101199003070001", "DE89370400440532013001", "π is 3.14159265358979323846264", "000-12-3456 and 666-12-3456",
    "1234567890123", "@property",
    "id 20240506123456", "订单号2024050612345678", "0.13812345678", "a13812345678b", "key = 'your-api-key-here-1'", "password = 'correcthorsebatterystaple'",
    "sk-learn-contributors-guide-and-more", "tokens = ['a', 'b']", "https://example.org/?key=value", "AKIAISNOTLONG", "token: '${TOKEN_FROM_ENV_1}'",
    "1 000 000 000 people",
    "ISBN 978-3-16-148410-0", "10.1000/xyz123 doi", "(1998) 2345-6789 pages", "::1 and fe80::1 and 2001:db8::1",
])
def test_look_alikes_are_left(text):
    assert masked(text, (*PERSONAL, *SECRETS), "<{kind}>") == (text, {})


def test_pages_of_a_manual_hold_nothing_personal():
    pages = "\n".join(text for text in real()[:79])
    _, found = masked(pages + CHINESE, (*PERSONAL, *SECRETS), "")
    assert found.total() <= 2, found


def test_counted_masked_or_dropped():
    text = "a@b.com and c@d.org, 13812345678"
    fields = {"kind": "personal", "mask": "[{kind}]"}
    rules = {action: Slot(RULES).parse({**fields, "action": action}) for action in ("count", "mask", "drop")}
    verdicts = {action: judge(Document("x", text), [rule]) for action, rule in rules.items()}
    counts = {"found email": 2, "found phone": 1}
    assert all(verdict.counts == counts for verdict in verdicts.values())
    assert verdicts["count"].text == text and verdicts["mask"].text == "[email] and [email], [phone]"
    assert verdicts["drop"][:3] == (None, "personal email", {"why": "2 email, 1 phone"})
    assert judge(Document("x", text), [Personal(action="drop", most=3)]).text == text
    assert judge(Document("x", text), [Personal(kinds=("phone",))]).text == "a@b.com and c@d.org, <phone>"


def test_a_bad_mask_is_named():
    with pytest.raises(ConfigError, match=r"mask: expected a text in which \{kind\} may stand"):
        Slot(RULES).parse({"kind": "secrets", "mask": "<{sort}>"})


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("0123456789@.:-+() sk_eyJAKIA'\"=")))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_them(text):
    for rule in (Personal(), Secrets()):
        assert rule.apply(Document("x", text)) == rule.apply(Document("x", text))


HOSTILE = [
    "a", "1", "1 ", "1-", "a@", "a.", "@a.", "a@a.", "1.", "1:", "a:", "2a00:", "+1", "+1 (", "(0", "010-", "(212) ", "DE89 ", "DE", "4111 ",
    "0" * 3, "eyJ", "eyJa.", "sk-",
    "AKIA", "ghp_", "xoxb-", "key", "key=", "key='", "key-", "token: \"", "password ", PEM.format(""), PEM.format("") + "a", "-", "-----BEGIN ",
    "中1", "٣", "١٢٣.", "+",
    "key_1=", "\ud800", "1.1.1.1", "86 1", "\"",
]


def seconds(text):
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        masked(text, (*PERSONAL, *SECRETS), "<{kind}>")
        best = min(best, time.process_time() - start)
    return best


def test_twice_the_text_takes_about_twice_as_long():
    """Over texts of 250 kB made to make patterns go back and forth; quadratic time would be a factor of 4. A megabyte is enough to be sure of the worst."""
    slowest = sorted(HOSTILE, key=lambda piece: seconds(piece * (20_000 // len(piece))))[-6:]
    for piece in slowest:
        one, two = seconds(piece * (250_000 // len(piece))), seconds(piece * (500_000 // len(piece)))
        assert two < 3 * one + 0.05, (piece, one, two)
    assert seconds(slowest[-1] * (1_000_000 // len(slowest[-1]))) < 6 * seconds(slowest[-1] * (250_000 // len(slowest[-1]))) + 0.1
