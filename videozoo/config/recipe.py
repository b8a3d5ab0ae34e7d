"""A recipe: YAML in, overrides applied, every key checked, the resolved record out."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib
import importlib.resources
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videozoo.config.check import bind
from videozoo.config.registry import Registry
from videozoo.config.uses import import_modules, module_names
from videozoo.errors import ConfigError, did_you_mean
from videozoo.structured import parse_yaml, read_yaml, shown

__all__ = [
    "DATA",
    "SECTIONS",
    "SPLITS",
    "Recipe",
    "laid_over",
    "list_recipes",
    "load_recipe",
    "plain",
    "read_header",
    "read_overrides",
    "recipe_of",
]


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a recipe: the home of its parts, and the arguments that the program supplies itself."""

    home: str  # "module:attribute" of a Registry, or of the one class that the section builds
    given: tuple[str, ...] = ()
    default: str | None = None

    def part(self, args: Mapping[str, Any], *, where: str) -> tuple[Any, dict[str, Any]]:
        """Returns the function or class that the section names, and its arguments."""
        module, _, attribute = self.home.partition(":")
        home = getattr(importlib.import_module(module), attribute)
        if not isinstance(home, Registry):
            return home, dict(args)
        rest = dict(args)
        name = rest.pop("name", self.default)
        if not isinstance(name, str):
            raise ConfigError(f"{where}.name: is missing; name a {home.kind}: {', '.join(home.names())}")
        try:
            return home.get(name), rest
        except ConfigError as error:
            raise ConfigError(f"{where}.name: {error}") from None


SECTIONS = {
    "model": Section("videozoo.models.registry:models", given=("num_classes",)),
    "task": Section(
        "videozoo.tasks.registry:tasks", given=("model", "class_names", "input_spec", "new_model"), default="classify"
    ),
    "input": Section("videozoo.transforms.registry:inputs", default="clip"),
    "optim": Section("videozoo.engine.registry:optimizers", given=("task",), default="sgd"),
    "schedule": Section("videozoo.engine.registry:schedules", given=("horizon",), default="constant"),
    "fit": Section("videozoo.engine.options:Fit"),
}
DATA = Section("videozoo.data.registry:datasets", given=("class_names",))
SPLITS = ("train", "val", "test")
PACKED_SUFFIXES = (".h5", ".hdf5", ".npz", ".parquet")  # of features that `load_recipe` accepts
LONGEST_NAME = 100  # of a section or an argument


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A run, as plain values: one dict a section, `data` with one dict a split, and the seed.

    A recipe with steps holds in `steps` one recipe for each step, by name and in order; its own sections are shared by
    all steps. A step with `init` starts from the weights of that earlier step.

    `source` is its origin, for error messages; `uses` names the modules of custom parts.
    """

    source: str
    sections: Mapping[str, dict[str, Any]]
    data: Mapping[str, dict[str, Any]]
    seed: int = 0
    steps: Mapping[str, Recipe] = dataclasses.field(default_factory=dict)
    init: str | None = None
    uses: tuple[str, ...] = ()

    def section(self, name: str) -> dict[str, Any]:
        """Returns a copy of one section's values; empty if the recipe has no such section."""
        return dict(self.sections.get(name, {}))

    def name_of(self, section: str) -> str:
        """Returns the name of a section's part, e.g. "tsm" for `model`."""
        return str(self.section(section).get("name", SECTIONS[section].default))

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as written, with overrides applied."""
        sections = {name: dict(args) for name, args in self.sections.items()}
        return {**sections, "data": dict(self.data), "seed": self.seed, **self._own_code()}

    def resolved(self) -> dict[str, Any]:
        """Returns every value of every section, with defaults, as plain YAML types; checkpoints store this record.

        For a recipe with steps, `steps` holds the record of each step.

        Raises:
            ConfigError: a name, an argument or a value is invalid; nothing has been built yet.
        """
        if self.steps:
            first = {name: {"init": step.init} if step.init is not None else {} for name, step in self.steps.items()}
            return {"steps": {name: first[name] | step.resolved() for name, step in self.steps.items()}}
        record: dict[str, Any] = {}
        for name, section in SECTIONS.items():
            record[name] = self._resolve(section, self.section(name), where=name)
        record["data"] = {split: self._resolve(DATA, args, where=f"data.{split}") for split, args in self.data.items()}
        return {**record, "seed": self.seed, **self._own_code()}

    def _own_code(self) -> dict[str, list[str]]:
        return {"uses": list(self.uses)} if self.uses else {}

    def _resolve(self, section: Section, args: dict[str, Any], *, where: str) -> dict[str, Any]:
        part, rest = section.part(args, where=f"{self.source}: {where}")
        given = {name: None for name in section.given if name not in rest}
        bound = bind(part, rest, where=f"{self.source}: {where}", given=given)
        name = {"name": args.get("name", section.default)} if "name" in args or section.default else {}
        return {**name, **plain(bound)}


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Loads the recipe at a path or with a packaged name, or the usual recipe for a folder of clips or of features.

    The modules in its `uses` are imported. `overrides` are `key=value` with a dotted key; values are YAML:
    `optim.lr=0.01`.

    Raises:
        ConfigError: no such recipe, bad YAML, an unknown key, or a module that cannot be imported.
    """
    path = Path(recipe)
    packed = path.suffix in PACKED_SUFFIXES and os.path.isfile(path)  # noqa: PTH113 (False for names of no file)
    if packed or os.path.isdir(path):  # noqa: PTH112
        name, data = importlib.import_module("videozoo.data.prepared").usual_recipe(path)
        of_model = f"{name}/{read_overrides(overrides).get('model', {}).get('name')}"
        file = _packaged(of_model if of_model in list_recipes() else name)
        found, source = {**_read_yaml(file), "data": data}, str(path)
    else:
        file = path if path.suffix in (".yaml", ".yml") else _packaged(str(recipe))
        found, source = _read_yaml(file), str(recipe)
    _drop_other_data(found, overrides)
    for override in overrides:
        _override(found, override)
        for step in _steps_saying(found, override.partition("=")[0]):
            _override(step, override)  # else the step's own value would win over it
    _check_names(found, where=source)
    read = _with_steps(found, source=source) if "steps" in found else _recipe(found, source=source)
    import_modules(read.uses, where=f"{source}: uses", folder=path.parent if path.is_file() else None)
    return read


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Reads `key=value` overrides with dotted keys into nested mappings.

    Raises:
        ConfigError: one is not an override, its value is not YAML, or it gives a section a value.
    """
    found: dict[str, Any] = {}
    for override in overrides:
        _override(found, override)
    return found


def _steps_saying(found: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Returns the steps of a recipe that set `key` (dotted) themselves."""
    *parents, last = key.strip().split(".")
    return [step for step in _steps(found) if last in _below(step, parents)]


