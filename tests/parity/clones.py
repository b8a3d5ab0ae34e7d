"""Backbones beside their authors' own code: the same clips must have the same scores.

    git clone https://github.com/facebookresearch/vjepa2 FOLDER/vjepa2
    git clone https://github.com/MCG-NJU/VideoMAE FOLDER/VideoMAE
    git clone https://github.com/OpenGVLab/VideoMAEv2 FOLDER/VideoMAEv2
    git clone https://github.com/OpenGVLab/unmasked_teacher FOLDER/unmasked_teacher
    python -m tests.parity.clones FOLDER

Their networks run under our torch, at small size, with parameters drawn at random; each prints its largest error, and
that of the positions that a new network starts with.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity.backbones import TOLERANCE, Case, channels_first, compare, randomise
from videozoo.models import create_model

NORM = partial(nn.LayerNorm, eps=1e-6)
SMALL = {"embed_dim": 96, "num_heads": 4, "qkv_bias": True, "norm_layer": NORM, "patch_size": 16}


def vjepa2(folder: Path) -> Iterator[Case]:
    """Versions 2.1 (at two sizes, since it stretches its positions) and 2, with a classifier."""
    sys.path.insert(0, str(folder))
    sys.modules.setdefault("einops", types.SimpleNamespace(rearrange=None))  # type: ignore[arg-type]  # never called
    from app.vjepa_2_1.models.vision_transformer import VisionTransformer as Encoder21
    from src.models.attentive_pooler import AttentiveClassifier
    from src.models.vision_transformer import VisionTransformer as Encoder2

    for crop_px in (384, 64):
        args = {"num_heads": 4, "num_frames": 4, "crop_px": crop_px}
        net = Encoder21(img_size=384, num_frames=64, depth=12, use_rope=True, img_temporal_dim_size=1,
                        interpolate_rope=True, n_output_distillation=1, **SMALL)  # fmt: skip

        def maps(net: nn.Module, clips: Tensor, side: int = crop_px // 16) -> Tensor:
            return channels_first(net, clips).transpose(1, 2).unflatten(2, (2, side, side))

        state = _prefixed(randomise(net), "module.backbone.")
        yield Case(
            "vjepa2", f"2.1, {crop_px} px", "authors'", "vjepa2", net, state, maps, args=args, ours="forward_maps"
        )
    net = nn.Sequential(
        Encoder2(img_size=64, num_frames=4, depth=2, use_rope=True, **SMALL),
        AttentiveClassifier(embed_dim=96, num_heads=16, depth=4, num_classes=7),
    )
    randomise(net)
    state = _prefixed(net[0], "module.backbone.") | _prefixed(net[1], "module.")
    args = {"num_heads": 4, "num_frames": 4, "crop_px": 64}
    yield Case("vjepa2", "2", "authors'", "vjepa2", net, state, channels_first, args=args)


def videomae(file: Path, *, model: str, source: str, crop_px: int, **sizes: Any) -> Iterator[Case]:
    """A network of VideoMAE, VideoMAE v2 or Unmasked Teacher."""
    spec = importlib.util.spec_from_file_location("original", file)
    assert spec is not None and spec.loader is not None
    original = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(original)
    net = original.VisionTransformer(img_size=crop_px, depth=2, num_classes=7, init_values=0.0, **SMALL, **sizes)
    start = net.pos_embed.detach().clone()
    num_frames = sizes["all_frames"]
    ours = create_model(model, width=96, depth=1, num_heads=4, num_frames=num_frames, crop_px=crop_px)
    assert torch.equal(ours.get_buffer("pos_embed"), start)
    randomise(net)
    args = {"num_heads": 4, "num_frames": num_frames, "crop_px": crop_px}
    size = f"{num_frames} x {crop_px} px"
    yield Case(model, size, "/".join(file.parts[-3:]), source, net, net.state_dict(), channels_first, args=args)


def _prefixed(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in net.state_dict().items()}


def main(folder: str) -> int:
    warnings.filterwarnings("ignore")
    registry = types.ModuleType("timm.models.registry")  # timm has moved it
    registry.register_model = lambda function: function  # type: ignore[attr-defined]
    sys.modules["timm.models.registry"] = registry
    root, name = Path(folder), "modeling_finetune.py"
    umt = root / "unmasked_teacher/single_modality/models" / name
    teacher: dict[str, Any] = {"model": "umt", "source": "unmasked_teacher", "tubelet_size": 1}
    mae: dict[str, Any] = {"model": "videomae", "source": "videomae", "crop_px": 64, "all_frames": 4}
    cases = [
        *vjepa2(root / "vjepa2"),
        *videomae(root / "VideoMAE" / name, **mae),
        *videomae(root / "VideoMAEv2/models" / name, **mae),
        *videomae(umt, crop_px=224, all_frames=8, **teacher),
        *videomae(umt, crop_px=192, all_frames=4, **teacher),
    ]
    failed = 0
    for case in cases:
        found = compare(case)
        failed += not found["max_rel_err"] <= TOLERANCE
        print(json.dumps(found), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
