"""A model: architecture + parameters + processor + task. What is saved, loaded, run and served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from ftheta.architectures.architecture import Architecture
from ftheta.blocks.few_bits import keep_all_in_few_bits
from ftheta.blocks.fused import pack
from ftheta.blocks.head import Head
from ftheta.blocks.linear import Linear
from ftheta.blocks.quantised import Quantisation
from ftheta.core.errors import UsageError, suggest
from ftheta.data.processors.processor import Processor
from ftheta.models.adapters import Adapters, read_adapter
from ftheta.models.tasks import TASKS
from ftheta.models.tasks.task import Task
from ftheta.models.tasks.text import Prompt, TextGeneration, Writing
from ftheta.training.precision import TYPES

KEPT = {"int8": Quantisation(bits=8), "int4": Quantisation(bits=4)}
"""How linear maps are kept, by what a model computes in; tables of a vocabulary have 8 bits."""


class Model:
    """y = f(x; θ) with everything needed to use it."""

    def __init__(
        self, architecture: Architecture, processor: Processor, task: str, provenance: Mapping[str, Any] | None = None, place: str = "this model",
    ):
        self.architecture = architecture.eval()
        self.processor = processor
        self.task: Task[Any, Any, Any] = TASKS.load(task)(architecture, processor)
        self.provenance = dict(provenance or {})
        self.place = place
        """The folder it came from, for messages."""
        self.adapters = Adapters(architecture)

    def attach(self, folder: str | Path, name: str | None = None) -> Self:
        """Know the adapter in a PEFT folder (LoRA, DoRA, prompt tuning, prefix tuning) by its folder's name or another; `use` puts it to use.

        Raises FolderError when it does not fit or belongs to another model.
        """
        used = dict(self.adapters.used)
        self.adapters.add(name or Path(folder).resolve().name, read_adapter(Path(folder)), self.place)
        return self.use(used)

    def use(self, adapters: str | Mapping[str, float] | None) -> Self:
        """Answer with an adapter, with a weighted sum of the changes of several, or (None) with none of them. Raises UsageError."""
        self.adapters.use({} if adapters is None else {adapters: 1.0} if isinstance(adapters, str) else adapters)
        return self

    def draft(self, other: Model | None, ahead: int = 4) -> Self:
        """Let a smaller model of the same tokens guess so many ahead of single texts, which changes none of them; None: no longer. Raises UsageError."""
        if not isinstance(self.task, Writing):
            raise UsageError(f"this model does '{self.task.name}': only what writes texts can be guessed ahead")
        if other is None:
            self.task.draft = None
        else:
            self.task.let_draft(other.task, ahead)
        return self

    def compute_in(self, precision: str) -> Self:
        """Compute in `float32` or `bfloat16` from now on, with the weights of maps and embeddings kept in it, so that nothing is cast at every use; or in
        bfloat16 with linear maps kept in 8 or 4 bits (`int8`, `int4`), as the exports of these names keep them. Where a
        processor has instructions for bfloat16, larger weights are kept a second time in the order in which it reads them (`blocks/fused.py`).

        For use, not for saving: weights are rounded. Raises UsageError for another name.
        """
        if precision not in (*TYPES, *KEPT):
            raise UsageError(f"precision: '{precision}' is none{suggest(precision, [*TYPES, *KEPT], 'precisions')}")
        if precision in KEPT:
            keep_all_in_few_bits(self.architecture, KEPT[precision])
        computed = TYPES.get(precision, torch.bfloat16)
        for part in self.architecture.modules():
            if isinstance(part, nn.Linear | nn.Conv2d | nn.Embedding):
                part.to(computed)
        for part in self.architecture.modules():                                          # when embeddings that heads share have their type
            if isinstance(part, Linear) or (isinstance(part, Head) and part.kept is None):
                pack(part.weight)
        self.architecture.compute_dtype = computed
        return self

    def used_for(self, task: str) -> Model:
        """The same model for another task, such as zero-shot-classification by one that continues text. Raises ConfigError for an unknown one."""
        return Model(self.architecture, self.processor, task, self.provenance)

    def predict(self, inputs: Any) -> Any:
        """Answer one input or a list of them, given as the task's input type, a mapping of its fields, or its first field alone.

        Raises ConfigError naming the field when an input does not fit.
        """
        many = isinstance(inputs, list)
        items = inputs if many else [inputs]
        answers = self.task.run([self.parse(item, i if many else None) for i, item in enumerate(items)])
        return answers if many else answers[0]

    def parse(self, item: Any, index: int | None) -> Any:
        kind = self.task.input
        if isinstance(item, kind):
            return item
        plain = item if isinstance(item, Mapping) else self.task.read(item) if isinstance(item, str) else {next(iter(kind.model_fields)): item}
        return kind.parse(plain, "input" if index is None else f"input {index}")

    def generate(
        self, prompt: str, *, most: int = 200, temperature: float = 0.8, top_k: int | None = None, top_p: float = 0.95, seed: int = 0,
        stop: tuple[str, ...] = (),
    ) -> str:
        """The continuation of a text, at most `most` tokens. Raises UsageError when the model does something else."""
        return "".join(self.stream(Prompt(prompt=prompt, most=most, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, stop=stop)))

    def chat(self, messages: Sequence[Mapping[str, str]], *, most: int = 300, temperature: float = 0.7, top_p: float = 0.95, seed: int = 0) -> str:
        """What the model says next in a conversation of `{"role": ..., "content": ...}`. Raises UsageError when it was not trained on conversations."""
        return "".join(self.stream({"messages": list(messages), "most": most, "temperature": temperature, "top_p": top_p, "seed": seed}))

    def ensure_chat(self) -> None:
        """Raise UsageError when this model cannot talk."""
        if not isinstance(self.task, TextGeneration):
            raise UsageError(f"this model does '{self.task.name}' and does not talk: use predict")
        self.task.processor.template()

    def stream(self, prompt: Prompt | Mapping[str, Any]) -> Iterator[str]:
        """As `generate`, piece by piece. Raises ConfigError for a field that does not fit."""
        if not isinstance(self.task, TextGeneration):
            raise UsageError(f"this model does '{self.task.name}', not text-generation: use predict")
        for piece, _ in self.task.stream(prompt if isinstance(prompt, Prompt) else Prompt.parse(dict(prompt))):
            yield piece

