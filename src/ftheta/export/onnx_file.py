"""A model as an ONNX graph with batch and length left open: `model.onnx`, run by onnxruntime and everything else that reads ONNX; beside it the files that say
how inputs are read. The graph is made of the program that torch.export gives (torch.onnx).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ftheta.core.atomic import Attempt
from ftheta.core.contract import Batch
from ftheta.core.errors import MissingExtraError, UsageError
from ftheta.export.format import Consumer, Format, answers
from ftheta.export.probes import inputs_of
from ftheta.export.program import ProgramFolder, exported, quiet, reason, write_reading
from ftheta.models.model import Model

FILE = "model.onnx"


class ONNX(Format):
    """A graph that onnxruntime runs."""

    def write(self, model: Model, attempt: Attempt) -> None:
        try:
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(str(error.name), "export", "an ONNX graph") from None
        program, inputs = exported(model), list(inputs_of(model.architecture.config.ports()))
        try:
            with quiet():
                graph = torch.onnx.export(program, input_names=inputs, output_names=answers(model), verbose=False)
        except Exception as error:                                                        # what has no operator there, in many kinds of error
            cause = reason(error.__cause__ or error)
            raise UsageError(f"this '{model.architecture.config.name}' cannot be said in ONNX: {cause}; use torch-export") from error
        assert graph is not None
        kept = set(map(id, graph.model.graph.outputs))
        for node in graph.model.graph:                                                    # torch names values after operators, which may be an output's name
            for value in node.outputs:
                if value.name in answers(model) and id(value) not in kept:
                    value.name = f"{value.name}.inner"
        graph.save(attempt.path / FILE, external_data=None)
        for path in sorted(attempt.path.glob(f"{FILE}*")):
            attempt.adopt(path.name)
        write_reading(attempt, model)

    def open(self, folder: Path) -> Consumer:
        return Runtime(folder)


class Runtime(ProgramFolder):
    """onnxruntime, on the processor."""

    def __init__(self, folder: Path):
        import onnxruntime

        super().__init__(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
        self.known = {put.name for put in self.session.get_inputs()}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        given = {name: batch[name].numpy() for name in self.takes if name in self.known}
        return {name: torch.from_numpy(value) for name, value in zip(self.gives, self.session.run(self.gives, given), strict=True)}
