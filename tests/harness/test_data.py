"""Transforms, the loader and the PK sampler."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from harness.augment import Move, apply, draw_move, move_masks
from harness.data import ImageFiles, image_batches, in_order, pk_rows, training_images
from harness.seeds import derive, generator
from methods.interface import Transform, Transforms
from protocols.types import Image, Split

HALF = (0.5, 0.5, 0.5)


def ramp():
    columns = np.tile(np.arange(8, dtype=np.uint8) * 30, (16, 1))
    return PillowImage.fromarray(np.stack([columns] * 3, axis=2))


def test_a_transform_by_hand():
    plain = apply(Transform((16, 8), HALF, HALF), ramp(), generator(0))
    expected = torch.arange(8) * 30 / 255 * 2 - 1
    assert torch.allclose(plain[0, 0], expected, atol=1e-6)
    flipped = apply(Transform((16, 8), HALF, HALF, flip=1.0), ramp(), generator(0))
    assert torch.equal(flipped, plain.flip(2))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("erase", [0.0, 1.0])
def test_pixels_become_the_floats_they_always_became(tmp_path, workers, erase):
    """Scaled, then less the mean, over the deviation, each step rounded; on their way as bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "a.png")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    transform = Transform((16, 8), mean, std, erase=erase)
    files = ImageFiles(tmp_path, ["a.png"], transform)
    ((_, found),) = image_batches(files, [[0]], workers)
    scaled = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    expected = (scaled - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert found.dtype == torch.float32 and found.is_contiguous()
    same = found[0] == expected
    assert same.all() if not erase else 0.5 < same.float().mean() < 1


def test_crop_moves_at_most_the_padding_and_erasing_leaves_most():
    transform = Transform((16, 8), (0.0,) * 3, (1.0,) * 3, pad=2)
    seen = {tuple(apply(transform, ramp(), generator(i))[0, 8].tolist()) for i in range(60)}
    assert len(seen) == 5
    erased = apply(Transform((64, 32), HALF, HALF, erase=1.0), ramp(), generator(3))
    plain = apply(Transform((64, 32), HALF, HALF), ramp(), generator(3))
    share = (erased != plain).float().mean()
    assert 0.01 < share < 0.42


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    identities=st.integers(1, 8),
    instances=st.integers(1, 5),
    seed=st.integers(0, 5),
)
@settings(max_examples=200, deadline=None)
def test_every_batch_is_p_times_k(labels, identities, instances, seed):
    batches = pk_rows(labels, identities, instances, np.random.default_rng(seed))
    people = min(identities, len(set(labels)))
    assert batches, "an epoch has at least one batch"
    for batch in batches:
        counts = Counter(labels[row] for row in batch)
        assert len(counts) == people
        assert set(counts.values()) == {instances}
    # an image comes twice in an epoch only where its identity has fewer than K
    used = Counter(row for batch in batches for row in batch)
    sizes = Counter(labels)
    assert all(n == 1 for row, n in used.items() if sizes[labels[row]] >= instances)


