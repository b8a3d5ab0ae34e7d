"""Damaged and hostile files through the reader of each: one short line, no traceback, no waiting."""

import io
import json
import os
import shutil
import tarfile
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

import videozoo
from videozoo.config.recipe import load_recipe
from videozoo.data.activitynet_captions import activitynet_captions
from videozoo.data.charades_sta import charades_sta
from videozoo.data.clip_list import clip_list
from videozoo.data.kinetics_csv import kinetics_csv
from videozoo.data.labels import read_class_names
from videozoo.data.motion.script import Script
from videozoo.data.msrvtt import msrvtt
from videozoo.data.qvhighlights import qvhighlights
from videozoo.data.segments import read_annotations
from videozoo.data.shards import read_shard
from videozoo.data.tacos import tacos
from videozoo.data.tall_tacos import Movie
from videozoo.data.youtube8m import read_vocabulary
from videozoo.data.youtube8m_pkl import youtube8m_pkl
from videozoo.decoding.video_scores import VideoScores
from videozoo.errors import VideoZooError
from videozoo.io.features import FeatureStore, read_features
from videozoo.io.frame_folder import FrameFolder
from videozoo.predict.index import VideoIndex
from videozoo.predict.projection import Projection
from videozoo.report.curves import find_runs
from videozoo.sentences.vectors import read_vectors
from videozoo.weights import checkpoint
from videozoo.weights.importer import read_foreign

