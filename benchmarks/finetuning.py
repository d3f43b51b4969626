"""Fine-tuning speed: sentences a second when a BERT-base shape (12 layers, dim 768, 12 heads, vocabulary 30,522; 109 million parameters) learns
to classify the sentences of SST-2, 32 a step, against the Hugging Face Trainer at its default and at the best setting found.

All sides start from one folder of weights (random: speed does not depend on them), see the same sentences in the same order, padded to the longest of
the batch, and use AdamW (rate 2e-5, betas 0.9 and 0.999, decay 0.01, clip 1) without dropout. Only where Hugging Face groups sentences by length does
it see them in another order. Equality comes first: the losses of five steps must agree, within 1e-4 in float32 and within 0.02 of those in bfloat16.
Ours leaves the padding out: rows that have much of it share rows inside the model. The share of padding is reported.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Row, alternate, arguments, arm, progress, publish, ratio, spread
from benchmarks.watch import Watch

BATCH, LONGEST, RATE, DECAY = 32, 128, 2e-5, 0.01
EXACT_BAND, BFLOAT16_BAND = 1e-4, 0.02
HF_SETTINGS: dict[str, dict[str, Any]] = {
    "bf16": {"bf16": True}, "bf16, grouped by length": {"bf16": True, "grouped": True}, "grouped by length": {"grouped": True},
    "bf16, grouped, plain attention": {"bf16": True, "grouped": True, "attention": "eager"},
}


def prepare(folder: Path, steps: int) -> None:
    """Write the initial weights as a Hugging Face folder, and the sentences of all steps in a random order."""
    from ftheta.architectures.headed import HeadedConfig
    from ftheta.data.catalogue import locate
    from ftheta.data.processors.text import TextProcessor
    from ftheta.data.rows import read_rows
    from ftheta.data.tokenizers.file import read_tokenizer
    from ftheta.lifecycle.build import build_model
    from ftheta.models.folder import save
    from ftheta.models.model import Model

    taken = read_tokenizer(locate("tokenizers") / "bert_base_uncased_vocab.txt")
    processor = TextProcessor(taken.tokenizer, taken.roles, taken.begin, taken.end, ("negative", "positive"))
    config = HeadedConfig.parse({
        "kind": "headed", "classes": 2, "readout": {"kind": "classify", "dense": "tanh", "dropout": 0.0},
        "trunk": {
            "kind": "encoder", "vocab": processor.vocab, "dim": 768, "depth": 12, "context": 512, "segments": 2, "embed_norm": True, "norm_place": "after",
            "norm": {"kind": "layernorm", "eps": 1e-12}, "mixer": {"kind": "attention", "heads": 12, "bias": True, "causal": False},
            "feedforward": {"kind": "mlp", "activation": "gelu", "bias": True}, "positions": "learned",
        },
    })
    save(Model(build_model(config, 0), processor, "text-classification"), folder / "weights")
    rows = list(read_rows(locate("sentconv_sst_trec_cr_mpqa") / "stsa.binary.train", "label_first"))
    order = np.random.default_rng(0).permutation(len(rows))[: steps * BATCH]
    encoded = [processor.frame(rows[i].columns["text"], None, LONGEST).ids for i in order]
    np.save(folder / "lengths.npy", np.array([len(ids) for ids in encoded]))
    np.save(folder / "ids.npy", np.concatenate([np.array(ids) for ids in encoded]))
    np.save(folder / "labels.npy", np.array([int(rows[i].columns["label"]) for i in order]))


def sentences(folder: str) -> list[tuple[torch.Tensor, int]]:
    lengths, ids, labels = (np.load(Path(folder) / f"{name}.npy") for name in ("lengths", "ids", "labels"))
    pieces = torch.from_numpy(ids).split(lengths.tolist())
    return list(zip(pieces, labels.tolist(), strict=True))


def padded(rows: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens and which are real (B, T), and classes (B,)."""
    tokens = torch.nn.utils.rnn.pad_sequence([ids for ids, _ in rows], batch_first=True)
    lengths = torch.tensor([len(ids) for ids, _ in rows])
    return tokens, torch.arange(tokens.shape[1]) < lengths[:, None], torch.tensor([label for _, label in rows])


def timed(marks: list[tuple[float, float]], warm: int) -> dict[str, Any]:
    wall = np.diff(marks, axis=0).T[0][warm:]
    return {"sentences_per_second": BATCH * len(wall) / float(wall.sum())}


def ours(folder: str, steps: int, warm: int, precision: str = "auto") -> dict[str, Any]:
    """The Trainer."""
    from ftheta.core.contract import Batch, Ports
    from ftheta.data.source import Dataset, Ordered
    from ftheta.models.folder import load
    from ftheta.objectives.classification import Classification
    from ftheta.training.config import TrainConfig
    from ftheta.training.events import Events
    from ftheta.training.trainer import Trainer

    class Sentences(Dataset):
        def __init__(self) -> None:
            self.rows = sentences(folder)

        @property
        def ports(self) -> Ports:
            gives = {"tokens": "ids B T", "documents": "ids B T", "label": "label B"}
            return Ports(gives=gives, sizes={"V": 30522, "T": LONGEST, "K": 2})

        @property
        def fingerprint(self) -> str:
            return "sst"

        def __len__(self) -> int:
            return len(self.rows)

        def batch(self, rows: torch.Tensor) -> Batch:
            tokens, real, label = padded([self.rows[i] for i in rows.tolist()])
            return {"tokens": tokens, "documents": torch.where(real, 0, -1), "label": label}

    watch = Watch()
    config = TrainConfig.parse({
        "steps": steps, "batch": BATCH, "optimizer": {"kind": "adamw", "rate": RATE, "betas": [0.9, 0.999], "decay": DECAY}, "schedule": "constant", "clip": 1.0,
        "precision": precision, "compile": "never", "log_every": 1, "validation": None, "device": "cpu",
    })
    model = load(Path(folder) / "weights").architecture
    trainer = Trainer(model, Classification(), Ordered(Sentences(), BATCH, 0), config, seed=0, events=Events(None, [watch.listen]))
    watch.mark()
    trainer.fit()
    return {"losses": watch.losses, "precision": trainer.progress.precision, **timed(watch.marks, warm)}


