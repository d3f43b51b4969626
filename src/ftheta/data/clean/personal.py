"""Personal data that can be told by its form: addresses, numbers of telephones, identity cards, accounts and machines."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from typing import Literal

from ftheta.data.clean.findings import Finder, Pattern, pattern

KINDS = Literal["email", "iban", "id_card", "card", "ssn", "ip", "phone"]
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21, "CR": 22, "CY": 28, "CZ": 24,
    "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27,
    "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MT": 31, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24,
    "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VG": 24,
}
"""Characters of an account number by country (SWIFT's registry)."""
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CARD_LENGTHS = {"4": (13, 16, 19), "5": (16,), "2": (16,), "34": (15,), "37": (15,), "30": (14,), "36": (14,), "38": (14,), "35": (16,),
                "60": (16,), "65": (16,), "62": (16, 17, 18, 19)}
"""Digits of a card by how its number begins (issuer identification numbers, ISO/IEC 7812)."""


def digits_of(text: str) -> list[int]:
    return [int(c) for c in text if c in "0123456789"]


def luhn(text: str) -> bool:
    """The last digit of a bank card is the checksum of the others, and its beginning an issuer's."""
    digits = digits_of(text)
    number = "".join(map(str, digits))
    doubled = [d if i % 2 == 0 else 2 * d - 9 * (d > 4) for i, d in enumerate(reversed(digits))]
    lengths = CARD_LENGTHS.get(number[:2]) or CARD_LENGTHS.get(number[:1], ())
    return len(digits) in lengths and sum(doubled) % 10 == 0 and len(set(digits)) > 2


def mod_97(text: str) -> bool:
    """An international account number taken as one number (A = 10) leaves 1 when divided by 97 (ISO 13616)."""
    plain = text.replace(" ", "")
    return IBAN_LENGTHS.get(plain[:2]) == len(plain) and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def id_checksum(text: str) -> bool:
    """The last character of a Chinese identity number is made from the others (GB 11643-1999)."""
    return "10X98765432"[sum(weight * int(c) for weight, c in zip(ID_WEIGHTS, text, strict=False)) % 11] == text[-1].upper()


def public_address(text: str) -> bool:
    """An address in the open internet; those of private networks, examples and documentation are nobody's."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and (address.version == 4 or int(address) >> 125 == 1)


def enough_digits(text: str) -> bool:
    return 8 <= len(digits_of(text)) <= 15


ALONE, APART, END, NUMBER_END = r"(?<![0-9A-Za-z_.+-])", r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])", r"(?![0-9A-Za-z])(?![.-]\d)"
PATTERNS = (
    pattern("email", r"(?<![0-9A-Za-z._+%-])[0-9A-Za-z._+%-]{1,64}@(?:[0-9A-Za-z][0-9A-Za-z-]{0,62}\.){1,8}[A-Za-z]{2,24}(?![0-9A-Za-z-])", needs=("@",)),
    pattern("iban", APART + r"[A-Z]{2}\d{2}(?:[0-9A-Z]{11,27}|(?: [0-9A-Z]{4}){2,7}(?: [0-9A-Z]{1,4})?)" + END, mod_97),
    pattern("id_card", APART + r"[1-9]\d{5}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]" + END, id_checksum, number=True),
    pattern("card", ALONE + r"[2-6]\d{12,18}" + NUMBER_END, luhn, number=True),
    pattern("card", ALONE + r"[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?" + NUMBER_END, luhn, number=True),
    pattern("card", ALONE + r"3\d{3}([ -])\d{6}\1\d{4,5}" + NUMBER_END, luhn, number=True),
    pattern("ssn", ALONE + r"(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}" + NUMBER_END, needs=("-",), number=True),
    pattern("ip", ALONE + r"(?:\d{1,3}\.){3}\d{1,3}(?![0-9A-Za-z])(?!\.\d)", public_address, needs=(".",), number=True),
    pattern("ip", r"(?<![0-9A-Za-z:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![0-9A-Za-z:])", public_address, needs=(":",)),
    pattern("phone", r"(?<![0-9A-Za-z+])(?:\+|00)[1-9]\d{7,14}(?!\d)", needs=("+", "00"), number=True),
    pattern("phone", r"(?<![0-9A-Za-z+])(?:\+|00)[1-9]\d{0,2}+(?:[ .-]?+(?:\(\d{1,4}\)|\d{2,4}+)){2,5}+(?!\d)", enough_digits, ("+", "00"), number=True),
    pattern("phone", ALONE + r"(?:86[ -]?)?1[3-9]\d(?:\d{8}|[ -]\d{4}[ -]\d{4})" + NUMBER_END, number=True),
    pattern("phone", ALONE + r"(?:\(0[1-9]\d{1,2}\)|（0[1-9]\d{1,2}）|0[1-9]\d{1,2}-) ?[2-9]\d{6,7}(?:-\d{1,5})?" + NUMBER_END, number=True),
    pattern("phone", ALONE + r"[48]00-\d{3}-\d{4}" + NUMBER_END, needs=("00-",), number=True),
    pattern("phone", ALONE + r"(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d([-. ]))[2-9]\d\d(?(1)\1|[-. ])\d{4}" + NUMBER_END, needs=("-", ".", ")"), number=True),
)
"""Telephone numbers: international, Chinese mobile, Chinese landline, service lines, North American."""


class Personal(Finder):
    """Personal data told by form: e-mail addresses, telephone numbers (international, Chinese, North American), Chinese identity numbers (checksum), US
    social security numbers, public IPv4 and IPv6 addresses, bank cards (Luhn) and IBANs (mod 97)."""

    kind: Literal["personal"] = "personal"
    kinds: tuple[KINDS, ...] = ("email", "iban", "id_card", "card", "ssn", "ip", "phone")
    """What is looked for."""

    @functools.cached_property
    def chosen(self) -> tuple[Pattern, ...]:
        return tuple(one for one in PATTERNS if one.kind in self.kinds)

    def patterns(self) -> Sequence[Pattern]:
        return self.chosen