DEEP = "[" * 100_000
LAUGHS = "\n".join(["a0: &a0 [l, l]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)])
VALUES = np.ones((4, 3), np.float32)


def refused(read):
    """Returns the one short line that `read` raises."""
    with pytest.raises(VideoZooError) as caught:
        read()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 900, message
    return message


def with_features(folder):
    """Returns a folder with the features of one video."""
    (folder / "features").mkdir(exist_ok=True)
    np.save(folder / "features" / "v.npy", VALUES)
    return folder / "features"


# ---- JSON --------------------------------------------------------------------------------------------------

CAPTIONS = {"v": {"duration": 9, "timestamps": [[0, 1]], "sentences": ["a"]}}
QVHIGHLIGHTS = {"vid": "v", "query": "a dog", "duration": 9, "relevant_windows": [[0, 1], [2, 3]]}
TACOS = {"v": {"timestamps": [[0, 1]], "sentences": ["a"], "fps": 2}}
JSON_READERS = {
    "annotations": read_annotations,
    "activitynet_captions": lambda path: activitynet_captions(path, features=with_features(path.parent)),
    "msrvtt": lambda path: msrvtt(path, features=with_features(path.parent)),
    "tacos": lambda path: tacos(path, features=with_features(path.parent)),
    "video_scores": lambda path: VideoScores(str(path)).read("a"),
    "qvhighlights": lambda path: qvhighlights(path, features=with_features(path.parent)),
    "script": lambda path: Script.from_json(path.read_text()),
}
NOT_JSON = {
    "deep": DEEP,
    "deep-but-whole": "[" * 500 + "]" * 500,
    "cut": '{"a": ',
    "empty": "",
    "list": "[1, 2]",
    "text": '"a"',
    "null": "null",
    "number": "9" * 10**6,
    "of-numbers": '{"v": 5, "videos": 5, "database": 5, "class": 5, "results": 5}',
    "of-lists": '{"v": [1], "videos": [1], "sentences": [1], "database": [1], "class": [1], "results": [1]}',
    "of-nulls": '{"v": null, "videos": null, "sentences": null, "class": null, "results": null}',
}


@pytest.mark.parametrize("text", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("reader", JSON_READERS)
def test_json_of_another_form(tmp_path, reader, text):
    (tmp_path / "f.json").write_text(text)
    message = refused(lambda: JSON_READERS[reader](tmp_path / "f.json"))
    assert message.startswith("script" if reader == "script" else f"{tmp_path}/f.json")


@pytest.mark.parametrize(
    ("reader", "content", "said"),
    [
        ("annotations", {"database": {"v": {"annotations": 5}}}, "v: annotations: input should be a valid list, got 5"),
        (
            "annotations",
            {"v": {"duration_second": 5, "duration_frame": 9, "feature_frame": "y"}},
            "feature_frame: .*'y'",
        ),
        ("annotations", {"v": {"annotations": [{"segment": [0, "x"], "label": "a"}]}}, "segment: 1: .*'x'"),
        ("annotations", {"v": {"annotations": [{"segment": [0, 1], "label": ["a"]}]}}, "label: .*got .'a'."),
        ("annotations", {"v": {"duration": 1e999}}, "duration: input should be a finite number"),
        ("annotations", {"v": {"subset": {}}}, "subset: "),
        ("activitynet_captions", {"v": {**CAPTIONS["v"], "timestamps": [5]}}, "timestamps: 0: "),
        ("activitynet_captions", {"v": {**CAPTIONS["v"], "sentences": [5]}}, "sentences: 0: .*got 5"),
        ("activitynet_captions", {"v\n" * 999: {}}, "duration: field required"),
        ("msrvtt", {"videos": [{"video_id": "a"}], "sentences": [{"video_id": [1], "caption": "x"}]}, "video_id"),
        ("msrvtt", {"videos": [{"video_id": "a"}], "sentences": [{"video_id": "a", "caption": {}}]}, "caption"),
        ("tacos", {"v": {**TACOS["v"], "fps": 0}}, "fps: input should be greater than 0, got 0"),
        ("tacos", {"v": {**TACOS["v"], "num_frames": "x"}}, "num_frames: "),
        ("qvhighlights", {**QVHIGHLIGHTS, "relevant_windows": []}, "relevant_windows: .*got .."),
        ("qvhighlights", {**QVHIGHLIGHTS, "relevant_windows": [5]}, "relevant_windows: 0: "),
        ("qvhighlights", {**QVHIGHLIGHTS, "duration": 1e999}, "duration: input should be a finite number"),
        ("video_scores", {"class": ["a"], "results": {"a": ["x"]}}, "results: a: 0: .*'x'"),
        ("video_scores", {"class": "ab", "results": {}}, "class: .*'ab'"),
    ],
)
def test_json_with_a_field_of_another_type(tmp_path, reader, content, said):
    (tmp_path / "f.json").write_text(json.dumps(content))
    with pytest.raises(VideoZooError, match=said):
        JSON_READERS[reader](tmp_path / "f.json")


def test_json_of_the_right_form(tmp_path):
    (tmp_path / "f.jsonl").write_text(json.dumps(QVHIGHLIGHTS) + "\n")
    (record,) = qvhighlights(tmp_path / "f.jsonl", features=with_features(tmp_path))
    assert (record.moments, record.duration_s) == (((0.0, 1.0), (2.0, 3.0)), 9.0)


# ---- recipes, records and logs of runs ---------------------------------------------------------------------

RECIPE = "model: {name: tsm}\ndata: {train: {name: clip_list, path: x}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 20_000, "is not YAML .it is nested too deeply"),
        (f"{RECIPE}seed: {'9' * 10**5}", "line 3 has a number of 100,000 digits"),
        (f"{RECIPE}seed: 0x{'f' * 10**5}", "line 3 has a number"),
        (f"{RECIPE}seed: 99999999999999999999", r"seed: should be below 2\*\*63; got 9+"),
        ("model: {name: tsm, path: 2001-99-99}", "data: is missing"),
        (f"{LAUGHS}\n{RECIPE}seed: *a11", "its aliases expand to more than 200,000 values"),
        (f"a: &a [{', '.join(['1'] * 999)}]\n{RECIPE}seed: *a", "a: is not a section of a recipe"),
        (f"{RECIPE}seed: [{', '.join(['1'] * 999)}]", r"seed: should be a whole number from 0 up; got \[1, 1,"),
        (f"{RECIPE}5: 6", "5 is not a name of a section"),
        (f"{RECIPE}{'x' * 999}: 6", "'x+.*' is not a name of a section"),
        (f"{RECIPE}task: {{1: 2}}", "task: 1 is not a name of a section or an argument"),
        (f"{RECIPE}steps: 5", "steps: should be a mapping"),
        (f"{RECIPE}steps: {{a: {{init: [1]}}}}", "steps.a.init: .1. is not an earlier step"),
        ("5", "should hold sections"),
        ("", "should hold sections"),
        ("\x00", "is not UTF-8 text"),
    ],
    ids=range(16),
)
def test_recipes(tmp_path, text, said):
    (tmp_path / "r.yaml").write_text(text)
    message = refused(lambda: load_recipe(tmp_path / "r.yaml").resolved())
    assert message.startswith(str(tmp_path / "r.yaml"))
    with pytest.raises(VideoZooError, match=said):
        load_recipe(tmp_path / "r.yaml").resolved()


@pytest.mark.parametrize("value", ["[" * 2000, "9" * 9999, "!!timestamp x", "2001-99-99", "{a: {5: 6}}"])
def test_overrides(value):
    refused(lambda: load_recipe("k400/tsm_r50_8f", [f"fit.duration={value}"]).resolved())


RECORD = "model: {name: tsm}\ndata: {train: {path: x}}\nfit: {duration: 5ep, batch_size: 4}\n"


@pytest.mark.parametrize(
    "record", ["[" * 20_000, "5", "", "model: 5", "model: {}\ndata: 5\nfit: {}", f"{RECORD}a: !!timestamp x"]
)
def test_records_of_runs(tmp_path, record):
    (tmp_path / "recipe.yaml").write_text(record)
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    assert refused(lambda: find_runs(tmp_path)).startswith(f"{tmp_path}/recipe.yaml: ")


@pytest.mark.parametrize("line", ["5", "[1]", "{}", '{"step": "x"}', '{"step": [1]}', '{"step": null}', '"\\ud800"'])
def test_logs_of_runs(tmp_path, line):
    (tmp_path / "recipe.yaml").write_text(RECORD)
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    assert refused(lambda: find_runs(tmp_path)).startswith(f"{tmp_path}/log.jsonl:2: ")


@pytest.mark.parametrize("line", [DEEP, '{"step": 2', "9" * 10**5])
def test_a_log_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path, line):
    (tmp_path / "recipe.yaml").write_text(RECORD)
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1, "epoch": "x", "val/top1": "y"}}\n{line}')
    (run,) = find_runs(tmp_path)
    assert (run.step, run.total_steps, dict(run.best)) == (1, None, {})


