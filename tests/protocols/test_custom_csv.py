"""Own data sets from a CSV."""

import pytest

from protocols.datasets import custom_keys, open_dataset
from protocols.errors import DataError

HEADER = "path,pid,camid,split\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="shop.csv", images=("a.jpg", "b.jpg", "c.jpg", "d.png")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        for image in images:
            (path.parent / image).write_bytes(b"x")
        path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(("name", "prefix"), [("shop.csv", ""), ("shop/dataset.csv", "shop/")])
def test_reads(write, name, prefix):
    rows = "a.jpg,7,0,train\nb.jpg,9,1,query\nc.jpg,9,0,gallery\nd.png,0,1,gallery\n"
    root = write("\ufeff" + HEADER + rows, name)
    assert custom_keys(root) == ("shop",)
    dataset = open_dataset("shop", root)
    assert dataset.train().images == ((f"{prefix}a.jpg", 7, 0),)
    (probe,) = dataset.probes()
    assert probe.query.images == ((f"{prefix}b.jpg", 9, 1),)
    assert [i.pid for i in probe.gallery.images] == [9, 0]
    assert [i.pid for i in dataset.all().images] == [7, 9, 9]


def test_junk_and_distractors(write):
    root = write(HEADER + "a.jpg,-1,0,gallery\nb.jpg,0,0,train\nc.jpg,4,0,train\n")
    dataset = open_dataset("shop", root)
    assert [i.pid for i in dataset.train().images] == [4]
    assert not dataset.probe_splits
    with pytest.raises(DataError, match="can not be a target"):
        dataset.probes()


def test_no_camera_is_nobodys_camera(write):
    root = write(HEADER + "a.jpg,7,,query\nb.jpg,7,,gallery\nc.jpg,7,0,gallery\nd.png,7,1,query\n")
    dataset = open_dataset("shop", root)
    (probe,) = dataset.probes()
    query = {i.path: i.camid for i in probe.query.images}
    gallery = {i.path: i.camid for i in probe.gallery.images}
    assert query["d.png"] == 1 and gallery["c.jpg"] == 0
    assert query["a.jpg"] not in gallery.values() and gallery["b.jpg"] not in query.values()
    assert "2 images without a camera" in dataset.notes[0]


def test_people_of_both_training_and_test_are_said(write):
    root = write(HEADER + "a.jpg,7,0,train\nb.jpg,7,1,query\nc.jpg,7,0,gallery\n")
    assert open_dataset("shop", root).notes == (
        "1 identities are in its training set and among its queries",)  # fmt: skip


def test_query_may_be_in_the_gallery_too(write):
    root = write(HEADER + "a.jpg,7,0,query\na.jpg,7,0,gallery\nb.jpg,7,1,gallery\nc.jpg,1,0,train")
    assert len(open_dataset("shop", root).all().images) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "shop.csv:1: column 'path' must be there once"),
        ("path,pid,split\n", "shop.csv:1: column 'camid' must be there once"),
        ("path,pid,camid,splt\n", "shop.csv:1: unknown column 'splt'. Did you mean 'split'?"),
        ("path,pid,camid,split,pid\n", "shop.csv:1: column 'pid' must be there once"),
        (HEADER, "no image is left"),
        (HEADER + "a.jpg,-1,0,train", "no image is left"),
        (HEADER + "a.jpg,7,0,train\nb.jpg,x,0,train\n", "shop.csv:3: pid is 'x'"),
        (HEADER + "a.jpg,-2,0,train\n", "shop.csv:2: pid is '-2'"),
        (HEADER + "a.jpg,7,-1,train\n", "shop.csv:2: camid is '-1'"),
        (HEADER + "a.jpg,7,0,test\n", "shop.csv:2: split is 'test'; expected train, query"),
        (HEADER + "a.jpg,7,0\n", "shop.csv:2: expected 4 values"),
        (HEADER + "a.jpg,7,0,train,1\n", "shop.csv:2: expected 4 values"),
        (HEADER + "z.jpg,7,0,train\n", "shop.csv:2: there is no file"),
        (HEADER + "/a.jpg,7,0,train\n", "shop.csv:2: path is '/a.jpg'"),
        (HEADER + "../a.jpg,7,0,train\n", "lies outside the data root"),
        (HEADER + "a.txt,7,0,train\n", "shop.csv:2: 'a.txt' is not named as an image"),
        (HEADER + "a.jpg,7,0,query\n", "no gallery images"),
        (HEADER + "a.jpg,7,0,train\na.jpg,7,0,train\n", "shop.csv:3: a.jpg is in train here"),
        (HEADER + "a.jpg,7,0,train\na.jpg,7,0,query\n", "in train on line 2"),
        (HEADER + '"a.jpg,7,0,train\n', "not a CSV line"),
    ],
)
def test_errors_name_file_and_line(write, text, message):
    with pytest.raises(DataError) as caught:
        open_dataset("shop", write(text))
    assert message in str(caught.value)


def test_a_csv_that_is_no_text(write):
    root = write(HEADER)
    (root / "shop.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        open_dataset("shop", root)


@pytest.mark.parametrize("name", ["MA", "viper", "all", "p1"])
def test_built_in_names_are_taken(write, name):
    with pytest.raises(DataError, match="is built in; rename it"):
        custom_keys(write(HEADER, f"{name}.csv"))


def test_one_name_twice(write):
    write(HEADER, "shop/dataset.csv")
    with pytest.raises(DataError, match="defined twice"):
        custom_keys(write(HEADER))


def test_names_no_protocol_could_hold_are_passed_over(write):
    write(HEADER, "a b.csv")
    write(HEADER, "a+b.csv")
    assert custom_keys(write(HEADER, "ok-1.csv")) == ("ok-1",)
