"""Exports: a model as other programs open it, each opened by such a program and compared before it is called done."""

from ftheta.core.catalog import Catalogue

FORMATS = Catalogue(
    "export format",
    {
        "docker-context": "ftheta.export.container:DockerContext",
        "gguf": "ftheta.export.gguf_file:GGUF",
        "huggingface": "ftheta.export.huggingface:HuggingFace",
        "onnx": "ftheta.export.onnx_file:ONNX",
        "safetensors-int4": "ftheta.export.few_bits:Int4",
        "safetensors-int8": "ftheta.export.few_bits:Int8",
        "torch-export": "ftheta.export.program:TorchExport",
    },
)
