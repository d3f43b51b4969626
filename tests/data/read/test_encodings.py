"""Text that is not UTF-8: found out, recorded, and read as it was meant."""

import lzma

import pytest

from ftheta.core.errors import ConfigError
from ftheta.data.catalogue import place_of
from ftheta.data.read.encodings import detected

from .reading import named, read, source

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。\n"
FRENCH = "Les élèves français étaient très étonnés: où est passée la forêt? Là-bas, près de l'hôtel, ça coûte déjà très cher à Noël.\n"


def texts() -> dict[str, str]:
    poems, tang = (
        lzma.decompress(place_of(f"data:chinese_poetry/{name}.tsv.xz").read_bytes()).decode()[:20_000] for name in ("songci", "tang300")
    )
    traditional = tang.encode("big5", "ignore").decode("big5")
    chinese = {"gb18030": poems, "big5": traditional, "utf-16": poems, "utf-8-sig": poems, "utf-8": poems}
    return {**chinese, "shift_jis": JAPANESE * 9, "latin-1": FRENCH * 9, "utf-16-le": FRENCH * 9, "utf-16-be": FRENCH * 9}


@pytest.mark.parametrize("encoding", texts())
@pytest.mark.parametrize("sort", ["text", "lines", "jsonl"])
def test_text_comes_back_whatever_it_was_written_in(encoding, sort, tmp_path):
    text = texts()[encoding]
    rows = [line for line in text.split("\n") if line.strip() and '"' not in line and "\\" not in line]
    data = {"text": text, "lines": "\n".join(rows), "jsonl": "\n".join(f'{{"text": "{row}"}}'.replace("\t", " ") for row in rows)}[sort].encode(encoding)
    (tmp_path / "a").write_bytes(data)
    want = [text] if sort == "text" else [row.replace("\t", " ") if sort == "jsonl" else row for row in rows]
    for said in ("detect", encoding):
        documents, account = read(tmp_path / "a", encoding=said, format=sort)
        assert [d.text for d in documents] == want, account.bad
        assert (dict(documents[0].facts) == {}) == encoding.startswith("utf-8") or said == "utf-8-sig"
    if not encoding.startswith("utf-8"):
        assert not read(tmp_path / "a", format=sort)[0]                                   # UTF-8 is the default, and strict


def test_a_line_in_another_encoding_costs_that_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("第一行\n".encode("gb18030") * 20 + b"\xff\xff\n" + "最后\n".encode("gb18030"))
    documents, account = read(tmp_path / "a.txt", format="lines", encoding="gb18030")
    assert [d.text for d in documents] == ["第一行"] * 20 + ["最后"] and account.bad.total() == 1
    (tmp_path / "a.txt").write_bytes("utf-8 é\n".encode() * 20 + "latin é\n".encode("latin-1"))
    for said in ("detect", "utf-8"):                                                      # mostly UTF-8 is UTF-8
        _, account = read(tmp_path / "a.txt", format="lines", encoding=said)
        assert account.good == 20 and account.bad == {"not UTF-8 (byte 0xe9)": 1}


def test_the_first_bytes_decide_and_a_character_may_be_cut_off_there():
    assert detected("中".encode()[:2]) == "utf-8"
    assert detected(b"") == "utf-8"
    assert detected("中文".encode("utf-16")) == "utf-16"


def test_an_encoding_that_does_not_exist(tmp_path):
    for wrong in ("utf-9", "base64"):
        with pytest.raises(ConfigError, match=rf"encoding: '{wrong}' is no encoding of text; expected utf-8, detect"):
            source(tmp_path, encoding=wrong)


def test_utf_16_cut_in_a_character(tmp_path):
    (tmp_path / "a.txt").write_bytes("abc".encode("utf-16")[:-1])
    assert read(tmp_path / "a.txt", encoding="utf-16")[1].bad == {"is not utf-16 (truncated data)": 1}
    assert named(tmp_path, encoding="latin-1")
