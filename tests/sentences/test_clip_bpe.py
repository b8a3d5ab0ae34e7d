import numpy as np
import pytest

from videozoo.sentences.clip_bpe import END, START, encode

SENTENCES = [
    "a red ring grows",
    "Don't stop! It's 2,345 o'clock",
    "  many   spaces &amp; “quotes” ½ ²",
    "I'VE seen 3d-printed shoes; they'll break.",
    "a naïve café ☕ 日本語 état",
    "snake_case __ and 's",
    "word " * 50,
    "",
]


def test_equal_to_open_clip():
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.get_tokenizer("PE-Core-B-16")
    rng = np.random.default_rng(0)
    drawn = ["".join(rng.choice(list("abcdefgh 's.,!-3eéß日"), 60)) for _ in range(50)]
    assert np.array_equal(encode([*SENTENCES, *drawn], context=32), tokenizer([*SENTENCES, *drawn]).numpy())


def test_long_sentences_are_cut_and_short_ones_padded():
    long, short = encode(["word " * 50, "a dog"], context=8)
    assert long[0] == START and long[-1] == END and len(set(long[1:-1].tolist())) == 1
    assert short.tolist() == [START, 320, 1929, END, 0, 0, 0, 0]
