"""DETR: equal to transformers' on random models of unlike shapes, loaded there without a warning, and back; its loss on what it says."""

from __future__ import annotations

import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from torch import nn
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss, HungarianMatcher

from ftheta.architectures.detector import DetectorConfig
from ftheta.core.config import merge
from ftheta.core.contract import Batch
from ftheta.core.errors import FolderError
from ftheta.data.processors.image import ImageProcessor
from ftheta.inference.detect import detections
from ftheta.interop.huggingface.detr import DETR
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from ftheta.models.outside import expressed
from ftheta.objectives.objective import Phase
from ftheta.objectives.set_prediction import SetPrediction

PRESET = Path(str(resources.files("ftheta.architectures"))) / "presets" / "detector" / "detr-resnet-50.yaml"
SHAPES: list[dict[str, Any]] = [
    {"trunk": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}, "d_model": 16, "encoder_layers": 1, "decoder_layers": 2,
     "encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 20, "num_queries": 7},
    {"trunk": {"embedding_size": 6, "hidden_sizes": [8, 12, 20], "depths": [1, 2, 1], "layer_type": "bottleneck", "num_channels": 1}, "num_channels": 1, "d_model": 24,
     "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 3, "decoder_attention_heads": 3, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
     "num_queries": 12, "activation_function": "gelu", "dropout": 0.0},
]


def theirs_of(fields: dict[str, Any]) -> DetrForObjectDetection:
    """Their model with every tensor random, so that a swapped or forgotten one shows."""
    trunk, more = fields["trunk"], {name: value for name, value in fields.items() if name != "trunk"}
    backbone = ResNetConfig(**trunk, out_features=[f"stage{len(trunk['depths'])}"])
    model = DetrForObjectDetection(DetrConfig(use_timm_backbone=False, backbone_config=backbone, num_labels=5, **more)).eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            fan = max(1, value[0].numel()) if value.ndim > 1 else 1
            sharp = 4.0 if "query_position" in key or "encoder_attn" in key else 0.2 if "self_attn" in key or "bias" in key else 1.0       # or all queries say the same
            value.copy_(sharp * torch.randn(value.shape, generator=draws) / fan**0.5)
            if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
                value.abs_().add_(0.5)
    return model


def pictures(channels: int, height: int, width: int) -> torch.Tensor:
    return 2 * torch.randn(3, channels, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fields", SHAPES, ids=["basic", "bottleneck"])
@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
@torch.no_grad()
def test_logits_and_boxes_are_theirs(fields: dict[str, Any], size: tuple[int, int], tmp_path: Path) -> None:
    theirs = theirs_of(fields)
    theirs.save_pretrained(tmp_path)
    ours, image = load(tmp_path), pictures(theirs.config.num_channels, *size)
    assert ours.task.name == "object-detection"
    expected, found = theirs(image), ours.architecture.eval()(image=image)
    assert expected.logits.std(1).mean() > 0.01 and expected.pred_boxes.std(1).mean() > 0.002    # queries differ
    assert (found["set_logits"][:, -1] - expected.logits).abs().max() <= 1e-5 * max(1.0, float(expected.logits.abs().max()))
    x, y, wide, high = (expected.pred_boxes * torch.tensor([size[1], size[0]] * 2)).unbind(-1)
    corners = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], -1)
    assert (found["boxes"] - corners).abs().max() <= 1e-5 * max(size)
    torch.testing.assert_close(found["logits"].sigmoid(), expected.logits.softmax(-1)[..., :-1], atol=1e-6, rtol=1e-5)
    sure = detections(found, 0.05)[0]
    assert len(sure.scores) and (sure.scores[:-1] >= sure.scores[1:]).all()


