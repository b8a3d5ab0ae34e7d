"""Draws the pictures of the page for the docs: `python -m tests.pictures VIDEO RUN...` writes docs/images/page*.png.

The first run's answer is shown on a desktop, the last one's on a phone. Needs playwright and chromium.
"""

from __future__ import annotations

import re
import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from videozoo.loading import open_network
from videozoo.serve.server import bound_socket, run_server
from videozoo.serve.service import Service
from videozoo.serve.settings import Settings

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WAIT_MS = 120_000
DESKTOP, PHONE = {"width": 1240, "height": 1060}, {"width": 360, "height": 720}


def draw(video: Path, runs: list[Path]) -> list[Path]:
    """Serves the runs, opens the page with the video, and returns the paths of the pictures."""
    networks = {run.name: open_network(run) for run in runs}
    first, last = next(iter(networks)), list(networks)[-1]
    with Service(networks, Settings(num_workers=1)) as service, bound_socket("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=run_server, args=(service, bound))
        thread.start()
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            pictures = [
                shoot(browser, url, video, first, "page.png", viewport=DESKTOP, color_scheme="light"),
                shoot(browser, url, video, last, "page-phone.png", viewport=PHONE, color_scheme="dark"),
            ]
            browser.close()
        service.is_stopping = True
        thread.join()
    return pictures


def shoot(browser: Browser, url: str, video: Path, model: str, name: str, **options: object) -> Path:
    """Writes a picture of a model's answer, with the player at the start of the strongest event."""
    out = IMAGES / name
    with browser.new_context(**options, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#model option").first).to_be_attached()
        if page.locator("#model").is_visible():
            page.select_option("#model", model)
        page.set_input_files("#file", video)
        expect(page.locator("#answers")).to_be_visible(timeout=WAIT_MS)
        scores = [int(re.sub(r"\D", "", text)) for text in page.locator("#events .score").all_inner_texts()]
        page.locator("#events button").nth(scores.index(max(scores))).click()
        page.wait_for_function("() => !document.querySelector('video').seeking")
        page.evaluate("window.scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)  # for the fading of colors
        page.screenshot(path=out)
    return out


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    for path in draw(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]]):
        print(path)
