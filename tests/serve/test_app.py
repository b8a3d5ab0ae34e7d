"""The HTTP interface: answers, refusals, and their forms."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def predicted(client, clip, **query):
    with clip.open("rb") as file:
        return client.post("/api/predict", params=query, files={"file": ("clip.mp4", file)})


def as_printed(run, clip, *args):
    """The document that `videozoo predict --json` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "videozoo", "predict", str(run), str(clip), "--json", *args],
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_models_and_limits(client, service):
    said = client.get("/api/models").json()
    names = [f"class {i}" for i in range(5)]
    classes = {"task": "classify", "num_classes": 5, "class_names": names, "searches": False, "timed": False}
    assert said["models"] == [
        {"name": "tsn", **classes, "default": True},
        {"name": "torch", **classes, "default": False},
    ]
    assert said["limits"] == {"size_bytes": 2_000_000, "duration_s": 60.0, "pixels": 512 * 512}


@pytest.mark.parametrize(("model", "fixture"), [("tsn", "exported"), ("torch", "run")])
def test_an_answer_is_the_one_of_predict(client, clip, model, fixture, request):
    wanted = as_printed(request.getfixturevalue(fixture), clip, "--window", "1", "--top", "2")
    found = predicted(client, clip, model=model, window_s=1, top_k=2).json()
    (ours,), (theirs,) = found.pop("predictions"), wanted.pop("predictions")
    assert found == {"run": model, "failed": []} and wanted["failed"] == []
    for each in (ours, theirs):
        assert each.pop("id").endswith("clip.mp4") and each["info"].pop("path").endswith("clip.mp4")
    assert ours["info"] == theirs["info"] and len(ours["windows"]) == 5
    for mine, its in zip([ours, *ours["windows"]], [theirs, *theirs["windows"]], strict=True):
        assert [label["name"] for label in mine["labels"]] == [label["name"] for label in its["labels"]]
        scores = [label["score"] for label in its["labels"]]
        assert [label["score"] for label in mine["labels"]] == pytest.approx(scores, abs=2e-6)


def test_the_view_is_the_same_for_all_kinds_of_answers(client, clip):
    found = predicted(client, clip, window_s=1, **{"with": "view,srt"}).json()
    assert [each["end_s"] for each in found["view"]["stretches"]] == [0.75, 1.25, 1.75, 2.25, 3.0]
    assert found["view"]["is_timed"] and list(found["files"]) == ["srt"]
    assert "view" not in predicted(client, clip, window_s=1).json()


def test_a_page_is_served(client):
    assert client.get("/").headers["content-type"].startswith("text/html")
