"""Parts with weights that are no model of their own, chosen in recipes by `{kind: name, ...}`."""

from ftheta.core.catalog import Catalogue

CHANNEL_GATES = Catalogue("channel gate", {"squeeze_excite": "ftheta.blocks.map_layers:SqueezeExcite"})
CONVOLUTION_LAYERS = Catalogue(
    "convolution layer",
    {
        "convolution": "ftheta.blocks.map_layers:Convolution",
        "convnext": "ftheta.blocks.map_layers:ConvNeXt",
        "inverted": "ftheta.blocks.map_layers:Inverted",
        "mix_transformer": "ftheta.blocks.map_attention:MixTransformer",
    },
)
MAP_NORMS = Catalogue(
    "map norm", {"batchnorm": "ftheta.blocks.norm:BatchNorm2d", "layernorm": "ftheta.blocks.norm:MapLayerNorm", "none": "ftheta.blocks.norm:NoNorm"},
)
REDUCTIONS = Catalogue(
    "reduction", {"max_pool": "ftheta.blocks.reduction:MaxPool", "patches": "ftheta.blocks.reduction:Patches", "stride": "ftheta.blocks.reduction:Stride"},
)
SHORTCUTS = Catalogue("shortcut", {"pad": "ftheta.blocks.shortcut:Pad", "projection": "ftheta.blocks.shortcut:Projection"})
DETECTION_HEADS = Catalogue(
    "detection head",
    {
        "anchors": "ftheta.blocks.anchor_head:Anchors",
        "places": "ftheta.blocks.detection_head:Places",
        "queries": "ftheta.blocks.query_head:Queries",
        "regions": "ftheta.blocks.region_head:Regions",
    },
)
NECKS = Catalogue("neck", {"fpn": "ftheta.blocks.neck:FPN", "pan": "ftheta.blocks.neck:PAN", "projection": "ftheta.blocks.neck:Projection"})
MIXERS = Catalogue(
    "mixer",
    {
        "attention": "ftheta.blocks.attention:Attention",
        "lstm": "ftheta.blocks.recurrent:LSTM",
        "gru": "ftheta.blocks.recurrent:GRU",
        "ssm": "ftheta.blocks.ssm:SSM",
    },
)
CROSS_MIXERS = Catalogue("cross mixer", {"attention": "ftheta.blocks.attention:CrossAttention"})
FEEDFORWARDS = Catalogue(
    "feedforward",
    {
        "mlp": "ftheta.blocks.feedforward:MLP",
        "gated": "ftheta.blocks.feedforward:Gated",
        "moe": "ftheta.blocks.moe:MoE",
    },
)
VOCABULARY_HEADS = Catalogue("vocabulary head", {"linear": "ftheta.blocks.head:Head", "transformed": "ftheta.blocks.head:TransformedHead"})
MESSAGE_PASSING = Catalogue("message_passing", {"gcn": "ftheta.blocks.message_passing:GCN"})
NORMS = Catalogue(
    "norm", {"layernorm": "ftheta.blocks.norm:LayerNorm", "rmsnorm": "ftheta.blocks.norm:RMSNorm", "none": "ftheta.blocks.norm:NoNorm"},
)
PATCH_MIXERS = Catalogue(
    "patch mixer", {"attention": "ftheta.blocks.patch_attention:PatchAttention", "windowed": "ftheta.blocks.patch_attention:Windowed"},
)
PATCH_POSITIONS = Catalogue(
    "patch position",
    {
        "learned": "ftheta.blocks.patch_position:LearnedPatches",
        "none": "ftheta.blocks.patch_position:NoPatchPositions",
        "rotary": "ftheta.blocks.patch_position:RotaryPatches",
        "sincos": "ftheta.blocks.patch_position:SinCosPatches",
    },
)
PATCH_STEMS = Catalogue("patch stem", {"convolutions": "ftheta.blocks.patch_stem:ConvolutionsStem", "patches": "ftheta.blocks.patch_stem:PatchesStem"})
POSITIONS = Catalogue(
    "position",
    {
        "learned": "ftheta.blocks.position:Learned",
        "relative": "ftheta.blocks.position:Relative",
        "rotary": "ftheta.blocks.position:Rotary",
        "sinusoidal": "ftheta.blocks.position:Sinusoidal",
        "none": "ftheta.blocks.position:NoPositions",
    },
)
READOUTS = Catalogue(
    "readout",
    {
        "choose": "ftheta.blocks.readout:Choose",
        "classify": "ftheta.blocks.readout:Classify",
        "embed": "ftheta.blocks.readout:Embed",
        "follows": "ftheta.blocks.readout:Follows",
        "regress": "ftheta.blocks.readout:Regress",
        "replaced": "ftheta.blocks.readout:Replaced",
        "span": "ftheta.blocks.readout:Span",
        "tag": "ftheta.blocks.readout:Tag",
        "values": "ftheta.blocks.readout:Values",
    },
)
ROTARY_SCALINGS = Catalogue(
    "rotary scaling",
    {
        "dynamic": "ftheta.blocks.rotary_scaling:Dynamic",
        "linear": "ftheta.blocks.rotary_scaling:Linear",
        "llama3": "ftheta.blocks.rotary_scaling:Llama3",
        "yarn": "ftheta.blocks.rotary_scaling:Yarn",
    },
)
