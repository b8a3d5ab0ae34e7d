"""The dual encoder against open_clip_torch's PE-Core, on random weights of every published layout."""

import pytest
import torch
from torch import nn

from tests.contract.tiny import TINY
from videozoo.errors import ConfigError
from videozoo.models import create_model
from videozoo.sentences.clip_bpe import encode
from videozoo.weights.cards import CARDS
from videozoo.weights.importer import convert

TEXTS = ["a red ring grows", "a person opens a door, slowly"]
NAMES = {"t": "PE-Core-T-16-384", "s": "PE-Core-S-16-384", "b": "PE-Core-B-16", "l": "PE-Core-L-14-336"}


@pytest.mark.long
@pytest.mark.parametrize("size", ["t", "s"])  # b and l have 1.8 and 2.7 GB of weights each
def test_equal_to_open_clip(size):
    open_clip = pytest.importorskip("open_clip")
    compare(open_clip.create_model(NAMES[size]).eval(), CARDS[f"pe_core.{size}"].args)


def test_equal_to_open_clip_with_few_blocks():
    """The layout of every size, with narrow towers: the sizes differ only in widths and numbers of blocks."""
    open_clip = pytest.importorskip("open_clip")
    tiny = TINY["pe_core"]
    reference = open_clip.model.CustomTextCLIP(
        embed_dim=tiny["embed_dim"],
        vision_cfg={"timm_model_name": tiny["backbone"], "timm_pool": "map", "timm_proj": None, "image_size": 32},
        text_cfg={"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    )
    model = create_model("pe_core", **tiny)
    reference.visual.trunk = create_model("pe_core", **tiny).image  # open_clip passes no sizes on to timm
    compare(reference.eval(), tiny)
    assert model.input_shape == (2, 3, 32, 32)


def compare(reference, args):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.ndim > 1 or not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    model = create_model("pe_core", **args).eval()
    convert(model, reference.state_dict(), source="open_clip")
    tokens = torch.from_numpy(encode(TEXTS, context=model.context))
    x = torch.randn(1, 2, *model.input_shape[1:])
    with torch.no_grad():
        frames = reference.encode_image(x[0], normalize=True)
        assert (model(x)[0] - frames.mean(0)).abs().max() < 1e-5
        texts = reference.encode_text(tokens, normalize=True)
        assert (model.forward_text(tokens) - texts).abs().max() < 1e-5
        assert (texts[0] - texts[1]).abs().max() > 1e-3 and (frames[0] - frames[1]).abs().max() > 1e-3
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())


def test_unknown_towers():
    with pytest.raises(ConfigError, match=r"pe_core\.backbone: this timm has no 'vit_pe_core_huge'; upgrade timm"):
        create_model("pe_core", backbone="vit_pe_core_huge")
    with pytest.raises(ConfigError, match=r"pe_core\.backbone_args: .*; see the arguments of timm's 'vit_pe_core_tiny"):
        create_model("pe_core", **TINY["pe_core"] | {"backbone_args": {"dept": 2}})