def _steps(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    steps = found.get("steps")
    return [step for step in steps.values() if isinstance(step, dict)] if isinstance(steps, dict) else []


def _below(found: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Returns the mapping below these keys; empty if there is none."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _drop_other_data(found: dict[str, Any], overrides: Sequence[str]) -> None:
    """Drops the arguments of a data set that an override replaces, since they belong to the old one."""
    for override in overrides:
        key, _, name = override.partition("=")
        *parents, last = key.strip().split(".")
        split = parents[-2:]
        of_step = len(parents) == 4 and parents[0] == "steps"
        if (len(parents) == 2 or of_step) and split[0] == "data" and last == "name":
            now = name.strip("\"' ")
            before = _below(found, split).get("name", now)  # which a step shares unless it names its own
            places = [_below(found, parents[:2])] if of_step else [*_steps(found), found]
            for args in (_below(place, split) for place in places):
                if args.get("name", before) != now:
                    args.clear()


def recipe_of(record: Mapping[str, Any], *, source: str) -> Recipe:
    """Returns the recipe in a run's record.

    Raises:
        ConfigError: the record has an unknown key.
    """
    _check_names(record, where=source)
    return _recipe(copy.deepcopy(dict(record)), source=source)


def list_recipes() -> dict[str, Path]:
    """Returns every packaged recipe by name: its path below configs/ without the ending."""
    root = _root()
    return {str(p.relative_to(root).with_suffix("")): p for p in sorted(root.rglob("*.yaml"))}


def read_header(path: Path) -> str:
    """Reads the comment at the top of a recipe: its command, cost and scores."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").removeprefix(" "))
    return "\n".join(lines)


def plain(value: Any) -> Any:
    """Converts `value` to plain YAML and JSON types: dataclasses to dicts, paths and other values to text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and type(value).__str__ is object.__str__:
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return str(value)


def _with_steps(found: dict[str, Any], *, source: str) -> Recipe:
    """Builds a recipe with steps: each step is the shared sections with its own values over them."""
    common = {key: value for key, value in found.items() if key != "steps"}
    sections_of = found["steps"]
    if (
        not isinstance(sections_of, dict)
        or not sections_of
        or not all(isinstance(own, dict) for own in sections_of.values())
    ):
        raise ConfigError(f"{source}: steps: should be a mapping `name: {{section: ...}}`; got {shown(sections_of)}")
    steps: dict[str, Recipe] = {}
    for name, own in sections_of.items():
        where = f"{source}: steps.{name}"
        init = own.get("init")
        if init is not None and (not isinstance(init, str) or init not in steps):
            raise ConfigError(f"{where}.init: {shown(init)} is not an earlier step{did_you_mean(str(init), steps)}")
        sections = {key: value for key, value in own.items() if key != "init"}
        step = _recipe(laid_over(common, sections), source=where)
        steps[str(name)] = dataclasses.replace(step, init=init)
    first = next(iter(steps.values()))
    shared = {key: value for key, value in first.sections.items() if key in common}
    uses = tuple(dict.fromkeys(name for step in steps.values() for name in step.uses))
    return Recipe(source, shared, first.data, first.seed, steps, uses=uses)


def laid_over(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merges `own` into `common`; a section that names a different part is replaced entirely."""
    merged = dict(common)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = value
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            same_part = "name" not in value or value["name"] == below.get("name", value["name"])
            merged[key] = laid_over(below, value) if same_part else value
    return merged


def _recipe(found: dict[str, Any], *, source: str) -> Recipe:
    known = [*SECTIONS, "data", "seed", "uses"]
    found = {key: value for key, value in found.items() if key not in ("features", "notes")}  # a run's record has them
    for key in found:
        if key not in known:
            raise ConfigError(f"{source}: {key}: is not a section of a recipe{did_you_mean(key, known)}")
    for key in ("model", "data"):
        if key not in found:
            raise ConfigError(f"{source}: {key}: is missing; a recipe needs the sections model and data")
    uses = module_names(found.pop("uses", ()), where=f"{source}: uses")
    for key, value in found.items():
        if key != "seed" and not isinstance(value, dict):
            raise ConfigError(f"{source}: {key}: should be a mapping `name: ...`; got {shown(value)}")
    data = found.pop("data")
    for split, args in data.items():
        if split not in SPLITS:
            raise ConfigError(f"{source}: data.{split}: is not a split{did_you_mean(split, SPLITS)}")
        if not isinstance(args, dict):
            raise ConfigError(f"{source}: data.{split}: should be a mapping `name: ...`; got {shown(args)}")
    seed = found.pop("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"{source}: seed: should be a whole number from 0 up; got {shown(seed)}")
    if seed >= 1 << 63:
        raise ConfigError(f"{source}: seed: should be below 2**63; got {shown(seed)}")
    return Recipe(source, found, data, seed, uses=uses)


def _override(found: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"`{override}` is not an override; write key=value, e.g. optim.lr=0.01")
    *parents, last = key.split(".")
    place = found
    for depth, parent in enumerate(parents):
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{override}: '{'.'.join(parents[: depth + 1])}' is a value, not a section")
    place[last] = _at_home(parse_yaml(text, where=override, advice="quote the value", error=ConfigError))


def _read_yaml(path: Path) -> dict[str, Any]:
    found = _at_home(read_yaml(path, kind="recipe file", error=ConfigError))
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: should hold sections (model, data, ...); got {type(found).__name__}")
    return found


def _at_home(value: Any) -> Any:
    """Returns `value` with `~` replaced by the home folder at the beginning of every text, as a shell does."""
    if isinstance(value, dict):
        return {key: _at_home(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_at_home(inner) for inner in value]
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111 (patterns, too)


def _check_names(values: Mapping[Any, Any], *, where: str) -> None:
    for name, value in values.items():
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise ConfigError(
                f"{where}: {shown(name)} is not a name of a section or an argument; write text as `name:`"
            )
        if isinstance(value, Mapping):
            _check_names(value, where=f"{where}: {name}")


def _packaged(name: str) -> Path:
    recipes = list_recipes()
    if name not in recipes:
        raise ConfigError(
            f"{name}: there is no folder and no recipe with this name{_nearest(name, recipes)}; correct the path, "
            "or see `videozoo list recipes`"
        )
    return recipes[name]


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _root() -> Path:
    inside = Path(str(importlib.resources.files("videozoo"))) / "configs"  # an installed wheel
    return inside if inside.is_dir() else inside.parent.parent / "configs"  # a checkout
