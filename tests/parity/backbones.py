"""Backbones with published weights, each compared with its reference class in every layout of its weight files.

    python -m tests.parity.backbones             # networks of published size: the table of docs/models.md
    python -m tests.parity.backbones hiera umt   # the rows of these families

The reference classes are those of `transformers`, `timm` and `torchvision`, with parameters drawn at random. Layouts of
the authors' own code are written here from those classes, name by name; `tests.parity.clones` runs that code.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from videozoo.models import create_model
from videozoo.weights.cards import CARDS as CARDS_BY_NAME
from videozoo.weights.import_model import import_model
from videozoo.weights.keymap import find_layout
from videozoo.weights.transformers import Description

NUM_CLASSES = 11
TOLERANCE = 1e-5
TINY, FULL = "tiny", "published"


@dataclasses.dataclass(frozen=True)
class Case:
    """A reference network and its weights in one layout.

    scores: from the network and clips [b t c h w] to what `ours` gives for them.
    ours: the method of our model that is compared.
    timed: arguments of our model with the published input, whose forward pass is timed; None times nothing.
    args: model arguments that the layout does not tell and a user gives.
    """

    model: str
    size: str
    layout: str
    source: str
    network: nn.Module
    state: Mapping[str, Tensor]
    scores: Callable[[nn.Module, Tensor], Tensor]
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    description: Description | None = None
    ours: str = "forward"
    timed: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.model} {self.size}, {self.layout}"


@torch.no_grad()
def randomise(net: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.uniform_(0.5, 1.5, generator=random)
        elif value.ndim > 1 and not re.search(r"(embed|embeddings|token|tokens|bias_table)$", name):
            value.normal_(0, value[0].numel() ** -0.5, generator=random)
        else:
            value.normal_(0, 0.1, generator=random)
    return net.eval()


def logits(net: nn.Module, clips: Tensor) -> Tensor:
    return net(clips).logits


def channels_first(net: nn.Module, clips: Tensor) -> Tensor:
    return net(clips.transpose(1, 2))


def timed(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, float]:
    """Returns a result, and the seconds of all cores that it took: other load does not count."""
    start_s = time.process_time()
    y = function(x)
    return y, time.process_time() - start_s


@torch.no_grad()
def forward_s(case: Case) -> float:
    """Seconds of a forward pass of one clip of the published size."""
    model = create_model(case.model, **(case.timed or {})).eval()
    return timed(model, torch.randn(1, *model.input_shape))[1]


@torch.no_grad()
def compare(case: Case, *, batch: int = 2) -> dict[str, Any]:
    """Imports the case's weights as a user would, and compares the scores of the same clips."""
    arrays = {name: value.detach().numpy() for name, value in case.state.items()}
    assert find_layout(arrays) == [(case.source, case.model)], find_layout(arrays)
    imported = import_model(arrays, source=case.source, name=case.model, args=case.args, description=case.description)
    assert not imported.match.faults, imported.match.faults
    model = imported.model
    clips = torch.randn(batch, *model.input_shape, generator=torch.Generator().manual_seed(1))
    expected = case.scores(case.network, clips)
    found, seconds = timed(getattr(model, case.ours), clips)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return {
        "case": str(case),
        "max_rel_err": float((found - expected).abs().max() / expected.abs().max()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters_of_reference": sum(p.numel() for p in case.network.parameters()),
        "forward_s": seconds / batch,
        "added_args": dict(imported.added_args),
    }


# ---- V-JEPA 2 --------------------------------------------------------------------------------------------

VJEPA2 = {
    TINY: {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "crop_size": 64,
        "frames_per_clip": 4,
        "num_pooler_layers": 2,
    },
    "L": {"frames_per_clip": 4, "crop_size": 128},
}
VJEPA21 = {
    "B": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "crop_size": 128,
        "frames_per_clip": 4,
    }
}


