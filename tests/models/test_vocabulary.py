"""New tokens: their rows are means, everything else is as before, and the model folder keeps them."""

import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.resnet import ResNetConfig
from ftheta.core.errors import UsageError
from ftheta.data.processors.image import ImageProcessor
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import Bytes
from ftheta.models.folder import load, save
from ftheta.models.model import Model
from ftheta.models.vocabulary import add_tokens


@pytest.mark.parametrize("fields", [{}, {"tie": False}, {"value_embed": True}, {"vocab": 270}])
def test_rows_are_means_and_logits_of_old_tokens_stay(tmp_path, fields):
    small = {"vocab": 260, "dim": 16, "depth": 2, "context": 32, "std": 0.5, "mixer": {"kind": "attention", "heads": 2}}
    architecture = DecoderConfig.parse({**small, **fields}).build()
    architecture.initialise(0)
    model = Model(architecture, TextProcessor(Bytes().train([])), "text-generation")
    more = add_tokens(model, ["hello", "你好"])
    first, second = (more.processor.encode(token, start=False) for token in ("hello", "你好"))
    assert (first, second) == ([260], [261]) and more.processor.decode([260, 261]) == "hello你好"
    old, new = architecture.theta(), more.architecture.theta()
    assert new["embed.weight"].shape[0] == max(262, fields.get("vocab", 0))
    for name, value in old.items():
        if name.endswith("embed.weight") or name == "head.weight" or name.startswith("value_embeds"):
            assert torch.equal(new[name][261], value[model.processor.encode("你好", start=False)].mean(0))
            assert torch.equal(new[name][:260], value[:260])
        else:
            assert torch.equal(new[name], value)
    tokens = torch.tensor([model.processor.encode("some text")])
    torch.testing.assert_close(more.architecture(tokens=tokens)["logits"][..., :260], architecture(tokens=tokens)["logits"][..., :260])
    save(more, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.processor.encode("say hello 你好") == more.processor.encode("say hello 你好")
    assert again.predict({"prompt": "hello", "most": 5}) == more.predict({"prompt": "hello", "most": 5})


def test_what_cannot_be_added():
    architecture = DecoderConfig.parse({"vocab": 260, "dim": 16, "depth": 1, "context": 8, "mixer": {"kind": "attention", "heads": 2}}).build()
    model = Model(architecture, TextProcessor(Bytes().train([])), "text-generation")
    for tokens, message in ((["<bos>"], "already known"), ([""], "empty"), (["ab", "ab"], "already known")):
        with pytest.raises(UsageError, match=message):
            add_tokens(model, tokens)
    small = ResNetConfig.parse({"channels": 1, "classes": 2, "depths": [1], "widths": [4]})
    pictures = Model(small.build(), ImageProcessor(["a", "b"], 1), "image-classification")
    with pytest.raises(UsageError, match="no vocabulary"):
        add_tokens(pictures, ["x"])
