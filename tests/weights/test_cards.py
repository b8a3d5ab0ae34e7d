from __future__ import annotations

import re

import pytest
import torch
from typer.testing import CliRunner

from tests.models.test_tsn import NARROW, narrow
from videozoo.cli.main import app
from videozoo.config.check import bind
from videozoo.errors import WeightsError
from videozoo.models.registry import models
from videozoo.transforms.input import build_input
from videozoo.weights import cards, load_card
from videozoo.weights.exporter import write_pdparams
from videozoo.weights.importer import SOURCES, key_map


@pytest.mark.parametrize("name", cards.CARDS)
def test_a_card_says_what_its_model_and_input_take(name):
    card = cards.CARDS[name]
    assert card.source in SOURCES and card.published
    assert all(re.fullmatch(r"https://\S+\.(pdparams|safetensors|pth|pt|pyth)", url) for url in card.urls)
    if card.is_usable():
        bind(models.get(card.model), card.args, where=name)
        with torch.device("meta"):
            key_map(card.new_model(), source=card.source)  # refuses what computes something else
    build_input(card.input)


def test_files_do_not_share_a_name():
    assert len({card.file_name for card in cards.CARDS.values()}) == len(cards.CARDS)
    assert not any(set(card.file_name) & set("*?/ ") for card in cards.CARDS.values())


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
