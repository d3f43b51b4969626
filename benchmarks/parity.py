"""How near a model's numbers are to those that transformers gives for the same weights, for every family of language models whose folders are read.

Small models of transformers with random weights (standard deviation 0.3, so that differences show), widths and numbers of heads that are no powers of two.
Each is written by transformers, opened here, and answers 3 texts of 14 tokens, the second padded on the right; then it is written here and opened by
transformers. The difference is the largest of all logits, relative to the largest logit where that is above 1.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Row, arguments, publish
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.folder import load, save

VOCAB, MOST = 260, 1e-5
IDS = {"vocab_size": VOCAB, "pad_token_id": 3, "eos_token_id": 2, "bos_token_id": 0}
LLAMA = {"hidden_size": 60, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 72}
BERT = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 50, "max_position_embeddings": 24}
SIDES = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in {"layers": 2, "attention_heads": 3, "ffn_dim": 40}.items()}
BART = {**SIDES, "d_model": 36, "max_position_embeddings": 24, "decoder_start_token_id": 0}
T5 = {"d_model": 32, "d_kv": 6, "d_ff": 50, "num_layers": 2, "num_heads": 3, "decoder_start_token_id": 0}
EXPERTS = {"num_experts_per_tok": 2, "output_router_logits": False}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-2": ("GPT2LMHeadModel", {"n_embd": 60, "n_layer": 3, "n_head": 5, "n_positions": 32}),
    "Llama 2": ("LlamaForCausalLM", {**LLAMA, "num_key_value_heads": 6}),
    "Llama 3: shared keys, scaled positions": ("LlamaForCausalLM", {**LLAMA, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "original_max_position_embeddings": 32, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
    "Mistral, window of 5": ("MistralForCausalLM", {**LLAMA, "sliding_window": 5}),
    "Qwen 2": ("Qwen2ForCausalLM", {key: value for key, value in LLAMA.items() if key != "head_dim"}),
    "Qwen 3": ("Qwen3ForCausalLM", LLAMA),
    "Mixtral": ("MixtralForCausalLM", {**LLAMA, **EXPERTS, "num_local_experts": 5}),
    "Qwen 3 MoE": ("Qwen3MoeForCausalLM", {**LLAMA, **EXPERTS, "num_experts": 6, "moe_intermediate_size": 40}),
    "Mamba-2": ("Mamba2ForCausalLM", {"hidden_size": 24, "num_hidden_layers": 2, "num_heads": 6, "head_dim": 8, "n_groups": 2, "state_size": 8}),
    "BERT": ("BertForMaskedLM", BERT), "RoBERTa": ("RobertaForMaskedLM", {**BERT, "max_position_embeddings": 28, "type_vocab_size": 1}),
    "DistilBERT": ("DistilBertForMaskedLM", {"dim": 36, "n_layers": 2, "n_heads": 3, "hidden_dim": 50, "max_position_embeddings": 24}),
    "ELECTRA, generator": ("ElectraForMaskedLM", {**BERT, "embedding_size": 22}),
    "ELECTRA, discriminator": ("ElectraForPreTraining", {**BERT, "embedding_size": 22}),
    "T5": ("T5ForConditionalGeneration", T5),
    "T5 v1.1": ("T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "BART": ("BartForConditionalGeneration", BART), "MarianMT": ("MarianMTModel", {**BART, "scale_embedding": True, "activation_function": "swish"}),
}
"""Shown name → their class, and the fields of its config."""


def drawn(kind: str, fields: dict[str, Any]) -> Any:
    """A model of theirs with random weights."""
    import transformers

    torch.manual_seed(0)
    cls = getattr(transformers, kind)
    model = cls(cls.config_class(**IDS, **fields)).eval()
    for name, value in model.named_parameters():
        if "embed_positions" not in name or kind != "MarianMTModel":                          # which are sines
            value.data.normal_(std=0.3)
    if fields.get("tie_word_embeddings") is False:                                            # they tie until they see two tables in a file
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.3)
    return model


@torch.no_grad()
def compared(kind: str, fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How far the logits are apart, and what transformers says of our folder."""
    import transformers

    model = drawn(kind, fields)
    model.save_pretrained(folder / "theirs")
    for name, data in TextProcessor(Bytes().train([])).files().items():
        (folder / "theirs" / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    ours = load(folder / "theirs")
    draws = torch.Generator().manual_seed(1)
    tokens, real = torch.randint(4, VOCAB, (3, 14), generator=draws), torch.ones(3, 14, dtype=torch.bool)
    real[1, 9:] = False
    batch: dict[str, Any] = {"input_ids": tokens.masked_fill(~real, 3), "attention_mask": real.long()}
    mine: dict[str, Any] = {"tokens": tokens, "documents": real.long() - 1}
    shown = real
    if "source" in ours.architecture.config.ports().takes:
        target = torch.randint(4, VOCAB, (3, 9), generator=draws)
        shown = torch.ones(3, 9, dtype=torch.bool)
        batch["decoder_input_ids"] = target
        mine = {"tokens": target, "source": batch["input_ids"], "source_documents": real.long() - 1}
    expected = model(**batch).logits
    logits = ours.architecture(**mine)["replaced" if kind == "ElectraForPreTraining" else "logits"]
    apart = float((logits - expected)[shown].abs().max()) / max(1.0, float(expected[shown].abs().max()))
    save(ours, folder / "ours")
    again, report = getattr(transformers, kind).from_pretrained(folder / "ours", output_loading_info=True)
    back = dict(again.named_parameters())
    same = all(torch.equal(value, back[name]) for name, value in model.named_parameters())
    return {"apart": apart, "same": same, "noticed": sorted(map(str, [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]))}


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    rows, details = [], {}
    for name, (kind, fields) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = details[name] = compared(kind, fields, Path(folder))
        good = found["apart"] <= MOST and found["same"] and not found["noticed"]
        wrong = [*found["noticed"], *([] if found["same"] else ["other numbers"])]
        back = f"back: {', '.join(wrong)}" if wrong else "back bit-equal, nothing missing or too much"
        rows.append(Row(f"{name} (`{kind}`)", f"≤ {MOST:.0e}, back bit-equal", f"{found['apart']:.0e}; {back}", good))
    publish("parity", "Language models: the same numbers as transformers", rows, {"results": details}, options.quick)


if __name__ == "__main__":
    main()
