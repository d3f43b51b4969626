"""The fields of an outside `config.json`, and which of them were read: what nobody has read may change what is computed, so it is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

QUIET = frozenset({
    # what the file is, who wrote it, and names of classes
    "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "license", "model_type", "name_or_path", "problem_type", "torch_dtype",
    "transformers.js_config", "transformers_version", "unsloth_fixed", "unsloth_version", "language", "finetuning_task", "is_encoder_decoder",
    "is_llama_config",
    # how training starts and goes: initial values, losses, dropout
    "activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "attention_probs_dropout", "classif_dropout",
    "classifier_dropout", "classifier_dropout_prob", "decoder_layerdrop", "embd_pdrop", "encoder_layerdrop", "gradient_checkpointing", "initializer_factor",
    "initializer_range", "output_router_logits", "qa_dropout", "rescale_prenorm_residual", "resid_pdrop", "router_aux_loss_coef",
    "semantic_loss_ignore_index", "seq_classif_dropout", "summary_first_dropout", "summary_last_dropout", "time_step_floor", "time_step_max",
    "time_step_min", "time_step_rank", "time_step_init_scheme", "init_std", "auxiliary_loss", "bbox_cost", "bbox_loss_coefficient", "class_cost",
    "dice_loss_coefficient", "eos_coefficient", "giou_cost", "giou_loss_coefficient", "init_xavier_std", "mask_loss_coefficient",
    # how texts are written, which generation_config.json and the request say
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty", "force_bos_token_to_be_generated", "forced_bos_token_id",
    "forced_eos_token_id", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences",
    "output_scores", "pad_token_id", "prefix", "remove_invalid_values", "repetition_penalty", "sep_token_id", "suppress_tokens", "task_specific_params",
    "temperature", "tokenizer_class", "top_k", "top_p", "typical_p", "decoder_vocab_size",
    # what is returned, how it is stored and in which order it is computed
    "chunk_size", "chunk_size_feed_forward", "output_attentions", "output_hidden_states", "output_past", "pretraining_tp", "reorder_and_upcast_attn",
    "residual_in_fp32", "return_dict", "tf_legacy_loss", "torchscript", "use_bfloat16", "use_cache", "use_mamba_kernels", "cache_implementation",
    # sizes that follow from others, parts that other classes have, and what their own class does not read either
    "cross_attention_hidden_size", "decoder_hidden_size", "dense_act_fn", "directionality", "encoder_stride", "expand", "image_size", "intermediate_size",
    "is_decoder", "is_gated_act", "layer_norm_eps", "n_ctx", "num_channels", "num_hidden_layers", "out_features", "out_indices", "pooler_act",
    "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_output_size", "pooler_size_per_head", "pooler_type",
    "sinusoidal_pos_embds", "stage_names", "summary_activation", "summary_proj_to_labels", "summary_type", "summary_use_proj",
})
"""Fields that change nothing of what a model computes when it is used."""
NOTHING: tuple[Any, ...] = (None, False, "", [], {})
"""Values by which a field says nothing."""


class Fields(Mapping[str, Any]):
    """What a `config.json` says, with the usual values of what it leaves out; remembers what was asked for."""

    def __init__(self, said: Mapping[str, Any], usual: Mapping[str, Any] | None = None):
        self.said, self.usual = said, usual or {}
        self.asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        self.asked.pop(name, None)
        self.asked[name] = None
        return self.said[name] if name in self.said else self.usual[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.said, *self.usual]))

    def __len__(self) -> int:
        return len(self.said.keys() | self.usual.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.said or name in self.usual

    @property
    def last(self) -> str:
        """The field that was asked for last."""
        return next(reversed(self.asked), "")

    def unread(self) -> list[str]:
        """Fields that say something and that nobody asked for, apart from those that change nothing."""
        return sorted(name for name in self.said if name not in self.asked and name not in QUIET and self.said[name] not in NOTHING)
