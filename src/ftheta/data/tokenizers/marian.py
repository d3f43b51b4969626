"""MarianMT's two SentencePiece models (Junczys-Dowmunt et al. 2018, arXiv:1804.00344): `source.spm` cuts what is to be translated, `target.spm`
translations, `vocab.json` gives the pieces of both their ids. `>>fr<<` before a source names a language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from ftheta.core.errors import DataError
from ftheta.data.tokenizers import sentencepiece

FILES = ("source.spm", "target.spm", "vocab.json")
CONTROLS = ("</s>", "<unk>", "<pad>")


@dataclass(frozen=True)
class TwoCutters:
    """Two ways to cut into pieces of one vocabulary: of sources and of answers."""

    source: Tokenizer
    answer: Tokenizer
    vocabulary: Mapping[str, int]
    files: Mapping[str, bytes]
    """What it was read from."""

    def sources(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts to translate."""
        return self.ids(self.source, texts)

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of translations."""
        return self.ids(self.answer, texts)

    def ids(self, cutter: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
        """A piece that has no id is unknown; what the cutter does not know may be a piece of the other."""
        codes = [re.match(r">>.*?<<|", text, re.DOTALL) for text in texts]
        first = [code.group() if code else "" for code in codes]
        cuts = cutter.encode_batch([text[len(code) :] for code, text in zip(first, texts, strict=True)], add_special_tokens=False)
        unknown = self.vocabulary["<unk>"]
        named = [[code] if code else [] for code in first]
        return [
            [unknown if piece in CONTROLS else self.vocabulary.get(piece, unknown) for piece in (*code, *cut.tokens)]
            for code, cut in zip(named, cuts, strict=True)
        ]


def read(place: Path) -> tuple[Tokenizer, dict[str, str], TwoCutters]:
    """The vocabulary that reads ids back, its control tokens by role, and what cuts. Raises DataError."""
    if missing := [name for name in FILES if not place.with_name(name).exists()]:
        raise DataError(f"it belongs with {', '.join(FILES)}; {', '.join(missing)} is missing")
    files = {name: place.with_name(name).read_bytes() for name in FILES}
    vocabulary = json.loads(files[FILES[2]])
    if lacking := [piece for piece in CONTROLS if piece not in vocabulary]:
        raise DataError(f"{FILES[2]} beside it lacks {', '.join(lacking)}")
    source, answer = (sentencepiece.build(sentencepiece.parse(files[name]))[0] for name in FILES[:2])
    for cutter in (source, answer):
        cutter.encode_special_tokens = True
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Sequence([decoders.Replace(sentencepiece.SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in CONTROLS])
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A $B </s>", [("</s>", vocabulary["</s>"])])
    return tokenizer, {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}, TwoCutters(source, answer, vocabulary, files)
