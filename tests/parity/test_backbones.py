"""Backbones give the scores of their reference classes, in every layout of their weight files."""

from __future__ import annotations

import pytest

from tests.parity.backbones import FAMILIES, TINY, TOLERANCE, compare

pytest.importorskip("transformers", reason="the reference classes need transformers, which the extra `dev` installs")


@pytest.mark.parametrize("family", FAMILIES)
def test_imported_weights_give_the_scores_of_their_reference(family):
    make, _ = FAMILIES[family]
    cases = list(make(TINY))
    assert cases
    errors = {str(case): compare(case)["max_rel_err"] for case in cases}
    assert max(errors.values()) <= TOLERANCE, errors
