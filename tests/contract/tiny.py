"""The smallest useful build of each model: arguments for `create_model`. A model without one fails a test."""

from __future__ import annotations

from typing import Any

NARROW_RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}
NARROW_RESNET_D = {**NARROW_RESNET, "stem_width": 8}
SMALL_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}

FEATURES = {"feature_dims": (6, 4), "num_frames": 5, "num_classes": 5}

TINY: dict[str, dict[str, Any]] = {
    "attention_cluster": {**FEATURES, "cluster_sizes": (3, 2), "hidden_dims": (8, 6)},
    "attention_lstm": {**FEATURES, "embedding_dim": 4, "lstm_dim": 3, "hidden_dims": (8, 6)},
    "bmn": {
        "feature_dim": 8,
        "num_snippets": 10,
        "max_duration": 8,
        "num_samples": 4,
        "base_dim": 8,
        "match_dim": 6,
        "sample_dim": 5,
    },
    "bsn": {
        "feature_dim": 6,
        "num_snippets": 9,
        "max_duration": 5,
        "hidden_dim": 5,
        "rating_dim": 4,
        "num_action": 4,
        "num_boundary": 3,
    },
    "bsn_pem": {"feature_dim": 6, "num_proposals": 7, "hidden_dim": 5},
    "bsn_tem": {"feature_dim": 6, "num_snippets": 9, "hidden_dim": 5},
    "ctcn": {"num_classes": 3, "feature_dim": 2, "widths": (4, 4, 6, 8), "counts": (1, 1, 1, 1), "pyramid_dim": 6},
    "mean_pool": FEATURES,
    "ets": {
        "num_classes": 7,
        "feature_dim": 5,
        "embed_dim": 6,
        "encoder_dim": 4,
        "decoder_dim": 5,
        "word_dim": 3,
        "num_frames": 6,
    },
    "movinet": {"num_frames": 3, "crop_px": 64, "num_classes": 5},
    "nextvlad": {
        **FEATURES,
        "num_clusters": 3,
        "num_groups": 2,
        "hidden_dim": 8,
        "gating_reduction": 2,
    },
    "nonlocal": {"depth": 26, "num_frames": 4, "width": 4, "crop_px": 64, "num_classes": 5},
    "pptimesformer": {"backbone_args": SMALL_VIT, "num_frames": 2, "crop_px": 16, "num_classes": 5},
    "pptsm": {
        "backbone": "resnet18d",
        "backbone_args": NARROW_RESNET_D,
        "num_segments": 4,
        "crop_px": 32,
        "num_classes": 5,
    },
    "pptsm_mobile": {"version": "v3_small", "num_segments": 4, "scale": 0.125, "crop_px": 64, "num_classes": 5},
    "pptsm_v2": {
        "num_segments": 4,
        "scale": 0.125,
        "last_width": 16,
        "frame_attention": True,
        "crop_px": 64,
        "num_classes": 5,
    },
    "pptsn": {
        "backbone": "resnet18d",
        "backbone_args": NARROW_RESNET_D,
        "num_segments": 3,
        "crop_px": 32,
        "num_classes": 5,
    },
    "slowfast": {"depth": 26, "num_frames": 8, "alpha": 4, "width": 16, "crop_px": 32, "num_classes": 5},
    "stnet": {
        "backbone": "resnet18",
        "backbone_args": NARROW_RESNET,
        "num_segments": 3,
        "segment_frames": 2,
        "head_width": 16,
        "crop_px": 64,
        "num_classes": 5,
    },
    "tall": {"feature_dim": 5, "sentence_dim": 4, "embed_dim": 6, "hidden_dim": 7},
    "timesformer": {"backbone_args": SMALL_VIT, "num_frames": 2, "crop_px": 16, "num_classes": 5},
    "tokenshift": {"backbone_args": SMALL_VIT, "num_frames": 2, "crop_px": 16, "num_classes": 5},
    "transnetv2": {
        "num_frames": 20,
        "filters": 2,
        "num_stages": 2,
        "hidden_dim": 8,
        "lookup_frames": 9,
        "similarity_dim": 4,
    },
    "tsm": {
        "backbone": "resnet18",
        "backbone_args": NARROW_RESNET,
        "num_segments": 4,
        "crop_px": 32,
        "num_classes": 5,
    },
    "tsn": {
        "backbone": "resnet18",
        "backbone_args": NARROW_RESNET,
        "num_segments": 3,
        "crop_px": 32,
        "num_classes": 5,
    },
    "videomae": {
        "num_frames": 4,
        "width": 24,
        "depth": 2,
        "num_heads": 2,
        "patch_px": 8,
        "crop_px": 16,
        "num_classes": 5,
    },
    "videoswin": {
        "num_frames": 8,
        "width": 8,
        "depths": (2, 1, 1, 1),
        "num_heads": (1, 1, 2, 2),
        "window": (2, 4, 4),
        "crop_px": 48,
        "num_classes": 5,
    },
    "vjepa2": {
        "num_frames": 4,
        "version": "2.1",
        "width": 24,
        "depth": 2,
        "num_heads": 2,
        "pooler_depth": 1,
        "patch_px": 8,
        "crop_px": 16,
        "num_classes": 5,
    },
}
