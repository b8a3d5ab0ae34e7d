"""Multigrid: the paper's schedule, the same cost in every step, and runs that resume to the bit."""

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from tests.engine.test_resume import assert_same_runs, kill_at, same
from tests.engine.toy import ToyRecords, sharing
from videozoo.config.recipe import load_recipe
from videozoo.data.motion import make_clips
from videozoo.engine import run as engine_run
from videozoo.engine.distributed import World
from videozoo.engine.duration import Horizon
from videozoo.engine.grid_loader import GridLoader
from videozoo.engine.loader import sample_rng
from videozoo.engine.log import read_log
from videozoo.engine.multigrid import Grid, Multigrid, clip_on, long_cycle, long_grids, plan_grids, short_grids
from videozoo.engine.resolve import resolve
from videozoo.engine.run import train
from videozoo.errors import ConfigError
from videozoo.layers.sub_batch_norm import set_norm_splits as set_splits
from videozoo.tasks.build import task_from_checkpoint
from videozoo.transforms.augment import Augment
from videozoo.transforms.input import ClipInput
from videozoo.weights import checkpoint

HORIZON = Horizon(total_steps=2390, steps_per_epoch=10, batch_size=8)
MILESTONES = (940, 1540, 1960)


def make_plan(*, milestones=MILESTONES, **options):
    return plan_grids(Multigrid(**options), HORIZON, milestones=milestones, num_frames=32, crop_px=224)


def test_the_papers_grids():
    """arXiv:1912.00998: 8, 4, 2, 1 times the batch; T/4, T/2, T/2, T; 158, 158, 224, 224 px."""
    grids = [dataclasses.astuple(grid) for grid in long_grids(32, 224)]
    assert grids == [(8, 8, 158), (4, 16, 158), (2, 16, 224), (1, 32, 224)]
    assert [dataclasses.astuple(g) for g in short_grids(Grid(1, 32, 224), 224)] == [
        (4, 32, 112),
        (2, 32, 158),
        (1, 32, 224),
    ]
    assert [g.crop_px for g in short_grids(Grid(8, 8, 158), 224)] == [112, 158, 158]


def test_the_papers_schedule():
    """The ends of phases that PaddleVideo and SlowFast come to for 239 epochs, steps at 94, 154 and 196."""
    cycles = [short_grids(grid, 224) for grid in long_grids(32, 224)]
    phases = long_cycle([0, 94, 154, 196], 239, cycles=cycles, epoch_factor=1.5)
    ends = [round(end) for end in itertools.accumulate(phase.amount for phase in phases)]
    assert ends == [73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329, 358]


@pytest.mark.parametrize(("long", "short"), [(True, True), (True, False), (False, True)])
def test_every_step_costs_the_same(long, short):
    plan = make_plan(long=long, short=short)
    grids = [plan.grid(step) for step in range(plan.total_steps)]
    costs = [g.batch_factor * g.num_frames * g.crop_px**2 / (32 * 224**2) for g in grids]
    assert min(costs) > 0.98 and max(costs) < 1.02
    assert plan.total_samples == pytest.approx(1.5 * 2390, rel=0.02)  # phases end within a cycle
    if long and short:
        assert plan.total_steps < 0.4 * 2390  # where 1.5 times the samples are seen
    assert plan.grid(plan.total_steps - 1).batch_factor in (1, 2, 4) and Grid(1, 32, 224) in plan.grids


def test_samples_add_up_step_by_step():
    plan = make_plan()
    seen = 0
    for step in range(plan.total_steps + 5):
        assert plan.samples_before(step) == seen
        seen += plan.grid(step).batch_factor


def test_rate_follows_the_schedule_and_the_batch():
    plan = make_plan()
    base = [1.0] * 940 + [0.1] * 600 + [0.01] * 420 + [0.001] * 430
    scaled, plain = (plan.schedule(base.__getitem__, scale_lr=on) for on in (True, False))
    firsts = [scaled(step) for step in plan.first_steps]
    assert firsts == pytest.approx([8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01, 0.001])
    assert {plain(step) for step in range(plan.total_steps)} == {1.0, 0.1, 0.01, 0.001}
    places = [plan.schedule(float, scale_lr=False)(step) for step in range(plan.total_steps)]
    assert places == sorted(places) and places[0] == 0 and 2380 <= places[-1] < 2390


