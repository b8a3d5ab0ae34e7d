import numpy as np
import torch
from numpy.testing import assert_allclose

from videozoo.decoding.anchors import anchors, decode, detect, encode, nms, score_decay
from videozoo.layers.multibox_loss import multibox_losses

BOXES = anchors()


def test_decoding_undoes_encoding():
    segments = np.array([[10.0, 60.0], [200.0, 420.0]])
    offsets, classes = encode(segments, np.array([3, 7]), BOXES)
    for label, segment in zip((3, 7), segments, strict=True):
        matched = classes == label
        assert matched.any()
        assert_allclose(decode(offsets[matched], BOXES[matched]), np.tile(segment, (matched.sum(), 1)))
    assert not offsets[classes == 0].any()


def test_every_segment_gets_an_anchor():
    segments = np.array([[100.0, 100.5], [300.0, 301.0]])  # shorter than half of any anchor
    classes = encode(segments, np.array([1, 2]), BOXES)[1]
    assert sorted(classes[classes > 0]) == [1, 2]


def test_no_segments_make_all_background():
    offsets, classes = encode(np.zeros((0, 2)), np.zeros(0, np.int64), BOXES)
    assert not offsets.any() and not classes.any()


def test_a_perfect_answer_is_detected():
    segment = np.array([[128.0, 256.0]])
    offsets, classes = encode(segment, np.array([2]), BOXES)
    probs = np.zeros((len(BOXES), 4))
    probs[np.arange(len(BOXES)), classes] = 1
    found, labels, scores = detect(offsets, probs, BOXES)
    assert_allclose(found, segment)
    assert labels.tolist() == [1] and scores.tolist() == [1.0]


def test_nothing_over_the_threshold_gives_nothing():
    probs = np.zeros((len(BOXES), 3))
    assert [len(part) for part in detect(np.zeros((len(BOXES), 2)), probs, BOXES)] == [0, 0, 0]


def test_suppression():
    segments, scores = np.array([[0.0, 10.0], [1.0, 10.0], [20.0, 30.0]]), np.array([0.8, 0.9, 0.5])
    assert nms(segments, scores, max_iou=0.5).tolist() == [1, 2]
    picks, decayed = score_decay(segments, scores, sigma=0.9, min_score=0.0)
    assert picks.tolist() == [1, 2, 0]
    assert_allclose(decayed, [0.9, 0.5, 0.8 * np.exp(-0.81 / 0.9)])


def test_only_the_worst_negatives_count():
    scores = torch.zeros(1, 6, 2)
    scores[0, 1:, 1] = torch.tensor([4.0, 3, 2, -9, -9])  # three wrong and two right background anchors
    target = torch.tensor([[1, 0, 0, 0, 0, 0]])
    zeros = torch.zeros(1, 6, 2)
    parts = multibox_losses(zeros, scores, offset_target=zeros, class_target=target)
    each = torch.nn.functional.cross_entropy(scores[0], target[0], reduction="none")
    torch.testing.assert_close(parts["class"], each[:4].sum())
    nothing = multibox_losses(zeros, scores, offset_target=zeros, class_target=torch.zeros_like(target))
    assert nothing["loss"].item() == 0
