"""Recipes of several steps, run in order; the last step's model is the result."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from videozoo.config.recipe import Recipe
from videozoo.engine import run
from videozoo.engine.run_files import claim, write_recipe
from videozoo.engine.trainer import RunResult
from videozoo.errors import ConfigError, WeightsError
from videozoo.io.whole_file import whole_file
from videozoo.weights.checkpoint import find

__all__ = ["train"]


def train(
    recipe: Recipe,
    out_dir: str | os.PathLike[str],
    *,
    resume: bool = False,
    init: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> RunResult:
    """Trains a recipe of one or several steps; see `engine.run.train` for the arguments and errors.

    Each step is a separate run in `out_dir/<step>`. It starts from the best weights of the step named by its `init`,
    or from the argument `init`. The best.pt of the last step is copied to `out_dir`, which is then used like the
    folder of a single run.

    `resume` skips finished steps and continues the interrupted one.
    """
    if not recipe.steps:
        return run.train(recipe, out_dir, resume=resume, init=init, progress=progress)
    out_dir = Path(out_dir)
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    is_first_process = os.environ.get("RANK", "0") == "0"
    with contextlib.ExitStack() as stack:
        if is_first_process and (problem := claim(out_dir, stack, resume=resume or restarted)):
            raise ConfigError(problem)
        for name, step in recipe.steps.items():
            start = init if step.init is None else out_dir / step.init
            result = run.train(step, out_dir / name, resume=resume, init=start, progress=progress)
            if is_first_process:
                write_recipe(out_dir, recipe.resolved())
            if result.stopped_by:
                return result
        if is_first_process:
            learned = find(result.out_dir)
            with whole_file(out_dir / "best.pt", error=WeightsError) as part:
                shutil.copyfile(learned, part)
        return result
