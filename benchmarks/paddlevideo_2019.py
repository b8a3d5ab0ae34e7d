"""PaddleVideo's static-graph networks of 2019 as `paddlevideo.py` runs them: StNet and Non-local have no later ones.

It runs under paddlepaddle 1.8.5, so this file keeps to Python 3.7. The networks come from a clone of PaddlePaddle's
`models`, branch release/1.8, folder PaddleCV/video.
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from pathlib import Path

import numpy as np

NUM_CLASSES = 400
SEGMENT_FRAMES = 5  # of StNet


class Section(dict):
    """A section of a recipe, whose entries are attributes, too."""

    __getattr__ = dict.__getitem__


def stnet(depth):
    """Probabilities and loss of StNet for clips [b s l*3 h w]."""

    def build(video, clip, label, mode):
        import paddle.fluid as fluid

        sys.path.insert(0, str(video / "models" / "stnet"))
        from stnet_res_model import StNet_ResNet

        network = StNet_ResNet(depth, clip.shape[1], clip.shape[2] // 3, is_training=mode == "train")
        scores = network.net(clip, NUM_CLASSES)
        return scores, fluid.layers.cross_entropy(scores, label)

    return build


def nonlocal_net(arc, depth):
    """Probabilities and loss of Non-local for clips [b c t h w]; `arc` is its recipe's number of C2D or I3D."""

    def build(video, clip, label, mode):
        import yaml

        package = types.ModuleType("nonlocal_model")  # its own initialisation needs the whole project
        package.__path__ = [str(video / "models" / "nonlocal_model")]
        sys.modules["nonlocal_model"] = package
        from nonlocal_model import resnet_video

        recipe = yaml.safe_load((video / "configs" / "nonlocal.yaml").read_text())
        config = Section({name: Section(section) for name, section in recipe.items()})
        config.MODEL.update(video_arc_choice=arc, depth=depth)
        config["NUM_GPUS"] = 1
        return resnet_video.create_model(clip, label, config, mode=mode)

    return build


NETWORKS = {
    "stnet": stnet(50),
    "stnet_101": stnet(101),
    "nonlocal": nonlocal_net(2, 50),
    "nonlocal_101": nonlocal_net(4, 101),
    "nonlocal_c2d": nonlocal_net(1, 50),
    "nonlocal_c2d_101": nonlocal_net(3, 101),
}


def draw(name, shape, rng):
    """Values for a parameter: moderate scores, and none all 0 or 1, as fresh ones are, which would hide a fault."""
    if len(shape) > 1:
        fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        return rng.normal(0, 0.7 * np.sqrt(2 / fan_in), shape)
    if name.endswith(("_mean", "w_1")):
        return rng.normal(0, 0.1, shape)
    if name.endswith(("_offset", "_b", "b_0")):
        return rng.normal(0, 0.05, shape)
    return rng.uniform(*((0.5, 1.5) if name.endswith(("_variance", "w_2")) else (0.25, 0.75)), shape)


def serve(name, video, folder):
    """Builds `name`, keeps its weights and scores in `folder`, then times what it is told to, a line of JSON each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # it logs on stdout
    import paddle.fluid as fluid

    array = np.load(folder / "clip.npy")  # [b t c h w]
    if name.startswith("stnet"):
        array = array.reshape(1, -1, 3 * SEGMENT_FRAMES, *array.shape[3:])
    else:
        array = array.swapaxes(1, 2)
    programs = {}
    for mode in ("valid", "train"):
        program, startup = fluid.Program(), fluid.Program()
        with fluid.program_guard(program, startup), fluid.unique_name.guard():
            clip = fluid.layers.data("clip", list(array.shape[1:]))
            label = fluid.layers.data("label", [1], dtype="int64")
            scores, loss = NETWORKS[name](video, clip, label, mode)
            loss = fluid.layers.mean(loss)
            if mode == "train":
                fluid.optimizer.Momentum(1e-6, 0.9).minimize(loss)
        programs[mode] = (program, loss if mode == "train" else scores)
    executor = fluid.Executor(fluid.CPUPlace())
    executor.run(startup)  # the training program's, which has all of the other's
    rng = np.random.RandomState(0)
    for parameter in programs["valid"][0].all_parameters():
        tensor = fluid.global_scope().find_var(parameter.name).get_tensor()
        tensor.set(draw(parameter.name, parameter.shape, rng).astype("float32"), fluid.CPUPlace())
    fluid.save(programs["valid"][0], str(folder / "weights"))
    feed = {"clip": array, "label": np.zeros((1, 1), "int64")}

    def run(mode):
        program, wanted = programs[mode]
        return executor.run(program, feed=feed, fetch_list=[wanted])[0]

    np.save(folder / "scores.npy", run("valid"))
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        mode = "train" if json.loads(line) == "step" else "valid"
        start = time.perf_counter()
        run(mode)
        print(json.dumps(time.perf_counter() - start), file=answers)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
