"""Part masks: which images are drawn, and overlap with true boxes against counts by hand."""

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from harness import masks
from harness.masks import NoMasks, choose, measure, part_maps
from methods.grounding.labels import PartLabels
from methods.interface import Method, MethodCard, MethodConfig, PartMaps, Transform, Transforms
from protocols.types import Image

GRID = (4, 2)


def rows(*which):
    """A mask that covers whole rows of the grid."""
    mask = torch.zeros(GRID)
    mask[list(which)] = 1
    return mask


class Fixed(Method):
    """Predicts the maps it was given for the image whose first pixel is i."""

    card = MethodCard("fixed", "masks by hand", "none", "MIT", "image", ())

    def __init__(self, given, parts=("head", "upper", "legs")):
        """given: [layers, images, R, h, w]."""
        super().__init__(MethodConfig(), None)
        self.given, self.parts = given, parts
        self.batches = []

    def transforms(self):
        plain = Transform((8, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return Transforms(plain, plain)

    def part_maps(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        index = (batch.images[:, 0, 0, 0] * 255).round().long() // 10
        self.batches.append(len(index))
        here = self.given[:, index]
        return PartMaps(self.parts, here, here / 8)


def write_images(root, count):
    paths = []
    for i in range(count):
        paths.append(f"{i}.png")
        PillowImage.fromarray(np.full((16, 8, 3), 10 * i, np.uint8)).save(root / paths[-1])
    return paths


def truth_of(masks_of):
    """Part labels from a table path -> [R, h, w]."""
    return PartLabels(tuple(masks_of), masks=torch.stack(list(masks_of.values())).bool().numpy())


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_overlap_is_what_one_counts_by_hand(tmp_path, monkeypatch, batch_size):
    monkeypatch.setattr(masks, "BATCH_SIZE", batch_size)
    paths = write_images(tmp_path, 3)
    none = rows()
    true = {
        "0.png": torch.stack([rows(0), rows(1, 2), rows(3)]),
        "1.png": torch.stack([rows(0), rows(1), none]),  # the legs are hidden
        "2.png": torch.stack([rows(0), none, none]),
    }
    last = torch.stack([
        torch.stack([rows(0), rows(1), rows(2, 3)]),  # 1, 1/2, 1/2
        torch.stack([none, rows(1, 2), none]),        # 0, 1/2, left empty
        torch.stack([rows(0, 1), rows(2), rows(3)]),  # 1/2, hidden but found, hidden but found
    ])  # fmt: skip
    first = torch.stack([true[p] for p in paths])
    method = Fixed(torch.stack([first, 0.49 * first, 0.9 * last]))
    seen = []
    found = measure(
        method, tmp_path, truth_of(true), lambda done, total: seen.append((done, total))
    )
    assert (found.images, found.layers) == (3, 3)
    assert found.iou() == pytest.approx(
        {"head": (1 + 0 + 0.5) / 3, "upper": 0.5, "legs": 0.5, "mean": 0.5}
    )
    assert found.iou(0) == {"head": 1.0, "upper": 1.0, "legs": 1.0, "mean": 1.0}
    assert found.iou(1) == {"head": 0.0, "upper": 0.0, "legs": 0.0, "mean": 0.0}
    assert {k: p.hidden for k, p in found.parts.items()} == {"head": 0, "upper": 1, "legs": 2}
    assert {k: p.empty for k, p in found.parts.items()} == {"head": 0, "upper": 0, "legs": 1}
    assert seen[-1] == (3, 3) and sum(method.batches) == 3
    assert len(seen) == -(-3 // batch_size)


def test_one_half_is_not_more_than_one_half(tmp_path):
    write_images(tmp_path, 1)
    whole = torch.ones(1, 1, 3, *GRID)
    true = truth_of({"0.png": torch.ones(3, *GRID)})
    for probability, expected in ((0.5, 0.0), (0.501, 1.0)):
        found = measure(Fixed(probability * whole), tmp_path, true)
        assert found.iou()["mean"] == expected


def test_a_part_that_no_image_shows_has_no_mean(tmp_path):
    paths = write_images(tmp_path, 2)
    true = {p: torch.stack([rows(0), rows(1), rows()]) for p in paths}
    found = measure(Fixed(torch.ones(1, 2, 3, *GRID)), tmp_path, truth_of(true))
    assert found.iou() == {"head": 0.25, "upper": 0.25, "legs": None, "mean": 0.25}
    assert (found.parts["legs"].hidden, found.parts["legs"].empty) == (2, 0)


def test_parts_are_known_by_name(tmp_path):
    write_images(tmp_path, 1)
    true = {"0.png": torch.stack([rows(0), rows(1), rows(3)])}
    given = torch.stack([rows(3), rows(2), rows(0)])[None, None]
    method = Fixed(given, parts=("legs", "bag", "head"))
    assert measure(method, tmp_path, truth_of(true)).iou() == {
        "legs": 1.0, "head": 1.0, "mean": 1.0}  # fmt: skip
    with pytest.raises(NoMasks, match="fixed predicts masks of bag; true boxes are known of head"):
        measure(Fixed(given[:, :, :1], parts=("bag",)), tmp_path, truth_of(true))


def test_a_method_without_masks_says_so(tmp_path):
    paths = write_images(tmp_path, 1)

    class Blind(Fixed):
        def part_maps(self, batch):
            return None

    with pytest.raises(NoMasks, match="fixed predicts no part masks"):
        next(part_maps(Blind(None), tmp_path, paths))


def test_maps_come_with_their_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "BATCH_SIZE", 2)
    paths = write_images(tmp_path, 3)
    given = torch.arange(3.0)[None, :, None, None, None].expand(2, 3, 3, *GRID)
    batches = list(part_maps(Fixed(given), tmp_path, paths[::-1]))
    assert [list(p) for p, _ in batches] == [["2.png", "1.png"], ["0.png"]]
    assert [m.masks[0, :, 0, 0, 0].tolist() for _, m in batches] == [[2.0, 1.0], [0.0]]


def test_boxes_are_voted_on_the_grid_of_the_method_and_not_calibrated(tmp_path):
    paths = write_images(tmp_path, 5)
    boxes = np.full((5, 3, 4), np.nan, np.float32)
    boxes[:, 0] = (0, 0, 1, 0.25)
    boxes[4, 0] = (0, 0, 1, 1)  # calibration would take it for a mistake
    given = torch.zeros(1, 5, 3, *GRID)
    given[0, :, 0] = rows(0)
    found = measure(Fixed(given), tmp_path, PartLabels(tuple(paths), boxes=boxes))
    assert found.parts["head"].iou == (pytest.approx((1 + 1 + 1 + 1 + 0.25) / 5),)
    assert (found.parts["upper"].hidden, found.parts["upper"].empty) == (5, 5)


def test_chosen_images_are_spread_over_people_and_cameras():
    images = [Image(f"{p}-{c}-{i}", p, c) for p in range(5) for c in range(3) for i in range(4)]
    chosen = choose(images, 3, 0, "D")
    assert {i.camid for i in chosen} == {0, 1, 2} and len({i.pid for i in chosen}) == 3
    chosen = choose(images, 10, 0, "D")
    assert sorted(i.pid for i in chosen) == sorted(2 * list(range(5)))
    assert chosen == sorted(chosen)


def test_choosing_depends_on_the_seed_and_the_data_set_alone():
    images = [Image(f"{p}-{i}", p, 0) for p in range(50) for i in range(2)]
    chosen = choose(images, 4, 0, "D")
    assert choose(reversed(images + images), 4, 0, "D") == chosen
    assert choose(images, 4, 1, "D") != chosen != choose(images, 4, 0, "MA")
    assert choose(images[:2], 4, 0, "D") == images[:2]