def huggingface(folder: str, steps: int, warm: int, *, bf16: bool = False, grouped: bool = False, attention: str = "sdpa", log: bool = False) -> dict[str, Any]:
    """The Hugging Face Trainer, float32 by default."""
    import transformers

    watch = Watch()

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: Any) -> torch.utils.data.Sampler:
            if not grouped:
                return torch.utils.data.SequentialSampler(self.train_dataset)
            lengths = [len(ids) for ids, _ in self.train_dataset]
            return transformers.trainer_pt_utils.LengthGroupedSampler(BATCH, lengths=lengths, generator=torch.Generator().manual_seed(0))

    def collate(rows: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        tokens, real, label = padded(rows)
        return {"input_ids": tokens, "attention_mask": real.long(), "labels": label}

    with tempfile.TemporaryDirectory() as place:
        settings = transformers.TrainingArguments(
            output_dir=place, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=RATE, adam_beta1=0.9, adam_beta2=0.999, weight_decay=DECAY,
            lr_scheduler_type="constant", max_grad_norm=1.0, bf16=bf16, use_cpu=True, disable_tqdm=True, report_to="none", save_strategy="no",
            logging_steps=1 if log else 500, remove_unused_columns=False,
        )
        model = transformers.BertForSequenceClassification.from_pretrained(
            Path(folder) / "weights", attn_implementation=attention, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
        trainer = InOrder(model=model, args=settings, train_dataset=sentences(folder), data_collator=collate, callbacks=[watch.callback()])      # type: ignore[arg-type]
        watch.mark()
        trainer.train()
    return {"losses": watch.losses, **timed(watch.marks, warm)}


def equality(folder: str) -> dict[str, float]:
    """Largest differences of the losses of five steps. Raises SystemExit when they differ more than allowed."""
    run: Callable[..., Any] = partial(arm, folder=folder, steps=5, warm=1)
    reference = run(huggingface, log=True)["losses"]
    found = {}
    for name, band in (("float32", EXACT_BAND), ("bfloat16", BFLOAT16_BAND)):
        found[name] = max(abs(a - b) for a, b in zip(run(ours, precision=name)["losses"], reference, strict=True))
        progress(f"largest difference of loss over 5 steps, ours in {name}: {found[name]:.2g}")
        if not found[name] <= band:
            raise SystemExit(f"the sides do not train the same model: {name} losses differ by {found[name]}, allowed {band}")
    return found


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    passes, steps = (1, 4) if options.quick else (options.pairs, 6)
    with tempfile.TemporaryDirectory() as place:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{place}/compiled"
        prepare(Path(place), 8)
        equal = equality(place)
        settings = {}
        for name, setting in HF_SETTINGS.items():
            settings[name] = arm(huggingface, folder=place, steps=4, warm=1, **setting)
            progress(f"Hugging Face Trainer, {name}: {settings[name]['sentences_per_second']:,.1f} sentences/s")
        best = max(settings, key=lambda name: settings[name]["sentences_per_second"])
        run: Callable[..., Any] = partial(arm, folder=place, steps=steps, warm=2)
        found = alternate({
            "ours": partial(run, ours), "ours, float32": partial(run, ours, precision="float32"), "default": partial(run, huggingface),
            "best": partial(run, huggingface, **HF_SETTINGS[best]),
        }, passes, lambda result: f"{result['sentences_per_second']:,.1f} sentences/s")
        lengths = np.load(Path(place) / "lengths.npy")[: steps * BATCH].reshape(-1, BATCH)
    rates = {name: [result["sentences_per_second"] for result in results] for name, results in found.items()}
    padding = 1 - lengths.sum() / (lengths.max(1) * BATCH).sum()
    rows = [
        Row("same loss over 5 steps, float32 / bfloat16 against float32: largest difference", f"≤ {EXACT_BAND:g} / {BFLOAT16_BAND:g}",
            f"{equal['float32']:.1e} / {equal['bfloat16']:.1e}", True),
        Row("padding in these batches", "", f"{padding:.0%} of the tokens"),
        Row(f"ours, sentences/s ({found['ours'][0]['precision']}, chosen by itself)", "", spread(rates["ours"])),
        Row("ours in float32, sentences/s", "", spread(rates["ours, float32"])),
    ]
    for name, label, target in (("default", "Hugging Face Trainer at its default (float32)", 2.0), ("best", f"Hugging Face Trainer at its best ({best})", 1.2)):
        quotient = ratio(rates["ours"], rates[name])
        rows += [Row(f"{label}, sentences/s", "", spread(rates[name])), Row(f"ours / {label}", f"≥ {target}×", str(quotient), quotient.median >= target)]
    publish("finetuning", "Fine-tuning speed on a CPU", rows, {"equality": equal, "huggingface_settings": settings, "passes": found}, options.quick)


if __name__ == "__main__":
    main()
