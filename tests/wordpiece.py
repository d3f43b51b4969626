"""A small WordPiece tokenizer as BERT's: every letter, a few words, [CLS] and [SEP] around texts."""

from __future__ import annotations

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ftheta.data.processors.text import TextProcessor

VOCAB = 90


def bert_tokenizer() -> Tokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), "the", "cat", "sat", "dog", ".", "?", "##ing", "run"]
    vocabulary += [f"[unused{i}]" for i in range(VOCAB - len(vocabulary))]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(vocabulary[:5])
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def bert_processor(labels: tuple[str, ...] = ()) -> TextProcessor:
    return TextProcessor(bert_tokenizer(), {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]", "unk": "[UNK]"}, labels=labels)
