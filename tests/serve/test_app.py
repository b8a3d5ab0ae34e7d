"""The HTTP interface: answers, refusals, and their forms."""

from __future__ import annotations

import json
import re

import pytest

from tests.serve import parts
from tests.serve.conftest import LIMITS, client_of
from tests.slim.conftest import NAMES
from videozoo.io.features import write_features
from videozoo.predict.answers import Answers
from videozoo.predict.extractor import Extractor
from videozoo.predict.predictor import Predictor
from videozoo.predict.session import Request, Session
from videozoo.serve.service import Service
from videozoo.serve.settings import Settings


def upload(client, clip, name="clip.mp4", **query):
    return client.post("/api/predict", params=query, files={"file": (name, clip.read_bytes())})


def by_path(client, path, **query):
    return client.post("/api/predict", params=query, json={"path": path})


def refused(response, status, kind):
    """The message of a refusal, which names nothing of the server."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert list(response.json()) == ["error"] and set(error) == {"kind", "message"}
    assert error["kind"] == kind
    assert "\n" not in error["message"] and "/tmp" not in error["message"] and "Traceback" not in error["message"]
    return error["message"]


# ---- answers ---------------------------------------------------------------------------------------------


def test_models_and_limits(client):
    said = client.get("/api/models").json()
    first, *_, last = said["models"]
    classes = {"num_classes": 4, "class_names": list(NAMES), "timed": False}
    assert first == {"name": "grays", "task": "classify", **classes, "searches": False, "default": True}
    assert last == {"name": "moments", "task": "ground", **classes, "searches": True, "default": False} | {
        "timed": True
    }
    assert said["limits"] == {"size_bytes": 200_000, "duration_s": 20.0, "pixels": 512 * 512}


def test_an_answer_is_the_one_of_predict(client, clip):
    request = Request(window_s=1.0, stride_s=1.0, top=2)
    prediction = Session(Predictor(parts.networks()["grays"]), request).answer(clip)
    printed = Answers("grays", top=2, found=[prediction]).text("json")
    found = upload(client, clip, window_s=1, stride_s=1, top_k=2)
    assert found.json() == json.loads(printed.replace(str(clip), "clip.mp4"))
    assert [window["labels"][0]["name"] for window in found.json()["predictions"][0]["windows"]] == [
        "dark",
        "bright",
        "dim",
    ]
    assert by_path(client, "inner/clip.mp4", window_s=1, stride_s=1, top_k=2).json() == json.loads(
        printed.replace(str(clip), "inner/clip.mp4")
    )


def test_files_are_those_of_predict(client, clip):
    prediction = Predictor(parts.networks()["grays"])(clip, window_s=1.0, stride_s=1.0)
    answers = Answers("grays", found=[prediction])
    files = upload(client, clip, window_s=1, stride_s=1, **{"with": "srt,edl,csv"}).json()["files"]
    assert files == {name: answers.text(name).replace(str(clip), "clip.mp4") for name in ("srt", "edl", "csv")}


def test_formats_that_need_times_are_left_out_without(client, clip):
    assert upload(client, clip, **{"with": "srt"}).json()["files"] == {}


def test_the_view_is_the_same_for_all_kinds_of_answers(client, clip):
    found = upload(client, clip, window_s=1, **{"with": "view,srt"}).json()
    assert [each["end_s"] for each in found["view"]["stretches"]] == [0.75, 1.25, 1.75, 2.25, 3.0]
    assert found["view"]["is_timed"] and list(found["files"]) == ["srt"]
    assert "view" not in upload(client, clip, window_s=1).json()


def test_a_sentence_finds_its_moment(client, clip):
    answer = upload(client, clip, model="moments", query="it is bright", top_k=1, **{"with": "srt"}).json()
    (found,) = answer["predictions"]
    (segment,) = found["segments"]
    assert (segment["start_s"], segment["end_s"], segment["label"]) == (1.0, 2.0, "it is bright")
    assert "00:00:01,000 --> 00:00:02,000\nit is bright" in answer["files"]["srt"]
    assert found["info"]["duration_s"] == 3.0
    assert upload(client, clip, model="moments", query="bright", threshold=1).json()["predictions"][0]["segments"] == []


def test_features_are_taken_as_well(client, clip, tmp_path):
    extractor = Extractor(parts.networks()["grays"], window_s=0.5, stride_s=0.5)
    path = write_features(tmp_path, "clip", extractor(clip))
    found = upload(client, path, "clip.npz", model="moments", query="bright", top_k=1).json()["predictions"][0]
    assert found["segments"][0]["start_s"] == 1.0 and found["info"]["codec"] == "features"


def test_uploads_are_deleted(client, service, clip):
    assert upload(client, clip).status_code == 200
    assert upload(client, clip, name="notes.txt", model="grays").status_code == 200
    refused(client.post("/api/predict", files={"file": ("a.mp4", b"no video")}), 415, "video")
    assert not list(service.uploads.path.iterdir())
    assert service.uploads.path.stat().st_mode & 0o077 == 0


# ---- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "kind", "message"),
    [
        ({"model": "gray"}, 404, "model", r"model: there is no 'gray'; did you mean 'grays'\?"),
        ({"with": "srtt"}, 422, "request", r"with: there is no 'srtt'; did you mean 'srt'\?"),
        ({"with": "srt,json"}, 422, "request", "with: there is no 'json'"),
        ({"windows": 1}, 422, "request", r"windows: there is no such option; did you mean 'window_s'\?"),
        ({"window_s": 0}, 422, "request", 'window_s: input should be greater than 0; got "0"'),
        ({"window_s": "inf"}, 422, "request", "window_s: input should be a finite number"),
        ({"window_s": "nan"}, 422, "request", "window_s: "),
        ({"top_k": "x"}, 422, "request", "top_k: input should be a valid integer"),
        ({"threshold": 2}, 422, "request", "threshold: input should be less than or equal to 1"),
        ({"stride_s": 1}, 422, "request", "stride_s: got 1 without a window; give window_s, too"),
        ({"segments": "nobody"}, 404, "model", "model: there is no 'nobody'"),
        ({"segments": "odd", "window_s": 1}, 422, "request", "segments: got window_s as well"),
        ({"segments": "odd"}, 422, "request", "answers with labels, without times"),
        ({"query": "a"}, 422, "request", "query: the model takes no sentence"),
        ({"model": "moments"}, 422, "request", "query: is missing"),
        ({"model": "moments", "query": " "}, 422, "request", "query: is missing"),
        ({"model": "moments", "query": "a", "window_s": 1}, 422, "request", "finds its own times"),
        ({"window_s": 0.001, "stride_s": 0.0001}, 422, "request", "stride_s: gives 299[0-9]* windows, more than 20000"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_wrong_queries(client, clip, query, status, kind, message):
    assert re.search(message, refused(upload(client, clip, **query), status, kind))


@pytest.mark.parametrize(
    "path",
    [
        "../secret.mp4",
        "link.mp4",
        "outside/secret.mp4",
        "outside/root/../secret.mp4",
        "/etc/passwd",
        "inner",
        "",
        "circle",
        "no.mp4",
        "inner/clip.mp4/x",
        "x" * 3000,
    ],
)
def test_paths_stay_below_the_root(client, path):
    response = by_path(client, path)
    assert response.status_code == (422 if not path else 404), response.text
    assert "secret.mp4'" not in response.text and "/tmp" not in response.text


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"path": 1}', b'{"path": "a\\u0000b"}', b"{", b"[" * 9999, b"\xff"]
)
def test_damaged_json(client, body):
    response = client.post("/api/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422 and response.json()["error"]["kind"] in ("form", "path")


def test_no_paths_without_a_root(clip):
    with Service({"grays": parts.networks()["grays"]}, Settings(LIMITS, num_workers=1)) as service:
        message = refused(by_path(client_of(service), "inner/clip.mp4"), 403, "path")
    assert message == "path: this server answers for uploads only; upload the file"


def test_files_that_are_no_video(client):
    for content in (b"", b"text", bytes(9999), b"\x00\x00\x00\x18ftypmp42"):
        message = refused(client.post("/api/predict", files={"file": ("a b.mp4", content)}), 415, "video")
        assert message.startswith("a b.mp4: ") and message.endswith("; send another file")


def test_too_large_too_long_too_many_pixels(client, tmp_path):
    large = client.post("/api/predict", files={"file": ("a.mp4", bytes(200_001))})
    assert refused(large, 413, "size") == "upload: is larger than the 200000 bytes allowed; send a smaller file"
    long = parts.gray_video(tmp_path / "long.mp4", (1,) * 21)
    wanted = "clip.mp4: it lasts 21 s, more than the 20 s allowed; send a smaller video"
    assert refused(upload(client, long), 422, "limit") == wanted
    wide = parts.gray_video(tmp_path / "wide.mp4", (1,), size_px=(512, 514))
    assert "its frames have 514x512 pixels" in refused(upload(client, wide), 422, "limit")


def test_bodies_without_a_length_are_limited(client):
    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        for _ in range(1000):
            yield bytes(1000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(client.post("/api/predict", content=endless(), headers=headers), 413, "size")


FIELD = b'Content-Disposition: form-data; name="file"\r\n\r\nx\r\n'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"x", 415),
        ("", b"x", 415),
        ("multipart/form-data", b"x", 415),
        ("multipart/form-data; boundary=x", b"no form", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + FILE, 400),
        ("multipart/form-data; boundary=x", b"--x\r\n" + FILE + b"--x\r\n" + FILE + b"--x--\r\n", 422),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--\r\n',
            422,
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nx\r\n--x--\r\n", 422),
        ("multipart/form-data; boundary=" + "y" * 999, b"x", 400),
    ],
)
def test_damaged_forms(client, service, kind, body, status):
    refused(client.post("/api/predict", content=body, headers={"Content-Type": kind}), status, "form")
    assert not list(service.uploads.path.iterdir())


@pytest.mark.parametrize("name", ["../../up.mp4", "c:\\up.mp4", "/etc/up.mp4", "\x1b[31mup.mp4", "up" * 500 + ".mp4"])
def test_names_of_uploads_are_only_shown(client, clip, name):
    id_ = upload(client, clip, name=name).json()["predictions"][0]["id"]
    assert "/" not in id_ and "\x1b" not in id_ and len(id_) <= 200 and "up" in id_


def test_pages_that_do_not_exist(client):
    assert refused(client.get("/api/nothing"), 404, "route") == "there is no such page; see /openapi.json"
    assert refused(client.get("/api/predict"), 405, "route") == "this page takes another method; see /openapi.json"
    refused(client.get("/page/../app.py"), 404, "route")
    refused(client.get("/page/%2e%2e/app.py"), 404, "route")


# ---- the server's own affairs ----------------------------------------------------------------------------


def test_health_page_and_security_headers(client):
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in page.headers and "server" not in page.headers


def test_metrics(client, clip):
    upload(client, clip)
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert re.search(r'videozoo_requests_total\{method="POST",route="/api/predict",status="200"\} \d', text)
    assert 'route="other",status="404"' in text and "nowhere" not in text
    assert 'videozoo_network_samples_count{model="grays/main"}' in text
    assert 'videozoo_answers_total{model="grays"}' in text
    assert "videozoo_active_requests 0.0" in text


def test_the_interface_is_described(client):
    told = client.get("/openapi.json").json()
    predict = told["paths"]["/api/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert predict["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/AnswerBody")
    for status in ("400", "401", "404", "413", "415", "422", "429", "503", "504"):
        assert predict["responses"][status]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    names = {parameter["name"] for parameter in predict["parameters"]}
    assert names == {
        "model", "top_k", "window_s", "stride_s", "threshold", "max_overlap", "segments", "query", "with",
    }  # fmt: skip


def test_the_token(root, clip):
    settings = Settings(LIMITS, root=root, token="a secret", num_workers=1)
    with Service({"grays": parts.networks()["grays"]}, settings) as service:
        stranger, friend = client_of(service), client_of(service, Authorization="Bearer a secret")
        for path in ("/api/models", "/metrics", "/openapi.json"):
            assert "Authorization: Bearer TOKEN" in refused(stranger.get(path), 401, "token")
            assert friend.get(path).status_code == 200
        refused(upload(stranger, clip), 401, "token")
        refused(upload(client_of(service, Authorization="Bearer a secre"), clip), 401, "token")
        refused(upload(client_of(service, Authorization="Basic a secret"), clip), 401, "token")
        assert upload(friend, clip).status_code == 200
        assert {stranger.get(path).status_code for path in ("/", "/healthz", "/readyz")} == {200}


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:80", "127.9.9.9", "[::1]:8000"])
def test_local_hosts(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.evil.example", "localhost.evil.example", "192.168.0.1", ""])
def test_names_of_strangers_do_not_reach_a_local_server(client, host):
    refused(client.get("/api/models", headers={"Host": host}), 421, "host")


def test_pages_of_other_sites_do_not_reach_a_local_server(client):
    refused(client.get("/api/models", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}), 403, "host")
