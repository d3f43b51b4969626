"""Words are hidden whole, and always the same ones when masking is static."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ftheta.core.contract import PADDING, Batch
from ftheta.core.errors import ConfigError
from ftheta.core.random import Draws
from ftheta.data.processors.plain import PlainProcessor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.subword import WordPiece
from ftheta.data.tokenizers.trained import ByteBPE, Bytes, TokenizerConfig
from ftheta.objectives.masked import Masked

TEXT = "unbelievable stories of the believers who told unstoppable stories"


def batch(processor: TextProcessor, text: str, rows: int = 60) -> Batch:
    return {"tokens": torch.tensor([processor.encode(text)] * rows)}


def prepare(objective: Masked, processor: TextProcessor, data: Batch, step: int = 0) -> Batch:
    rows = len(data["tokens"])
    return objective.with_tokens(processor).prepare(data, Draws(torch.arange(rows), rows, "test", step))


@pytest.mark.parametrize("kind", [ByteBPE(vocab=264), WordPiece(vocab=40, coverage=1.0)], ids=["byte_bpe", "wordpiece"])
def test_all_tokens_of_a_word_are_hidden_together(kind: TokenizerConfig) -> None:
    tokenizer = kind.train([TEXT] * 3)
    processor = TextProcessor(tokenizer, kind.roles(tokenizer))
    encoding = tokenizer.encode(TEXT, add_special_tokens=False)
    chosen = prepare(Masked(whole_words=True, rate=0.4), processor, batch(processor, TEXT))["chosen"][:, 1:]
    words = [[i for i, (start, stop) in enumerate(encoding.offsets) if TEXT[start:stop].strip() and word_of(stop) == n] for n in range(9)]
    assert any(len(word) > 2 for word in words)
    shares = []
    for word in words:
        part = chosen[:, word]
        assert torch.equal(part.all(1), part.any(1))
        shares.append(float(part.any(1).float().mean()))
    assert 0.2 < sum(shares) / len(shares) < 0.6 and min(shares) > 0
    pieces = prepare(Masked(rate=0.4), processor, batch(processor, TEXT))["chosen"][:, 1:]
    assert not all(torch.equal(pieces[:, word].all(1), pieces[:, word].any(1)) for word in words)


def word_of(stop: int) -> int:
    return TEXT[:stop].count(" ")


def test_listed_chinese_words_are_hidden_whole(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("北京\n大学\n北京大学\n")
    processor = TextProcessor(Bytes().train([]))
    data = batch(processor, "我爱北京大学")
    starts = [1 + 3 * i for i in range(6)]
    by_character = prepare(Masked(whole_words=True, rate=0.5), processor, data)["chosen"]
    listed = prepare(Masked(whole_words=True, rate=0.5, word_list=str(tmp_path / "words.txt")), processor, data)["chosen"]
    assert data["tokens"].shape[1] == 19                                                  # every byte a token
    assert all(torch.equal(part[:, s : s + 3].all(1), part[:, s : s + 3].any(1)) for part in (by_character, listed) for s in starts)
    assert torch.equal(listed[:, -1], listed[:, -4]) and not torch.equal(by_character[:, -1], by_character[:, -4])


def test_static_masks_depend_on_the_text_alone() -> None:
    processor = TextProcessor(ByteBPE(vocab=264).train([TEXT]))
    texts = [TEXT, TEXT[3:], TEXT]
    rows = [processor.encode(text) for text in texts]
    data = {"tokens": torch.tensor([row + [0] * (len(rows[0]) - len(row)) for row in rows])}
    data["documents"] = torch.tensor([[0] * len(row) + [PADDING] * (len(rows[0]) - len(row)) for row in rows])
    first, second = (prepare(Masked(static=True), processor, data, step) for step in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(first["tokens"][0], first["tokens"][2]) and not torch.equal(first["chosen"][0], first["chosen"][1])
    alone = prepare(Masked(static=True), processor, {name: value[1:2, : len(rows[1])] for name, value in data.items()}, 5)
    assert torch.equal(alone["chosen"][0], first["chosen"][1, : len(rows[1])])
    moving = [prepare(Masked(), processor, data, step)["chosen"] for step in (0, 1)]
    assert not torch.equal(*moving)


def test_what_cannot_be_is_said() -> None:
    processor = TextProcessor(ByteBPE(vocab=264).train([TEXT]))
    with pytest.raises(ConfigError, match=r"word_list: nowhere\.txt cannot be read"):
        Masked(whole_words=True, word_list="nowhere.txt").with_tokens(processor)
    with pytest.raises(ConfigError, match="the data has no words"):
        Masked(whole_words=True, mask_id=1).with_tokens(PlainProcessor())
    with pytest.raises(ConfigError, match="of use only with whole_words"):
        Masked.parse({"word_list": "words.txt"})
