"""The command line: one module per command, imported when the command runs."""

from __future__ import annotations

import contextlib
import errno
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
    serve,
    stream,
    synth,
    train,
    verify,
    weights,
)
from videozoo.cli.allocator import keep_freed_memory
from videozoo.errors import TORCH_EXTRA, VideoZooError
from videozoo.io.isolation import supervise
from videozoo.terminal import abandon_stdout, prepare_streams, say

__all__ = ["app", "main"]


app = typer.Typer(
    name="videozoo",
    help="Train, evaluate, run and deploy video models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing boxes would take longer than the rest of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True),
) -> None:
    """Train, evaluate, run and deploy video models."""
    if version:
        from videozoo.version import __version__

        say(f"videozoo {__version__}")
        raise typer.Exit


app.command("train", short_help="Train a model from a recipe or a folder of clips.")(train.train)
app.command("runs")(runs.runs)
app.command("eval", short_help="Score a trained model on held-out data, with a report.")(eval.evaluate_command)
app.command("predict", short_help="Predict the content of videos, with times.")(predict.predict)
app.command("extract", short_help="Extract features of videos and store them.")(extract.extract)
app.command("index")(index.index)
app.command("search", short_help="Find the moments that match a sentence.")(search.search)
app.command("stream", short_help="Answer for a camera, a network stream or a file as it plays.")(stream.stream)
app.command("serve", short_help="Serve models over HTTP, with a page to try them.")(serve.serve)
app.command("synth", short_help="Generate labeled videos of moving shapes.")(synth.synth)
app.add_typer(prepare.app, name="prepare")
app.add_typer(bench.app, name="bench")
app.command("show", short_help="Print a recipe with every default filled in.")(info.show)
app.command("list", short_help="List recipes, models and other parts.")(info.list_parts)
app.command("info", short_help="Count a model's parameters, operations, activations.")(model.info)
app.command("import", short_help="Convert another project's weights.")(weights.import_weights)
app.command("export", short_help="Export a run to ONNX, OpenVINO, torch.export or as weights.")(weights.export_weights)
app.command("verify", short_help="Compare an exported network with its run, on videos.")(verify.verify)
app.command("demo", short_help="Generate data, train, evaluate, predict: 5 minutes.")(demo.demo)


# Jobs over files: a file that crashes the decoder is reported, and the job continues without it.
_SUPERVISED = ("predict", "extract", "index", "search", "eval")
# Jobs that allocate and free large tensors in turns.
_COMPUTING = (*_SUPERVISED, "train", "serve", "stream", "bench", "verify", "demo")
# A full disk or quota, a file size limit, a failing disk.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Runs the command line; errors of the package or of the file system give one line on stderr and exit status 1."""
    # Waiting threads that spin occupy the cores of data loading: on two busy cores a training step took 3.9 s with
    # spinning and 0.7 s with sleeping. Set here, because torch reads it on import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.argv[1:2] and sys.argv[1] in _COMPUTING:
        keep_freed_memory()
    sys.argv[1:] = map(_at_home, sys.argv[1:])
    prepare_streams()
    is_alone = "RANK" not in os.environ  # a process of torchrun cannot restart
    if sys.argv[1:2] and sys.argv[1] in _SUPERVISED and is_alone:
        sys.exit(supervise(_run))
    sys.exit(_run())


def _at_home(argument: str) -> str:
    """Returns an argument with its `~` replaced by the home folder; shells do not expand `--out=~/r` and '~/r'."""
    option, equals, value = argument.partition("=")
    if argument.startswith("--") and value.startswith("~"):
        return option + equals + os.path.expanduser(value)  # noqa: PTH111 (also for patterns)
    return os.path.expanduser(argument)  # noqa: PTH111


def _run() -> int:
    """Runs the command and returns its exit status."""
    try:
        status = _exit_status()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        status = 1
    except VideoZooError as error:
        if os.environ.get("VIDEOZOO_TRACEBACK"):
            raise
        status = _fail(str(error))
    except ModuleNotFoundError as error:
        if os.environ.get("VIDEOZOO_TRACEBACK") or (error.name or "").partition(".")[0] not in TORCH_EXTRA:
            raise
        status = _fail("this command needs torch; run: pip install 'videozoo[torch]'")
    except OSError as error:
        if os.environ.get("VIDEOZOO_TRACEBACK") or (error.filename is None and error.errno not in _NO_ROOM):
            raise
        status = _fail(_sentence_of(error))
    try:
        sys.stdout.flush()
    except OSError:
        abandon_stdout()
    return status


def _exit_status() -> int:
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _sentence_of(error: OSError) -> str:
    reason = (error.strerror or "failed").lower()
    if error.errno in _NO_ROOM:
        where = f"{error.filename}: cannot be written" if error.filename is not None else "output: cannot be written"
        return f"{where} ({reason}); free some space, or write to another disk"
    return f"{os.fsdecode(error.filename)}: {reason}; check its permissions, or give another path"


def _fail(message: str) -> int:
    with contextlib.suppress(OSError):  # stderr may be full or closed, too
        say(f"error: {message}", err=True, color="red")
    return 1


if __name__ == "__main__":
    main()
