"""`videozoo serve`: answers for videos over HTTP."""

# ruff: noqa: UP045 (typer reads the types on Python 3.10)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from typer import Option

from videozoo.cli.eval import Precision
from videozoo.cli.reading import AllowCode

__all__ = ["serve"]

Runs = Annotated[
    Optional[list[Path]],
    typer.Argument(metavar="RUN_OR_DIR...", help="Runs, weight files or exported folders; the first is the default."),
]
Name = Annotated[Optional[list[str]], Option(help="A model with a name of its own, NAME=PATH; may be repeated.")]
Host = Annotated[str, Option(help="Address to listen on; one that is not loopback needs --token.")]
Port = Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
Root = Annotated[Optional[Path], Option(help="Folder whose files may be named by path.")]
Token = Annotated[
    Optional[str], Option(envvar="VIDEOZOO_TOKEN", show_envvar=True, help="Secret that requests must carry.")
]
MaxSize = Annotated[float, Option("--max-size-mb", min=0.001, help="Largest file, in MB of 10^6 bytes.")]
MaxDuration = Annotated[float, Option("--max-duration-s", min=0.001, help="Longest video.")]
MaxPixels = Annotated[int, Option("--max-pixels", min=1, help="Largest number of pixels per frame.")]
Timeout = Annotated[float, Option("--timeout-s", min=0.001, help="Longest time for an upload, and for an answer.")]
Queue = Annotated[int, Option(min=0, help="Requests that wait for a worker; further ones are refused.")]
Workers = Annotated[int, Option(min=1, help="Processes that decode, each one request at a time.")]
Batch = Annotated[int, Option(min=1, help="Samples that go through a network together, of one request or several.")]
Gather = Annotated[float, Option("--gather-ms", min=0, help="Longest time that a sample waits for other requests.")]
Device = Annotated[str, Option(help="cpu, cuda, cuda:1, mps or auto.")]
OfForward = Annotated[Precision, Option(help="Number format of the forward pass.")]


def serve(
    runs: Runs = None,
    name: Name = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    root: Root = None,
    token: Token = None,
    max_size_mb: MaxSize = 512.0,
    max_duration_s: MaxDuration = 3600.0,
    max_pixels: MaxPixels = 4096 * 2304,
    timeout_s: Timeout = 60.0,
    queue: Queue = 32,
    workers: Workers = 8,
    batch: Batch = 8,
    gather_ms: Gather = 5.0,
    allow_code: AllowCode = None,
    device: Device = "auto",
    precision: OfForward = Precision.fp32,
) -> None:
    """Serve models over HTTP: send a video, get the answers of `predict --json`, or open the page at /.

    SIGTERM and Ctrl-C finish the requests in progress. The log goes to stderr, one JSON object a line.
    """
    from videozoo.errors import ConfigError, require
    from videozoo.loading import open_network

    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(package, extra="serve", purpose="serve")
    from videozoo.serve.door import is_loopback
    from videozoo.serve.server import bound_socket, log_as_json, run_server
    from videozoo.serve.service import Service
    from videozoo.serve.settings import Limits, Settings

    if token is None and not is_loopback(host):
        raise ConfigError(f"--host {host}: other machines can reach it; give --token, or stay on 127.0.0.1")
    limits = Limits(round(max_size_mb * 1e6), max_duration_s, max_pixels, timeout_s)
    settings = Settings(limits, root, token, workers, queue, batch, gather_ms / 1000)
    places = _named(runs or [], name or [])
    bound = bound_socket(host, port)
    log_as_json()
    networks = {
        key: open_network(place, device=device, precision=precision.value, allow_code=allow_code or ())
        for key, place in places.items()
    }
    with Service(networks, settings, allow_code=allow_code or ()) as service:
        run_server(service, bound)


def _named(runs: list[Path], named: list[str]) -> dict[str, Path]:
    """Returns the places of the models by name; a run without a name of its own has that of its folder or file.

    Raises:
        ConfigError: a name is given twice or is empty, or there is no model.
    """
    from videozoo.errors import ConfigError

    pairs = [(run.resolve().stem if run.is_file() else run.resolve().name, run) for run in runs]
    for text in named:
        name, _, path = text.partition("=")
        if not name or not path:
            raise ConfigError(f"--name: '{text}' is not NAME=PATH; write e.g. tsm=runs/tsm")
        pairs.append((name, Path(path)))
    if not pairs:
        raise ConfigError("serve: there is no model; name a run or an exported folder")
    found: dict[str, Path] = {}
    for name, place in pairs:
        if name in found:
            raise ConfigError(f"serve: two models have the name '{name}'; name one of them with --name NAME={place}")
        found[name] = place
    return found
