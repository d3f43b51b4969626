"""A plain Hugging Face folder: adapters merged, nothing that only this package reads. Its consumer here is our reader of foreign folders, which knows nothing
of how the folder was made; the tests open it with transformers.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, processors

from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt
from ftheta.data.processors.text import TextProcessor
from ftheta.export.format import Consumer, Format, Ours
from ftheta.interop.mapping import to_theirs
from ftheta.models.folder import generation_of, load_foreign, read_generation, write_configs
from ftheta.models.model import Model
from ftheta.models.outside import expressed


class HuggingFace(Format):
    """A folder that transformers, vLLM and others open."""

    def reasons(self, model: Model) -> list[str]:
        if expressed(model.architecture.config) is None:
            name = model.architecture.config.name
            return [f"the ecosystem has no name for this '{name}' as composed (docs/stages/model-folder.md lists what it can say): use onnx or torch-export"]
        return []

    def write(self, model: Model, attempt: Attempt) -> None:
        outside = expressed(model.architecture.config)
        assert outside is not None
        theirs = {name: value.contiguous() for name, value in to_theirs(outside[2], model.architecture.theta()).items()}
        attempt.write("model.safetensors", *tensor_files.pieces(theirs, {"format": "pt"}))
        write_configs(attempt, model, outside[1], generation_of(model))
        for name, data in (framed_files(model.processor) if isinstance(model.processor, TextProcessor) else model.processor.files()).items():
            attempt.write(name, data)

    def open(self, folder: Path) -> Consumer:
        found = Ours(load_foreign(folder, {}))
        found.generation = read_generation(folder)
        return found


def framed_files(processor: TextProcessor) -> dict[str, bytes]:
    """The tokenizer's files, putting before and after a text what the processor puts there: others know only the tokenizer."""
    files = processor.files()
    if "tokenizer.json" not in files:
        return files
    tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
    if tokenizer.post_processor is None and (processor.begin or processor.end):
        around = [*processor.begin, "$A", *processor.end]
        pair = [*processor.begin, "$A", *(f"{part}:1" for part in ("$B", *processor.end))]
        ids = {token: tokenizer.token_to_id(token) for token in (*processor.begin, *processor.end)}
        tokenizer.post_processor = processors.TemplateProcessing(single=" ".join(around), pair=" ".join(pair), special_tokens=list(ids.items()))
        files["tokenizer.json"] = tokenizer.to_str(pretty=True).encode()
    facts = json.loads(files["tokenizer_config.json"])
    return {**files, "tokenizer_config.json": (json.dumps(facts, indent=1) + "\n").encode()}
