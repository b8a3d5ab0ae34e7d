"""The page in Chromium, against a server of networks whose answers are known."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.serve.known_answers import HOSTILE, SENTENCE, SPANS, networks
from tests.slim.conftest import FPS, LEVELS
from videozoo.io.encode import write_video
from videozoo.serve.server import bound_socket, run_server
from videozoo.serve.service import Service
from videozoo.serve.settings import Limits, Settings

playwright = pytest.importorskip("playwright.sync_api", reason="the page needs playwright; install videozoo[dev]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="the page needs chromium; run .ci/browser, or apt-get install chromium"
    ),
]

STORY = (0, 3, 3, 2, 1, 0)  # the gray of each second
SIZE = (36, 48)  # height, width
SIZE_BYTES = 200_000
WAIT_MS = 30_000
expect = playwright.expect


def story() -> np.ndarray:
    levels = LEVELS[list(STORY)].astype(np.uint8).repeat(FPS)
    return np.broadcast_to(levels[:, None, None, None], (len(levels), *SIZE, 3))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "story.mp4"
    write_video(path, story(), fps=FPS)
    return path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A running server's address."""
    settings = Settings(Limits(size_bytes=SIZE_BYTES), num_workers=1, queue=4)
    with Service(networks(), settings) as service, bound_socket("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=run_server, args=(service, bound))
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        service.is_stopping = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclasses.dataclass(frozen=True)
class Visit:
    """A page that is open in the browser, and the requests that it made."""

    page: playwright.Page
    asked: list[str]

    def send(self, path: Path, *, model: str = "labels", **settings: str) -> None:
        """Chooses a model, settings and a file, and waits for the answer."""
        self.page.select_option("#model", model)
        for name, value in settings.items():
            self.page.select_option(f"#{name}", value)
        self.page.set_input_files("#file", path)
        expect(self.page.locator("#answers")).to_be_visible(timeout=WAIT_MS)
        self.page.evaluate("document.querySelector('video').pause()")

    def time_s(self) -> float:
        """Returns the player's time, after it has shown the frame."""
        self.page.wait_for_function("() => !document.querySelector('video').seeking")
        return self.page.evaluate("document.querySelector('video').currentTime")

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()


@pytest.fixture
def visit(browser: playwright.Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    width, height = getattr(request, "param", (1100, 800))
    with browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        faults: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("request", lambda sent: "/api/predict" in sent.url and asked.append(sent.url))
        page.goto(address)
        expect(page.locator("#model option").first).to_be_attached()
        yield Visit(page, asked)
        # a status that is not 200 is a line in the console as well
        assert [fault for fault in faults if not fault.startswith("Failed to load resource")] == []


def test_segments_seek_the_player(visit, video):
    visit.send(video, model="segments")
    assert "Found 3 segments" in visit.page.inner_text("#status")
    rows = visit.page.locator("#events button")
    expect(rows).to_have_count(3)
    assert visit.texts("#events .name") == [span.label for span in SPANS]
    for place in (1, 0):
        rows.nth(place).click()
        assert abs(visit.time_s() - SPANS[place].start_s) < 1 / FPS
        expect(rows.nth(place)).to_have_attribute("aria-current", "true")
        expect(visit.page.locator("#now .name").first).to_have_text(SPANS[place].label)
    visit.page.locator(".bar").filter(has_text="dim").click()
    assert abs(visit.time_s() - SPANS[2].start_s) < 1 / FPS
    expect(visit.page.locator("#now .name")).to_have_text([HOSTILE, "dim"])  # both hold there
    expect(visit.page.locator(".bar.current")).to_have_count(2)


def test_labels_follow_the_playhead(visit, video):
    visit.send(video, window="1", top="3")
    assert set(visit.texts("#events .name")) == {"dark", "bright", HOSTILE, "dim"}
    expect(visit.page.locator(".curve")).to_have_count(3)
    best = visit.page.locator("#now .name").first
    for second, name in ((2, "bright"), (4, "dim"), (3, HOSTILE)):
        visit.page.evaluate(f"document.querySelector('video').currentTime = {second + 0.5}")
        expect(best).to_have_text(name)
    visit.page.evaluate("document.querySelector('video').play()")
    expect(best).to_have_text("dim")  # also while it plays
    visit.page.wait_for_function("() => document.querySelector('video').ended")
    expect(best).to_have_text("dark")  # and at its very end


def test_a_short_video_has_an_answer_for_all_of_it(visit, video):
    visit.send(video, window="none")
    assert not visit.page.locator("#now-panel").is_visible()
    assert len(visit.texts("#whole .name")) == 4
    assert visit.texts("#downloads a") == ["JSON"]  # the others need times


def test_downloads_hold_what_predict_writes(visit, video):
    visit.send(video, model="segments")
    files = {}
    for name in ("JSON", "SRT", "EDL"):
        with visit.page.expect_download() as download:
            visit.page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == f"story.{name.lower()}"
        files[name] = Path(download.value.path()).read_text(encoding="utf-8")
    answer = json.loads(files["JSON"])
    assert list(answer) == ["run", "predictions", "failed"]
    assert answer["predictions"][0]["segments"][0]["start_s"] == SPANS[0].start_s
    assert files["SRT"].startswith("1\n00:00:01,030 --> 00:00:02,000\nbright\n")
    assert files["EDL"].startswith("TITLE: story.mp4\n")


def test_a_broken_file(visit, tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"this is not a video" * 100)
    visit.page.set_input_files("#file", path)
    problem = visit.page.get_by_role("alert")
    expect(problem).to_contain_text("This file cannot be read as a video.")
    expect(problem).to_contain_text("broken.mp4")
    expect(problem.get_by_role("button")).to_have_text(["Try again", "Choose another video"])
    assert not visit.page.locator("#answers").is_visible()


def test_a_file_that_is_too_large_is_not_sent(visit, tmp_path):
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(SIZE_BYTES + 1))
    visit.page.set_input_files("#file", path)
    expect(visit.page.get_by_role("alert")).to_contain_text("too large: it has 200 KB")
    assert visit.asked == []


def test_an_empty_file_is_not_sent(visit, tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    visit.page.set_input_files("#file", path)
    expect(visit.page.get_by_role("alert")).to_contain_text("This file is empty.")
    assert visit.asked == []


def focused(page):
    return page.evaluate("document.activeElement.id || document.activeElement.closest('[id]')?.id")


def tab_to(page, id_):
    for _ in range(30):
        page.keyboard.press("Tab")
        if focused(page) == id_:
            return
    raise AssertionError(f"the tab key does not reach {id_}")


def test_the_keyboard_suffices(visit, video):
    page = visit.page
    page.on("filechooser", lambda _: None)  # is in place long before the key that opens it
    tab_to(page, "model")
    page.keyboard.type("seg")
    tab_to(page, "file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(video)
    expect(page.locator("#answers")).to_be_visible()
    assert focused(page) == "video"
    page.keyboard.press("Space")
    page.wait_for_function("() => !document.querySelector('video').paused")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('video').paused")
    tab_to(page, "events")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert abs(visit.time_s() - SPANS[1].start_s) < 1 / FPS
    page.keyboard.press("ArrowRight")
    assert abs(visit.time_s() - SPANS[1].start_s - 1) < 1 / FPS
    page.keyboard.press(",")
    assert abs(visit.time_s() - SPANS[1].start_s - 1 + 1 / FPS) < 0.5 / FPS
    page.keyboard.press("p")
    assert abs(visit.time_s() - SPANS[1].start_s) < 1 / FPS
    page.keyboard.press("n")
    assert abs(visit.time_s() - SPANS[2].start_s) < 1 / FPS
    slider = page.get_by_role("slider", name="Time in the video")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuenow", re.compile(r"^2\.2"))


@pytest.mark.parametrize("visit", [(360, 640)], indirect=True)
def test_a_phone_needs_no_sideways_scrolling(visit, video):
    page = visit.page
    for model in ("labels", "segments", "sentence", "search"):
        if model == "search":
            page.select_option("#model", model)
            page.fill("#query", "bright")
        visit.send(video, model=model)
        page.get_by_role("button", name="Zoom in").click()
        assert page.evaluate("document.documentElement.scrollWidth") == 360, model
    assert page.evaluate("document.querySelector('.scroller').scrollWidth") > 360


def test_names_of_strangers_are_text(visit, video, tmp_path):
    path = tmp_path / "<img src=x onerror=document.title='owned'>.mp4"
    shutil.copy(video, path)
    for model in ("labels", "segments", "boxes"):
        visit.send(path, model=model)
        expect(visit.page.locator("#filename")).to_contain_text("<img src=x")
        assert visit.page.locator("main :is(img, b, i)").count() == 0
    visit.send(path)
    assert HOSTILE in visit.texts("#whole .name")
    assert HOSTILE in visit.page.locator("#known li").all_text_contents()
    assert "owned" not in visit.page.title().replace(path.name, "")


def test_a_sentence_is_a_caption(visit, video):
    visit.send(video, model="sentence")
    assert visit.texts("#events .name") == [SENTENCE]
    expect(visit.page.locator(".shades")).to_have_count(len(SENTENCE.split()))
    track = "document.querySelector('video').textTracks[0]"
    assert visit.page.evaluate(f"{track}.mode") == "showing"
    visit.page.evaluate("document.querySelector('video').currentTime = 3")
    visit.page.wait_for_function(f"() => {track}.activeCues.length === 1")
    assert visit.page.evaluate(f"{track}.activeCues[0].getCueAsHTML().textContent") == SENTENCE


def test_boxes_lie_on_the_picture(visit, video):
    visit.send(video, model="boxes")
    box = visit.page.locator("#boxes rect")
    expect(box).to_have_count(0)  # in the first second
    visit.page.evaluate("document.querySelector('video').currentTime = 3.5")
    expect(box).to_have_attribute("x", "10")
    assert visit.page.locator("#boxes text").text_content() == HOSTILE
    found, screen = box.bounding_box(), visit.page.locator("video").bounding_box()
    height, width = SIZE
    scale = min(screen["width"] / width, screen["height"] / height)
    left = screen["x"] + (screen["width"] - scale * width) / 2 + scale * 10
    top = screen["y"] + (screen["height"] - scale * height) / 2 + scale * 8
    wanted = (left, top, scale * 12, scale * 16)
    assert (found["x"], found["y"], found["width"], found["height"]) == pytest.approx(wanted, abs=3)


def test_a_video_that_begins_late_keeps_its_times(visit, tmp_path):
    path = tmp_path / "late.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = SIZE
        for number, picture in enumerate(story()):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number + 7 * FPS, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    visit.send(path, model="sentence")
    visit.page.locator("#events button").click()
    assert visit.time_s() == pytest.approx(7, abs=0.5 / FPS)  # Chromium counts from the container's zero
    assert visit.page.evaluate("document.querySelector('video').textTracks[0].activeCues.length") == 1
    slider = visit.page.get_by_role("slider", name="Time in the video")
    expect(slider).to_have_attribute("aria-valuenow", "0.00")
    slider.focus()
    visit.page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", re.compile(r"^1\.0"))


def test_a_search(visit, video):
    page = visit.page
    page.select_option("#model", "search")
    page.set_input_files("#file", video)
    expect(page.get_by_role("status")).to_contain_text("Type what to look for")
    assert visit.asked == []
    page.fill("#query", "bright")
    page.keyboard.press("Enter")
    expect(page.locator("#events button").first).to_be_visible()
    page.evaluate("document.querySelector('video').pause()")
    page.locator("#events button").first.click()  # the best one is the first
    assert 0.9 < visit.time_s() < 2.6
    assert set(visit.texts("#events .name")) == {"bright"}


def test_a_video_that_the_browser_cannot_play_has_its_answers(visit, tmp_path):
    path = tmp_path / "old.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width = SIZE
        for picture in story():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    visit.send(path, model="segments")
    expect(visit.page.locator("#unplayable")).to_contain_text("Its answers are shown all the same.")
    visit.page.locator("#events button").nth(1).click()
    slider = visit.page.get_by_role("slider", name="Time in the video")
    expect(slider).to_have_attribute("aria-valuenow", "2.50")
    expect(visit.page.locator("#now .name")).to_have_text([HOSTILE])


def refuse(route, status, kind, **headers):
    body = json.dumps({"error": {"kind": kind, "message": "in the server's words"}})
    route.fulfill(status=status, headers=headers, content_type="application/json", body=body)


def test_a_busy_server_is_asked_again(visit, video):
    answers = iter([lambda route: refuse(route, 429, "busy", **{"Retry-After": "1"})])
    visit.page.route("**/api/predict?*", lambda route: next(answers, lambda route: route.continue_())(route))
    visit.send(video)
    assert len(visit.asked) == 2


def test_a_request_can_be_cancelled_and_sent_again(visit, video):
    answers = iter([lambda route: None])  # it never comes
    visit.page.route("**/api/predict?*", lambda route: next(answers, lambda route: route.continue_())(route))
    visit.page.set_input_files("#file", video)
    expect(visit.page.get_by_role("status")).to_have_text(re.compile("video …"))
    visit.page.get_by_role("button", name="Cancel").click()
    visit.page.get_by_role("button", name="Send it again").click()
    expect(visit.page.locator("#answers")).to_be_visible()


def test_a_model_that_searches_ends_the_request_before(visit, video):
    visit.page.route("**/api/predict?*", lambda route: None)
    visit.page.set_input_files("#file", video)
    expect(visit.page.get_by_role("status")).to_have_text(re.compile("video …"))
    visit.page.select_option("#model", "search")
    expect(visit.page.get_by_role("status")).to_contain_text("Type what to look for")
    expect(visit.page.get_by_role("alert")).to_be_hidden()


def test_a_dropped_video(visit, video):
    dropped = visit.page.evaluate_handle(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.mp4"));
            return data;
        }""",
        list(video.read_bytes()),
    )
    visit.page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    expect(visit.page.locator("#filename")).to_contain_text("dropped.mp4")
    expect(visit.page.locator("#answers")).to_be_visible()


def test_a_server_that_is_gone(visit, video):
    answers = iter([lambda route: route.abort()])
    visit.page.route("**/api/predict?*", lambda route: next(answers, lambda route: route.continue_())(route))
    visit.page.set_input_files("#file", video)
    problem = visit.page.get_by_role("alert")
    expect(problem).to_contain_text("The server does not answer.")
    problem.get_by_role("button", name="Try again").click()
    expect(visit.page.locator("#answers")).to_be_visible()
    expect(problem).to_be_hidden()


def test_other_refusals_are_in_words(visit, video):
    visit.page.route("**/api/predict?*", lambda route: refuse(route, 504, "time"))
    visit.page.set_input_files("#file", video)
    expect(visit.page.get_by_role("alert")).to_contain_text("The answer took too long.")
    expect(visit.page.get_by_role("alert")).to_contain_text("in the server's words")


def test_a_token_is_asked_for_and_sent(visit, video):
    def door(route):
        if route.request.headers.get("authorization") == "Bearer secret":
            route.continue_()
        else:
            refuse(route, 401, "token")

    visit.page.route("**/api/**", door)
    visit.page.reload()
    for token in ("wrong", "secret"):
        expect(visit.page.get_by_role("dialog")).to_be_visible()
        visit.page.fill("#token", token)
        visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("dialog")).to_be_hidden()
    visit.send(video)


def test_the_timeline_zooms(visit, video):
    visit.send(video, model="segments")
    width = "document.querySelector('.long').clientWidth / document.querySelector('.scroller').clientWidth"
    visit.page.get_by_role("button", name="Zoom to the segments").click()
    length_s = SPANS[2].end_s - SPANS[0].start_s
    assert visit.page.evaluate(width) == pytest.approx(6 / length_s, rel=0.1)
    first, scroller = (visit.page.locator(name).bounding_box() for name in (".bar >> nth=0", ".scroller"))
    assert scroller["x"] <= first["x"] < scroller["x"] + 0.1 * scroller["width"]
    for _ in range(4):
        visit.page.get_by_role("button", name="Zoom in").click()
    for place in (2, 0):  # far apart
        visit.page.locator("#events button").nth(place).click()
        visit.page.wait_for_function(
            """([left, right]) => {
                const bars = document.querySelectorAll(".bar.current");
                const x = bars.length ? bars[bars.length - 1].getBoundingClientRect().x : NaN;
                return left - 1 <= x && x < right;
            }""",
            arg=[scroller["x"], scroller["x"] + scroller["width"]],
        )
    visit.page.get_by_role("button", name="Show the whole video").click()
    assert visit.page.evaluate(width) == pytest.approx(1, rel=0.05)


def test_the_newest_choice_wins(visit, video):
    """An answer to earlier settings does not replace the one to later ones."""
    visit.send(video, model="segments")
    visit.page.select_option("#model", "sentence")
    visit.page.select_option("#model", "labels")
    expect(visit.page.locator("#whole .name").first).to_be_visible()
    expect(visit.page.locator("#status")).to_contain_text("Mostly")
    assert visit.texts("#downloads a")[0] == "JSON"