def vjepa2(size: str) -> Iterator[Case]:
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification

    config = VJEPA2Config(num_labels=NUM_CLASSES, pred_num_hidden_layers=1, **VJEPA2[size])
    net = randomise(VJEPA2ForVideoClassification(config))
    state = net.state_dict()
    description = describe(config)
    timed = {"num_frames": 16} if size != TINY else None
    yield Case("vjepa2", size, "transformers", "transformers", net, state, logits, description=description, timed=timed)
    encoder = {name.removeprefix("vjepa2."): value for name, value in state.items() if name.startswith("vjepa2.")}

    def tokens(net: nn.Module, clips: Tensor) -> Tensor:
        found = net.vjepa2(clips, skip_predictor=True).last_hidden_state
        t, px = config.frames_per_clip // config.tubelet_size, config.crop_size // config.patch_size
        return found.transpose(1, 2).unflatten(2, (t, px, px))

    yield Case(
        "vjepa2",
        size,
        "transformers, encoder alone",
        "transformers",
        net,
        encoder,
        tokens,
        description=description,
        ours="forward_maps",
    )
    original = copy.deepcopy(net)
    for module in original.pooler.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    args = {"crop_px": config.crop_size, "num_frames": config.frames_per_clip, "pooler_depth": config.num_pooler_layers}
    if size == TINY:
        args |= {"num_heads": 2, "pooler_heads": 2}
    yield Case("vjepa2", size, "authors', with a classifier", "vjepa2", original, meta_vjepa2(state), logits, args=args)


