"""Letters are told apart by their pixels: the boxes of missing ones are all alike."""

import itertools
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from videozoo.contracts.answer import Labels
from videozoo.contracts.video import VideoInfo
from videozoo.drawing import fonts, text
from videozoo.drawing.fonts import SHIPPED, FontFile, font_of, has_glyph
from videozoo.drawing.text import draw_text, fit, line_height, text_width, wrap
from videozoo.metrics.parts import Matrix
from videozoo.predict import render
from videozoo.predict.plot import plot_timeline
from videozoo.predict.prediction import Prediction, Window
from videozoo.report.clips import draw_clips
from videozoo.report.curves import RunSummary, plot_curves
from videozoo.report.page import draw_matrix

BUILT_IN = ImageFont.load_default(20)  # Pillow's: Basic Latin


def forget():
    for cached in (fonts.font_of, fonts.opened, text.runs):
        cached.cache_clear()
    for known in (fonts._of_script, fonts._num_searches, fonts._reported):
        known.clear()


@pytest.fixture(autouse=True)
def fresh():
    forget()
    yield
    forget()


@pytest.fixture
def no_fonts(monkeypatch):
    """A system without any font."""
    monkeypatch.setattr(fonts, "_candidates", lambda script, character: iter(()))


@pytest.fixture
def latin_only(monkeypatch, tmp_path):
    """A package whose own font has Basic Latin only, so that Cyrillic has to come from the system."""
    path = tmp_path / "latin.ttf"
    path.write_bytes(BUILT_IN.font_bytes)
    for module in (fonts, text):
        monkeypatch.setattr(module, "SHIPPED", FontFile(str(path)))


def picture(words, size_px=24):
    image = Image.new("L", (700, 60), 255)
    draw_text(ImageDraw.Draw(image), (10, 30), words, 0, size_px, anchor="lm")
    return np.asarray(image)


def all_differ(letters):
    pictures = [picture(letter).tobytes() for letter in letters]
    return len(set(pictures)) == len(letters) and picture(" ").tobytes() not in pictures


@pytest.mark.parametrize("letters", ["aZ09&<", "üéßøłŞ", "ăđẵỹ", "ΔλΩάῶ", "ЖяїҚё", "…—€№→✓"])
def test_the_shipped_font_has_latin_greek_and_cyrillic(no_fonts, letters):
    assert all_differ(letters)
    assert {font_of(letter) for letter in letters} == {SHIPPED}


def test_the_shipped_font_is_small_and_carries_its_licence():
    path = Path(SHIPPED.path)
    assert path.stat().st_size < 200_000
    assert "Bitstream Vera" in path.with_name("LICENSE-DejaVu.txt").read_text(encoding="utf-8")
    assert not has_glyph(SHIPPED, "变")


