"""Names in the files of the `transformers` package, and the model and input that their configurations describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.errors import WeightsError
from videozoo.models.model import VideoModel
from videozoo.structured import read_json
from videozoo.weights.keymap import KeyMap, Port, Rename, Tensors
from videozoo.weights.vit_state import has, joined, vit_sizes

__all__ = ["PORTS", "Description", "read_description"]

CONFIG, PREPROCESSORS = "config.json", ("video_preprocessor_config.json", "preprocessor_config.json")
WRAPPERS: list[Rename] = [(r"^module\.", "")]


def vjepa2(model: VideoModel) -> KeyMap:
    """Maps to an encoder with separate queries, keys and values, and to the pooler; drops the predictor."""
    return KeyMap(
        [
            (r"^head\.", "classifier."),
            (r"^patch_embed\.", "vjepa2.encoder.embeddings.patch_embeddings."),
            (r"^blocks\.(\d+)\.", r"vjepa2.encoder.layer.\1."),
            (r"^norm\.", "vjepa2.encoder.layernorm."),
            (r"(encoder\.layer\.\d+)\.attn\.", r"\1.attention."),
            (r"^pooler\.blocks\.", "pooler.self_attention_layers."),
            (r"^pooler\.cross_attention_block\.", "pooler.cross_attention_layer."),
            (r"^(pooler\..+)\.norm([12])\.", r"\1.layer_norm\2."),
            (r"^(pooler\..+)\.attn\.proj\.", r"\1.self_attn.out_proj."),
            (r"^(pooler\..+)\.attn\.", r"\1.self_attn."),
            (r"^(pooler\..+)\.xattn\.q\.", r"\1.cross_attn.q_proj."),
            (r"^(pooler\..+)\.xattn\.kv\.", r"\1.cross_attn.kv."),
        ],
        builders={
            r"^blocks.*\.qkv\.": joined("qkv", "query", "key", "value"),
            r"^pooler.*\.qkv\.": joined("qkv", "q_proj", "k_proj", "v_proj"),
            r"\.kv\.": joined("kv", "k_proj", "v_proj"),
        },
        ignored=[r"^vjepa2\.predictor\."],
        cleaning=[*WRAPPERS, (r"^(encoder|predictor)\.", r"vjepa2.\1.")],
    )


def _vjepa2_state(state: Tensors) -> dict[str, Any]:
    has_pooler = any(".query_tokens" in f".{name}" for name in state)
    return {
        **vit_sizes(
            state,
            embed=r"encoder\.embeddings\.patch_embeddings\.proj\.weight$",
            block=r"encoder\.layer\.(\d+)\.norm1\.weight$",
            mlp=r"encoder\.layer\.0\.mlp\.fc1\.weight$",
            heads={768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26},
        ),
        **({} if has_pooler else {"pooling": "mean", "num_classes": 0}),
    }


def _vjepa2_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "num_frames": config["frames_per_clip"],
        "crop_px": config["crop_size"],
        "tubelet_frames": config["tubelet_size"],
        "patch_px": config["patch_size"],
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "mlp_width": int(config["hidden_size"] * config["mlp_ratio"]),
        "pooler_depth": config["num_pooler_layers"],
        "pooler_eps": config["layer_norm_eps"],
    }


def videomae(model: VideoModel) -> KeyMap:
    """Maps to an encoder with separate queries, keys and values and no biases of the keys; drops a decoder."""
    pooled = getattr(model, "norm_place", "pooled") == "pooled"
    return KeyMap(
        [
            (r"^head\.", "classifier."),
            (r"^norm\.", "fc_norm." if pooled else "videomae.layernorm."),
            (r"^patch_embed\.proj\.", "videomae.embeddings.patch_embeddings.projection."),
            (r"^blocks\.(\d+)\.", r"videomae.encoder.layer.\1."),
            (r"\.norm1\.", ".layernorm_before."),
            (r"\.norm2\.", ".layernorm_after."),
            (r"\.attn\.qkv\.", ".attention.attention.qkv."),
            (r"\.attn\.proj\.", ".attention.output.dense."),
            (r"\.mlp\.fc1\.", ".intermediate.dense."),
            (r"\.mlp\.fc2\.", ".output.dense."),
        ],
        builders={
            r"\.qkv\.weight$": joined("qkv", "query", "key", "value"),
            r"\.qkv\.bias$": _query_value_biases,
        },
        ignored=[r"^(decoder|encoder_to_decoder)\.", r"^mask_token$", r"^position_embeddings$"],
        cleaning=[
            *WRAPPERS,
            (r"^(embeddings|encoder|layernorm)\.", r"videomae.\1."),
            (r"\.attention\.attention\.q_bias$", ".attention.attention.query.bias"),  # the names until 2026
            (r"\.attention\.attention\.v_bias$", ".attention.attention.value.bias"),
        ],
    )


def _query_value_biases(name: str, state: Tensors) -> np.ndarray:
    query, value = state[name.replace(".qkv.", ".query.")], state[name.replace(".qkv.", ".value.")]
    return np.concatenate([query, np.zeros_like(query), value])


def _videomae_state(state: Tensors) -> dict[str, Any]:
    is_pooled = any(name.endswith("fc_norm.weight") for name in state)
    return {
        **vit_sizes(
            state,
            embed=r"embeddings\.patch_embeddings\.projection\.weight$",
            block=r"encoder\.layer\.(\d+)\.layernorm_before\.weight$",
            mlp=r"encoder\.layer\.0\.intermediate\.dense\.weight$",
            heads={384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16},
        ),
        "norm_place": "pooled" if is_pooled else "tokens",
        "norm_eps": 1e-12,
        "pooled_eps": 1e-5,
        **({} if has(state, r"^classifier\.") else {"num_classes": 0}),
    }


def _videomae_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "num_frames": config["num_frames"],
        "crop_px": config["image_size"],
        "tubelet_frames": config["tubelet_size"],
        "patch_px": config["patch_size"],
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "mlp_width": config["intermediate_size"],
        "norm_eps": config["layer_norm_eps"],
    }


def timesformer(model: VideoModel) -> KeyMap:
    """Maps to a network of the same structure."""
    return KeyMap(
        [
            (r"^head\.", "classifier."),
            (r"^time_embed$", "timesformer.embeddings.time_embeddings"),
            (r"^backbone\.cls_token$", "timesformer.embeddings.cls_token"),
            (r"^backbone\.pos_embed$", "timesformer.embeddings.position_embeddings"),
            (r"^backbone\.patch_embed\.proj\.", "timesformer.embeddings.patch_embeddings.projection."),
            (r"^backbone\.norm\.", "timesformer.layernorm."),
            (r"^backbone\.blocks\.(\d+)\.", r"timesformer.encoder.layer.\1."),
            (r"\.temporal_norm1\.", ".temporal_layernorm."),
            (r"\.temporal_attn\.qkv\.", ".temporal_attention.attention.qkv."),
            (r"\.temporal_attn\.proj\.", ".temporal_attention.output.dense."),
            (r"\.temporal_fc\.", ".temporal_dense."),
            (r"\.norm1\.", ".layernorm_before."),
            (r"\.norm2\.", ".layernorm_after."),
            (r"\.attn\.qkv\.", ".attention.attention.qkv."),
            (r"\.attn\.proj\.", ".attention.output.dense."),
            (r"\.mlp\.fc1\.", ".intermediate.dense."),
            (r"\.mlp\.fc2\.", ".output.dense."),
        ],
        cleaning=[*WRAPPERS, (r"^(embeddings|encoder|layernorm)\.", r"timesformer.\1.")],
    )


def _timesformer_state(state: Tensors) -> dict[str, Any]:
    sizes = vit_sizes(
        state,
        embed=r"embeddings\.patch_embeddings\.projection\.weight$",
        block=r"encoder\.layer\.(\d+)\.layernorm_before\.weight$",
        mlp=r"encoder\.layer\.0\.intermediate\.dense\.weight$",
        heads={384: 6, 768: 12, 1024: 16},
    )
    times = [value for name, value in state.items() if name.endswith("time_embeddings")]
    return {
        "attention": "divided" if any(".temporal_dense." in name for name in state) else "joint" if times else "space",
        **({"num_frames": times[0].shape[1]} if times else {}),
        "backbone_args": _timesformer_vit(sizes),
    }


def _timesformer_vit(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns timm's arguments for sizes as `vit_sizes` names them."""
    names = {"width": "embed_dim", "depth": "depth", "num_heads": "num_heads", "patch_px": "patch_size"}
    found = {theirs: sizes[ours] for ours, theirs in names.items() if ours in sizes}
    return found | ({"mlp_ratio": sizes["mlp_width"] / sizes["width"]} if sizes else {})


