"""Images that can not be decoded: left out up to a share, named beyond it, tried again."""

import shutil

import pytest
from PIL import Image

from harness.grounding.walk import Shard
from protocols.errors import DataError
from tests.harness.grounding.scripted import make_data


def asked(walk):
    return [sorted(set(call)) for call in walk.scripted.calls]


def spoil(root, *numbers):
    for number in numbers:
        (root / "images" / f"{number:03d}.png").write_bytes(b"no image")


def test_a_damaged_image_is_left_out_and_tried_again(walk, root):
    spoilt = root / "images" / "005.png"
    spoilt.write_bytes(spoilt.read_bytes()[:40])
    one = walk()
    one.run()
    assert not one.left
    assert asked(one) == [[0, 1, 2, 3], [4, 6, 7], [8, 9]]
    known = one.known["images/005.png"]
    assert known.damaged and not known.answers
    again = walk()
    again.open_expert = lambda: pytest.fail("opened")
    again.run()
    files = list(again.folder.glob("*.jsonl"))
    assert len(files) == 1, "what is known to be damaged is not written down again"
    Image.new("RGB", (4, 8), (5, 0, 0)).save(spoilt)
    mended = walk()
    mended.run()
    assert asked(mended) == [[5]]
    assert not mended.known["images/005.png"].damaged


def test_more_damaged_images_than_one_in_a_hundred_stop_it(walk, root):
    spoil(root, 2, 9)
    one = walk()
    with pytest.raises(DataError, match=r"(?s)2 images of Mine .* at most 1 .*002.png.*009.png"):
        one.run()
    # nobody gets around it by asking of others only
    with pytest.raises(DataError, match="can not be used"):
        walk(limit=1).run()
    # what was answered is kept, and the next start knows before anything is loaded
    again = walk()
    again.open_expert = lambda: pytest.fail("opened")
    assert len(again.left) == 0
    with pytest.raises(DataError, match="can not be used"):
        again.run()
    for number in (2, 9):
        Image.new("RGB", (4, 8), (number, 0, 0)).save(root / "images" / f"00{number}.png")
    mended = walk()
    mended.run()
    assert asked(mended) == [[2], [9]] and not mended.left


def test_one_damaged_image_in_every_hundred_is_let_pass(walk, root):
    shutil.rmtree(root)
    make_data(root, 201)
    spoil(root, 7, 100)
    one = walk(batch=64)
    one.run()
    assert not one.left and sum(bool(known.damaged) for known in one.known.values()) == 2
    spoil(root, 150)
    with pytest.raises(DataError, match=r"3 images of Mine .* of 201; at most 2"):
        walk(batch=64).run()


def test_images_that_were_damaged_are_tried_first(walk, root):
    spoil(root, 4, 8)
    walk(shard=Shard(2, 3)).run()
    with pytest.raises(DataError, match="2 images of Mine"):
        walk(shard=Shard(3, 3)).run()
    one = walk()
    assert len(one.waits) == 4
    one.open_expert = lambda: pytest.fail("opened")
    with pytest.raises(DataError, match="2 images of Mine"):
        one.run()


def test_damaged_images_that_another_shard_finds_meanwhile_count(walk, root):
    spoil(root, 0, 5)
    first, second = (walk(batch=5, shard=Shard(i, 2)) for i in (1, 2))
    second.open_expert = lambda: first.run() or second.scripted
    with pytest.raises(DataError, match="2 images of Mine"):
        second.run()


def test_a_picture_that_is_a_line_is_left_out(walk, root):
    Image.new("RGB", (4, 500), (5, 0, 0)).save(root / "images" / "005.png")
    one = walk()
    one.run()
    assert asked(one) == [[0, 1, 2, 3], [4, 6, 7], [8, 9]]
    assert one.known["images/005.png"].damaged == "4 x 500 pixels show nobody"
