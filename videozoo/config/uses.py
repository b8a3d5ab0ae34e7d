"""Modules that hold a user's own parts. A recipe and the user may name them; a checkpoint alone imports nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videozoo.errors import ConfigError, VideoZooError
from videozoo.structured import shown

__all__ = ["check_imported", "import_modules", "module_names"]

MOST = 100  # modules of one recipe


def module_names(value: Any, *, where: str, error: type[VideoZooError] = ConfigError) -> tuple[str, ...]:
    """Returns the modules listed in `uses` of a recipe or of a checkpoint's record.

    Raises:
        ConfigError: `value` is not a list of dotted module names; or `error`.
    """
    if not isinstance(value, list | tuple) or len(value) > MOST:
        raise error(f"{where}: should be a list of modules, e.g. [my_package.my_parts]; got {shown(value)}")
    for name in value:
        if not (isinstance(name, str) and _is_dotted(name)) or name.endswith(".py"):
            raise error(f"{where}: {shown(name)} is not the name of a module; write e.g. my_package.my_parts")
    return tuple(dict.fromkeys(value))


def import_modules(modules: Sequence[str], *, where: str, folder: Path | None = None) -> None:
    """Imports modules, which registers their parts. The current folder and `folder` are searched last.

    Raises:
        ConfigError: there is no such module, or it cannot be imported.
    """
    modules = module_names(modules, where=where)
    if not modules:
        return
    folders = [str(place.resolve()) for place in (folder, Path()) if place is not None]
    sys.path += [place for place in dict.fromkeys(folders) if place not in sys.path]
    importlib.invalidate_caches()
    for name in modules:
        try:
            importlib.import_module(name)
        except VideoZooError as error:
            raise ConfigError(f"{where}: {name}: {error}") from error
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise _broken(name, error, where=where) from error
            raise ConfigError(
                f"{where}: there is no module '{name}' in {' or '.join(folders)}, nor an installed one; correct the "
                "name, or add its folder to PYTHONPATH"
            ) from error
        except Exception as error:  # whatever a user's own code raises
            raise _broken(name, error, where=where) from error


def check_imported(modules: Sequence[str], *, where: str, error: type[VideoZooError]) -> None:
    """Refuses a recipe whose modules have not been imported; imports nothing itself.

    Raises:
        VideoZooError: as `error`; the message says how to allow them.
    """
    missing = [name for name in modules if name not in sys.modules]
    if missing:
        options = " ".join(f"--allow-code {name}" for name in missing)
        raise error(
            f"{where}: needs code that is not part of videozoo: {', '.join(missing)}; if you trust it, add {options}, "
            f"in Python allow_code={missing}"
        )


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _broken(name: str, error: Exception, *, where: str) -> ConfigError:
    reason = " ".join(str(error).split())
    return ConfigError(
        f"{where}: {name} cannot be imported ({type(error).__name__}: {reason}); correct it "
        "(VIDEOZOO_TRACEBACK=1 shows where)"
    )
