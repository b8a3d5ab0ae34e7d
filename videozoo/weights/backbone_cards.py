"""Cards of backbones whose weights are on hubs; their files were not downloaded here, so their hashes are unknown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from videozoo.weights.card import Card

__all__ = ["BACKBONE_CARDS"]

NC = "CC-BY-NC-4.0"
META = "https://dl.fbaipublicfiles.com/vjepa2/"
ENCODER = "none: an encoder without a classifier"


def _hub(
    name: str, repo: str, published: str, *, file: str = "model.safetensors", source: str = "transformers", **more: Any
) -> Card:
    return Card(name, source, (f"https://huggingface.co/{repo}/resolve/main/{file}",), published, **more)


def _vjepa2() -> Iterator[Card]:
    """V-JEPA 2 and 2.1: encoders, and encoders with the probes of two data sets."""
    huge, giant = {"width": 1280, "depth": 32}, {"width": 1408, "depth": 40, "num_heads": 22, "mlp_width": 6144}
    giant_384 = {**giant, "crop_px": 384}
    mit: dict[str, Any] = {"license": "MIT"}
    bare = {"pooling": "mean", "num_classes": 0, "num_frames": 64}
    yield _hub("vjepa2.l", "facebook/vjepa2-vitl-fpc64-256", ENCODER, args=bare, **mit)
    yield _hub("vjepa2.h", "facebook/vjepa2-vith-fpc64-256", ENCODER, args={**bare, **huge}, **mit)
    yield _hub("vjepa2.g", "facebook/vjepa2-vitg-fpc64-256", ENCODER, args={**bare, **giant}, **mit)
    yield _hub("vjepa2.g_384", "facebook/vjepa2-vitg-fpc64-384", ENCODER, args={**bare, **giant_384}, **mit)
    for size, sizes in (("l", {}), ("g_384", giant_384)):
        big = size != "l"
        yield _hub(
            f"vjepa2.{size}_ssv2",
            f"facebook/vjepa2-{'vitg-fpc64-384' if big else 'vitl-fpc16-256'}-ssv2",
            f"Something-Something v2 top-1 {'77.3' if big else '73.7'}, frozen encoder and attentive probe, "
            f"{64 if big else 16} frames, 2 clips x 3 crops",
            args={**sizes, "num_classes": 174, "num_frames": 64 if big else 16},
            input={"sampling": "dense", "frame_stride": 2 if big else 4},
            labels="ssv2",
            **mit,
        )
        yield _hub(
            f"vjepa2.{size}_diving48",
            f"facebook/vjepa2-{'vitg-fpc32-384' if big else 'vitl-fpc32-256'}-diving48",
            f"Diving48 top-1 {'90.2' if big else '89.0'}, frozen encoder and attentive probe, 32 frames, "
            "4 clips x 3 crops",
            args={**sizes, "num_classes": 48, "num_frames": 32},
            input={"sampling": "dense", "frame_stride": 2, "views": "4x3"},
            labels="diving48",
            **mit,
        )
    for name, file, sizes in (
        ("b", "vjepa2_1_vitb_dist_vitG_384", {"width": 768, "depth": 12, "num_heads": 12}),
        ("l", "vjepa2_1_vitl_dist_vitG_384", {}),
        ("g", "vjepa2_1_vitg_384", giant),
        ("gigantic", "vjepa2_1_vitG_384", {"width": 1664, "depth": 48, "num_heads": 26}),
    ):
        args = {**bare, **sizes, "version": "2.1", "crop_px": 384}
        yield Card(f"vjepa2.v21_{name}", "vjepa2", (f"{META}{file}.pt",), ENCODER, args=args, **mit)


def _videomae() -> Iterator[Card]:
    """VideoMAE on Kinetics-400 and Something-Something v2, and the distilled models of version 2."""
    small = {"width": 384, "depth": 12}
    sizes = {
        "s": ("small", small),
        "b": ("base", {}),
        "l": ("large", {"width": 1024, "depth": 24, "num_heads": 16}),
        "h": ("huge", {"width": 1280, "depth": 32, "num_heads": 16}),
    }
    eps = {"norm_eps": 1e-12, "pooled_eps": 1e-5}
    for size, score in (("s", "79.0"), ("b", "81.5"), ("l", "85.2"), ("h", "86.6")):
        word, args = sizes[size]
        heads = {"num_heads": 16} if size == "s" else {}  # as in its config.json; the authors' code has 6
        yield _hub(
            f"videomae.{size}_k400",
            f"MCG-NJU/videomae-{word}-finetuned-kinetics",
            f"Kinetics-400 top-1 {score}, 16 frames, 5 clips x 3 crops",
            args={**args, **heads, **eps},
            license=NC,
            labels="kinetics400",
        )
    for size, score in (("s", "66.8"), ("b", "70.8")):
        word, args = sizes[size]
        yield _hub(
            f"videomae.{size}_ssv2",
            f"MCG-NJU/videomae-{word}-finetuned-ssv2",
            f"Something-Something v2 top-1 {score}, 16 frames, 2 clips x 3 crops",
            args={**args, **({"num_heads": 16} if size == "s" else {}), **eps, "num_classes": 174},
            input={"sampling": "segments", "frame_stride": 1, "views": "1x3"},
            license=NC,
            labels="ssv2",
        )
    for size in ("s", "b", "l", "h"):
        word, args = sizes[size]
        yield _hub(
            f"videomae.{size}_pretrained",
            f"MCG-NJU/videomae-{word}",
            ENCODER,
            args={**args, **eps, "norm_place": "tokens", "num_classes": 0},
            license=NC,
        )
    for size, heads, score in (("s", {"num_heads": 6}, "83.7"), ("b", {}, "86.6")):
        yield _hub(
            f"videomae.v2_{size}_k710",
            "OpenGVLab/VideoMAE2",
            f"Kinetics-400 top-1 {score}, 16 frames, 5 clips x 3 crops",
            file=f"distill/vit_{size}_k710_dl_from_giant.pth",
            source="videomae",
            args={**sizes[size][1], **heads, "num_classes": 710},
            license=NC,
            labels="kinetics710_videomae2",
        )


TORCHVISION = "BSD-3-Clause (the package; the weights state none)"


def _torchvision() -> Iterator[Card]:
    """Networks of torchvision's model zoo."""

    def card(name: str, file: str, score: str, protocol: str, **more: Any) -> Card:
        url = f"https://download.pytorch.org/models/{file}.pth"
        published = f"Kinetics-400 top-1 {score}, {protocol}"
        return Card(name, "torchvision", (url,), published, license=TORCHVISION, labels="kinetics400", **more)

    swin = "32 frames at 15 fps, 12 clips"
    swin_input = {"fps": 15, "frame_stride": 1, "short_side_px": 256, "views": "12x1"}
    tiny, base = {"depths": (2, 2, 6, 2)}, {"width": 128, "num_heads": (4, 8, 16, 32)}
    yield card("videoswin.tiny_k400_torchvision", "swin3d_t-7615ae03", "77.72", swin, args=tiny, input=swin_input)
    yield card("videoswin.small_k400_torchvision", "swin3d_s-da41c237", "79.52", swin, input=swin_input)
    yield card("videoswin.base_k400_torchvision", "swin3d_b_1k-24f7c7c6", "79.43", swin, args=base, input=swin_input)
    yield card(
        "videoswin.base_22k_k400_torchvision", "swin3d_b_22k-7c6ae6fa", "81.64", swin, args=base, input=swin_input
    )
    yield card("s3d.k400", "s3d-d76dad2f", "68.37", "128 frames at 15 fps, 1 clip x 1 crop")
    mvit = "16 frames at 7.5 fps, 5 clips"
    yield card("mvit.v2_s_k400", "mvit_v2_s-ae3be167", "80.76", mvit)
    yield card("mvit.v1_b_k400", "mvit_v1_b-dbeb1030", "78.48", mvit, args={"version": 1})


