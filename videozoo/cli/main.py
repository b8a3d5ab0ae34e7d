"""The command line: one thin module a verb, loaded when the verb is called."""

from __future__ import annotations

import os
import sys

import typer

from videozoo.cli import demo, eval, info, model, predict, prepare, runs, synth, train, weights
from videozoo.errors import VideoZooError

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


app.command("train")(train.train)
app.command("runs")(runs.runs)
app.command("eval")(eval.evaluate_command)
app.command("predict")(predict.predict)
app.command("synth")(synth.synth)
app.add_typer(prepare.app, name="prepare")
app.command("show")(info.show)
app.command("list")(info.list_parts)
app.command("info")(model.info)
app.command("import")(weights.import_weights)
app.command("export")(weights.export_weights)
app.command("demo")(demo.demo)


def main() -> None:
    """Runs the command line; an error we raise on purpose is one line on stderr and exit status 1."""
    # Threads that spin while they wait take the cores that data loading needs: on two busy cores a training step
    # took 3.9 s spinning and 0.7 s sleeping. Read when torch loads, so it is set here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except VideoZooError as error:
        if os.environ.get("VIDEOZOO_TRACEBACK"):
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
