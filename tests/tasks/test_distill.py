"""Distillation and mutual learning: the losses written out, a teacher that sees what it was trained on."""

import copy

import pytest
import torch
import torch.nn.functional as F

from videozoo.engine.optim import parameter_groups
from videozoo.errors import ConfigError
from videozoo.tasks.build import build_task, task_from_checkpoint
from videozoo.tasks.distill import Distill, Mutual
from videozoo.transforms.input import ClipInput, build_input
from videozoo.weights import checkpoint

NAMES = ("a", "b", "c")
MODEL = {"name": "tsm", "backbone": "resnet18", "backbone_args": {"channels": [8, 8, 16, 16], "stem_width": 8}}
RECORD = {
    "model": {**MODEL, "num_segments": 2, "dropout": 0.0},
    "task": {"name": "classify"},
    "input": ClipInput(num_frames=2, short_side_px=32, crop_px=32).to_dict(),
}
LABEL = torch.tensor([0, 1, 2, 1])


def build(names=NAMES, seed=0, input=None, **task):
    torch.manual_seed(seed)
    record = {**RECORD, "task": {**RECORD["task"], **task}, "input": {**RECORD["input"], **(input or {})}}
    return build_task(record, names)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A checkpoint of other weights, and of another normalisation."""
    path = tmp_path_factory.mktemp("teacher") / "best.pt"
    task = build(seed=7)
    record = {**RECORD, "input": {**RECORD["input"], "mean": [0.5] * 3, "std": [0.25] * 3, "channel_order": "bgr"}}
    checkpoint.write(path, {"record": record, "class_names": list(NAMES), "model": task.model.state_dict()})
    return path


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (4, 2, 3, 32, 32), generator=torch.Generator().manual_seed(1)).float()


def batch_of(pixels, spec=RECORD["input"]):
    return build_input(spec).to_device({"video": pixels, "label": LABEL}, "cpu")


def test_distillation_written_out(teacher, pixels):
    task = build(distill={"teacher": str(teacher), "weight": 0.3, "temperature": 2.0}).eval()
    other, spec = task_from_checkpoint(checkpoint.read(teacher))
    scores = task.model(batch_of(pixels)["video"])
    with torch.no_grad():
        theirs = other.model(spec.to_device({"video": pixels}, "cpu")["video"])
    soft = 4 * F.kl_div((scores / 2).log_softmax(-1), (theirs / 2).softmax(-1), reduction="batchmean")
    parts = task(batch_of(pixels))
    torch.testing.assert_close(parts["teacher_loss"], soft, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts["loss"], 0.7 * F.cross_entropy(scores, LABEL) + 0.3 * soft, rtol=1e-4, atol=1e-5)


def test_teacher_sees_the_mixed_clip(teacher, pixels):
    seen = []
    task = build(distill={"teacher": str(teacher)}, mixup_alpha=1.0)
    for net in (task.model, task.teacher.model):
        net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    task.teacher.scale, task.teacher.flips = None, False
    task(batch_of(pixels))
    assert torch.equal(*seen) and not torch.equal(seen[0], batch_of(pixels)["video"])


def test_teacher_is_neither_trained_nor_saved_nor_copied(teacher, pixels):
    task = build(distill={"teacher": str(teacher)})
    before = copy.deepcopy(task.teacher.model.state_dict())
    task.train()
    task(batch_of(pixels))["loss"].backward()
    assert all(torch.equal(value, before[key]) for key, value in task.teacher.model.state_dict().items())
    assert {key.partition(".")[0] for key in task.state_dict()} == {"model"}
    assert all(p.grad is None for p in task.teacher.model.parameters())
    assert copy.deepcopy(task).teacher is task.teacher


def test_multi_label_distillation(teacher, pixels):
    task = build(distill={"teacher": str(teacher), "weight": 1.0}, multi_label=True).eval()
    batch = {**batch_of(pixels), "label": F.one_hot(LABEL, 3).float()}
    scores, theirs = task.model(batch["video"]), task.teacher(batch["video"])
    cross = F.binary_cross_entropy_with_logits(scores, theirs.sigmoid())
    entropy = F.binary_cross_entropy_with_logits(theirs, theirs.sigmoid())
    torch.testing.assert_close(task(batch)["loss"], cross - entropy, rtol=1e-4, atol=1e-6)


def test_mutual_learning_written_out(pixels):
    task = build(mutual={"weight": 2.0}).eval()
    video = batch_of(pixels)["video"]
    ours, theirs = task.model(video), task.peer(video)
    assert not torch.allclose(ours, theirs)  # started apart
    p, q = ours.log_softmax(-1), theirs.log_softmax(-1)
    both = [F.kl_div(x, y, log_target=True, reduction="batchmean") for x, y in ((p, q), (q, p))]
    labels = F.cross_entropy(ours, LABEL) + F.cross_entropy(theirs, LABEL)
    torch.testing.assert_close(task(batch_of(pixels))["loss"], labels + sum(both))


def test_both_students_learn_by_the_models_rules(pixels):
    alone = parameter_groups(build(), lr=0.1, weight_decay=0.01)
    both = parameter_groups(build(mutual={}), lr=0.1, weight_decay=0.01)
    assert [(g["lr"], g["weight_decay"], 2 * len(g["params"])) for g in alone] == [
        (g["lr"], g["weight_decay"], len(g["params"])) for g in both
    ]


def test_a_published_student_needs_neither_teacher_nor_peer(tmp_path):
    record = {**RECORD, "task": {"name": "classify", "distill": {"teacher": "/gone"}, "mutual": {"weight": 1.0}}}
    path = tmp_path / "best.pt"
    checkpoint.write(path, {"record": record, "class_names": list(NAMES), "model": build().model.state_dict()})
    task, _ = task_from_checkpoint(checkpoint.read(path))
    assert task.distill is None and not hasattr(task, "peer")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"names": ("a", "b")},
            r"task\.distill\.teacher: .*best\.pt knows 3 classes, a, b, c; the training data has 2",
        ),
        (
            {"input": {"num_frames": 4}},
            r"trained on different clips \(teacher, here\): input\.num_frames: 2, 4; give the student",
        ),
    ],
)
def test_teachers_that_do_not_fit(teacher, args, message):
    with pytest.raises(ConfigError, match=message):
        build(distill={"teacher": str(teacher)}, **args)


def test_keys_are_spell_checked(teacher):
    with pytest.raises(ConfigError, match=r"task\.distill\.temprature: Distill takes no such argument; did you mean"):
        build(distill={"teacher": str(teacher), "temprature": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Distill("x", weight=0), r"task\.distill\.weight: is 0; it must be above 0"),
        (lambda: Distill("x", temperature=-1), r"task\.distill\.temperature: is -1; it must be above 0"),
        (lambda: Mutual(weight=0), r"task\.mutual\.weight: is 0; it must be above 0"),
    ],
)
def test_numbers_that_make_no_sense(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