def vjepa21(size: str) -> Iterator[Case]:
    """The encoder of `transformers` with version 2.1's rotation, written as a product of complex numbers.

    That class has version 2 only. `--clones` compares with the authors' code.
    """
    from transformers import VJEPA2Config, VJEPA2Model
    from transformers.models.vjepa2 import modeling_vjepa2

    sizes = {**VJEPA2[TINY], "frames_per_clip": 6} if size == TINY else VJEPA21[size]
    config = VJEPA2Config(pred_num_hidden_layers=1, **sizes)
    net = randomise(VJEPA2Model(config))
    side = config.crop_size // config.patch_size
    added = torch.randn(1, 1, config.hidden_size, generator=torch.Generator().manual_seed(2))
    net.encoder.embeddings.register_forward_hook(lambda module, inputs, output: output + added)

    def rotate(x: Tensor, pos: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        rates = 10000.0 ** (-torch.arange(pairs.shape[-1]) / pairs.shape[-1])
        return torch.view_as_real(pairs * torch.polar(torch.ones(1), pos[..., None] * rates)).flatten(-2)

    def places(attention: Any, x: Tensor, masks: Any = None) -> tuple[Tensor, Tensor, Tensor]:
        order = torch.arange(x.shape[1])
        return order // side**2, order // side % side * 15 / (side - 1), order % side * 15 / (side - 1)

    def tokens(net: nn.Module, clips: Tensor) -> Tensor:
        with (
            mock.patch.object(modeling_vjepa2, "rotate_queries_or_keys", rotate),
            mock.patch.object(modeling_vjepa2.VJEPA2RopeAttention, "get_position_ids", places),
        ):
            found = net(clips, skip_predictor=True).last_hidden_state
        return found.transpose(1, 2).unflatten(2, (config.frames_per_clip // config.tubelet_size, side, side))

    state = meta_vjepa2({f"vjepa2.{name}": value for name, value in net.state_dict().items()})
    state = renamed(state, [(r"\.norm\.(weight|bias)$", r".norms_block.3.\1")])
    state |= {"module.backbone.video_mod_embed": added, "module.backbone.img_mod_embed": added}
    state |= {f"module.backbone.{name}.weight": added for name in ("patch_embed_img.proj", "norms_block.0")}
    args = {"num_frames": config.frames_per_clip, "crop_px": config.crop_size}
    args |= {"num_heads": config.num_attention_heads} if size == TINY else {}
    base = {"version": "2.1", "width": 768, "depth": 12, "num_heads": 12, "pooling": "mean", "crop_px": 384}
    yield Case(
        "vjepa2",
        f"2.1 {size}",
        "authors', encoder",
        "vjepa2",
        net,
        state,
        tokens,
        args=args,
        ours="forward_maps",
        timed=None if size == TINY else base,
    )


def describe(config: Any) -> Description:
    """What our reader takes from the configuration that `transformers` writes."""
    import tempfile
    from pathlib import Path

    from videozoo.weights.transformers import read_description

    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        found = read_description(Path(folder))
    assert found is not None
    return found


META_NAMES = [
    (r"^vjepa2\.encoder\.layer\.", "module.backbone.blocks."),
    (r"^vjepa2\.encoder\.embeddings\.patch_embeddings\.", "module.backbone.patch_embed."),
    (r"^vjepa2\.encoder\.layernorm\.", "module.backbone.norm."),
    (r"^pooler\.", "module.pooler."),
    (r"^classifier\.", "module.linear."),
    (r"self_attention_layers", "blocks"),
    (r"cross_attention_layer", "cross_attention_block"),
    (r"layer_norm", "norm"),
    (r"\.(self_attn|attention)\.", ".attn."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.cross_attn\.q_proj\.", ".xattn.q."),
    (r"\.cross_attn\.", ".xattn.kv."),
    (r"\.(q|k|v)(_proj|uery|ey|alue)\.", r".\1."),
]


def meta_vjepa2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `VJEPA2ForVideoClassification` by the names in the authors' files, an encoder and a classifier."""
    kept = {name: value for name, value in state.items() if not name.startswith("vjepa2.predictor")}
    found = fused(renamed(kept, META_NAMES), "attn", ("q", "k", "v"), "qkv")
    return {"module.backbone.pos_embed": torch.zeros(1, 3, 4)} | fused(found, "xattn.kv", ("k", "v"), "")


def renamed(state: Mapping[str, Tensor], renames: list[tuple[str, str]]) -> dict[str, Tensor]:
    found = {}
    for name, value in state.items():
        for pattern, to in renames:
            name = re.sub(pattern, to, name)
        found[name] = value
    return found


def fused(state: Mapping[str, Tensor], within: str, parts: tuple[str, ...], whole: str) -> dict[str, Tensor]:
    """Joins the tensors `within.part` to `within.whole`."""
    found = {}
    for name, value in state.items():
        if not (match := re.search(rf"\.{re.escape(within)}\.({'|'.join(parts)})\.(weight|bias)$", name)):
            found[name] = value
        elif match[1] == parts[0]:
            start = name[: match.start()]
            joined = [state[f"{start}.{within}.{part}.{match[2]}"] for part in parts]
            found[f"{start}.{within}.{whole}.{match[2]}".replace("..", ".")] = torch.cat(joined)
    return found


# ---- VideoMAE --------------------------------------------------------------------------------------------

VIDEOMAE = {
    TINY: {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "image_size": 32,
        "num_frames": 4,
    },
    "S": {
        "hidden_size": 384,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "image_size": 64,
        "num_frames": 4,
    },
    "B": {"image_size": 64, "num_frames": 4},
}


def videomae(size: str) -> Iterator[Case]:
    from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

    config = VideoMAEConfig(num_labels=NUM_CLASSES, decoder_num_hidden_layers=1, **VIDEOMAE[size])
    net = randomise(VideoMAEForVideoClassification(config))
    state = net.state_dict()
    description = describe(config)
    published = {"S": {"width": 384, "num_heads": 6}, "B": {}}
    yield Case(
        "videomae",
        size,
        "transformers",
        "transformers",
        net,
        state,
        logits,
        description=description,
        timed=published.get(size),
    )
    older = {re.sub(r"\.(q|v)(?:uery|alue)\.bias$", r".\1_bias", name): value.clone() for name, value in state.items()}
    yield Case(
        "videomae", size, "transformers before version 5", "transformers", net, older, logits, description=description
    )
    config.use_mean_pooling = False
    trained = randomise(VideoMAEForPreTraining(config))

    def tokens(net: nn.Module, clips: Tensor) -> Tensor:
        t, px = config.num_frames // config.tubelet_size, config.image_size // config.patch_size
        return net.videomae(clips).last_hidden_state.transpose(1, 2).unflatten(2, (t, px, px))

    yield Case(
        "videomae",
        size,
        "transformers, pre-trained",
        "transformers",
        trained,
        trained.state_dict(),
        tokens,
        description=description,
        ours="forward_maps",
    )
    original = copy.deepcopy(net)
    for module in original.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    args = {"crop_px": config.image_size, "num_frames": config.num_frames}
    args |= {"num_heads": config.num_attention_heads} if size == TINY else {}
    yield Case("videomae", size, "authors'", "videomae", original, repo_videomae(older), logits, args=args)
    prefixed = {f"model.{name}": value for name, value in repo_videomae(older).items()}
    yield Case("videomae", size, "OpenGVLab's on the hub", "videomae", original, prefixed, logits, args=args)


REPO_NAMES = [
    (r"^videomae\.encoder\.layer\.", "blocks."),
    (r"^videomae\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^classifier\.", "head."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
]


def repo_videomae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `VideoMAEForVideoClassification` by the names in the authors' files."""
    return fused(renamed(state, REPO_NAMES), "attn", ("query", "key", "value"), "qkv")


def umt(size: str) -> Iterator[Case]:
    """`VideoMAEForVideoClassification` with patches of one frame is this network; it has no class in `transformers`."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    tiny = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "patch_size": 8,
    }
    sizes = {**tiny, "image_size": 112} if size == TINY else {}
    config = VideoMAEConfig(num_labels=NUM_CLASSES, num_frames=8, tubelet_size=1, layer_norm_eps=1e-6, **sizes)
    net = randomise(VideoMAEForVideoClassification(config))
    net.fc_norm.eps = 1e-6
    args = {"num_heads": 4, "crop_px": 112} if size == TINY else {}
    older = {
        re.sub(r"\.(q|v)(?:uery|alue)\.bias$", r".\1_bias", name): value for name, value in net.state_dict().items()
    }
    state = repo_videomae(older)
    yield Case("umt", size, "authors'", "unmasked_teacher", net, state, logits, args=args)
    if size == TINY:
        other = copy.deepcopy(net)
        embeddings = other.videomae.embeddings
        embeddings.position_embeddings = torch.randn(embeddings.position_embeddings.shape)
        state = {**state, "pos_embed": embeddings.position_embeddings}
        yield Case("umt", size, "authors', learned positions", "unmasked_teacher", other, state, logits, args=args)


# ---- Hiera -----------------------------------------------------------------------------------------------


def hiera(size: str) -> Iterator[Case]:
    """The authors' own package, `hiera-transformer`; it answers by soft-max."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it imports a module that timm has moved
        import hiera as original

    video = {
        "q_stride": (1, 2, 2),
        "mask_unit_size": (1, 8, 8),
        "patch_kernel": (3, 7, 7),
        "patch_stride": (2, 4, 4),
        "patch_padding": (1, 3, 3),
        "sep_pos_embed": True,
        "num_classes": NUM_CLASSES,
    }
    if size == TINY:
        tiny = {"input_size": (4, 64, 64), "embed_dim": 16, "num_heads": 1, "stages": (1, 2, 2, 1)}
        net = original.Hiera(**tiny, **video)
    else:
        net = original.Hiera(input_size=(16, 224, 224), embed_dim=96, num_heads=1, stages=(2, 3, 16, 3), **video)
    net.head.act_func = nn.Identity()
    yield Case("hiera", size, "authors'", "hiera", randomise(net), net.state_dict(), channels_first)


# ---- TimeSformer -----------------------------------------------------------------------------------------


def timesformer(size: str) -> Iterator[Case]:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    tiny = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 12,
        "intermediate_size": 96,
        "image_size": 32,
        "num_frames": 3,
    }
    for attention in ("divided_space_time", "joint_space_time"):  # its "space_only" averages no frames
        if size != TINY and attention != "divided_space_time":
            continue
        sizes = tiny if size == TINY else {}
        config = TimesformerConfig(num_labels=NUM_CLASSES, attention_type=attention, **sizes)
        net = randomise(TimesformerForVideoClassification(config))
        layout = f"transformers, {attention}" if size == TINY else "transformers"
        yield Case(
            "timesformer",
            size,
            layout,
            "transformers",
            net,
            net.state_dict(),
            logits,
            description=describe(config),
        )


# ---- torchvision -----------------------------------------------------------------------------------------


def torchvision(size: str) -> Iterator[Case]:
    from torchvision.models import video
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    if size == TINY:
        swin = SwinTransformer3d([2, 4, 4], 24, [2, 1, 1, 1], [1, 2, 2, 4], [8, 7, 7], num_classes=NUM_CLASSES)
        for crop_px in (112, 64):
            args = {"num_frames": 4, "crop_px": crop_px}
            yield _torchvision("videoswin", size, f"torchvision, {crop_px} px", swin, args)
        yield _torchvision("s3d", size, "torchvision", video.s3d(num_classes=NUM_CLASSES), {"num_frames": 16})
        for version, make in ((1, video.mvit_v1_b), (2, video.mvit_v2_s)):
            with mock.patch.object(video.mvit, "_mvit", functools.partial(_small_mvit, video.mvit._mvit)):
                net = make(num_classes=NUM_CLASSES)
            yield _torchvision("mvit", size, f"torchvision, v{version}", net, {"num_frames": 4, "crop_px": 64})
        return
    makers = {
        "swin3d_t": "videoswin",
        "swin3d_s": "videoswin",
        "swin3d_b": "videoswin",
        "s3d": "s3d",
        "mvit_v1_b": "mvit",
        "mvit_v2_s": "mvit",
    }
    for name, model in makers.items():
        net = getattr(video, name)(num_classes=NUM_CLASSES)
        yield _torchvision(model, name.removeprefix("swin3d_").removeprefix("mvit_").upper(), "torchvision", net, {})


def _small_mvit(make: Callable[..., nn.Module], **args: Any) -> nn.Module:
    """torchvision's functions of published networks take no size."""
    return make(**{**args, "spatial_size": (64, 64), "temporal_size": 4})


def _torchvision(model: str, size: str, layout: str, net: nn.Module, args: Mapping[str, Any]) -> Case:
    return Case(model, size, layout, "torchvision", randomise(net), net.state_dict(), channels_first, args=args)


FAMILIES: dict[str, tuple[Callable[[str], Iterator[Case]], tuple[str, ...]]] = {
    "vjepa2": (vjepa2, ("L",)),
    "vjepa21": (vjepa21, ("B",)),
    "videomae": (videomae, ("S", "B")),
    "timesformer": (timesformer, ("B",)),
    "umt": (umt, ("B",)),
    "hiera": (hiera, ("B",)),
    "torchvision": (torchvision, ("published",)),
}


CARDS = {  # whose licence and score the table shows
    ("vjepa2", "L"): "vjepa2.l_ssv2",
    ("vjepa2", "2.1 B"): "vjepa2.v21_b",
    ("videomae", "S"): "videomae.s_k400",
    ("videomae", "B"): "videomae.b_k400",
    ("umt", "B"): "umt.b_k400",
    ("hiera", "B"): "hiera.b_k400",
    ("videoswin", "T"): "videoswin.tiny_k400_torchvision",
    ("videoswin", "S"): "videoswin.small_k400_torchvision",
    ("videoswin", "B"): "videoswin.base_k400_torchvision",
    ("s3d", "S3D"): "s3d.k400",
    ("mvit", "V1_B"): "mvit.v1_b_k400",
    ("mvit", "V2_S"): "mvit.v2_s_k400",
}
SMALL_CLIPS = ("videomae", "vjepa2")  # compared on clips that are smaller than the published ones
HEADINGS = (
    "model",
    "layout",
    "largest error",
    "parameters, ours and reference",
    "forward of a clip, core-seconds",
    "licence of the weights",
    "published score",
)


def row(case: Case, found: Mapping[str, Any]) -> str:
    card = CARDS_BY_NAME.get(CARDS.get((case.model, case.size), ""))
    ours, reference = found["parameters"], found["parameters_of_reference"]
    cells = [
        f"`{case.model}` {case.size}",
        case.layout,
        f"{found['max_rel_err']:.1e}",
        f"{ours:,}, {'the same' if ours == reference else f'{reference:,}'}",
        _seconds(case, found["forward_s"]),
        card.license if card else "",
        card.published if card else "",
    ]
    return f"| {' | '.join(cells)} |"


def _seconds(case: Case, compared_s: float) -> str:
    if case.timed is not None:
        return f"{forward_s(case):.1f}"
    return "" if case.model in SMALL_CLIPS else f"{compared_s:.1f}"


def main(*families: str) -> int:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}", flush=True)
    failed = 0
    for family in families or FAMILIES:
        make, sizes = FAMILIES[family]
        for size in sizes:
            for case in make(size):
                found = compare(case, batch=1)
                failed += not found["max_rel_err"] <= TOLERANCE
                print(row(case, found), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