def _hiera() -> Iterator[Card]:
    """Hiera on clips, fine-tuned on Kinetics-400 and pre-trained there without labels."""
    for size, word, score, args in (
        ("b", "base", "84.0", {}),
        ("b_plus", "base_plus", "85.0", {"width": 112, "num_heads": 2}),
        ("l", "large", "87.3", {"width": 144, "num_heads": 2, "depths": (2, 6, 36, 4)}),
        ("h", "huge", "87.8", {"width": 256, "num_heads": 4, "depths": (2, 6, 36, 4)}),
    ):
        place = "https://dl.fbaipublicfiles.com/hiera/"
        published = f"Kinetics-400 top-1 {score}, 16 frames, 5 clips x 3 crops"
        url = (f"{place}hiera_{word}_16x224.pth",)
        yield Card(f"hiera.{size}_k400", "hiera", url, published, args=args, license=NC, labels="kinetics400")
        url = (f"{place}mae_hiera_{word}_16x224.pth",)
        bare = {**args, "num_classes": 0}
        yield Card(f"hiera.{size}_pretrained", "hiera", url, ENCODER, args=bare, license=NC)


def _umt() -> Iterator[Card]:
    """Unmasked Teacher's base model."""
    place = "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/umt/single_modality/b16_ptk710_ftk710_"
    for name, file, data, score, labels, num_classes in (
        ("k400", "ftk400_f8_res224", "Kinetics-400", "87.4", "kinetics400", 400),
        ("ssv2", "ftssv2_f8_res224", "Something-Something v2", "70.8", "ssv2", 174),
    ):
        published = f"{data} top-1 {score}, 8 frames, 4 clips x 3 crops"
        args = {"num_classes": num_classes}
        url = (f"{place}{file}.pth",)
        yield Card(f"umt.b_{name}", "unmasked_teacher", url, published, args=args, license="MIT", labels=labels)


BACKBONE_CARDS = (*_vjepa2(), *_videomae(), *_torchvision(), *_hiera(), *_umt())
