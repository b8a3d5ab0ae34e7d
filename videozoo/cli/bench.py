"""`videozoo bench`: measures training and models on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import torch

__all__ = ["app", "data", "models"]

app = typer.Typer(help="Measure training and models on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure training and models on this machine."""


@app.command(short_help="Find the bottleneck of training.")
def data(
    recipe: str = typer.Argument(help="A packaged recipe's name, a .yaml file, or a folder with one folder per class."),
    overrides: list[str] = typer.Argument(None, help="key=value, e.g. fit.num_workers=8"),
    steps: int = typer.Option(20, min=1, help="Steps to measure, after a quarter as many for warm-up."),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON on stdout, and nothing else."),
) -> None:
    """Measure the parts of a training step and report the bottleneck; trains some steps and discards the result."""
    import dataclasses
    import json

    from videozoo.config.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    loaded.resolved()

    from videozoo.engine.profile_data import profile_data
    from videozoo.report.profile import verdict

    found = profile_data(loaded, num_steps=steps, warmup_steps=max(steps // 4, 1))
    advice = verdict(found)
    if as_json:
        figures = {**dataclasses.asdict(found), "engine_s": found.engine_s, "verdict": dataclasses.asdict(advice)}
        typer.echo(json.dumps(figures, indent=2))
        return
    typer.echo(
        f"{recipe}: {found.num_samples} samples a step, {found.num_workers} workers, {found.device}, "
        f"{found.num_cores} cores; {found.num_steps} steps measured"
    )
    typer.echo(f"\na step takes {found.step_s:.4f} s ({found.num_samples / found.step_s:.1f} samples/s):")
    for name, seconds in (
        ("wait for data", found.wait_s),
        ("forward", found.forward_s),
        ("backward", found.backward_s),
        ("optimizer", found.optimizer_s),
        ("engine", found.engine_s),
    ):
        typer.echo(_row(name, seconds, found.step_s))
    typer.echo(f"\nits data takes one worker {found.prepare_s:.4f} s:")
    for name, seconds in found.prepare.items():
        typer.echo(_row(name, seconds, found.prepare_s))
    typer.echo(f"\n{advice.text}")


def _row(name: str, seconds: float, whole_s: float, *, width: int = 40) -> str:
    share = seconds / whole_s if whole_s else 0.0
    return f"  {name:<14} {seconds:>8.4f} s {share:>6.1%}  {'#' * round(share * width)}".rstrip()


@app.command(short_help="Time models: forward pass and training step.")
def models(
    pattern: str = typer.Argument("*", help="Pattern of model names, e.g. 'tsm' or 'pp*'."),
    args: list[str] = typer.Argument(None, help="Arguments of every model: key=value, e.g. backbone=resnet18"),
    batch: int = typer.Option(1, min=1, help="Clips per forward pass."),
    steps: int = typer.Option(3, min=1, help="Passes of each kind to measure, after one for warm-up."),
    mode: list[str] = typer.Option(None, help="eager, channels_last, compiled or bf16; may be repeated; default all."),
    train: bool = typer.Option(True, help="Measure training steps, too."),
    cpu_time: bool = typer.Option(False, "--cpu-time", help="Measure CPU time (core-seconds), for shared machines."),
    limit: bool = typer.Option(
        False, "--limit", help="Compare with the speed of torch's matrix product and convolution, and divide the time."
    ),
    exports: bool = typer.Option(
        False,
        "--exports",
        help="Export each model, too: ONNX Runtime, OpenVINO and int8, in turn with float32 and bf16.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON on stdout, and nothing else."),
    out: Path = typer.Option(None, help="Write the table as Markdown to this file."),
) -> None:
    """Time a forward pass and a training step of models at their published input, on this machine."""
    import json
    import os

    import torch

    from videozoo.cli.arguments import read_arguments
    from videozoo.errors import ConfigError, counted
    from videozoo.models.processor import processor
    from videozoo.models.registry import list_models
    from videozoo.tasks.device import pick_device

    names = list_models(pattern)
    if not names:
        raise ConfigError(f"bench: no model matches '{pattern}'; see videozoo list models")
    given = read_arguments(args or [])["model"]
    device = pick_device()
    options = {"modes": mode, "batch_size": batch, "num_steps": steps, "train": train, "cpu_time": cpu_time}
    figures = []
    for name in names:
        figures.append(_time_model(name, given, device=device, options=options))
        if limit:
            figures[-1]["limit"] = _limit(name, given, device=device, options=options)
        if exports:
            figures[-1]["exports"] = _exports(name, given, options=options)
        typer.echo(_model_line(figures[-1]), err=True)
    threads = counted(torch.get_num_threads(), "thread")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{processor()}, {threads}"
    where = f"{where}; torch {torch.__version__}, {batch} clip{'s' if batch > 1 else ''}, median of {steps}"
    seconds = "Core-seconds" if cpu_time else "Seconds"
    if as_json:
        typer.echo(json.dumps({"machine": where, "num_cores": os.cpu_count(), "models": figures}, indent=2))
    table = _markdown(figures, f"{seconds} of a forward pass / a training step ({where}).")
    if limit:
        table += f"\n{_limits_as_markdown(figures)}"
    if exports:
        table += f"\n{_exports_as_markdown(figures)}"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(table, encoding="utf-8")
    if out is None and not as_json:
        typer.echo(f"\n{table}", nl=False)


def _time_model(
    name: str, given: Mapping[str, Any], *, device: torch.device, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the size of a model and its timings by mode."""
    import dataclasses
    import functools

    from videozoo.models.registry import create_model
    from videozoo.models.speed import MODES, time_model

    make = functools.partial(create_model, name, **given)
    model = make()
    row: dict[str, Any] = {
        "model": name,
        "input_shape": list(model.input_shape),
        "num_params": sum(p.numel() for p in model.parameters()),
    }
    del model
    timings = time_model(make, device=device, **{**options, "modes": options["modes"] or MODES})
    row["timings"] = {timing.mode: dataclasses.asdict(timing) for timing in timings}
    return row


def _limit(name: str, given: Mapping[str, Any], *, device: torch.device, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a model's `Limit`, in the form of prediction."""
    import dataclasses
    import time

    import torch

    from videozoo.models.folding import folded
    from videozoo.models.limit import measure_limit
    from videozoo.models.memory_format import channels_last
    from videozoo.models.registry import create_model

    model = create_model(name, **given).to(device)
    channels_last(model)
    model = folded(model)
    clips = torch.randn(options["batch_size"], *model.input_shape, device=device)

    @torch.no_grad()
    def forward() -> None:
        model(clips)

    clock = time.process_time if options["cpu_time"] else time.perf_counter
    found = measure_limit(forward, device=device, num_turns=options["num_steps"], clock=clock)
    return dataclasses.asdict(found)


def _exports(name: str, given: Mapping[str, Any], *, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the fields of each form of a model, by its name; see `time_exports`."""
    import dataclasses
    import time

    from videozoo.export.speed import time_exports
    from videozoo.models.registry import create_model

    found = time_exports(
        create_model(name, **given),
        batch_size=options["batch_size"],
        num_turns=options["num_steps"],
        clock=time.process_time if options["cpu_time"] else time.perf_counter,
    )
    return {form: dataclasses.asdict(speed) for form, speed in found.items()}


def _model_line(row: dict[str, Any]) -> str:
    cells = (f"{mode} {_cell(timing)}" for mode, timing in row["timings"].items())
    return f"{row['model']}: {', '.join(cells)} s"


def _markdown(rows: list[dict[str, Any]], heading: str) -> str:
    """Returns a Markdown table of seconds per forward pass / training step by mode, and reasons for missing values."""
    modes = list(rows[0]["timings"])
    lines = [
        heading,
        "",
        f"| model | input | parameters | {' | '.join(modes)} |",
        f"|---|---|---|{'---|' * len(modes)}",
    ]
    for row in rows:
        size = " x ".join(map(str, row["input_shape"]))
        cells = " | ".join(_cell(row["timings"][mode]) for mode in modes)
        lines.append(f"| `{row['model']}` | {size} | {row['num_params'] / 1e6:.2f} M | {cells} |")
    missing = [(row["model"], t) for row in rows for t in row["timings"].values() if t["reason"]]
    if missing:
        lines += ["", *(f"- {name}, {timing['mode']}: {timing['reason']}" for name, timing in missing)]
    return "\n".join(lines) + "\n"


def _cell(timing: dict[str, Any]) -> str:
    return " / ".join("-" if s is None else f"{s:.3g}" for s in (timing["forward_s"], timing["step_s"]))


def _limits_as_markdown(rows: list[dict[str, Any]]) -> str:
    """Returns a Markdown table of the shares of the machine's limit and of the kinds of layers."""
    kinds = list(rows[0]["limit"]["shares_of_time"])
    lines = [
        "The same models in the form of prediction (float32, channels last), compared with torch's own matrix product, "
        "3x3 convolution and copy in the same process. Limit: the pass at these rates, divided by its time. With "
        "memory: each layer at the rate of arithmetic or of memory, whichever is slower. Then its kinds of layers.",
        "",
        f"| model | GFLOP | seconds | matrix product, convolution, copy | limit | with memory | {' | '.join(kinds)} |",
        f"|---|---|---|---|---|---|{'---|' * len(kinds)}",
    ]
    for row in rows:
        found = row["limit"]
        rates = found["rates"]
        speeds = (
            f"{rates['matmul_flops_per_s'] / 1e9:.0f}, {rates['convolution_flops_per_s'] / 1e9:.0f} GFLOP/s, "
            f"{rates['copy_bytes_per_s'] / 1e9:.0f} GB/s"
        )
        shares = " | ".join(f"{found['shares_of_time'][kind]:.0%}" for kind in kinds)
        lines.append(
            f"| `{row['model']}` | {found['flops'] / 1e9:.1f} | {found['forward_s']:.3g} | {speeds} | "
            f"{found['share']:.0%} | {found['share_with_memory']:.0%} | {shares} |"
        )
    return "\n".join(lines) + "\n"


def _exports_as_markdown(rows: list[dict[str, Any]]) -> str:
    """Returns a Markdown table that compares the forms of each model with torch in float32, and reasons for gaps."""
    lines = [
        "The same models exported, on the CPU, with random weights; all forms of a model in turn on the same clip. "
        "Speeds are ratios to torch in float32, for int8 also to the faster export. Difference: the largest of the "
        "outputs, relative to the largest output. Same: clips with the same best class.",
        "",
        "| model | torch, s | bf16 | ONNX Runtime | OpenVINO | difference | int8 | int8 to export | int8 difference | "
        "int8 same | MB: fp32, int8 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = row["exports"]
        eager_s = found["eager"]["seconds"]
        seconds = {name: found[name]["seconds"] for name in ("bf16", "onnx", "openvino", "int8")}
        best_s = min((seconds[name] for name in ("onnx", "openvino") if seconds[name]), default=None)
        differences = [found[name]["difference"] for name in ("onnx", "openvino") if seconds[name]]
        int8 = found["int8"]
        over_export = best_s / int8["seconds"] if best_s and int8["seconds"] else None
        cells = [
            f"`{row['model']}`",
            f"{eager_s:.3g}",
            *(
                _number(eager_s / seconds[name] if seconds[name] else None, ".2f")
                for name in ("bf16", "onnx", "openvino")
            ),
            _number(max(differences, default=None), ".0e"),
            _number(eager_s / int8["seconds"] if int8["seconds"] else None, ".2f"),
            _number(over_export, ".2f"),
            _number(int8["difference"], ".1%"),
            _number(int8["agreement"], ".0%"),
            ", ".join(
                _number(size and size / 1e6, ".0f") for size in (found["onnx"]["size_bytes"], int8["size_bytes"])
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    gaps = [(row["model"], form, found["reason"]) for row in rows for form, found in row["exports"].items()]
    lines += ["", *(f"- {model}, {form}: {why}" for model, form, why in gaps if why)] if any(g[2] for g in gaps) else []
    return "\n".join(lines) + "\n"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