# ---- features ----------------------------------------------------------------------------------------------

METAS = {
    "deep": DEEP,
    "cut": "{",
    "list": "[1]",
    "number": "5",
    "recipe-list": '{"recipe": [1]}',
    "recipe-of-a-list": '{"recipe": {"extractor": [1], "sha256": [1]}}',
    "recipe-deep": '{"recipe": {"input": ' + "[" * 59 + "]" * 59 + "}}",
    "names": '{"class_names": 5}',
    "stride": '{"stride_s": "x", "offset_s": 1}',
    "duration": '{"duration_s": [1]}',
    "infinite": '{"duration_s": 1e999}',
}


@pytest.mark.parametrize("meta", METAS.values(), ids=METAS)
@pytest.mark.parametrize("form", ["npz", "packed.npz", "parquet", "h5", "h5-group", "features.json"])
def test_what_lies_beside_features(tmp_path, form, meta):
    path = tmp_path / f"f.{form.rpartition('.')[2].partition('-')[0]}"
    if form == "npz":
        np.savez(path, values=VALUES, meta=np.array(meta))
    elif form == "packed.npz":
        np.savez(path, **{"v": VALUES, "#shared": np.array(meta)})
    elif form == "parquet":
        table = pa.table({"id": ["v"], "num_rows": [4], "dim": [3], "values": [VALUES.ravel().tolist()]})
        pq.write_table(table.replace_schema_metadata({"videozoo": meta}), path)
    elif form.startswith("h5"):
        meta = meta[:60_000]  # the most that HDF5 keeps
        with h5py.File(path, "w") as file:
            file["v/values"] = VALUES
            (file["v"] if form == "h5-group" else file).attrs["videozoo"] = meta
    else:
        path = tmp_path / "x.npy"
        np.save(path, VALUES)
        (tmp_path / "features.json").write_text(meta)
    message = refused(lambda: FeatureStore(path).read(FeatureStore(path).ids[0]))
    assert message.startswith(str(tmp_path))


@pytest.mark.parametrize("text", ['{"videos": [1]}', '{"videos": {"x": 5}}', '{"videos": {"x": {"stride_s": "y"}}}'])
def test_the_videos_of_a_sidecar(tmp_path, text):
    np.save(tmp_path / "x.npy", VALUES)
    (tmp_path / "features.json").write_text(text)
    for place in (tmp_path, tmp_path / "x.npy"):
        assert refused(lambda: FeatureStore(place).read("x")).startswith(f"{tmp_path}/features.json: videos: ")  # noqa: B023