def test_sampling_is_a_function_of_seed_and_epoch():
    labels = [i // 5 for i in range(50)]
    draws = [pk_rows(labels, 4, 4, generator(0, "identity", e, "batches")) for e in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_seeds_are_fixed_for_good():
    # a record's numbers depend on these: a change here is a change of every method's version
    assert derive(0, "identity", 1) == derive(0, "identity", 1)
    assert len({derive(s, p, e) for s in range(3) for p in "ab" for e in range(3)}) == 18
    assert derive(0, "identity", 1, "batches") == 276504816590177516


def test_batches_do_not_depend_on_the_workers(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(6)]
    for name in names:
        pixels = rng.integers(0, 255, (20, 10, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(tmp_path / name)
    transform = Transform((16, 8), HALF, HALF, "bicubic", flip=0.5, pad=2, erase=0.5)
    files = ImageFiles(tmp_path, names, transform, (0, "identity", 1))
    batches = [[0, 1, 2], [3, 4, 5], [0, 5, 0]]
    alone = list(image_batches(files, batches, workers=0))
    helped = list(image_batches(files, batches, workers=2))
    for (rows, images), (rows2, images2) in zip(alone, helped, strict=True):
        assert torch.equal(rows, rows2)
        assert torch.equal(images, images2)
    # the same image twice in an epoch is augmented twice
    assert not torch.equal(alone[2][1][0], alone[2][1][2])


def test_in_order_covers_every_row_once():
    assert in_order(5, 2) == [[0, 1], [2, 3], [4]]
    assert in_order(0, 2) == []


def slow_apply(transform, image, rng):
    """Flip, border, crop, in plain numpy: what every number so far was computed with."""
    pixels = np.asarray(image)
    if transform.flip and rng.random() < transform.flip:
        pixels = pixels[:, ::-1]
    if transform.pad:
        pad, (height, width) = transform.pad, pixels.shape[:2]
        padded = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)))
        top, left = rng.integers(0, 2 * pad + 1, size=2)
        pixels = padded[top : top + height, left : left + width]
    return pixels


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("pad", [0, 3, 20])
def test_the_draws_of_an_image_are_what_they_always_were(flip, pad):
    transform = Transform((16, 8), (0.0,) * 3, (1.0,) * 3, flip=flip, pad=pad)
    image = PillowImage.fromarray(np.random.default_rng(0).integers(0, 255, (16, 8, 3), "u1"))
    for i in range(30):
        one, other = generator(0, i), generator(0, i)
        found = (apply(transform, image, one) * 255).round().permute(1, 2, 0).byte().numpy()
        assert np.array_equal(found, slow_apply(transform, image, other))
        assert one.random() == other.random(), "drawn equally often"


def drawn(*parts):
    return np.array([[[c == "#" for c in line] for line in part.split()] for part in parts])


def test_masks_move_with_the_image_by_hand():
    masks = drawn("#... .... ....", "..#. ..#. ....")  # 3 x 4 patches of 4 x 2 pixels
    size = (12, 8)
    flipped = drawn("...# .... ....", ".#.. .#.. ....")
    assert np.array_equal(move_masks(masks, Move(flip=True), size), flipped)
    # one pixel to the right: half of the patch on either side; four down: one patch
    moved = drawn(".... ##.. ....", ".... ..## ..##")
    assert np.array_equal(move_masks(masks, Move(down=4, right=1), size), moved)
    # a pixel down of four leaves three
    assert np.array_equal(move_masks(masks, Move(down=1), size), masks)
    # out on the left, and nothing comes in
    assert not move_masks(masks, Move(right=-6), size).any()
    both = drawn(".... #... #...")
    assert np.array_equal(move_masks(masks[1:], Move(True, 4, -2), size), both)


@given(
    grid=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    size=st.tuples(st.integers(5, 17), st.integers(4, 13)),
    move=st.builds(Move, st.booleans(), st.integers(-6, 6), st.integers(-6, 6)),
    seed=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_masks_move_as_pixels_do(grid, size, move, seed):
    """Each patch painted into an image, moved, and counted."""
    masks = np.random.default_rng(seed).random((3, *grid)) < 0.5
    (h, w), (height, width) = grid, size
    before = masks[:, :, ::-1] if move.flip else masks
    inside = np.zeros((3, h, w))
    area = np.zeros((h, w))
    for y in range(height):
        for x in range(width):
            patch = (y * h // height, x * w // width)
            area[patch] += 1
            from_y, from_x = y - move.down, x - move.right
            if 0 <= from_y < height and 0 <= from_x < width:
                source = before[:, from_y * h // height, from_x * w // width]
                inside[:, patch[0], patch[1]] += source
    assert np.array_equal(move_masks(masks, move, size), inside * 2 >= area)


SIZE, GRID = (24, 12), (6, 3)


@pytest.fixture
def people(tmp_path):
    """Images whose red, green and blue are the masks of the three parts, patch by patch."""
    rng = np.random.default_rng(0)
    masks = rng.random((12, 3, *GRID)) < 0.5
    images = []
    for i, mask in enumerate(masks):
        pixels = mask.repeat(4, 1).repeat(4, 2).transpose(1, 2, 0).astype(np.uint8) * 255
        PillowImage.fromarray(pixels).save(tmp_path / f"{i}.png")
        images.append(Image(f"{i}.png", 1 + i // 3, i % 2))

    def make(train, with_masks=True, **more):
        plain = Transform(SIZE, (0.0,) * 3, (1.0,) * 3)
        splits = [Split("A", "train", tuple(images))]
        given = torch.from_numpy(masks) if with_masks else None
        return training_images(
            tmp_path, splits, Transforms(train=train, eval=plain), seed=0,
            device=torch.device("cpu"), part_masks=given, **more,
        )  # fmt: skip

    return make


def painted(images):
    """What the masks of painted images [B, 3, H, W] are: patches lit to a half or more."""
    lit = torch.nn.functional.avg_pool2d(images, 4)
    return lit >= 0.5 - 1e-6


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("pad", [0, 3, 10])
def test_part_masks_follow_their_own_image(people, pad, workers):
    transform = Transform(SIZE, (0.0,) * 3, (1.0,) * 3, flip=0.5, pad=pad)
    data = people(transform, workers=workers)
    moved = 0
    for epoch in (1, 2):
        for batch in data.pk_batches(epoch, 2, 2):
            assert batch.part_masks.dtype == torch.bool
            assert torch.equal(batch.part_masks, painted(batch.images))
            moved += (batch.part_masks != data.part_masks[batch.indices]).any((1, 2, 3)).sum()
    assert moved > 0
    still = torch.cat([b.part_masks for b in data.in_order(5)])
    assert torch.equal(still, data.part_masks)


def test_erasing_leaves_masks_alone(people):
    data = people(Transform(SIZE, (0.0,) * 3, (1.0,) * 3, erase=1.0))
    for batch in data.pk_batches(1, 4, 2):
        assert torch.equal(batch.part_masks, data.part_masks[batch.indices])
        assert not torch.equal(batch.part_masks, painted(batch.images))


def test_masks_change_no_image(people):
    transform = Transform(SIZE, (0.0,) * 3, (1.0,) * 3, flip=0.5, pad=4, erase=0.5)
    with_masks, without = (people(transform, with_masks=m) for m in (True, False))
    pairs = zip(with_masks.pk_batches(1, 2, 2), without.pk_batches(1, 2, 2), strict=True)
    for one, other in pairs:
        assert torch.equal(one.images, other.images)
        assert other.part_masks is None
    assert next(iter(without.in_order())).part_masks is None


def test_batches_without_images_are_the_same_batches(people, monkeypatch):
    data = people(Transform(SIZE, (0.0,) * 3, (1.0,) * 3, flip=0.5))
    decoded = list(data.pk_batches(3, 2, 2))
    monkeypatch.setattr("harness.data.decode", None)  # no file is read
    bare = list(data.pk_batches(3, 2, 2, decode=False))
    assert len(bare) == len(decoded) > 1
    for one, other in zip(decoded, bare, strict=True):
        assert other.images.shape == (4, 0)
        assert other.part_masks is None
        for name in ("labels", "domains", "camids", "indices"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_what_is_drawn_is_within_the_border():
    transform = Transform((16, 8), HALF, HALF, flip=0.5, pad=3)
    moves = [draw_move(transform, generator(i)) for i in range(200)]
    assert {m.down for m in moves} == {m.right for m in moves} == set(range(-3, 4))
    assert 60 < sum(m.flip for m in moves) < 140
