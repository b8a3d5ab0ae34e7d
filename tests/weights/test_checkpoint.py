"""Checkpoints are written whole or not at all and never run what they hold."""

import pickle

import pytest
import torch

from videozoo.errors import WeightsError
from videozoo.weights import checkpoint

PAYLOAD = {
    "record": {"model": {"name": "tsm"}},
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
    with pytest.raises(WeightsError, match="No space left on device"):
        checkpoint.write(path, {**PAYLOAD, "step": 8})
    monkeypatch.undo()
    assert checkpoint.read(path).step == 7
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


# ---- an extractor inside ----


def inner(**model):
    return checkpoint.Checkpoint("x.pt", {"model": {"name": "tsn"}}, ("c",), model, step=0, resume={})


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
    assert (found.extractor.record, found.extractor.class_names) == ({"model": {"name": "tsn"}}, ("c",))
    assert torch.equal(found.extractor.model["w"], torch.zeros(3)) and found.extractor.model["b"] == 1


def test_most_checkpoints_have_no_extractor(tmp_path):
    checkpoint.write(tmp_path / "last.pt", PAYLOAD)
    assert checkpoint.read(tmp_path).extractor is None


def test_half_an_extractor_is_none(tmp_path):
    checkpoint.write(tmp_path / "last.pt", {**PAYLOAD, "extractor": {"record": {}}})
    with pytest.raises(WeightsError, match=r"extractor: class_names: field required; it was not written by videozoo"):
        checkpoint.read(tmp_path)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        WeightsError, match=r"file/w\.pt: cannot be written \(.*File exists.*\); free some space or check"
    ):
        checkpoint.replace_file(tmp_path / "file" / "w.pt", lambda _: None)
