"""Served runs and exports answer as predict does, and `videozoo verify --url` says so."""

from __future__ import annotations

import json
import threading

import pytest
from typer.testing import CliRunner

from tests.contract.made_runs import write_clip, write_run
from tests.serve.conftest import LIMITS, client_of
from tests.serve.test_app import upload
from videozoo.cli.main import app
from videozoo.errors import ConfigError
from videozoo.export.export import export_network
from videozoo.loading import load, load_extractor, open_network
from videozoo.predict.answers import Answers
from videozoo.predict.session import Request, Session
from videozoo.serve.server import bound_socket, run_server, url_of
from videozoo.serve.service import Service
from videozoo.serve.settings import Settings
from videozoo.weights import checkpoint

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A classifier, its export, and a localizer on its features."""
    folder = tmp_path_factory.mktemp("runs")
    run = write_run("tsn", folder / "tsn")
    extractor = load_extractor(run, device="cpu", window_s=0.5, stride_s=0.25)
    inner = {"extractor": checkpoint.extractor_payload(checkpoint.read(run))}
    features = extractor.recipe.to_dict()
    return {
        "run": run,
        "exported": export_network(run, folder / "exported"),
        "bmn": write_run("bmn", folder / "bmn", beside=inner, features=features),
    }


@pytest.fixture(scope="module")
def real(places):
    networks = {name: open_network(place, device="cpu") for name, place in places.items()}
    with Service(networks, Settings(LIMITS, num_workers=2)) as service:
        yield service


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("film") / "clip.mp4")


def nearly(found, wanted):
    """Whether plain values are equal, numbers to rounding."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(nearly(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(nearly, found, wanted))
    return found == (pytest.approx(wanted, abs=5e-6) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize("model", ["run", "exported", "bmn"])
def test_an_answer_is_the_one_of_predict(real, places, film, model):
    session = Session(load(places[model], device="cpu"), Request(window_s=1.0, top=3))
    printed = Answers(model, top=3, found=[session.answer(film)]).text("json")
    found = upload(client_of(real), film, model=model, window_s=1, top_k=3).json()
    assert nearly(found, json.loads(printed.replace(str(film), "clip.mp4")))


def test_the_segments_of_another_model_are_answered(real, places, film):
    finder = load(places["bmn"], device="cpu")
    session = Session(load(places["run"], device="cpu"), Request(top=2), finder=finder)
    wanted = session.answer(film).to_dict(top=2)["windows"]
    found = upload(client_of(real), film, model="run", segments="bmn", top_k=2, **{"with": "srt"}).json()
    assert len(wanted) == 2 and nearly(found["predictions"][0]["windows"], wanted)
    assert found["files"]["srt"].count("-->") == 2


@pytest.fixture(scope="module")
def url(real):
    with bound_socket("127.0.0.1", 0) as bound:
        address = url_of(bound)
        thread = threading.Thread(target=run_server, args=(real, bound))
        thread.start()
        yield address
        real.is_stopping = True
        thread.join()


def verified(places, film, *args):
    exported, run = str(places["exported"]), str(places["run"])
    return CliRunner().invoke(app, ["verify", exported, str(film), "--against", run, *args])


@pytest.mark.parametrize("model", ["run", "exported"])
def test_served_answers_are_verified(places, film, url, model):
    done = verified(places, film, "--url", url, "--model", model, "--window", "1", "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0 and report["passes"]
    served = report["videos"][0]["served"]
    assert served["same_best"] and served["difference"] < 1e-5 and served["seconds"] > 0
    assert "served" in verified(places, film, "--url", url, "--model", model).stdout


def test_another_model_at_the_server_fails(places, film, url):
    report = json.loads((done := verified(places, film, "--url", url, "--model", "bmn", "--json")).stdout)
    assert done.exit_code == 1 and not report["passes"]
    assert report["videos"][0]["served"]["difference"] is None and not report["videos"][0]["served"]["same_best"]


def test_a_refusal_of_the_server_is_reported(places, film, url):
    report = json.loads((done := verified(places, film, "--url", url, "--model", "nobody", "--json")).stdout)
    assert done.exit_code == 1 and report["videos"] == []
    assert f"{film}: {url} refuses it with status 404 (model: there is no 'nobody'" in report["failed"][0]


@pytest.mark.parametrize("address", ["localhost:1", "ftp://localhost", "http://127.0.0.1:1"])
def test_an_address_without_a_server(places, film, address):
    done = verified(places, film, "--url", address)
    assert isinstance(done.exception, ConfigError) and str(done.exception).startswith("--url: ")
