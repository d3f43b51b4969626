"""Facts about other people's files: one invertible table per outside family."""

from ftheta.core.catalog import Catalogue

FAMILIES = Catalogue(
    "outside family",
    {
        "bart": "ftheta.interop.huggingface.bart:BART",
        "bert": "ftheta.interop.huggingface.bert:BERT",
        "convnext": "ftheta.interop.huggingface.convnext:ConvNeXt",
        "deit": "ftheta.interop.huggingface.vit:DeiT",
        "detr": "ftheta.interop.huggingface.detr:DETR",
        "distilbert": "ftheta.interop.huggingface.distilbert:DistilBERT",
        "efficientnet": "ftheta.interop.huggingface.efficientnet:EfficientNet",
        "electra": "ftheta.interop.huggingface.electra:ELECTRA",
        "gpt2": "ftheta.interop.huggingface.gpt2:GPT2",
        "llama": "ftheta.interop.huggingface.llama:Llama",
        "mamba2": "ftheta.interop.huggingface.mamba2:Mamba2",
        "marian": "ftheta.interop.huggingface.bart:Marian",
        "mistral": "ftheta.interop.huggingface.mistral:Mistral",
        "mobilenet_v2": "ftheta.interop.huggingface.mobilenet_v2:MobileNetV2",
        "mixtral": "ftheta.interop.huggingface.experts:Mixtral",
        "qwen2": "ftheta.interop.huggingface.qwen:Qwen2",
        "qwen3": "ftheta.interop.huggingface.qwen:Qwen3",
        "qwen3_moe": "ftheta.interop.huggingface.experts:Qwen3MoE",
        "resnet": "ftheta.interop.huggingface.resnet:ResNet",
        "roberta": "ftheta.interop.huggingface.bert:RoBERTa",
        "segformer": "ftheta.interop.huggingface.segformer:SegFormer",
        "t5": "ftheta.interop.huggingface.t5:T5",
        "vit": "ftheta.interop.huggingface.vit:ViT",
    },
)
"""Hugging Face `model_type` → how it is written there."""
