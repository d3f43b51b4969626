"""Architectures: f without θ. A config class says what it takes and gives; the module above it computes."""

from pathlib import Path

from ftheta.core.catalog import Catalogue

ARCHITECTURES = Catalogue(
    "architecture",
    {
        "actor_critic": "ftheta.architectures.actor_critic:ActorCriticConfig",
        "convnet": "ftheta.architectures.convnet:ConvNetConfig",
        "decoder": "ftheta.architectures.decoder:DecoderConfig",
        "detector": "ftheta.architectures.detector:DetectorConfig",
        "encoder": "ftheta.architectures.encoder:EncoderConfig",
        "encoder_decoder": "ftheta.architectures.encoder_decoder:EncoderDecoderConfig",
        "forest": "ftheta.architectures.classical:ForestConfig",
        "gan": "ftheta.architectures.gan:GANConfig",
        "generator_discriminator": "ftheta.architectures.generator_discriminator:GeneratorDiscriminatorConfig",
        "graph": "ftheta.architectures.graph:GraphConfig",
        "headed": "ftheta.architectures.headed:HeadedConfig",
        "kmeans": "ftheta.architectures.classical:KMeansConfig",
        "linear": "ftheta.architectures.classical:LinearConfig",
        "masked_autoencoder": "ftheta.architectures.masked_autoencoder:MaskedAutoencoderConfig",
        "projected": "ftheta.architectures.projected:ProjectedConfig",
        "prompted": "ftheta.architectures.prompted:PromptedConfig",
        "resnet": "ftheta.architectures.resnet:ResNetConfig",
        "segmenter": "ftheta.architectures.segmenter:SegmenterConfig",
        "self_taught": "ftheta.architectures.self_taught:SelfTaughtConfig",
        "unet": "ftheta.architectures.unet:UNetConfig",
        "vit": "ftheta.architectures.vit:ViTConfig",
    },
)
TRUNKS = Catalogue("trunk", {name: ARCHITECTURES.entries[name] for name in ("decoder", "encoder")})
"""Architectures of tokens that a readout can be put on."""
PICTURE_TRUNKS = Catalogue("picture trunk", {name: ARCHITECTURES.entries[name] for name in ("convnet", "resnet", "vit")})
"""Architectures of pictures whose maps others stand on."""
PATCH_TRUNKS = Catalogue("patch trunk", {"vit": ARCHITECTURES.entries["vit"]})
"""Those that can leave out parts of a picture."""


def presets() -> dict[str, Path]:
    """Named architecture fragments: `decoder/gpt2` → its file."""
    folder = Path(__file__).parent / "presets"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
