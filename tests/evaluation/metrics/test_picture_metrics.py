"""What is said of classifiers of pictures, against formulas written out and cases whose answer is known."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.architectures.convnet import ConvNetConfig
from ftheta.architectures.encoder import EncoderConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.architectures.vit import ViTConfig
from ftheta.core.contract import Ports
from ftheta.core.errors import UsageError
from ftheta.data.images import ImageDataset, image_ports
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.source import Groups
from ftheta.evaluation.metrics.calibration import Calibration, binned, calibration_error
from ftheta.evaluation.metrics.confusion import Confusion, counts, mistakes
from ftheta.evaluation.metrics.evidence import Evidence
from ftheta.evaluation.metrics.gaps import Gaps, by_chance, largest_gap
from ftheta.evaluation.metrics.metric import Subject
from ftheta.evaluation.metrics.robustness import Robustness, blurred, moved, noisy, stored
from ftheta.evaluation.probes.small import scatter
from ftheta.inference.evidence import grad_cam, rollout
from ftheta.models.model import Model

VIT = {"kind": "vit", "channels": 1, "classes": 3, "height": 8, "width": 8, "stem": {"kind": "patches", "size": 2}, "dim": 16, "depth": 2,
       "mixer": {"kind": "attention", "heads": 4, "bias": True}, "feedforward": {"kind": "mlp", "hidden": 16, "bias": True}}
RESNET = {"kind": "resnet", "channels": 1, "classes": 3, "depths": [1, 1], "widths": [8, 12], "stem": "small", "stem_width": 8}


def made(config: ConvNetConfig | ResNetConfig | ViTConfig) -> Architecture:
    return scatter(config.build(), 0, 0.3).eval()


def pictures(count: int = 40) -> ImageDataset:
    draw = torch.Generator().manual_seed(0)
    return ImageDataset(torch.randint(256, (count, 1, 8, 8), generator=draw, dtype=torch.uint8), torch.arange(count) % 3, ("a", "b", "c"))


def subject(architecture: Architecture) -> Subject:
    return Subject(Model(architecture, ImageProcessor((8, 8), 1, labels=("a", "b", "c")), "image-classification"), {"test": pictures()}, {}, 0)


def test_confusion() -> None:
    truth, guess = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 2])
    table = counts(truth, guess, 4)
    assert table.tolist() == [[1, 2, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert mistakes(table, "abcd") == "a taken for b: 2 of 3\nb taken for a: 1 of 2"
    assert mistakes(np.eye(2, dtype=int), "ab") == "Nothing is taken for anything else."
    found = Confusion().measure(subject(made(ResNetConfig.parse(RESNET))))
    model, data = made(ResNetConfig.parse(RESNET)), pictures()
    right = model(image=data.batch(torch.arange(40))["image"])["logits"].argmax(-1) == data.labels
    for k, measurement in enumerate(found.measurements):
        assert measurement.name == f"accuracy of {'abc'[k]}" and measurement.n == int((data.labels == k).sum())
        assert abs(measurement.value - float(right[data.labels == k].double().mean())) < 1e-12
    assert Image.open(io.BytesIO(found.pictures["confusion.png"])).size[0] > 100


def test_the_gap_of_classes() -> None:
    found = Gaps(least=1).measure(subject(made(ResNetConfig.parse(RESNET))))
    shares = [m.value for m in Confusion().measure(subject(made(ResNetConfig.parse(RESNET)))).measurements]
    (gap,) = found.measurements
    assert gap.value == pytest.approx(max(shares) - min(shares), abs=1e-12) and gap.low <= gap.value <= gap.high and 0 < gap.baselines["all classes alike"] < 1
    best, worst = found.texts["Classes named best and worst"].split("), ")
    assert best.startswith(f"{'abc'[int(np.argmax(shares))]} {max(shares):.4f}") and worst.startswith(f"{'abc'[int(np.argmin(shares))]} {min(shares):.4f}")
    with pytest.raises(UsageError, match="0 classes have 30 test examples"):
        Gaps(least=30).measure(subject(made(ResNetConfig.parse(RESNET))))


def test_the_gap_of_groups() -> None:
    """By hand, for groups that cross classes; one with too few examples is left out."""
    model, draws = made(ResNetConfig.parse(RESNET)), torch.Generator().manual_seed(3)
    names = [("site a", "site b", "site c")[int(i)] for i in torch.randint(3, (38,), generator=draws)] + ["rare", "rare"]
    plain = pictures()
    data = ImageDataset(plain.images, plain.labels, plain.names, groups=Groups.of(names))
    found = Gaps(by="group", least=3).measure(Subject(Model(model, ImageProcessor((8, 8), 1, labels=("a", "b", "c")), "image-classification"), {"test": data}, {}, 0))
    right = (model(image=data.batch(torch.arange(40))["image"])["logits"].argmax(-1) == data.labels).tolist()
    shares = {name: sum(hit for hit, own in zip(right, names, strict=True) if own == name) / names.count(name) for name in sorted(set(names)) if name != "rare"}
    (gap,) = found.measurements
    assert gap.name == "accuracy gap of groups" and gap.value == pytest.approx(max(shares.values()) - min(shares.values()), abs=1e-12) and gap.n == 38
    best = max(shares, key=lambda name: shares[name])
    assert found.texts["Groups named best and worst"].startswith(f"{best} {shares[best]:.4f} ({names.count(best)} examples)")
    assert Gaps(by="group").misfits(data.ports, model.config) == []
    (reason,) = Gaps(by="group").misfits(plain.ports, model.config)
    assert "'gaps' reads 'group' (label B) from the data" in reason
    part = data.subset(torch.tensor([39, 0]))
    assert part.groups is not None and [part.groups.names[i] for i in part.batch(torch.arange(2))["group"]] == ["rare", names[0]]


@pytest.mark.parametrize("shares", [[0.9, 0.9, 0.9, 0.9, 0.9], [0.6, 0.8, 0.9, 0.95]])
def test_the_gap_holds_the_truth(shares: list[float]) -> None:
    draws, there = np.random.default_rng(0), np.full(len(shares), 60)
    found = [largest_gap(draws.binomial(there, shares), there) for _ in range(60)]
    assert np.mean([f.low <= np.ptp(shares) <= f.high for f in found]) >= 0.95


def test_the_gap_by_chance_is_what_equal_classes_show() -> None:
    draws, there = np.random.default_rng(1), np.array([40, 50, 60])
    seen = np.mean([largest_gap(draws.binomial(there, 0.8), there).value for _ in range(60)])
    assert by_chance(np.array([32, 40, 48]), there, 4000, 0) == pytest.approx(seen, abs=0.02)


def naive_error(confidence: np.ndarray, hits: np.ndarray, bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if b / bins < c <= (b + 1) / bins]
        if inside:
            total += len(inside) / len(confidence) * abs(np.mean(confidence[inside]) - np.mean(hits[inside]))
    return float(total)


def test_calibration_error_is_its_formula() -> None:
    draws = np.random.default_rng(0)
    confidence = draws.uniform(0.1, 1, 500)
    hits = (draws.random(500) < confidence**2).astype(float)
    for bins in (1, 10, 15):
        assert abs(float(calibration_error(confidence - hits, binned(confidence, bins), bins)[0]) - naive_error(confidence, hits, bins)) < 1e-12
    assert binned(np.array([1.0, 0.1, 0.2000001, 1e-9]), 10).tolist() == [9, 0, 2, 0]


class Says(torch.nn.Module):
    """Logits that are read off the picture's first two pixels: class 0 with this probability."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config, self.compute_dtype = config, torch.float32

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        share = image[:, 0, 0, 0]
        return {"logits": torch.stack([share.log(), (1 - share).log()], -1)}