def _timesformer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "num_frames": config["num_frames"],
        "crop_px": config["image_size"],
        "attention": config["attention_type"].partition("_")[0],
        "backbone_args": _timesformer_vit(
            {
                "width": config["hidden_size"],
                "depth": config["num_hidden_layers"],
                "num_heads": config["num_attention_heads"],
                "mlp_width": config["intermediate_size"],
                "patch_px": config["patch_size"],
            }
        ),
    }


def _recognizes_timesformer(state: Tensors) -> bool:
    return has(state, r"embeddings\.position_embeddings$", r"encoder\.layer\.0\.attention\.attention\.qkv\.weight$")


def _recognizes_videomae(state: Tensors) -> bool:
    return has(
        state, r"embeddings\.patch_embeddings\.projection\.weight$", r"\.0\.attention\.attention\.query\.weight$"
    )


def _recognizes_vjepa2(state: Tensors) -> bool:
    return has(state, r"encoder\.layer\.0\.attention\.query\.weight$", r"encoder\.layer\.0\.norm1\.weight$")


PORTS: Mapping[str, Port] = {
    "timesformer": Port(timesformer, recognizes=_recognizes_timesformer, read_state=_timesformer_state),
    "videomae": Port(videomae, recognizes=_recognizes_videomae, read_state=_videomae_state),
    "vjepa2": Port(vjepa2, recognizes=_recognizes_vjepa2, read_state=_vjepa2_state),
}

