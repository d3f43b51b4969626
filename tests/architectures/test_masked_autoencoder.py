"""A transformer that sees some patches and one that draws the others: against that of transformers, and nothing of what is hidden comes through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor

import ftheta
from ftheta.architectures.architecture import Outputs, call
from ftheta.architectures.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig
from ftheta.blocks.context import Context
from ftheta.core.config import merge
from ftheta.core.contract import Batch
from ftheta.core.errors import ConfigError, DataError
from ftheta.core.random import Draws
from ftheta.evaluation.probes.small import scatter
from ftheta.objectives.masked_patches import MaskedPatches
from ftheta.objectives.objective import Phase

ATTENTION = {"kind": "attention", "heads": 2, "bias": True}
TRUNK = {
    "kind": "vit", "channels": 2, "classes": 3, "height": 12, "width": 12, "stem": {"kind": "patches", "size": 3}, "dim": 16, "depth": 2, "positions": "sincos",
    "norm": {"kind": "layernorm", "eps": 1e-12}, "mixer": ATTENTION,
}


def autoencoder(**trunk: Any) -> MaskedAutoencoder:
    fields = {"kind": "masked_autoencoder", "trunk": {**TRUNK, **trunk}, "dim": 8, "depth": 1, "mixer": ATTENTION}
    return scatter(MaskedAutoencoderConfig.parse(fields).build(), 0, 0.3).eval()          # type: ignore[return-value]


def prepared(rate: float = 0.5) -> Batch:
    image = torch.rand(4, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    return MaskedPatches(patch=3, rate=rate).prepare({"image": image}, Draws(torch.arange(4), 4, 0, "prepare", 3))


def run(model: MaskedAutoencoder) -> Any:
    def of(part: Batch, **more: Tensor) -> Outputs:
        return call(model, part, **more)

    return of


LAYER = {
    "attention.q_proj": "mix.inner.query", "attention.k_proj": "mix.inner.key", "attention.v_proj": "mix.inner.value", "attention.o_proj": "mix.inner.output",
    "layernorm_before": "mix.before", "layernorm_after": "feed.before", "mlp.fc1": "feed.inner.up", "mlp.fc2": "feed.inner.down",
}
NAMES = {
    "vit.embeddings.cls_token": "trunk.first", "vit.embeddings.patch_embeddings.projection": "trunk.stem.convolution", "vit.layernorm": "trunk.norm",
    "decoder.mask_token": "blank", "decoder.decoder_embed": "narrow", "decoder.decoder_norm": "norm", "decoder.decoder_pred": "pixels",
    **{f"vit.layers.{i}.{theirs}": f"trunk.layers.{i}.{ours}" for i in range(2) for theirs, ours in LAYER.items()},
    **{f"decoder.decoder_layers.0.{theirs}": f"layers.0.{ours}" for theirs, ours in LAYER.items()},
}


def test_loss_pictures_and_gradients_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=12, patch_size=3, num_channels=2, decoder_num_attention_heads=2,
        decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_intermediate_size=32, mask_ratio=0.5,
    )).eval()
    model = autoencoder()
    values, taken = dict(model.named_parameters()), dict(other.named_parameters())
    known = Context(torch.arange(17)[None], grid=(4, 4))
    with torch.no_grad():
        other.vit.embeddings.position_embeddings.copy_(model.trunk.positions(torch.zeros(1, 17, 16), known))      # which published weights hold, and a fresh model does not
        other.decoder.decoder_pos_embed.copy_(model.positions(torch.zeros(1, 17, 8), known))
        for theirs, ours in NAMES.items():
            for end in ("", ".weight", ".bias"):
                if theirs + end in taken:
                    value = values[ours + end]
                    if ours == "pixels":                                                  # they say row, column, channel; here it is channel, row, column
                        value = value.unflatten(0, (2, 3, 3)).movedim(0, 2).flatten(0, 2)
                    taken[theirs + end].copy_(value)
    assert {name for name, value in taken.items() if value.requires_grad} == {theirs + end for theirs in NAMES for end in ("", ".weight", ".bias") if theirs + end in taken}
    batch = prepared()
    patches = batch["chosen"][:, ::3, ::3].flatten(1)
    expected = other(pixel_values=batch["target"], noise=patches + torch.arange(16) / 100)
    assert torch.equal(expected.mask.bool(), patches)
    found = MaskedPatches(patch=3).loss(model, run(model), batch, Phase("main"))
    assert found.count is not None
    torch.testing.assert_close(found.total / found.count, expected.loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model(image=batch["image"], chosen=batch["chosen"])["pixels"], other.unpatchify(expected.logits), rtol=1e-5, atol=1e-5)
    (found.total / found.count).backward()
    expected.loss.backward()
    for theirs, ours in (("vit.layers.0.attention.q_proj.weight", "trunk.layers.0.mix.inner.query.weight"), ("decoder.mask_token", "blank"),
                         ("vit.embeddings.patch_embeddings.projection.weight", "trunk.stem.convolution.weight")):
        torch.testing.assert_close(values[ours].grad, taken[theirs].grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("trunk", [{}, {"positions": "rotary"}, {"positions": "learned", "class_token": False, "pooling": "mean"}])
def test_what_is_hidden_never_comes_through_and_what_is_seen_keeps_its_place(trunk: dict[str, Any]) -> None:
    model, batch = autoencoder(**trunk), prepared()
    noise = torch.where(batch["chosen"][:, None], torch.rand(4, 2, 12, 12), batch["target"])
    first, second = (model(image=image, chosen=batch["chosen"]) for image in (batch["image"], noise))
    for name in ("features", "pixels"):
        assert torch.equal(first[name], second[name])
    none = torch.zeros_like(batch["chosen"])
    alone, whole = model(image=batch["target"]), model(image=batch["target"], chosen=none)
    for name in ("features", "logits", "pixels"):
        torch.testing.assert_close(whole[name], alone[name])
    assert torch.equal(alone["features"], model.trunk(image=batch["target"])["features"])
    assert not torch.allclose(model(image=batch["target"], chosen=batch["chosen"].flip(1))["features"], first["features"])


def test_the_trunk_works_on_what_is_seen_alone() -> None:
    model, batch, lengths = autoencoder(), prepared(0.75), []
    model.trunk.layers[0].register_forward_pre_hook(lambda part, given: lengths.append(given[0].shape[1]))
    model(image=batch["image"], chosen=batch["chosen"])
    assert lengths == [1 + 4]


def test_what_does_not_fit_is_said() -> None:
    model, batch = autoencoder(), prepared()
    with pytest.raises(DataError, match="not whole patches of 3×3, or not as many"):
        model(image=batch["image"], chosen=batch["chosen"].roll(1, 2))
    uneven = torch.cat([batch["chosen"][:3], torch.zeros_like(batch["chosen"][:1])])
    with pytest.raises(DataError, match="not as many of every picture"):
        model(image=batch["image"], chosen=uneven)
    with pytest.raises(ConfigError, match="windows need all patches"):
        autoencoder(mixer={"kind": "windowed", "heads": 2, "size": 2})
    with pytest.raises(ConfigError, match="drawn by the network on top"):
        autoencoder(pixels=True)


def test_it_learns_and_what_starts_from_it_is_the_trunk_alone(tmp_path: Path) -> None:
    trunk = {"kind": "vit", "stem": {"kind": "patches", "size": 2}, "dim": 16, "depth": 1, "mixer": ATTENTION}
    model = {"kind": "masked_autoencoder", "trunk": trunk, "dim": 8, "depth": 1, "mixer": ATTENTION}
    aim = {"kind": "masked_patches", "patch": 2, "rate": 0.75}
    learned = {**merge(tiny.images(), {"objective": aim, "train": {"steps": 30}, "evaluate": [{"kind": "loss", "objective": aim}]}), "model": model}
    ftheta.run(learned, out=tmp_path / "masked")
    before = ftheta.load(tmp_path / "masked" / "model").architecture.theta()
    still = {"train": {"steps": 1, "optimizer": {"kind": "adamw", "rate": 1e-9}}, "start": str(tmp_path / "masked")}
    ftheta.run({**merge(tiny.images(), still), "model": {"kind": "vit"}}, out=tmp_path / "after")
    after = ftheta.load(tmp_path / "after" / "model").architecture.theta()
    assert after.keys() == {name.removeprefix("trunk.") for name in before if name.startswith("trunk.")}
    assert all(torch.allclose(value, before[f"trunk.{name}"], rtol=0, atol=1e-6) for name, value in after.items())
