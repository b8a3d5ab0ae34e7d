import numpy as np
import torch

from videozoo.layers.contrastive_loss import contrastive_loss


def softmax(row):
    values = np.exp(row - row.max())
    return values / values.sum()


def test_equal_to_loops():
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    groups = [0, 1, 0, 2]
    wanted = 0.0
    for table in (scores.numpy(), scores.numpy().T):
        for i in range(4):
            same = [j for j in range(4) if groups[j] == groups[i]]
            wanted -= sum(np.log(softmax(table[i])[j]) for j in same) / len(same) / 8
    assert abs(float(contrastive_loss(scores, torch.tensor(groups))) - wanted) < 1e-6


def test_distinct_sentences_give_the_loss_of_clip():
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    numbers = torch.arange(5)
    cross_entropy = torch.nn.functional.cross_entropy
    wanted = (cross_entropy(scores, numbers) + cross_entropy(scores.T, numbers)) / 2
    torch.testing.assert_close(contrastive_loss(scores, numbers), wanted)