# the values that a config.json leaves out, which are those of the class
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "timesformer": {
        "num_frames": 8,
        "image_size": 224,
        "attention_type": "divided_space_time",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "patch_size": 16,
    },
    "videomae": {
        "num_frames": 16,
        "image_size": 224,
        "tubelet_size": 2,
        "patch_size": 16,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-12,
    },
    "vjepa2": {
        "frames_per_clip": 64,
        "crop_size": 256,
        "tubelet_size": 2,
        "patch_size": 16,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "mlp_ratio": 4.0,
        "num_pooler_layers": 3,
        "layer_norm_eps": 1e-6,
    },
}
READERS = {"timesformer": _timesformer_config, "videomae": _videomae_config, "vjepa2": _vjepa2_config}


@dataclasses.dataclass(frozen=True)
class Description:
    """The model, input and class names that the files beside a weight file state.

    args: arguments of the model.
    input: fields of its input spec.
    class_names: empty if the configuration only numbers the classes.
    """

    model: str
    args: Mapping[str, Any]
    input: Mapping[str, Any]
    class_names: Sequence[str] = ()


def read_description(folder: Path) -> Description | None:
    """Reads `config.json` and the preprocessor's configuration in a folder; None if there is no `config.json` of ours.

    Raises:
        WeightsError: a file is damaged, or states a value that the model cannot have.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    stated = read_json(path, kind="configuration", error=WeightsError)
    name = stated.get("model_type") if isinstance(stated, dict) else None
    if name not in READERS:
        return None
    try:
        args = READERS[name]({**DEFAULTS[name], **stated})
        return Description(name, args, _read_input(folder), _class_names(stated))
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise WeightsError(
            f"{path}: does not describe a model of `transformers` ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _read_input(folder: Path) -> dict[str, Any]:
    """Returns the sizes and the normalisation that the first preprocessor's configuration states."""
    path = next((folder / name for name in PREPROCESSORS if (folder / name).is_file()), None)
    if path is None:
        return {}
    stated = read_json(path, kind="configuration", error=WeightsError)
    found: dict[str, Any] = {}
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
        if theirs in stated:
            found[ours] = [float(value) for value in stated[theirs]]
    for ours, theirs in (("short_side_px", "size"), ("crop_px", "crop_size")):
        if stated.get(theirs) is not None:
            found[ours] = _side_px(stated[theirs])
    return found


def _side_px(size: Any) -> int:
    if isinstance(size, Mapping):
        size = size["shortest_edge"] if "shortest_edge" in size else size["height"]
    return int(size)


def _class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = {int(index): str(name) for index, name in (config.get("id2label") or {}).items()}
    numbered = all(name == f"LABEL_{index}" for index, name in names.items())
    return () if numbered else tuple(names[index] for index in range(len(names)))