@pytest.mark.parametrize("honest", [True, False])
def test_calibration_finds_who_is_too_sure(honest: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    share = torch.randint(140, 250, (3000,), generator=draw)
    really = share / 255 if honest else share / 255 - 0.15
    label = (torch.rand(3000, generator=draw) > really).long()
    images = torch.zeros(3000, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = share.to(torch.uint8)
    config = ResNetConfig.parse({**RESNET, "classes": 2})
    model = Model(Says(config), ImageProcessor((8, 8), 1, labels=("a", "b")), "image-classification")  # type: ignore[arg-type]
    error, ahead = Calibration().measure(Subject(model, {"test": ImageDataset(images, label, ("a", "b"))}, {}, 0)).measurements
    assert ahead.low < (0.0 if honest else 0.15) < ahead.high
    baseline = error.baselines["calibrated perfectly"]
    assert (abs(error.value - baseline) < 0.015) if honest else (abs(error.value - 0.15) < 0.03 and error.low > baseline)


def test_pictures_made_worse() -> None:
    raw = pictures().raw(torch.arange(40))["image"]
    rows = torch.arange(40)
    spread = (noisy(0.1, 0)(raw.new_full(raw.shape, 0.5), rows) - 0.5).std()
    assert abs(float(spread) - 0.1) < 0.005
    assert torch.equal(noisy(0.1, 0)(raw, rows)[7:9], noisy(0.1, 0)(raw[7:9], rows[7:9]))                   # whichever batch it is in
    shifted = moved(2, 0)(raw, rows)
    inside = raw[:, :, 2:-2, 2:-2]
    ways = torch.stack([(shifted[:, :, 2 + y : 6 + y, 2 + x : 6 + x] == inside).flatten(1).all(1) for y, x in ((2, 0), (-2, 0), (0, 2), (0, -2))])
    assert (ways.sum(0) == 1).all() and (ways.sum(1) > 3).all()                                             # each picture one way, every way is there
    flat = torch.full((2, 3, 9, 9), 0.25)
    torch.testing.assert_close(blurred(flat, 2.0), flat)
    big = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    dense = torch.exp(-torch.arange(-6, 7).square() / 8.0)
    kernel = dense[:, None] * dense / dense.sum() ** 2
    direct = sum(kernel[i, j] * big[:, :, 8 + i - 6 : 32 + i - 6, 8 + j - 6 : 32 + j - 6] for i in range(13) for j in range(13))
    torch.testing.assert_close(blurred(big, 2.0)[:, :, 8:32, 8:32], direct, rtol=1e-5, atol=1e-6)
    smooth = Image.fromarray((big[0, 0] * 255).numpy().astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    losses = [float((stored(torch.from_numpy(np.array(smooth)).float()[None, None] / 255, q) - torch.from_numpy(np.array(smooth)) / 255).abs().mean()) for q in (95, 50, 10)]
    assert 0 < losses[0] < losses[1] < losses[2] < 0.2


def test_robustness_is_the_accuracy_on_worse_pictures() -> None:
    about = subject(made(ResNetConfig.parse(RESNET)))
    found = {m.name: m for m in Robustness(noise=(0.3,), blur=(), jpeg=(30,), shift=()).measure(about).measurements}
    raw = pictures().raw(torch.arange(40))
    for name, worse in (("noise 0.3", noisy(0.3, 0)(raw["image"], torch.arange(40))), ("JPEG 30", stored(raw["image"], 30))):
        right = about.model.architecture(image=worse)["logits"].argmax(-1) == raw["label"]
        assert found[f"accuracy with {name}"].value == float(right.double().mean())
    assert len(found) == 2


def test_grad_cam_of_averaged_maps_is_their_class_activation() -> None:
    """With a linear head on the mean of a map, ∂z_k / ∂A_c is w_kc / (h w) everywhere (Zhou et al. 2016)."""
    model, image = made(ResNetConfig.parse(RESNET)), pictures().batch(torch.arange(5))["image"]
    heat, answers = grad_cam(model, image)  # type: ignore[arg-type]
    last, logits = model.last(image), model(image=image)["logits"]  # type: ignore[operator]
    assert torch.equal(answers, logits.argmax(-1))
    weight = model.head.weight[answers]  # type: ignore[union-attr, index]
    expected = torch.einsum("bc,bchw->bhw", weight, last).relu() / (last.shape[2] * last.shape[3])
    torch.testing.assert_close(heat, expected.detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("more", [{}, {"pooling": "mean", "class_token": False, "positions": "rotary"}])
def test_rollout_is_its_formula(more: dict[str, object]) -> None:
    model, image = made(ViTConfig.parse({**VIT, **more})), pictures().batch(torch.arange(3))["image"]
    found, _ = rollout(model, image)  # type: ignore[arg-type]
    with torch.no_grad():
        tokens, kept = [], []
        for layer in model.layers:  # type: ignore[union-attr]
            layer.mix.inner.output.register_forward_pre_hook(lambda part, given: tokens.append(given[0]))
            layer.mix.inner.register_forward_pre_hook(lambda part, given: kept.append((part, *given)))
        model(image=image)
    reached = None
    for (mixer, x, context), gathered in zip(kept, tokens, strict=True):
        weights = mixer.weights(x, context)
        values = mixer.keys(x)[1]
        torch.testing.assert_close(torch.einsum("bhts,bhsd->bthd", weights, values).flatten(2), gathered, rtol=1e-4, atol=1e-5)       # they are what the layer used
        step = 0.5 * sum(weights[:, h] for h in range(4)) / 4 + 0.5 * torch.eye(x.shape[1])
        reached = step if reached is None else torch.stack([step[b] @ reached[b] for b in range(3)])
    assert reached is not None
    asked = reached.mean(1) if more else reached[:, 0, 1:]
    torch.testing.assert_close(found, asked.reshape(3, 4, 4), rtol=1e-5, atol=1e-6)


def test_weights_of_windows_are_what_windows_use() -> None:
    config = {**VIT, "mixer": {"kind": "windowed", "heads": 4, "size": 3, "shift": 1, "bias": True}, "depth": 1}
    model, image = made(ViTConfig.parse(config)), pictures().batch(torch.arange(3))["image"]
    mixer, kept = model.layers[0].mix.inner, []  # type: ignore[index, union-attr]
    mixer.register_forward_pre_hook(lambda part, given: kept.append(given))  # type: ignore[union-attr, operator]
    mixer.output.register_forward_pre_hook(lambda part, given: kept.append(given[0]))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        model(image=image)
        (x, context), gathered = kept
        weights = mixer.weights(x, context)  # type: ignore[union-attr, operator]
        torch.testing.assert_close(torch.einsum("bhts,bhsd->bthd", weights, mixer.keys(x)[1]).flatten(2), gathered, rtol=1e-4, atol=1e-5)  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("config", [ResNetConfig.parse(RESNET), ViTConfig.parse(VIT), ConvNetConfig.parse({"kind": "convnet", "channels": 1, "classes": 3})])
def test_evidence_is_drawn(config: ResNetConfig | ViTConfig | ConvNetConfig) -> None:
    found = Evidence(pictures=3).measure(subject(made(config)))
    assert Image.open(io.BytesIO(found.pictures["evidence.png"])).size[0] > 200 and not found.measurements


def test_evidence_says_what_it_cannot_look_into() -> None:
    config = EncoderConfig.parse({"kind": "encoder", "vocab": 9, "dim": 8, "depth": 1, "context": 4, "mixer": {"kind": "attention", "heads": 2, "causal": False}})
    assert any("evidence" in reason for reason in Evidence().misfits(Ports(), config))
    assert Evidence().misfits(image_ports(1, 3, 8, 8), ResNetConfig.parse(RESNET)) == []