def test_without_milestones_in_equal_parts():
    plan = make_plan(milestones=(), cycles=2)
    assert [phase.stage for phase in plan.phases] == [0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_a_grid_shows_the_same_of_a_video():
    spec = ClipInput(num_frames=32, sampling="dense", frame_stride=2, augment=Augment(short_side_range_px=(256, 320)))
    small = clip_on(spec, Grid(8, 8, 112))
    assert (small.num_frames, small.frame_stride, small.crop_px, small.short_side_px) == (8, 8, 112, 128)
    assert small.augment.short_side_range_px == (128, 320)
    assert clip_on(spec, Grid(1, 32, 224)) is spec
    assert clip_on(ClipInput(), Grid(2, 4, 224)).frame_stride == 1


class Pipeline:
    def __init__(self, grid):
        self.grid = grid

    def __call__(self, record, rng):
        frames, side = self.grid.num_frames, self.grid.crop_px
        return {"id": record.id, "video": torch.zeros(frames, 1, side, side), "noise": rng.normal()}


def make_loader(**changes):
    plan = plan_grids(Multigrid(), Horizon(20, 5, 4), num_frames=4, crop_px=8)
    return GridLoader(ToyRecords(23), Pipeline, plan=plan, **sharing(**{"batch_size": 4, "seed": 5, **changes}))


def test_batches_have_the_plans_shape_and_every_epoch_all_samples():
    loader = make_loader()
    seen = []
    for step, [batch] in enumerate(loader.steps(0, loader.plan.total_steps)):
        grid = loader.plan.grid(step)
        assert batch["video"].shape == (4 * grid.batch_factor, grid.num_frames, 1, grid.crop_px, grid.crop_px)
        assert loader.num_samples(step) == len(batch["id"])
        seen += batch["id"]
    epochs = [seen[i : i + 20] for i in range(0, len(seen) - 19, 20)]
    assert len(epochs) > 3 and all(len(set(epoch)) == 20 for epoch in epochs)


def test_batch_norms_see_as_many_samples_as_in_the_recipes_batches():
    loader, whole = make_loader(), make_loader(split_norms=False)
    for step in range(loader.plan.total_steps):
        grid, splits = loader.plan.grid(step), loader.norm_splits(step)
        assert divmod(grid.batch_factor, splits) in ((1, 0), (2, 0), (4, 0))  # the short cycle's, as the paper has it
        assert whole.norm_splits(step) == 1
    found = {loader.norm_splits(step) for step in loader.plan.first_steps}
    assert found == {grid.batch_factor for grid in long_grids(4, 8)} and len(found) > 2


def test_batches_of_full_size_at_any_step():
    """Those that batch norms are measured on for an evaluation."""
    loader = make_loader()
    [[small]], [[batch]] = (list(loader.steps(0, 1, full_size=full)) for full in (False, True))
    assert small["video"].shape[1] < 4 and small["video"].shape[-1] < 8
    assert batch["video"].shape == (4, 4, 1, 8, 8)
    assert len(set(batch["id"])) == 4


def test_any_step_from_any_start_and_worker():
    whole = list(make_loader().steps(0, 9))
    for start, workers in ((4, 0), (7, 2)):
        for a, b in zip(whole[start:], make_loader(num_workers=workers).steps(start, 9), strict=True):
            assert same(a, b)


def test_processes_and_micro_batches_share_a_step():
    whole = make_loader()
    parts = [make_loader(rank=rank, world_size=2, accumulate=2) for rank in (0, 1)]
    for step in range(8):
        shared = [part.keys(step)[micro] for micro in (0, 1) for part in parts]
        assert [key for keys in shared for key in keys] == whole.keys(step)[0]
        assert len({len(keys) for keys in shared}) == 1
    epoch, index, variant = whole.keys(3)[0][0]
    [batch] = next(whole.steps(3, 4))
    assert batch["noise"][0] == sample_rng(5, epoch, index).normal() and whole.plan.grids[variant] == whole.plan.grid(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long": False, "short": False}, r"fit\.multigrid: long and short are both false"),
        ({"epoch_factor": 0.0}, r"fit\.multigrid\.epoch_factor: is 0\.0; must be above 0"),
        ({"cycles": 0}, r"fit\.multigrid\.cycles: is 0; must be 1 or more"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ConfigError, match=message):
        Multigrid(**options)


RECIPE = """
model: {{name: tsn, backbone: resnet18, backbone_args: {{channels: [8, 8, 16, 16], stem_width: 8}}}}
input: {{num_frames: 4, short_side_px: 32, crop_px: 32}}
data:
  train: {{name: clip_folder, path: {world}/train}}
  val: {{name: clip_folder, path: {world}/val}}
optim: {{lr: 0.01}}
schedule: {{name: cosine, warmup: 1st}}
fit:
  {{duration: 12st, batch_size: 2, num_workers: 0, eval_every: 3st, save_every: 2st, log_every: 1,
    tensorboard: false, multigrid: {{cycles: 1}}}}
"""


@pytest.fixture
def recipe(tmp_path):
    make_clips(tmp_path / "world", num_train=8, num_val=4, size_px=32, num_classes=4)
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(world=tmp_path / "world"))
    return load_recipe(path)


def test_a_recipe_with_it_killed_and_resumed_is_undisturbed(recipe, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("videozoo.engine.trainer.set_norm_splits", lambda net, n: (seen.append(n), set_splits(net, n)))
    whole = train(recipe, tmp_path / "whole", progress=False)
    assert seen[0] == 8 and seen[-1] == 1
    assert whole.step == whole.total_steps and whole.scores["num_scored"] == 4
    assert whole.step < 12  # fewer steps for more samples
    trainer = engine_run.prepare_run(resolve(recipe), tmp_path / "cut", world=World())
    kill_at(trainer, 3)
    train(recipe, tmp_path / "cut", resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")
    saved = checkpoint.read(tmp_path / "cut" / "last.pt")
    assert saved.record["fit"]["multigrid"]["cycles"] == 1
    task, _ = task_from_checkpoint(saved)  # the plain model takes the weights, without a word on multigrid
    assert {type(m) for m in task.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)} == {nn.BatchNorm2d}
    assert [line["step"] for line in read_log(tmp_path / "cut" / "log.jsonl") if "loss" in line][-1] == whole.step


def test_features_have_no_grid(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(engine_run, "ClipInput", int)
    with pytest.raises(ConfigError, match=r"fit\.multigrid: needs clips, but input 'clip' has none"):
        train(recipe, tmp_path / "run", progress=False)
