"""Arrays of the reference folders that no case reads, each with its reason; any other unread array is a failure."""

from __future__ import annotations

from fnmatch import fnmatchcase

__all__ = ["reason_unread"]

# (folder, array, reason); `*` stands for anything
UNREAD: tuple[tuple[str, str, str], ...] = (
    ("*", "expected/tap/*", "no module of ours has this layer's name and shape; taps locate a fault, outputs decide"),
    ("paddlevideo2/*", "expected/train/metric_*", "scores of the training batch; the losses decide"),
    ("paddlevideo1/ctcn", "expected/eval_loss_*", "cut off where the soft-max saturates; the damped losses decide"),
    ("paddlevideo1/bsn_*", "expected/snms_cfg_infer", "another setting; those of both published configs are compared"),
    ("paddlevideo1/ctcn_postprocess", "expected/empty_*", "a made-up detection where there is none; ours gives none"),
    ("paddlevideo1/ctcn_postprocess", "expected/enc3_loc", "no anchor matches, and no loss reads the others' offsets"),
    ("paddlevideo1/ctcn_postprocess", "expected/nms_keep_min", "a form of suppression that no published config uses"),
    ("paddlevideo1/ctcn_postprocess", "expected/softnms_m[01]", "forms of suppression that no published config uses"),
    ("paddlevideo1/ets", "expected/beam*_lod0", "how many hypotheses a clip has; the ids of each clip tell it too"),
    ("paddlevideo1/samplers", "expected/imgs_train_*", "crops drawn by another generator; multi_scale compares boxes"),
    (
        "paddlevideo1/samplers",
        "expected/nl_*",
        "outer crops lie along the shorter side there, the longer here",
    ),
    ("paddlevideo1/samplers", "expected/ctcn_*", "rows are moved, cropped and stretched by another rule here"),
    ("paddlevideo2/bmn_labels", "*/pred_note", "a sentence"),
    ("paddlevideo2/bmn_labels", "*/loss/total_random_example", "losses over draws that are not stored"),
    ("paddlevideo2/bmn_post", "*/note", "a sentence"),
    ("paddlevideo2/metrics", "*/multicrop/order", "the order in which the clips came; ours adds them by their id"),
    ("paddlevideo2/metrics", "*/yt8m/pred_ties", "the original shuffles equal scores; ours keep their listed order"),
    ("paddlevideo2/ops", "pretrain_trans/vit/*", "image weights of another size are refused, not resized"),
)


def reason_unread(folder: str, array: str) -> str | None:
    """Returns why no case reads an array, `None` if nothing excuses it."""
    if folder.startswith("kept/"):
        folder = folder.removeprefix("kept/").replace("_", "/", 1)
    found = (reason for where, name, reason in UNREAD if fnmatchcase(folder, where) and fnmatchcase(array, name))
    return next(found, None)
