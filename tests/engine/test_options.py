"""Durations and the `fit` section: what they take, and what they say to what they do not."""

import pytest

from videozoo.config.check import bind, build
from videozoo.config.recipe import plain
from videozoo.engine.duration import Duration
from videozoo.engine.options import Fit
from videozoo.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("50ep", 5000),
        ("2.5ep", 250),
        ("3000st", 3000),
        ("2000000ex", 125000),
        ("17ex", 2),
        (3, 300),
        ("0ep", 0),
    ],
)
def test_duration_in_steps(text, steps):
    assert Duration.parse(text).steps(steps_per_epoch=100, batch_size=16) == steps


@pytest.mark.parametrize("text", ["50ep", "2.5ep", "3000st", "2000000ex"])
def test_duration_is_written_as_it_is_read(text):
    assert str(Duration.parse(text)) == text


@pytest.mark.parametrize("text", ["50", "fifty", "5 days", "-1ep", "ep", "", True, None, "infep"])
def test_no_duration(text):
    with pytest.raises(ConfigError, match=r"^\S.* is not a valid duration; write e\.g\. 50ep \(epochs\)"):
        Duration.parse(text)
    with pytest.raises(ConfigError, match=r"^fit\.duration: should be a duration: 50ep \(epochs\).*; got "):
        bind(Fit, {"duration": text}, where="fit")


def test_fit_from_a_recipe():
    fit = build(Fit, {"duration": "300st", "eval_every": 2, "ema_decay": "0.99"}, where="fit")
    assert (fit.duration, fit.eval_every, fit.ema_decay) == (Duration(300, "st"), Duration(2), 0.99)
    assert plain(bind(Fit, {"duration": "300st"}, where="fit"))["duration"] == "300st"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"batch_size": 0}, r"fit\.batch_size: is 0; must be 1 or more"),
        (
            {"batch_size": 16, "accumulate": 3},
            r"fit\.accumulate: is 3, which does not divide .*batch_size 16",
        ),
        ({"decode_timeout_s": 1e300}, r"fit\.decode_timeout_s: is 1e\+300; must be at most 604800 s"),
        ({"num_workers": -1}, r"fit\.num_workers: is -1; must be 0 or more"),
        ({"clip_grad_norm": 0}, r"fit\.clip_grad_norm: is 0\.0; must be above 0"),
        ({"ema_decay": 1.5}, r"fit\.ema_decay: is 1\.5; must be between 0 and 1"),
        ({"max_bad_share": 1}, r"fit\.max_bad_share: is 1\.0; must be 0 or more and below 1"),
        ({"save_every": "0st"}, r"fit\.save_every: is 0st; must be above 0"),
        ({"precision": "fp8"}, r"fit\.precision: input should be 'fp32', 'bf16' or 'fp16'; got 'fp8'"),
        ({"epochs": 3}, r"fit\.epochs: Fit takes no such argument"),
    ],
)
def test_mistakes_are_named(args, message):
    with pytest.raises(ConfigError, match=message):
        build(Fit, args, where="fit")
