"""`videozoo info`: measures the size and cost of a model on one clip."""

from __future__ import annotations

import typer

from videozoo.cli.reading import AllowCode

__all__ = ["info"]


def info(
    model: str = typer.Argument(help="Name of a model, see `videozoo list models`."),
    args: list[str] = typer.Argument(None, help="Arguments of the model: key=value, e.g. backbone=resnet18"),
    depth: int = typer.Option(2, min=0, help="Depth of the table of layers; 0 omits it."),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON on stdout, and nothing else."),
    allow_code: AllowCode = None,
) -> None:
    """Count a model's parameters, operations and activations for one clip, by a forward pass on the CPU."""
    import dataclasses
    import json

    from videozoo.cli.arguments import read_arguments
    from videozoo.models.profile import profile
    from videozoo.models.registry import create_model

    arguments = read_arguments(args or [])["model"]
    if not as_json:
        typer.echo(f"measuring {model} ...", err=True)
    found = profile(create_model(model, **arguments))
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=1))
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    facts = Table(box=None, show_header=False)
    facts.add_row("parameters", f"{found.num_params / 1e6:.2f} M")
    facts.add_row("operations", f"{found.flops / 1e9:.2f} GFLOPs per clip (a multiply-add is 2)")
    facts.add_row("input", f"{' x '.join(map(str, found.input_shape))} (t c h w)")
    facts.add_row("weights", f"{found.weight_bytes / 2**20:.1f} MiB in float32")
    facts.add_row("kept for backward", f"{found.saved_bytes / 2**20:.1f} MiB at batch 1, in addition to the weights")
    console.print(facts)
    rows = [layer for layer in found.layers if layer.name.count(".") < depth]
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("layer")
    table.add_column("kind")
    for heading in ("output", "params", "GFLOPs"):
        table.add_column(heading, justify="right")
    for layer in rows:
        shape = " x ".join(map(str, layer.output_shape)) if layer.output_shape else ""
        table.add_row(Text(layer.name), layer.kind, shape, f"{layer.num_params:,}", f"{layer.flops / 1e9:.3f}")
    console.print(table)
