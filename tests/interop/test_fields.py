"""Fields of an outside `config.json`: those of the ecosystem's own classes are all read or change nothing, others are named, wrong values are clear errors."""

import json
import logging

import pytest
import transformers
from safetensors.torch import load_file, save_file
from tests.interop.test_decoders import config, random_model

from ftheta.core.errors import FolderError
from ftheta.interop import FAMILIES
from ftheta.interop.fields import Fields
from ftheta.models.folder import config_of, foreign_config, load, save

WRONG = ("7", [1, 2], {"a": 1}, -3, 0, True, 1.5, "")
"""What should not stand where a size, a name or a mapping does."""


ARCHITECTURES = {"detr": "DetrForObjectDetection", "deit": "DeiTForImageClassificationWithTeacher", "vit": "ViTForImageClassification"}
"""Classes, where there is no usual one."""


def usual(name):
    """The ecosystem's own config of a family, as its class writes it."""
    if name == "detr":
        made = transformers.DetrConfig(use_timm_backbone=False, backbone_config=transformers.ResNetConfig(out_features=["stage4"]))
    else:
        made = transformers.AutoConfig.for_model(name)
    said = {key: value for key, value in made.to_dict().items() if value is not None}
    return {**said, "architectures": [ARCHITECTURES[name]]} if name in ARCHITECTURES else said


def put(folder, said):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("name", FAMILIES.names())
def test_every_field_of_their_own_classes_is_read_or_changes_nothing(name, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ftheta"):
        foreign_config(put(tmp_path / "m", usual(name)))
    assert not caplog.records


def test_a_field_that_nobody_reads_is_named(tmp_path, caplog):
    save(random_model(config("mistral")), tmp_path / "m")
    said = json.loads((tmp_path / "m" / "config.json").read_text())
    with caplog.at_level(logging.WARNING, "ftheta"):
        foreign_config(put(tmp_path / "n", {**said, "logit_scale": 0.5, "surprise": None, "use_cache": True}))
    (heard,) = [record.getMessage() for record in caplog.records]
    assert "logit_scale: 0.5" in heard and "mistral" in heard and "surprise" not in heard and "use_cache" not in heard


@pytest.mark.parametrize("name", [name for name in FAMILIES.names() if "vocab_size" in usual(name)])
def test_a_value_of_another_kind_is_a_clear_error_or_means_something(name, tmp_path):
    said = usual(name)
    refused = 0
    for field in said:
        for wrong in WRONG:
            try:
                config_of(put(tmp_path / "m", {**said, field: wrong}))
            except FolderError as error:
                refused += 1
                assert "config.json" in str(error)
    assert refused > 10


def test_fields_and_what_they_usually_say():
    inner = Fields({"a": 1, "b": 2, "c": []})
    fields = Fields(inner, {"a": 5, "d": 4})
    assert (fields["a"], fields.get("d"), fields.get("e", 6), "b" in fields, len(fields)) == (1, 4, 6, True, 4)
    assert dict(Fields({"x": 1}, {"x": 3, "y": 2})) == {"x": 1, "y": 2}
    assert fields.last == "e" and inner.unread() == ["b"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused_and_named(bad, tmp_path):
    folder = save(random_model(config("llama-biases")), tmp_path / "m")
    for name in ("ftheta.json", "MANIFEST.json"):
        (folder / name).unlink()
    load(folder)
    values = load_file(folder / "model.safetensors")
    values["model.layers.1.mlp.up_proj.weight"].view(-1)[17] = bad
    save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FolderError, match=r"not finite.*'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load(folder)
