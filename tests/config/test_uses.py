"""Modules with a user's own parts: found beside the recipe and in the current folder, imported by name only."""

import sys
import textwrap

import pytest

from videozoo.config.recipe import load_recipe, recipe_of
from videozoo.config.registry import Registry
from videozoo.config.uses import import_modules
from videozoo.errors import ConfigError
from videozoo.weights.checkpoint import Checkpoint

RECIPE = "model: {name: tsm}\ndata: {train: {name: clip_folder, path: x}}\noptim: {lr: 0.1}\n"


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Puts the search path and the imported modules back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("uses_")]:
        del sys.modules[name]


@pytest.fixture
def recipe(tmp_path):
    def write(uses, **modules):
        folder = tmp_path / "kit"
        folder.mkdir()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text))
        (folder / "r.yaml").write_text(f"{RECIPE}uses: {uses}\n")
        return folder / "r.yaml"

    return write


def test_a_module_beside_the_recipe_is_imported(recipe):
    loaded = load_recipe(recipe("[uses_a]", uses_a="VALUE = 1"))
    assert loaded.uses == ("uses_a",)
    assert sys.modules["uses_a"].VALUE == 1
    assert loaded.to_dict()["uses"] == loaded.resolved()["uses"] == ["uses_a"]


def test_a_module_of_the_current_folder_is_imported(tmp_path, monkeypatch):
    (tmp_path / "uses_b").mkdir()
    (tmp_path / "uses_b" / "parts.py").touch()
    monkeypatch.chdir(tmp_path)
    assert load_recipe("motion/tsm", ["uses=[uses_b.parts]"]).uses == ("uses_b.parts",)
    assert "uses_b.parts" in sys.modules


def test_a_record_without_modules_is_as_before():
    assert "uses" not in load_recipe("motion/tsm").resolved()


def test_steps_share_the_modules(recipe):
    path = recipe("[uses_c]", uses_c="")
    path.write_text(path.read_text() + "steps: {one: {seed: 1}, two: {init: one}}\n")
    loaded = load_recipe(path)
    assert loaded.uses == loaded.steps["two"].uses == ("uses_c",)
    assert loaded.resolved()["steps"]["one"]["uses"] == ["uses_c"]


def test_a_record_imports_nothing(recipe):
    path = recipe("[uses_d]", uses_d="")
    record = load_recipe(path).to_dict()
    del sys.modules["uses_d"]
    assert recipe_of(record, source="run").uses == ("uses_d",)
    assert "uses_d" not in sys.modules


@pytest.mark.parametrize(
    ("uses", "message"),
    [
        ("[uses_none]", r"r\.yaml: uses: there is no module 'uses_none' in .*kit or .*; correct the name, or add its"),
        ("[json.none]", r"uses: there is no module 'json\.none'"),
        ("[uses_bad.py]", r"uses: 'uses_bad\.py' is not the name of a module"),
        ("[uses_bad]", r"uses: uses_bad cannot be imported \(SyntaxError: .*line 1\)\); correct it"),
        ("[uses_needy]", r"uses: uses_needy cannot be imported \(ModuleNotFoundError: No module named 'uses_none'\)"),
        ("[uses_raises]", r"uses: uses_raises cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("uses_bad", r"uses: should be a list of modules, e\.g\. \[my_package\.my_parts\]; got 'uses_bad'"),
        ("{a: 1}", r"uses: should be a list of modules"),
        ("null", r"uses: should be a list of modules"),
        ("[kit/parts]", r"uses: 'kit/parts' is not the name of a module; write e\.g\. my_package\.my_parts"),
        ("[.parts]", r"uses: '\.parts' is not the name of a module"),
        ("['']", r"uses: '' is not the name of a module"),
        ("[3]", r"uses: 3 is not the name of a module"),
    ],
)
def test_wrong_modules_are_one_line(recipe, uses, message):
    path = recipe(uses, uses_bad="def", uses_needy="import uses_none", uses_raises="1 / 0")
    with pytest.raises(ConfigError, match=message) as raised:
        load_recipe(path)
    assert "\n" not in str(raised.value)


def test_a_part_with_a_taken_name_is_one_line(recipe):
    text = """
        from videozoo.models.registry import register_model

        @register_model
        def tsm():
            ...
    """
    with pytest.raises(ConfigError, match=r"uses_tsm: model 'tsm': is defined in videozoo\.models\.tsm and in "):
        load_recipe(recipe("[uses_tsm]", uses_tsm=text))


def test_allowing_code_imports_it_and_nothing_else_does(tmp_path, monkeypatch):
    (tmp_path / "uses_e.py").touch()
    monkeypatch.chdir(tmp_path)
    saved = Checkpoint(tmp_path / "best.pt", {"uses": ["uses_e"]}, (), {}, step=0, resume={})
    with pytest.raises(Exception, match=r"best\.pt: needs code that is not part of videozoo: uses_e; if you trust it"):
        saved.check_code()
    assert "uses_e" not in sys.modules
    import_modules(["uses_e"], where="allow_code")
    saved.check_code()


def test_a_checkpoint_with_a_strange_list_is_refused(tmp_path):
    saved = Checkpoint(tmp_path / "best.pt", {"uses": "os; evil"}, (), {}, step=0, resume={})
    with pytest.raises(Exception, match=r"best\.pt: record: uses: should be a list of modules"):
        saved.check_code()


def part(name, module, qualname=None):
    def made():
        """A part."""

    made.__name__, made.__module__, made.__qualname__ = name, module, qualname or name
    return made


def test_one_name_belongs_to_one_part():
    registry = Registry("toy", "videozoo.sentences", decorator="register_encoder")
    first = registry.register(part("wave", "a"))
    assert registry.get("wave") is first
    with pytest.raises(ConfigError, match=r"toy 'wave': is defined in a and in b; rename one of them"):
        registry.register(part("wave", "b"))
    with pytest.raises(ConfigError, match=r"toy 'wave': is defined in a twice; rename one of them"):
        registry.register(part("Wave", "a"))
    again = registry.register(part("wave", "a"))  # the cell of a notebook that ran again
    assert registry.get("wave") is again
    with pytest.raises(ConfigError, match=r"'minilm': is defined in videozoo\.sentences\.minilm and in b"):
        registry.register(part("minilm", "b"))
