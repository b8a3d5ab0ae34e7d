"""A training step of NeXtVLAD at the published size: seconds, examples a second and peak memory.

    python benchmarks/nextvlad.py [--batch 160] [--frames 300] [--steps 3] [--device auto] [--precision fp32]

The step is the recipe's own: bytes to the device, dequantised and masked there, loss, gradients, clipping, Adam. Videos
are 120 to 300 frames long. Memory is the process's peak on CPUs, and what torch took on GPUs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from videozoo.engine.optim import adam, clip_gradients, gradient_norm
from videozoo.models import create_model
from videozoo.tasks.tag import Tag
from videozoo.transforms.features import FeaturesInput

NUM_CLASSES = 3862


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=160)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--steps", type=int, default=3, help="after one that is not counted")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    args = parser.parse_args()
    name = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    device = torch.device(name)
    torch.manual_seed(0)
    spec = FeaturesInput(num_frames=args.frames, mid_bin=(False, True))
    task = Tag(create_model("nextvlad", num_classes=NUM_CLASSES), tuple(map(str, range(NUM_CLASSES)))).to(device)
    optimizer = adam(task, lr=2e-4, weight_decay=1e-5)
    num_frames = torch.randint(min(120, args.frames), args.frames + 1, (args.batch,))
    num_frames[0] = args.frames
    stored: dict[str, Any] = {
        "features": torch.randint(0, 256, (args.batch, args.frames, sum(spec.feature_dims)), dtype=torch.uint8),
        "num_frames": num_frames,
        "label": (torch.rand(args.batch, NUM_CLASSES) < 3 / NUM_CLASSES).float(),
        "id": [""] * args.batch,
    }

    def step() -> None:
        batch = spec.to_device(stored, device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = task(batch)["loss"]
        loss.backward()
        parameters = list(task.parameters())
        clip_gradients(parameters, gradient_norm(parameters), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device

    times_s = []
    for _ in range(1 + args.steps):
        start_s = time.perf_counter()
        step()
        times_s.append(time.perf_counter() - start_s)
    if device.type == "cuda":
        peak_bytes = torch.cuda.max_memory_allocated(device)
    else:
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    step_s = statistics.median(times_s[1:])
    result = {
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "precision": args.precision,
        "batch": args.batch,
        "frames": args.frames,
        "parameters_millions": round(sum(p.numel() for p in task.parameters()) / 1e6, 1),
        "step_s": round(step_s, 3),
        "examples_per_s": round(args.batch / step_s, 1),
        "peak_gib": round(peak_bytes / 2**30, 2),
    }
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
