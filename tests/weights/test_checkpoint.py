"""Checkpoints are written whole or not at all and never run what they hold."""

import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from videozoo.errors import WeightsError
from videozoo.weights import checkpoint

PART = {"name": "part"}
RECORD = {"model": {"name": "tsm"}, "task": PART, "input": PART}
PAYLOAD = {
    "record": RECORD,
    "class_names": ["a", "b"],
    "model": {"w": torch.ones(2)},
    "step": 7,
}


def test_round_trip(tmp_path):
    checkpoint.write(tmp_path / "last.pt", {**PAYLOAD, "best": {"top1": 0.5}})
    found = checkpoint.read(tmp_path)
    assert (found.step, found.class_names, found.resume) == (7, ("a", "b"), {"best": {"top1": 0.5}})
    assert torch.equal(found.model["w"], torch.ones(2))


def test_safetensors_round_trip(tmp_path):
    path = tmp_path / "w.safetensors"
    checkpoint.write_safetensors(
        path, record=PAYLOAD["record"], class_names=("a", "b"), model={"w": torch.ones(2).expand(3, 2)}
    )
    found = checkpoint.read(path)
    assert found.record == PAYLOAD["record"]
    assert torch.equal(found.model["w"], torch.ones(3, 2))


def test_best_is_preferred(tmp_path):
    checkpoint.write(tmp_path / "last.pt", PAYLOAD)
    checkpoint.write(tmp_path / "best.pt", PAYLOAD)
    assert checkpoint.find(tmp_path).name == "best.pt"


def test_empty_run(tmp_path):
    with pytest.raises(WeightsError, match=r"holds neither best\.pt nor last\.pt"):
        checkpoint.find(tmp_path)
    with pytest.raises(WeightsError, match="there is no such file or run directory"):
        checkpoint.find(tmp_path / "nowhere")


def test_cut_short(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.write(path, PAYLOAD)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=r"last\.pt: .*cut short"):
        checkpoint.read(path)


def test_cut_short_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    checkpoint.write_safetensors(path, record={}, class_names=(), model={"w": torch.ones(2)})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match="cut short or damaged"):
        checkpoint.read(path)


class Hostile:
    def __reduce__(self):
        return print, ("owned",)


def test_hostile_pickle_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"format": "videozoo", "x": Hostile()}, path)
    with pytest.raises(WeightsError, match="refused"):
        checkpoint.read(path)
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(WeightsError):
        checkpoint.read(tmp_path / "raw.pt")
    assert "owned" not in capsys.readouterr().out


def test_someone_elses_checkpoint(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="is not a videozoo checkpoint"):
        checkpoint.read(tmp_path / "x.pt")


def test_newer_version(tmp_path):
    torch.save({"format": "videozoo", "version": 99}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="format version 99, this videozoo reads 1"):
        checkpoint.read(tmp_path / "x.pt")


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.write(path, PAYLOAD)

    def full(content, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WeightsError, match="no space left on device"):
        checkpoint.write(path, {**PAYLOAD, "step": 8})
    monkeypatch.undo()
    assert checkpoint.read(path).step == 7
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


# ---- an extractor inside ----


INNER_RECORD = {"model": {"name": "tsn"}, "task": PART, "input": PART}


def inner(**model):
    return checkpoint.Checkpoint("x.pt", INNER_RECORD, ("c",), model, step=0, resume={})


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_an_extractor_travels_inside(tmp_path, form):
    extractor = inner(w=torch.zeros(3), b=torch.ones(()))
    path = tmp_path / f"w.{form}"
    if form == "pt":
        checkpoint.write(path, {**PAYLOAD, "extractor": checkpoint.extractor_payload(extractor)})
    else:
        kept = {key: PAYLOAD[key] for key in ("record", "model")}
        checkpoint.write_safetensors(path, **kept, class_names=("a", "b"), extractor=extractor)
    found = checkpoint.read(path)
    assert set(found.model) == {"w"} and torch.equal(found.model["w"], torch.ones(2))  # not the extractor's
    assert "extractor" not in found.resume
    assert (found.extractor.record, found.extractor.class_names) == (INNER_RECORD, ("c",))
    assert torch.equal(found.extractor.model["w"], torch.zeros(3)) and found.extractor.model["b"] == 1


