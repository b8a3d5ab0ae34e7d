import numpy as np
import torch
from numpy.testing import assert_allclose

from videozoo.decoding.proposals import map_segments, proposal_features
from videozoo.layers.boundary_sensitive import boundary_sensitive


def test_equals_the_features_of_stored_proposals():
    rng = np.random.default_rng(0)
    action = rng.random((2, 12))
    cells = map_segments(12, 12).reshape(-1, 2)
    cells = cells[cells[:, 1] <= 1]
    want = np.stack([proposal_features(row, cells, num_action=5, num_boundary=3) for row in action])
    args = {"num_action": 5, "num_boundary": 3}
    assert_allclose(boundary_sensitive(torch.from_numpy(action), torch.from_numpy(cells), **args), want, atol=1e-12)

    each = torch.from_numpy(np.stack([cells[:4], cells[7:11]]))  # other segments in each sample
    found = boundary_sensitive(torch.from_numpy(action), each, **args)
    assert_allclose(found[0], want[0, :4], atol=1e-12)
    assert_allclose(found[1], want[1, 7:11], atol=1e-12)
