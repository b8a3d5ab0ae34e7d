"""Data set, input spec and task of a recipe: every pair of the registries either fits or is refused in one line."""

import typing
from pathlib import Path

import pytest
import yaml

from tests.engine.toy import ToyRecords
from videozoo.config.recipe import load_recipe
from videozoo.contracts.dataset import Dataset
from videozoo.contracts.input import InputSpec
from videozoo.data.registry import datasets
from videozoo.engine.resolve import resolve
from videozoo.errors import ConfigError
from videozoo.tasks.fitting import check_data, check_input
from videozoo.tasks.registry import tasks
from videozoo.transforms.input import build_input
from videozoo.transforms.registry import inputs

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))

TASKS_OF = {
    "clip": {"classify"},
    "features": {"classify", "tag"},
    "snippets": {"localize_bmn", "localize_bsn", "localize_ctcn"},
    "captions": {"caption"},
    "moments": {"ground"},
    "shots": {"shots"},
    "captioned_clip": {"retrieve"},
}
FEATURE_SETS = {
    "labels": {"features", "youtube8m", "youtube8m_pkl"},
    "segments": {"activitynet", "thumos14"},
    "captions": {"activitynet_captions", "msrvtt"},
    "moments": {"charades_sta", "tacos", "qvhighlights", "tall_tacos"},
}
ALSO_SEGMENTS = {"activitynet_captions", "msrvtt", "charades_sta", "tacos", "qvhighlights"}
REST = {"optim": {"name": "sgd", "lr": 0.1}, "fit": {"duration": "1st", "batch_size": 1}}
CLIP_SETS = {"clip_folder", "clip_list", "kinetics_csv", "shards", "ucf101"}
SHOT_SETS = {"clipshots"}
DESCRIBED_SETS = {"described_videos"}


def sets_of(name):
    """The data sets that fit an input."""
    if name == "clip":
        return CLIP_SETS
    if name == "shots":
        return SHOT_SETS
    if name == "captioned_clip":
        return DESCRIBED_SETS
    learns_from = inputs.get(name).learns_from
    return FEATURE_SETS[learns_from] | (ALSO_SEGMENTS if learns_from == "segments" else set())


def dataset_class(name):
    found = typing.get_type_hints(datasets.get(name))["return"]
    return typing.get_origin(found) or found


def records_of(name):
    """An empty data set of the class that a format makes."""
    part = dataset_class(name)
    return part.__new__(part)


def test_the_tables_name_every_part():
    assert set(TASKS_OF) == set(inputs.names())
    assert set().union(*TASKS_OF.values()) == set(tasks.names())
    assert CLIP_SETS.union(SHOT_SETS, DESCRIBED_SETS, *FEATURE_SETS.values()) == set(datasets.names())
    assert all(issubclass(dataset_class(name), Dataset) for name in datasets.names())
    assert all(issubclass(inputs.get(name), InputSpec) for name in inputs.names())


@pytest.mark.parametrize("name", inputs.names())
@pytest.mark.parametrize("task", tasks.names())
def test_tasks_and_inputs(task, name):
    spec = build_input({"name": name})
    if task in TASKS_OF[name]:
        check_input(task, spec, where="r.yaml")
        return
    with pytest.raises(ConfigError) as caught:
        check_input(task, spec, where="r.yaml")
    right = " or ".join(f"'{other}'" for other in inputs.names() if task in TASKS_OF[other])
    message = str(caught.value)
    assert message.startswith(f"r.yaml: task '{task}' needs ") and "\n" not in message
    assert f"but input '{name}' gives " in message and f"use input {right} or task '" in message


@pytest.mark.parametrize("name", inputs.names())
@pytest.mark.parametrize("data", datasets.names())
def test_data_sets_and_inputs(data, name):
    spec, records = build_input({"name": name}), records_of(data)
    if data in sets_of(name):
        check_data(records, spec, where="r.yaml: data.train")
        return
    with pytest.raises(ConfigError) as caught:
        check_data(records, spec, where="r.yaml: data.train")
    message = str(caught.value)
    assert message.startswith("r.yaml: data.train: ") and f"input '{name}' " in message and "\n" not in message
    assert any(f"'{right}'" in message.partition("; use input ")[2] for right in TASKS_OF if data in sets_of(right))


def test_messages():
    with pytest.raises(ConfigError) as caught:
        check_input("tag", build_input({"name": "clip"}), where="r.yaml")
    assert str(caught.value) == (
        "r.yaml: task 'tag' needs features and mask, but input 'clip' gives label and video; "
        "use input 'features' or task 'classify'"
    )
    with pytest.raises(ConfigError) as caught:
        check_data(ToyRecords(), build_input({"name": "snippets"}), where="r.yaml: data.train")
    assert str(caught.value) == (
        "r.yaml: data.train: holds clips, but input 'snippets' takes features; use input 'clip', "
        "or features of the clips, which videozoo extract makes"
    )


def test_a_recipe_is_refused_before_its_data_is_read(tmp_path):
    path = tmp_path / "r.yaml"
    parts = {"model": {"name": "tsm"}, "task": {"name": "tag"}, "input": {"name": "clip"}, **REST}
    path.write_text(yaml.safe_dump({**parts, "data": {"train": {"name": "clip_list", "path": "missing.txt"}}}))
    with pytest.raises(ConfigError, match="task 'tag' needs features and mask, but input 'clip' gives label and video"):
        resolve(load_recipe(path))


def test_a_multi_label_list_on_snippets(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not opened")
    (tmp_path / "train.txt").write_text("a.mp4 0 2\n")
    data = {"train": {"name": "clip_list", "path": str(tmp_path / "train.txt"), "multi_label": True, "num_classes": 3}}
    parts = {"model": {"name": "bmn"}, "task": {"name": "localize_bmn"}, "input": {"name": "snippets"}, **REST}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**parts, "data": data}))
    with pytest.raises(ConfigError, match=r"data\.train: holds clips, but input 'snippets' takes features; use input"):
        resolve(load_recipe(tmp_path / "r.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(path.parents[1])))
def test_packaged_recipes_fit(path):
    recipe = load_recipe(path)
    for step in recipe.steps.values() or [recipe]:
        spec = build_input(step.resolved()["input"])
        check_input(step.name_of("task"), spec, where=step.source)
        for args in step.data.values():
            check_data(records_of(args["name"]), spec, where=step.source)
