"""Recipes: strict keys with suggestions, overrides, and a resolved record that builds the same thing again."""

import pytest
import yaml

from videozoo.config.recipe import list_recipes, load_recipe, read_header, read_overrides
from videozoo.errors import ConfigError

TINY = """
# A tiny recipe
# videozoo train tiny.yaml
model: {name: tsm, backbone: resnet18}
data:
  train: {name: clip_folder, path: clips}
optim: {name: sgd, lr: 1e-2}
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_resolved_fills_in_defaults(tiny):
    record = load_recipe(tiny, ["fit.batch_size=4", "seed=3"]).resolved()
    assert record["optim"]["lr"] == 0.01
    assert record["fit"]["batch_size"] == 4
    assert record["seed"] == 3
    assert record["task"]["name"] == "classify"
    assert record["input"]["name"] == "clip"


def test_resolved_is_yaml_and_resolves_to_itself(tiny, tmp_path):
    record = load_recipe(tiny).resolved()
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(record))
    assert load_recipe(again).resolved() == record


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.segmnts=8", r"model\.segmnts: tsm takes no such argument"),
        ("model.num_segmnts=8", r"did you mean 'num_segments'\?"),
        ("modle.name=tsm", r"modle: is not a section of a recipe; did you mean 'model'\?"),
        ("model.name=tms", r"there is no 'tms'; did you mean 'ts[mn]'\?"),
        ("optim.lr=fast", r"optim\.lr: input should be a valid number.*got 'fast'"),
        ("fit.batch_szie=1", r"fit\.batch_szie: .*did you mean 'batch_size'\?"),
        ("input.crop_pix=64", r"input\.crop_pix: .*did you mean 'crop_px'\?"),
        ("data.tarin.path=x", r"data\.tarin: is not a split; did you mean 'train'\?"),
        ("lr", r"`lr` is not an override; write key=value"),
        ("seed=-1", r"seed: should be a whole number from 0 up; got -1"),
        ("seed=2024-01-01", r"seed: should be a whole number from 0 up; got '2024-01-01'"),
        ("seed=99999999999999999999", r"seed: should be below 2\*\*63; got 99999999999999999999"),
        ("optim.lr=2024-01-01", r"optim\.lr: input should be a valid number.*got '2024-01-01'"),
        ("fit.batch_size=99999999999999999999", r"fit\.batch_size: must fit into 64 bits; got 9{20}"),
        ("fit.batch_size=1.0e+30", r"fit\.batch_size: "),
        ("fit.batch_size=" + "9" * 5000, r"has a number of 5,000 digits"),
        ("model.backbone_args={channels: [1, -99999999999999999999]}", r"model\.backbone_args: must fit into 64 bits"),
        ("model.backbone_args={stem_type:deep}", r"the key 'stem_type:deep' has no value; write 'stem_type: deep'"),
        ("model.name.x=1", r"'model\.name' is a value, not a section"),
    ],
)
def test_mistakes_are_named(tiny, override, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(tiny, [override]).resolved()


def test_a_key_that_stands_twice(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("model: {name: tsm}\nmodel: {name: tsn}\n")
    with pytest.raises(ConfigError, match=r"twice\.yaml: line 1: the key 'model' is given twice"):
        load_recipe(path)


def test_not_yaml(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("model: {name: [tsm\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: is not YAML"):
        load_recipe(path)


def test_missing_file():
    with pytest.raises(ConfigError, match="there is no such recipe file"):
        load_recipe("nowhere/x.yaml")


@pytest.mark.parametrize("name", ["no/such/folder", "nowhere", "k400/tsm_r50_8"])
def test_a_folder_or_recipe_that_is_not_there(name):
    with pytest.raises(ConfigError, match=f"^{name}: there is no folder and no recipe with this name") as caught:
        load_recipe(name)
    assert len(str(caught.value)) < 200
    assert ("did you mean 'k400/tsm_r50_8f'?" in str(caught.value)) == name.startswith("k400")


@pytest.mark.parametrize("flipped", [False, True])
def test_another_data_set_brings_its_own_arguments(tiny, flipped):
    overrides = ["data.train.name=clip_list", "data.train.path=list.txt"]
    given = load_recipe(tiny, ["data.train.subset=train", *(reversed(overrides) if flipped else overrides)])
    assert given.data["train"] == {"name": "clip_list", "subset": "train", "path": "list.txt"}
    with pytest.raises(ConfigError, match=r"data\.train\.path: required by clip_list"):
        load_recipe(tiny, ["data.train.name=clip_list"]).resolved()
    same = load_recipe(tiny, ["data.train.name=clip_folder", "data.train.val_share=0.3"])
    assert same.data["train"] == {"name": "clip_folder", "path": "clips", "val_share": 0.3}


def test_another_data_set_for_all_steps(tmp_path):
    path = tmp_path / "steps.yaml"
    data = "data: {train: {name: clip_folder, path: a, subset: train}}"
    own = "data: {train: {val_share: 0.3}}"
    path.write_text(f"model: {{name: tsm}}\n{data}\nsteps: {{one: {{seed: 1}}, two: {{{own}}}}}\n")
    recipe = load_recipe(path, ["data.train.name=clip_list", "data.train.path=x.txt"])
    assert [step.data["train"] for step in recipe.steps.values()] == [{"name": "clip_list", "path": "x.txt"}] * 2
    one = load_recipe(path, ["steps.two.data.train.name=clip_list", "steps.two.data.train.path=x.txt"]).steps
    assert one["one"].data["train"] == {"name": "clip_folder", "path": "a", "subset": "train"}
    assert one["two"].data["train"] == {"name": "clip_list", "path": "x.txt"}


def test_a_tilde_is_the_home_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.write_text(TINY.replace("path: clips", "path: ~/clips"))
    given = load_recipe(tiny, ["data.val={name: shards, path: ['~/a.tar', b~c.tar]}", "task.distill.teacher=~/t.pt"])
    assert given.data["train"]["path"] == f"{tmp_path}/clips"
    assert given.data["val"]["path"] == [f"{tmp_path}/a.tar", "b~c.tar"]
    assert given.section("task")["distill"]["teacher"] == f"{tmp_path}/t.pt"
    assert read_overrides(["val.path=~/x"]) == {"val": {"path": f"{tmp_path}/x"}}


@pytest.mark.parametrize("name", list_recipes())
def test_packaged_recipes_resolve_and_say_their_command(name):
    load_recipe(name).resolved()
    header = read_header(list_recipes()[name])
    assert f"videozoo train {name}" in header
    for word in ("cost", "published", "own"):
        assert word in header.lower(), f"the header of {name} says nothing of {word}"
