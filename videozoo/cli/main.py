"""The command line: one thin module a verb, loaded when the verb is called."""

from __future__ import annotations

import os
import sys

import typer

from videozoo.cli import (
    bench,
    demo,
    eval,
    extract,
    index,
    info,
    model,
    predict,
    prepare,
    runs,
    search,
    synth,
    train,
    weights,
)
from videozoo.errors import VideoZooError
from videozoo.io.isolation import supervise

__all__ = ["app", "main"]

app = typer.Typer(
    name="videozoo",
    help="Train, evaluate, run and deploy video models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing boxes would take longer than all the rest of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True),
) -> None:
    """Train, evaluate, run and deploy video models."""
    if version:
        from videozoo.version import __version__

        typer.echo(f"videozoo {__version__}")
        raise typer.Exit


app.command("train", short_help="Train a model from a recipe or a folder of clips.")(train.train)
app.command("runs")(runs.runs)
app.command("eval", short_help="Score a trained model on held-out data, with a report.")(eval.evaluate_command)
app.command("predict", short_help="Say what happens in videos, and when.")(predict.predict)
app.command("extract", short_help="Store what a network sees of videos, as features.")(extract.extract)
app.command("index")(index.index)
app.command("search", short_help="Find the moments that a sentence tells of.")(search.search)
app.command("synth", short_help="Make a world of moving shapes: videos with labels.")(synth.synth)
app.add_typer(prepare.app, name="prepare")
app.add_typer(bench.app, name="bench")
app.command("show", short_help="Print a recipe with every default filled in.")(info.show)
app.command("list", short_help="List recipes, models and other parts.")(info.list_parts)
app.command("info", short_help="Count a model's parameters, operations, activations.")(model.info)
app.command("import", short_help="Convert another project's weights.")(weights.import_weights)
app.command("export")(weights.export_weights)
app.command("demo", short_help="Make a world, train on it, evaluate, predict: 5 minutes.")(demo.demo)


# Jobs over files: one that crashes the decoder is named, and the job goes on without it.
_SUPERVISED = ("predict", "extract", "index")


def main() -> None:
    """Runs the command line; an error that we raise, or the file system, is one line on stderr and exit status 1."""
    # Threads that spin while they wait take the cores that data loading needs: on two busy cores a training step
    # took 3.9 s spinning and 0.7 s sleeping. Read when torch loads, so it is set here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.argv[1:] = map(_at_home, sys.argv[1:])
    if sys.argv[1:2] and sys.argv[1] in _SUPERVISED:
        sys.exit(supervise(_run))
    sys.exit(_run())


def _at_home(argument: str) -> str:
    """Returns an argument with its `~` replaced by the home folder; shells leave that of `--out=~/r` and of '~/r'."""
    option, equals, value = argument.partition("=")
    if argument.startswith("--") and value.startswith("~"):
        return option + equals + os.path.expanduser(value)  # noqa: PTH111 (patterns, too)
    return os.path.expanduser(argument)  # noqa: PTH111


def _run() -> int:
    """Runs the command and returns its exit status."""
    try:
        app()
    except VideoZooError as error:
        if os.environ.get("VIDEOZOO_TRACEBACK"):
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        return 1
    except OSError as error:
        if os.environ.get("VIDEOZOO_TRACEBACK") or error.filename is None:  # not about a file of the user's
            raise
        reason = (error.strerror or "failed").lower()
        typer.secho(f"error: {error.filename}: {reason}; give another path, or allow this one", fg="red", err=True)
        return 1
    return 0


if __name__ == "__main__":
    main()