@pytest.mark.parametrize("fields", SHAPES, ids=["basic", "bottleneck"])
@torch.no_grad()
def test_their_tools_load_what_we_save_and_nothing_changes(fields: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = theirs_of(fields)
    theirs.save_pretrained(tmp_path / "theirs")
    model, labels = load(tmp_path / "theirs"), [f"c{i}" for i in range(5)]
    save(Model(model.architecture, ImageProcessor((45, 70), theirs.config.num_channels, labels=labels), "object-detection"), tmp_path / "ours")
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        back, report = DetrForObjectDetection.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not caplog.records and not any(report[part] for part in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert list(back.config.id2label.values()) == labels
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in theirs.state_dict().items())
    again = load(tmp_path / "ours").architecture
    assert again.config == model.architecture.config
    assert all(torch.equal(value, again.theta()[key]) for key, value in model.architecture.theta().items())


def batch(labels: list[int], image: torch.Tensor) -> tuple[Batch, list[dict[str, torch.Tensor]]]:
    """Boxes for every picture, as many as said, ours in pixels and padded, theirs as shares."""
    draws, most = torch.Generator().manual_seed(3), max(labels)
    size = torch.tensor([image.shape[3], image.shape[2]] * 2)
    boxes, label, others = torch.zeros(len(labels), most, 4), torch.full((len(labels), most), -1), []
    for i, count in enumerate(labels):
        middle, extent = 0.3 + 0.4 * torch.rand(count, 2, generator=draws), 0.1 + 0.4 * torch.rand(count, 2, generator=draws)
        boxes[i, :count] = torch.cat([middle - extent / 2, middle + extent / 2], 1) * size
        label[i, :count] = torch.randint(5, (count,), generator=draws)
        others.append({"boxes": torch.cat([middle, extent], 1), "class_labels": label[i, :count]})
    return {"image": image, "boxes": boxes, "box_label": label}, others


@pytest.mark.parametrize("counts", [[2, 0, 4], [1, 9, 3], [0, 0, 0]])
@pytest.mark.parametrize("every", [True, False])
@torch.no_grad()
def test_the_loss_is_theirs(counts: list[int], every: bool, tmp_path: Path) -> None:
    """Also where a picture has more boxes than there are queries (7), and none at all."""
    theirs = theirs_of(SHAPES[0])
    theirs.save_pretrained(tmp_path)
    ours, image = load(tmp_path).architecture.eval(), pictures(3, 45, 70)
    mine, others = batch(counts, image)
    outputs = ours(image=image)
    shares = outputs["set_boxes"] / torch.tensor([70.0, 45.0, 70.0, 45.0])
    relative = torch.cat([(shares[..., :2] + shares[..., 2:]) / 2, shares[..., 2:] - shares[..., :2]], -1).transpose(0, 1)
    theirs.config.auxiliary_loss = every
    expected = ForObjectDetectionLoss(outputs["set_logits"][:, -1], others, "cpu", relative[-1], theirs.config, outputs["set_logits"].transpose(0, 1), relative)[0]
    objective = SetPrediction(every_layer=every)
    found = objective.loss(nn.Identity(), lambda part: ours(image=part["image"]), mine, Phase("main"))
    assert float(found.total) == pytest.approx(float(expected), rel=1e-6)
    if not every:
        assert float(found.total) == pytest.approx(float(theirs(image, labels=others).loss), rel=1e-5) or theirs.config.auxiliary_loss
    for i, count in enumerate(counts):
        pairs = HungarianMatcher(1, 5, 2)({"logits": outputs["set_logits"][i : i + 1, -1], "pred_boxes": relative[-1, i : i + 1]}, others[i : i + 1])[0] if count else ([], [])
        size = torch.tensor([70.0, 45.0, 70.0, 45.0])
        query, number = objective.assigned(outputs["boxes"][i] / size, outputs["set_logits"][i, -1], mine["boxes"][i, :count] / size, mine["box_label"][i, :count])
        assert query.tolist() == list(map(int, pairs[0])) and number.tolist() == list(map(int, pairs[1]))


def test_parts_of_a_batch_are_the_batch(tmp_path: Path) -> None:
    theirs_of(SHAPES[0]).save_pretrained(tmp_path)
    ours, image = load(tmp_path).architecture.eval(), pictures(3, 45, 70)
    mine, _ = batch([2, 0, 4], image)
    objective = SetPrediction()
    whole = objective.loss(nn.Identity(), lambda part: ours(image=part["image"]), mine, Phase("main"))
    parts = [objective.embed(nn.Identity(), lambda part: ours(image=part["image"]), {name: value[i : i + 1] for name, value in mine.items()}, Phase("main")) for i in range(3)]
    joined = objective.couple({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, Phase("main"))
    torch.testing.assert_close(whole.total, joined.total, rtol=1e-6, atol=0)


def test_the_preset_is_the_published_one() -> None:
    config = DetectorConfig.parse(merge(YAML(typ="safe").load(PRESET), {"trunk": {"channels": 3, "classes": 91}}))
    found = expressed(config)
    assert found is not None and found[0] == "detr"
    with torch.device("meta"):
        theirs, ours = DetrForObjectDetection(DetrConfig.from_dict(found[1])), config.build()
    learned = {line.theirs for line in found[2] if line.ours[0] in dict(ours.named_parameters())}
    frozen = sum(value.numel() for name, value in theirs.named_buffers() if name.endswith(("weight", "bias")))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) + frozen == 41_577_888 and len(learned) > 300


@pytest.mark.parametrize(("fields", "said"), [
    ({"auxiliary_loss": True}, "auxiliary_loss"), ({"position_embedding_type": "learned"}, "position_embedding_type"), ({"backbone_config": None}, "backbone_config"),
    ({"backbone_config": {"model_type": "timm_backbone"}}, "timm_backbone is not supported"), ({"use_timm_backbone": True}, "use_timm_backbone"),
])
def test_unsupported_fields_are_named(fields: dict[str, Any], said: str) -> None:
    good = json.loads(json.dumps({"backbone_config": {"model_type": "resnet", "out_features": ["stage4"]}, "use_timm_backbone": False}))
    config = DETR().import_config(good)
    found = expressed(config)
    assert found is not None and found[0] == "detr" and config.head.arguments["hidden"] == 2048
    with pytest.raises(FolderError, match=said):
        DETR().import_config({**good, **fields})
