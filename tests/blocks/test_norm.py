import torch

from ftheta.blocks.norm import BatchNorm2d, LayerNorm, RMSNorm


def test_layer_norm_and_rms_norm_follow_their_formulas():
    x = torch.randn(4, 7, dtype=torch.float64) * 3 + 1
    layer, rms = LayerNorm(7).double(), RMSNorm(7).double()
    centred = x - x.mean(-1, keepdim=True)
    assert torch.allclose(layer(x), centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt(), atol=1e-12)
    assert torch.allclose(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt(), atol=1e-12)
    assert not list(LayerNorm(7, weight=False, bias=False).parameters()) and not list(RMSNorm(7, weight=False).parameters())
    assert layer(x.bfloat16()).dtype == torch.bfloat16 == rms(x.bfloat16()).dtype


def test_batch_norm_in_one_process_is_torchs():
    ours, theirs = BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5)
    assert torch.equal(ours(x), theirs(x)) and torch.equal(ours.running_var, theirs.running_var)
