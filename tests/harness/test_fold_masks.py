"""Part masks of a fold: what its digest tells apart, and which of them are known."""

import numpy as np
import torch

from harness.fold_masks import FoldMasks
from harness.holdout import hold_out
from protocols.types import Image, Split


def masks(count, seed=0):
    return np.random.default_rng(seed).random((count, 3, 4, 2)) < 0.5


def test_the_digest_is_of_content_shape_and_order():
    a, b = masks(4), masks(4, seed=1)
    digests = {
        FoldMasks(m).digest
        for m in [(a,), (b,), (a, b), (b, a), (a.reshape(4, 3, 2, 4),), (np.concatenate([a, b]),)]
    }
    assert len(digests) == 6
    assert FoldMasks((a.copy(),)).digest == FoldMasks((a,)).digest


def test_the_digest_tells_what_is_known():
    a, all_known = masks(4), np.ones((4, 3), dtype=bool)
    some = all_known.copy()
    some[1, 2] = False
    plain = FoldMasks((a, a)).digest
    assert FoldMasks((a, a), (None, None)).digest == plain
    digests = {FoldMasks((a, a), known).digest for known in [(some, None), (None, some)]}
    assert len(digests | {plain}) == 3


def test_sources_without_unknown_parts_stand_beside_others():
    some = np.zeros((2, 3), dtype=bool)
    both = FoldMasks((masks(3), masks(2)), (None, some))
    assert both.known_tensor().tolist() == [[True] * 3] * 3 + [[False] * 3] * 2
    assert FoldMasks((masks(3),), (None,)).known_tensor() is None
    assert FoldMasks((masks(3),)).known_tensor() is None
    assert torch.equal(both.tensor(), torch.from_numpy(np.concatenate([masks(3), masks(2)])))


def test_what_is_known_goes_where_its_images_go():
    images = tuple(Image(f"{pid}-{c}.jpg", pid, c) for pid in range(1, 11) for c in (0, 1))
    held = hold_out([Split("MA", "train", images)], 0.3, 0)
    known = np.array([[i.pid > 5, i.camid, True] for i in images], dtype=bool)
    left = held.masks(FoldMasks((masks(20),), (known,)))
    expected = [[i.pid > 5, bool(i.camid), True] for i in held.training[0].images]
    assert left.known_tensor().tolist() == expected
    assert len(left.tensor()) == len(expected) == 14