@pytest.mark.parametrize(
    "header", ["[" * 9000, "{'descr': " + "(" * 3000, "{'descr': '<f4', 'shape': (-1,)}", "\0" * 99]
)
def test_headers_of_npy(tmp_path, header):
    data = header.encode()
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data)
    assert refused(lambda: read_features(tmp_path / "x.npy")).startswith(f"{tmp_path}/x.npy: cannot be read")
    assert "x.npz" in refused(lambda: Projection.read(shutil.copy(tmp_path / "x.npy", tmp_path / "x.npz")))
    assert "x.npz" in refused(lambda: list(read_vectors(tmp_path / "x.npz")))
    shutil.copy(tmp_path / "x.npy", tmp_path / "m_1_2.npy")
    assert "m_1_2.npy" in refused(lambda: Movie(tmp_path, "m", np.zeros((1, 2)), 1.0).read(1, 2))


FLAT = VALUES.ravel().tolist()


@pytest.mark.parametrize(
    "columns",
    [
        {"id": ["v"], "num_rows": [None], "dim": [3], "values": [FLAT]},
        {"id": ["v"], "num_rows": [-4], "dim": [3], "values": [FLAT]},
        {"id": ["v"], "num_rows": [5], "dim": [3], "values": [FLAT]},
        {"id": ["v"], "num_rows": ["4"], "dim": [3], "values": [FLAT]},
        {"id": ["v"], "num_rows": [4], "dim": [3], "values": ["text"]},
        {"id": ["v"], "num_rows": [4], "dim": [3], "values": [["x"] * 12]},
        {"id": ["v"], "num_rows": [4], "dim": [3], "values": [5]},
        {"id": [[1]], "num_rows": [4], "dim": [3], "values": [FLAT]},
        {"id": [None], "num_rows": [4], "dim": [3], "values": [FLAT]},
        {"id": [{"a": 1}], "num_rows": [4], "dim": [3], "values": [FLAT]},
        {"id": ["v"], "num_rows": [4], "dim": [3], "values": [FLAT], "stride_s": ["x"]},
        {"id": ["v"], "num_rows": [4], "dim": [3], "values": [FLAT], "duration_s": [[1.0]]},
        {"id": ["v"], "num_rows": [4], "dim": [3], "values": [None]},
    ],
    ids=range(13),
)
def test_columns_of_parquet(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    assert "f.parquet" in refused(lambda: FeatureStore(tmp_path / "f.parquet").read("v"))


# ---- HDF5 gives only what it stores itself -----------------------------------------------------------------


def make_hdf5(path, kind):
    secret = path.parent / "secret.raw"
    secret.write_bytes(VALUES.tobytes())
    with h5py.File(path.parent / "other.h5", "w") as other:
        other["x"] = VALUES
    with h5py.File(path, "w") as file:
        if kind == "external-storage":
            file.create_dataset("v", (4, 3), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        elif kind == "external-storage-in-a-group":
            file.create_dataset("v/values", (4, 3), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        elif kind == "external-link":
            file["v"] = h5py.ExternalLink("other.h5", "x")
        elif kind == "external-link-in-a-group":
            file["v/scores"] = VALUES
            file["v/values"] = h5py.ExternalLink("other.h5", "x")
        elif kind == "external-link-to-a-group":
            file["w/values"] = VALUES
            file["v"] = h5py.ExternalLink("other.h5", "/")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 3), "f4")
            layout[:] = h5py.VirtualSource(str(path.parent / "other.h5"), "x", (4, 3))
            file.create_virtual_dataset("v", layout)
        elif kind == "dangling":
            file["v"] = h5py.SoftLink("/nowhere")
        elif kind == "soft-link":
            file["w"] = VALUES
            file["v"] = h5py.SoftLink("/w")
        elif kind == "soft-link-in-a-group":
            file["w"] = VALUES
            file["v/values"] = h5py.SoftLink("/w")
        elif kind == "circle":
            file.create_group("a/b")
            file["a/b/c"] = file["a"]
        elif kind == "deep":
            file["/".join("g" * 200) + "/v"] = VALUES
        elif kind == "type":
            file["v"] = np.dtype("f4")
        elif kind == "text":
            file["v"] = [["a", "b"]]
        elif kind == "references":
            file["w"] = VALUES
            file.create_dataset("v", (1, 1), h5py.ref_dtype)
        elif kind == "huge":
            file.create_dataset("v", (10**6, 10**6), "f4", chunks=(1, 1000))
        elif kind == "empty":
            file["v"] = h5py.Empty("f4")
        elif kind == "attribute":
            file["v"] = VALUES
            file["v"].attrs["videozoo"] = file["v"].ref


HDF5_KINDS = [
    *("external-storage", "external-storage-in-a-group", "external-link", "external-link-in-a-group"),
    *("external-link-to-a-group", "virtual", "dangling", "soft-link", "soft-link-in-a-group", "circle", "deep"),
    *("type", "text", "references", "huge", "empty", "attribute"),
]


@pytest.mark.parametrize("kind", HDF5_KINDS)
def test_hdf5_gives_only_what_it_stores(tmp_path, kind):
    make_hdf5(tmp_path / "f.h5", kind)
    assert refused(lambda: FeatureStore(tmp_path / "f.h5").read("v")).startswith(f"{tmp_path}/f.h5")


def test_hdf5_of_other_projects_is_read(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a"] = VALUES
        file["deep/er/b"] = VALUES
        file["c/c3d_features"] = VALUES
        file["c/rows"] = np.arange(4)
    store = FeatureStore(tmp_path / "f.h5")
    assert set(store.ids) == {"a", "deep/er", "c"}
    for id_ in store.ids:
        np.testing.assert_array_equal(store.read(id_).values, VALUES)


# ---- indexes -----------------------------------------------------------------------------------------------

DESCRIPTION = {"format": "videozoo index", "version": 1, "run": {"path": "r", "sha256": "ab"}}
INDEX = {
    "video": pa.array(["a.mp4"]).dictionary_encode(),
    "size_bytes": pa.array([1]),
    "modified_ns": pa.array([1]),
    "duration_s": pa.array([1.0]),
    "start_s": pa.array([0.0]),
    "end_s": pa.array([1.0]),
    "embedding": pa.array([[1.0, 0.0]], pa.list_(pa.float32(), 2)),
}


def write_index(path, description=DESCRIPTION, **columns):
    table = pa.table({**INDEX, **columns})
    text = description if isinstance(description, str) else json.dumps(description)
    pq.write_table(table.replace_schema_metadata({"videozoo": text}), path, use_dictionary=["video"])


def test_an_index_that_is_whole(tmp_path):
    write_index(tmp_path / "i.parquet")
    (video,) = VideoIndex.read(tmp_path / "i.parquet").videos
    assert (video.path, video.embedded.tolist()) == ("a.mp4", [[1.0, 0.0]])


@pytest.mark.parametrize(
    "change",
    [
        *({name: pa.array(["x"])} for name in INDEX if name != "video"),
        *({name: pa.array([None], column.type)} for name, column in INDEX.items()),
        *({name: pa.array([[1.0]])} for name in INDEX if name != "embedding"),
        {"video": pa.array(["a.mp4"])},
        {"video": pa.array([5]).dictionary_encode()},
        {"start_s": pa.array([float("nan")])},
        {"embedding": pa.array([[1.0, None]], pa.list_(pa.float32(), 2))},
        *({"description": text} for text in (DEEP, "[1]", "{", "{}", "5")),
        {"description": {**DESCRIPTION, "run": [1]}},
        {"description": {**DESCRIPTION, "run": {}}},
        {"description": {**DESCRIPTION, "version": "x"}},
        {"description": {key: DESCRIPTION[key] for key in ("format", "version")}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_indexes(tmp_path, change):
    write_index(tmp_path / "i.parquet", **change)
    assert refused(lambda: VideoIndex.read(tmp_path / "i.parquet")).startswith(f"{tmp_path}/i.parquet:")


# ---- checkpoints -------------------------------------------------------------------------------------------

GOOD = {"record": {}, "class_names": ["a"], "model": {"w": torch.ones(2)}}
PAYLOADS = {
    "version-text": {"version": "x"},
    "version-0": {"version": 0},
    "version-list": {"version": [1]},
    "no-version": {"version": None},
    "names-5": {"class_names": 5},
    "names-of-numbers": {"class_names": [1]},
    "record-list": {"record": [1]},
    "model-list": {"model": [1]},
    "model-of-numbers": {"model": {"w": 1}},
    "model-of-numbered": {"model": {1: torch.ones(2)}},
    "step": {"step": "x"},
    "extractor-list": {"extractor": [1]},
    "extractor-empty": {"extractor": {}},
    "extractor-names": {"extractor": {"record": {}, "class_names": 5, "model": {}}},
    "extractor-model": {"extractor": {"record": {}, "class_names": [], "model": 5}},
}


@pytest.mark.parametrize("change", PAYLOADS.values(), ids=PAYLOADS)
def test_checkpoints(tmp_path, change):
    torch.save({"format": "videozoo", "version": 1, **GOOD, **change}, tmp_path / "w.pt")
    assert refused(lambda: checkpoint.read(tmp_path / "w.pt")).startswith(f"{tmp_path}/w.pt: ")


@pytest.mark.parametrize(
    "change",
    [
        *({"version": text} for text in ("x", "0", "", "9" * 9999)),
        *({"record": text} for text in ("{", DEEP, "[1]", "5", "null")),
        *({"class_names": text} for text in ("5", "[1]", "{")),
        *({"extractor": text} for text in ("[1]", "{", "{}", '{"record": {}, "class_names": 5}')),
        {"version": None},
        {"class_names": None},
    ],
    ids=range(18),
)
def test_published_weights(tmp_path, change):
    header = {"format": "videozoo", "version": "1", "record": "{}", "class_names": "[]", **change}
    header = {key: text for key, text in header.items() if text is not None}
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors", metadata=header)
    assert refused(lambda: checkpoint.read(tmp_path / "w.safetensors")).startswith(f"{tmp_path}/w.safetensors: ")


@pytest.mark.parametrize(
    "record", [{}, {"model": 5}, {"model": {"name": "tsm"}}, {"model": {}, "task": {}, "input": {}}]
)
def test_records_of_weights(tmp_path, record):
    checkpoint.write(tmp_path / "w.pt", {**GOOD, "record": record})
    assert refused(lambda: videozoo.load(tmp_path / "w.pt")).startswith(f"{tmp_path}/w.pt: record: ")


# ---- shards, pickles, lists --------------------------------------------------------------------------------


def write_tar(path, text):
    with tarfile.open(path, "w") as tar:
        for name, data in (("1.mp4", b"x"), ("1.json", text)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    "text",
    [
        *(DEEP, "{", '{"id": [1, 2], "label": 1}', '{"label": {"a": 1}}', '{"labels": [[1]]}', "[[1]]"),
        *('{"label": 1, "start_s": "x"}', '{"label": 1, "end_s": 1e999}', "9" * 9999, '"\\ud800'),
    ],
    ids=range(10),
)
def test_samples_of_shards(tmp_path, text):
    write_tar(tmp_path / "a.tar", text.encode())
    assert refused(lambda: read_shard(tmp_path / "a.tar")).startswith(f"{tmp_path}/a.tar: sample '1'")


@pytest.mark.parametrize("text", [DEEP, "[1]", "5", "{}", '{"stamp": 5, "samples": 5}', "SAMPLES"])
def test_the_index_of_a_shard_is_made_again(tmp_path, text):
    write_tar(tmp_path / "a.tar", b'{"label": 5}')
    expected = read_shard(tmp_path / "a.tar")
    index = tmp_path / "a.tar.index.json"
    if text == "SAMPLES":  # the right stamp, and a sample outside of the file
        text = index.read_text().replace('"offset": ', '"offset": 999999')
    index.write_text(text)
    assert read_shard(tmp_path / "a.tar") == expected
    assert json.loads(index.read_text())["samples"][0]["labels"] == ["5"]


@pytest.mark.parametrize(
    "change", [{"feature": "abc"}, {"feature": [["a"]]}, {"nframes": "x"}, {"label": 5}, {"label": ["x"]}, {"video": 5}]
)
def test_pickles_of_youtube8m(tmp_path, change):
    import pickle

    item = {"video": b"v", "feature": [[1.0]], "audio": [[1.0]], "nframes": 1, "label": [0], **change}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([item], protocol=2))
    (record,) = youtube8m_pkl(tmp_path)
    assert refused(record.read).startswith(f"{tmp_path}/a.pkl item 0: ")


LIST_READERS = {
    "clip_list": clip_list,
    "class_names": read_class_names,
    "vocabulary": read_vocabulary,
    "charades_sta": lambda path: charades_sta(path, features=with_features(path.parent)),
    "kinetics_csv": lambda path: kinetics_csv(path, path.parent),
}


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\xfd", b"a\0b,c\0\n", b'id,"' + b"x" * 200_000], ids=["latin", "null", "long"]
)
@pytest.mark.parametrize("reader", [name for name in LIST_READERS if name != "class_names"])
def test_lists(tmp_path, reader, data):
    (tmp_path / "l.csv").write_bytes(data)
    refused(lambda: LIST_READERS[reader](tmp_path / "l.csv"))


@pytest.mark.parametrize(
    "row", ["a,x,1", "a,1,inf", "a,nan,1", "a," + "9" * 9999 + ",1", "a,1", "a,1,2,3,4,5", ",1,2", "a,2,1"]
)
def test_rows_of_kinetics(tmp_path, row):
    (tmp_path / "k.csv").write_text(f"youtube_id,time_start,time_end\n{row}\n")
    assert refused(lambda: kinetics_csv(tmp_path / "k.csv", tmp_path)).startswith(f"{tmp_path}/k.csv:2: ")


@pytest.mark.parametrize("index", ["x", "-1", "9" * 9999, "", "²"])
def test_rows_of_a_vocabulary(tmp_path, index):
    (tmp_path / "v.csv").write_text(f"Index,Name\n{index},a\n")
    assert refused(lambda: read_vocabulary(tmp_path / "v.csv")).startswith(f"{tmp_path}/v.csv:2: ")


# ---- frames ------------------------------------------------------------------------------------------------


def png(size=(8, 8), *chunks):
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    head, body = data.getvalue()[:33], data.getvalue()[33:]
    header = b"IHDR" + size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + head[24:29]
    parts = [header, *chunks]
    return (
        head[:8] + b"".join(len(p[4:]).to_bytes(4, "big") + p + zlib.crc32(p).to_bytes(4, "big") for p in parts) + body
    )


@pytest.mark.parametrize(
    "data",
    [
        png((30_000, 30_000)),
        png((12_000, 12_000)),
        png((8, 8), b"zTXt" + b"a\0\0" + zlib.compress(b"\0" * 200_000_000)),
        png()[:45],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n",
        b"P6 8 8 255\n" + b"\0" * 192,
        b"",
    ],
    ids=["bomb", "large", "text-bomb", "cut", "postscript", "another-format", "empty"],
)
def test_frames(tmp_path, data):
    (tmp_path / "1.png").write_bytes(data)
    assert refused(lambda: FrameFolder(tmp_path).frames_by_index([0])).startswith(f"{tmp_path}/1.png: cannot be read")


def test_a_list_may_not_state_endless_frames(tmp_path):
    message = refused(lambda: FrameFolder(tmp_path, num_frames=10**30, template="{}.jpg"))
    assert "frames are more than any video has" in message


# ---- what is no file ---------------------------------------------------------------------------------------

FILE_READERS = {
    **{f"{name}.json": reader for name, reader in JSON_READERS.items() if name != "script"},
    **{f"{name}.csv": reader for name, reader in LIST_READERS.items()},
    "recipe.yaml": lambda path: load_recipe(path),
    "f.npy": read_features,
    "f.npz": read_features,
    "f.csv": read_features,
    "f.h5": FeatureStore,
    "f.parquet": FeatureStore,
    "i.parquet": VideoIndex.read,
    "w.pt": checkpoint.read,
    "w.safetensors": checkpoint.read,
    "w.pth": read_foreign,
    "p.npz": Projection.read,
    "v.npz": lambda path: list(read_vectors(path)),
    "v.pkl": lambda path: list(read_vectors(path)),
    "s.tar": read_shard,
}


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", FILE_READERS)
def test_pipes_and_devices_are_refused(tmp_path, name, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    assert f"is a {kind}; " in refused(lambda: FILE_READERS[name](tmp_path / name))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv"])
def test_pipes_in_a_folder_of_features(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "is a pipe; " in refused(lambda: FeatureStore(tmp_path).read("x"))


def test_a_pipe_for_a_sidecar_or_a_frame(tmp_path):
    np.save(tmp_path / "x.npy", VALUES)
    os.mkfifo(tmp_path / "features.json")
    assert "features.json: is a pipe; " in refused(lambda: FeatureStore(tmp_path))
    os.mkfifo(tmp_path / "1.png")
    assert "1.png: is a pipe; " in refused(lambda: FrameFolder(tmp_path).frames_by_index([0]))


@pytest.mark.parametrize("name", ["a" * 300, "b" * 400])
@pytest.mark.parametrize("reader", [read_annotations, load_recipe, read_features, checkpoint.read, VideoIndex.read])
def test_names_that_no_file_can_have(reader, name):
    refused(lambda: reader(f"{name}.yaml"))