def test_most_checkpoints_have_no_extractor(tmp_path):
    checkpoint.write(tmp_path / "last.pt", PAYLOAD)
    assert checkpoint.read(tmp_path).extractor is None


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "x"}, "version: input should be a valid integer, .*, got 'x'"),
        ({"version": 0}, "version: input should be greater than 0, got '?0'?"),
        ({"version": -1}, "version: input should be greater than 0, got '?-1'?"),
        ({"class_names": 5}, "class_names: input should be a valid list, got 5"),
        ({"class_names": [5]}, "class_names: 0: input should be a valid string, got 5"),
        ({"record": "{"}, "record: input should be a valid dictionary, got '{'"),
        ({"record": []}, r"record: input should be a valid dictionary, got \[\]"),
        ({"extractor": []}, r"extractor: input should be a valid dictionary, got \[\]"),
        ({"extractor": {"record": {}}}, "extractor: class_names: field required"),
    ],
)
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_what_no_writer_of_ours_leaves(tmp_path, change, said, form):
    content = {"format": "videozoo", "version": 1, **PAYLOAD, **change}
    path = tmp_path / f"w.{form}"
    if form == "pt":
        torch.save(content, path)
    else:
        texts = {key: json.dumps(content[key]) for key in {*content} - {"model", "step", "format", "version"}}
        texts["version"] = str(content["version"])
        safetensors.torch.save_file(PAYLOAD["model"], path, metadata={"format": "videozoo", **texts})
    with pytest.raises(WeightsError, match=rf"^{path}: {said}.*; it was not written by videozoo, or is damaged"):
        checkpoint.read(path)


@pytest.mark.parametrize("text", ["x", "{", "", NESTED, "9" * 5000])
@pytest.mark.parametrize("key", ["record", "class_names", "extractor"])
def test_headers_that_are_no_json(tmp_path, key, text):
    header = {"format": "videozoo", "version": "1", "record": json.dumps(RECORD), "class_names": '["a", "b"]'}
    safetensors.torch.save_file(PAYLOAD["model"], tmp_path / "w.safetensors", metadata={**header, key: text})
    with pytest.raises(
        WeightsError, match=rf"w\.safetensors: {key}.*is not JSON .*; it was not written by videozoo"
    ) as caught:
        checkpoint.read(tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_parts_that_are_missing_or_of_another_kind(tmp_path):
    for key in ("version", "record", "class_names", "model"):
        content = {"format": "videozoo", "version": 1, **PAYLOAD}
        del content[key]
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(WeightsError, match=rf"w\.pt: {key}: (field required|should be tensors by name)"):
            checkpoint.read(tmp_path / "w.pt")
    for model in ({"w": 5}, {5: torch.ones(1)}, [torch.ones(1)]):
        checkpoint.write(tmp_path / "w.pt", {**PAYLOAD, "model": model})
        with pytest.raises(WeightsError, match=r"w\.pt: model: .*; it was not written by videozoo"):
            checkpoint.read(tmp_path / "w.pt")


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_a_file_without_permission_says_so(tmp_path, monkeypatch, form):
    path = tmp_path / f"w.{form}"
    path.write_bytes(b"x")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(WeightsError, match=r"cannot be opened \(Permission denied\); check its permissions"):
        checkpoint.read(path)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"file/w\.pt: cannot be written \(file exists\); free some space, check"):
        checkpoint.replace_file(tmp_path / "file" / "w.pt", lambda _: None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.complex64])
def test_weights_of_a_training_that_diverged(tmp_path, value, dtype):
    weights = {
        "a": torch.ones(2, dtype=dtype),
        "n": torch.tensor(3),
        "e": torch.zeros(0),
        "b": torch.ones(3, 4).to(dtype),
    }
    checkpoint.write(tmp_path / "w.pt", {**PAYLOAD, "model": weights})
    checkpoint.read(tmp_path / "w.pt").check_finite()
    weights["b"][1, 2] = value
    checkpoint.write(tmp_path / "w.pt", {**PAYLOAD, "model": weights})
    with pytest.raises(
        WeightsError, match=r"w\.pt: the model's scores are nan, since 1 of its 4 tensors .* \('b'\); use"
    ):
        checkpoint.read(tmp_path / "w.pt").check_finite()
