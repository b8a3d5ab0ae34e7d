"""Peak memory of `videozoo predict` on a short and on an hour-long video of the same world, and its rate.

    python benchmarks/long_video.py RUN [--minutes 60] [--size 64] [-- --stride 1 ...]

The video is a made minute, its packets written again and again: no encoder is waited for. Each prediction is a process
of its own; what is printed is the largest resident set it had.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

from videozoo.data.motion import make_untrimmed

CHILD = """
import json, resource, sys
from videozoo.cli.main import main
sys.argv = ["videozoo", "predict", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), file=sys.stderr)
"""


def repeat(source: Path, out: Path, times: int) -> None:
    """The packets of a file, `times` times one after the other."""
    with av.open(str(out), "w") as target:
        stream = None
        offset = 0
        for _ in range(times):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or target.add_stream_from_template(video)
                end = 0
                for packet in container.demux(video):
                    if packet.dts is None:
                        continue
                    end = max(end, packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    target.mux(packet)
            offset += end


def predict(run: Path, video: Path, options: list[str]) -> tuple[float, float]:
    """(peak memory in MiB, seconds) of one prediction."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", CHILD, str(run), str(video), "--out", str(video.with_suffix(".json")), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stderr.splitlines()[-1])["peak_mib"], time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo/tsm"))
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--size", type=int, default=64, help="side of the picture in pixels")
    args, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        make_untrimmed(Path(folder) / "world", num_train=0, num_val=1, length_s=60.0, size_px=args.size)
        (minute,) = Path(folder).rglob("*.mp4")
        for minutes in (1, args.minutes):
            video = Path(folder) / f"{minutes}min.mp4"
            repeat(minute, video, minutes)
            peak_mib, seconds = predict(args.run, video, [o for o in options if o != "--"])
            with av.open(str(video)) as container:
                length_s = container.duration / av.time_base
            print(f"{length_s / 60:6.1f} min of video: {peak_mib:6.0f} MiB at most, {seconds:6.1f} s")


if __name__ == "__main__":
    main()
