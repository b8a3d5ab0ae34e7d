"""Fonts for any script: DejaVu Sans (Latin, Greek, Cyrillic) is bundled, other scripts use system fonts.

System fonts are looked up with fontconfig (`fc-match`), then in the usual folders of Linux, macOS and Windows.
The search starts only when a text needs it.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont

__all__ = ["SHIPPED", "FontFile", "font_of", "has_glyph", "opened"]

log = logging.getLogger(__name__)

LOOKUP_S = 10.0  # fontconfig builds its cache the first time
PROBE_PX = 24
MAX_SEARCHES = 4  # lookups of system fonts per script
NO_CHARACTER = "\U0010ffff"  # drawn by every font as its box for missing characters

# first word of a letter's Unicode name -> fontconfig's language code; other scripts are searched without one
LANGUAGES = {"CJK": "zh-cn", "IDEOGRAPHIC": "zh-cn", "FULLWIDTH": "zh-cn", "BOPOMOFO": "zh-tw", "HANGUL": "ko"} | {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja",
    "HALFWIDTH": "ja",
}
EAST_ASIAN, OTHERS = "fonts-noto-cjk", "fonts-noto-core"  # packages of Debian and Ubuntu

PLACES = {
    "linux": (
        "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
        "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
        "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "/usr/share/fonts/truetype/freefont/FreeSans.ttf",
    ),
    "darwin": (
        "/System/Library/Fonts/PingFang.ttc",
        "/System/Library/Fonts/Hiragino Sans GB.ttc",
        "/System/Library/Fonts/STHeiti Light.ttc",
        "/System/Library/Fonts/AppleSDGothicNeo.ttc",
        "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
        "/Library/Fonts/Arial Unicode.ttf",
    ),
    "win32": ("msyh.ttc", "simsun.ttc", "YuGothM.ttc", "msgothic.ttc", "malgun.ttf", "Nirmala.ttf", "segoeui.ttf"),
}


@dataclasses.dataclass(frozen=True)
class FontFile:
    """A face in a font file."""

    path: str
    index: int = 0


# results of this process
_of_script: dict[str, list[FontFile]] = {}
_num_searches: Counter[str] = Counter()
_reported: set[str] = set()

SHIPPED = FontFile(str(Path(__file__).with_name("DejaVuSans-subset.ttf")))


@functools.lru_cache(maxsize=128)
def opened(file: FontFile, size_px: int) -> ImageFont.FreeTypeFont:
    """Returns the face at a height of `size_px`."""
    return ImageFont.truetype(file.path, size_px, index=file.index)


@functools.cache
def font_of(character: str) -> FontFile | None:
    """Returns a font with the given character, the bundled one first; None if the system has none.

    The first missing letter of a script is reported with the package to install.
    """
    if character.isspace() or has_glyph(SHIPPED, character):
        return SHIPPED
    script = unicodedata.name(character, "").partition(" ")[0]
    known = _of_script.setdefault(script, [])
    for file in known:
        if has_glyph(file, character):
            return file
    if (
        _num_searches[script] < MAX_SEARCHES
    ):  # usually one lookup suffices; the limit spares a system without such fonts one per letter
        _num_searches[script] += 1
        found = next((file for file in _candidates(script, character) if has_glyph(file, character)), None)
        if found is not None:
            known.append(found)
            return found
    if character.isalpha():
        _report_missing(character, EAST_ASIAN if script in LANGUAGES else OTHERS)
    return None


def has_glyph(file: FontFile, character: str) -> bool:
    """Returns whether the face has a glyph for a character, not the box for missing ones."""
    try:
        picture = _probe(file, character)
        return picture not in (b"", _probe(file, NO_CHARACTER))
    except OSError:  # no such file, not a font, or a bitmap font
        return False


def _probe(file: FontFile, character: str) -> bytes:
    mask = opened(file, PROBE_PX).getmask(character)
    return bytes(mask) if mask.size[0] * mask.size[1] else b""


def _candidates(script: str, character: str) -> Iterator[FontFile]:
    if (matched := _fontconfig(LANGUAGES.get(script), character)) is not None:
        yield matched
    folder = Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts" if sys.platform == "win32" else Path("/")
    for place in PLACES.get(sys.platform, ()):
        yield FontFile(str(folder / place))


def _fontconfig(language: str | None, character: str) -> FontFile | None:
    """Returns fontconfig's best match, which may lack the character."""
    program = shutil.which("fc-match")
    if program is None:
        return None
    pattern = "sans" + (f":lang={language}" if language else "") + f":charset={ord(character):x}"
    try:
        done = subprocess.run(
            [program, "-f", "%{file}\n%{index}", pattern],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LOOKUP_S,
            check=True,
        )
        path, _, index = os.fsdecode(done.stdout).partition("\n")
        return FontFile(path, int(index or 0) & 0xFFFF)  # the upper half is the instance of a variable font
    except (OSError, ValueError, subprocess.SubprocessError):  # the usual folders are searched next
        return None


def _report_missing(character: str, package: str) -> None:
    if package not in _reported:
        _reported.add(package)
        log.warning(
            "pictures: no installed font has the letter '%s', so its code is drawn; install one, e.g. %s "
            "(apt install %s)",
            character,
            package,
            package,
        )