def test_a_font_of_the_system_draws_other_scripts(latin_only, monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_candidates", lambda script, character: iter([FontFile("/nowhere.ttf"), SHIPPED]))
    assert font_of("a") == fonts.SHIPPED and font_of("Ж") == SHIPPED
    assert all_differ("Жяї")
    assert [run.text for run in text.runs("Жя run ї")] == ["Жя ", "run ", "ї"]
    assert text_width("Жя", 20) == pytest.approx(fonts.opened(SHIPPED, 20).getlength("Жя"))
    assert not caplog.records


def test_without_a_font_names_stay_different_and_one_line_says_what_to_install(no_fonts, caplog):
    with caplog.at_level(logging.WARNING):
        assert all_differ("变大向左")
        assert text.runs("变 a")[0].text == "[53D8] a"
        assert all_differ("नมस")
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == (
        "pictures: no installed font has the letter '变', so its code is drawn; "
        "install one, e.g. fonts-noto-cjk (apt install fonts-noto-cjk)"
    )
    assert len(messages) == 2 and "fonts-noto-core" in messages[1]


def test_a_system_without_the_script_is_not_asked_for_every_letter(monkeypatch):
    asked = []
    monkeypatch.setattr(fonts, "_fontconfig", lambda language, character: asked.append((language, character)))
    monkeypatch.setattr(fonts, "PLACES", {})
    for code in range(0x4E00, 0x4E64):
        assert font_of(chr(code)) is None
    assert len(asked) == fonts.MAX_SEARCHES and {language for language, _ in asked} == {"zh-cn"}


def test_known_places_are_searched_where_there_is_no_fontconfig(latin_only, monkeypatch):
    monkeypatch.setattr(fonts.shutil, "which", lambda name: None)
    monkeypatch.setattr(fonts, "PLACES", {sys.platform: ("/nowhere.ttc", SHIPPED.path)})
    assert font_of("Ж") == SHIPPED


def test_a_program_of_fontconfig_that_fails_is_no_error(monkeypatch, tmp_path):
    for script in ("#!/bin/sh\nexit 3\n", "#!/bin/sh\nprintf '/x.ttf\\nnumber'\n", "no program"):
        program = tmp_path / "fc-match"
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setattr(fonts.shutil, "which", lambda name, path=str(program): path)
        assert fonts._fontconfig("zh-cn", "变") is None
    program.write_text("#!/bin/sh\nprintf '/x y.ttc\\n65538'\n")
    assert fonts._fontconfig("zh-cn", "变") == FontFile("/x y.ttc", 2)


def test_chinese_by_the_fonts_of_this_system():
    if font_of("变") is None:
        pytest.skip("this system has no font with Chinese letters")
    assert all_differ("变大向左")


def test_letters_and_their_accents_are_one():
    assert picture("u\u0308").tobytes() == picture("ü").tobytes()
    assert picture("a\nb\x1b").tobytes() == picture("a b ").tobytes()
    assert picture("a\u200db").tobytes() == picture("ab").tobytes()


@pytest.mark.parametrize("anchor", ["".join(pair) for pair in itertools.product("lmr", "atmsbd")])
def test_anchors_are_those_of_pillow(anchor):
    ours, theirs = (Image.new("L", (200, 100), 255) for _ in range(2))
    draw_text(ImageDraw.Draw(ours), (100, 50), "Ägypten", 0, 20, anchor=anchor)
    ImageDraw.Draw(theirs).text((100, 50), "Ägypten", 0, fonts.opened(SHIPPED, 20), anchor)
    found, wanted = (np.argwhere(np.asarray(image) < 128) for image in (ours, theirs))
    assert np.abs(found.min(0) - wanted.min(0)).max() <= 1 and np.abs(found.max(0) - wanted.max(0)).max() <= 1


def test_text_that_fits():
    assert fit("opening", 500, 20) == "opening"
    short = fit("opening a very long bottle", 120, 20)
    assert short.endswith("…") and text_width(short, 20) <= 120 < text_width("opening a very", 20)
    assert fit("opening", 3, 20) == ""
    assert fit("x" * 100_000, 100, 20).startswith("xxx")
    assert line_height(20) > 20


def test_lines_break_at_spaces_and_between_chinese_letters(no_fonts):
    assert wrap("one two three", text_width("one two", 20) + 1, 20, most=2) == ["one two", "three"]
    lines = wrap("变大向左 left", text_width("变大", 20) + 1, 20, most=3)
    assert lines == ["变大", "向左", "left"]


NAMES = ["变大", "向左", "ü", "Ж", "й"]


def test_every_picture_of_the_engine_shows_names(no_fonts, tmp_path):
    """Two class names, runs or clips that differ in one letter give different pictures."""

    def matrix(name):
        return draw_matrix(Matrix("m", "M", [name, "b"], np.eye(2, dtype=np.int64)))

    def clips(name):
        return draw_clips({"video": torch.zeros(1, 2, 3, 64, 64), "id": [name]})

    def curves(name):
        lines = [{"step": 1, "loss": 1.0}]
        run = RunSummary(name, "", "", 1, 1, {}, None, lines, 0.0)
        return Image.open(plot_curves([run], tmp_path / "c.png"))

    for draw in (matrix, clips, curves):
        assert len({draw(name).tobytes() for name in NAMES}) == len(NAMES)


def test_timelines_and_rendered_frames_show_names(no_fonts, tmp_path):
    def prediction(name):
        answer = Labels(np.array([0.9, 0.1]), (name, "b"))
        info = VideoInfo("v.mp4", 2.0, 10.0, 20, 320, 240, 0, "h264", "yuv420p", 0.0, 1)
        return Prediction(id="v.mp4", info=info, answer=answer, windows=(Window(0.0, 2.0, answer),))

    def timeline(name):
        return Image.open(plot_timeline(prediction(name), tmp_path / "t.png"))

    def frame(name):
        overlay = render._Overlay(prediction(name), (320, 240), 2)
        return Image.fromarray(overlay.draw(np.zeros((240, 320, 3), np.uint8), 1.0))

    for draw in (timeline, frame):
        assert len({draw(name).tobytes() for name in NAMES}) == len(NAMES)
