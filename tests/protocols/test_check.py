"""What `check` says about whole, cut and damaged data sets."""

import io
import json

import pytest
from PIL import Image

from protocols.check import check, verify_images
from protocols.datasets import CARDS, Count, DatasetCard
from protocols.errors import DataError, UnknownName
from protocols.fingerprint import fingerprint


def encoded(kind="JPEG", mode="RGB", size=(16, 32), shade=7):
    image = Image.new("1", size) if mode == "1" else Image.new("L", size, shade).convert(mode)
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def market(tmp_path):
    """A Market-1501 of six images, one of them a distractor, one junk."""
    names = {
        "bounding_box_train": ["0002_c1s1_1_1.jpg", "0002_c2s1_1_1.jpg"],
        "query": ["0003_c1s1_1_1.jpg"],
        "bounding_box_test": ["0003_c2s1_1_1.jpg", "0000_c1s1_1_1.jpg", "-1_c1s1_1_1.jpg"],
    }
    shade = 0
    for folder, files in names.items():
        (tmp_path / "Market1501" / folder).mkdir(parents=True)
        for name in files:
            shade += 20
            (tmp_path / "Market1501" / folder / name).write_bytes(encoded(shade=shade))
    return tmp_path


def test_a_cut_is_told_from_the_official_one(market):
    (report,) = check(market, ["MA"])
    assert report.status == "found" and report.official is False
    assert [(p.name, p.images, p.identities) for p in report.parts] == [
        ("train", 2, 1),
        ("query", 1, 1),
        ("gallery", 2, 1),
    ]
    assert [p.expected_images for p in report.parts] == [12936, 3368, 15913]
    assert report.differences[0].startswith("not the official Market-1501:")
    assert "must not be called Market-1501's" in report.differences[0]
    assert "train: 2 images of 1 people; the official one has 12936 of 751" in report.differences
    assert "2 cameras; the official one has 6" in report.differences
    assert report.bad_images == () and report.colour_modes == {"RGB": 5}
    assert len(report.fingerprint) == 16 and len(report.sha256) == 64
    json.dumps(report.to_dict())


def test_the_official_one_is_recognised(market, monkeypatch):
    counts = {"train": Count(2, 1), "query": Count(1, 1), "gallery": Count(2, 1)}
    card = CARDS["MA"]
    small = DatasetCard(**{**vars(card), "counts": counts, "cameras": 2})
    monkeypatch.setitem(CARDS, "MA", small)
    (report,) = check(market, ["MA"])
    assert report.official is True and report.differences == ()
    (market / "STANDIN.json").write_text("{}")
    (report,) = check(market, ["MA"])
    assert report.standin and report.official is False and "stand-ins" in report.differences[0]


def test_all_data_sets_are_listed(market):
    reports = {r.key: r for r in check(market)}
    assert set(reports) == set(CARDS) - {"VIPeR-ba"}  # the same files as VIPeR
    assert {k for k, r in reports.items() if r.status == "found"} == {"MA"}
    assert reports["D"].status == "absent" and reports["D"].looked_for == CARDS["D"].folders


def test_half_copied_is_broken_and_stops_nothing(market):
    (market / "DukeMTMC-reID/query").mkdir(parents=True)
    broken, found = check(market, ["D", "MA"])
    assert broken.status == "broken" and "half-copied" in broken.error
    assert found.status == "found"


def test_own_data_set(market):
    (market / "shop.csv").write_text(
        "path,pid,camid,split\nMarket1501/query/0003_c1s1_1_1.jpg,5,0,train\n"
    )
    report = check(market)[-1]
    assert (report.key, report.official, report.differences) == ("shop", None, ())
    assert report.parts[0].expected_images is None


def test_people_on_both_sides_are_reported(market):
    (market / "Market1501/query/0002_c1s1_9_9.jpg").write_bytes(encoded())
    (report,) = check(market, ["MA"])
    assert "1 people are both in train and in the test images" in report.differences


def test_bad_arguments(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "no")
    with pytest.raises(UnknownName, match="'MA'"):
        check(tmp_path, ["MAA"])


def test_every_kind_of_damage_is_found(tmp_path):
    whole = encoded(size=(64, 128))
    png = encoded("PNG", size=(64, 128))
    bmp = encoded("BMP", size=(64, 128))
    files = {
        "ok.jpg": whole,
        "ok.png": png,
        "ok.bmp": bmp,
        "png-named.jpg": png,
        "grey.jpg": encoded(mode="L"),
        "cmyk.jpg": encoded(mode="CMYK"),
        "palette.png": encoded("PNG", "P"),
        "empty.jpg": b"",
        "text.jpg": b"this is not an image",
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": png[: len(png) // 2],
        "cut.bmp": bmp[: len(bmp) // 2],
        "bomb.png": encoded("PNG", "1", (9000, 9000)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in files] + [tmp_path / "gone.jpg"]
    calls = []
    bad = {
        b.path.rsplit("/", 1)[1]: b.reason for b in verify_images(paths, lambda *a: calls.append(a))
    }
    assert list(bad) == [
        "empty.jpg", "text.jpg", "cut.jpg", "cut.png", "cut.bmp", "bomb.png", "gone.jpg"
    ]  # fmt: skip
    assert "0 bytes" in bad["empty.jpg"] and "not an image" in bad["text.jpg"]
    assert "too large" in bad["bomb.png"] and "No such file" in bad["gone.jpg"]
    assert calls[-1] == (14, 14)


def test_damage_and_colour_modes_are_in_the_report(market):
    query = market / "Market1501/query/0003_c1s1_1_1.jpg"
    query.write_bytes(encoded(mode="L"))
    (report,) = check(market, ["MA"])
    assert any("1 images have colour mode L" in n for n in report.notes)
    query.write_bytes(b"")
    seen = []
    (report,) = check(market, ["MA"], lambda *a: seen.append(a))
    assert [b.path for b in report.bad_images] == [str(query)]
    assert "1 files do not decode" in report.differences
    assert report.fingerprint == ""
    assert seen[-1] == ("MA", 5, 5)


def test_fingerprint_and_sha256_see_what_they_should(market):
    file = market / "Market1501/query/0003_c1s1_1_1.jpg"
    (first,) = check(market, ["MA"])
    content = bytearray(file.read_bytes())
    content[-3] ^= 1  # the same size: only the contents' hash can see it
    file.write_bytes(content)
    (second,) = check(market, ["MA"])
    assert second.fingerprint != first.fingerprint and second.sha256 != first.sha256
    file.write_bytes(content + b"\0")
    (third,) = check(market, ["MA"])
    assert third.fingerprint != first.fingerprint


def test_fingerprint_refuses_empty_and_vanished_files(market):
    from protocols.datasets import open_dataset

    dataset = open_dataset("MA", market)
    before = fingerprint(dataset.parts, market)
    assert fingerprint(reversed(dataset.parts), market) == before
    file = market / dataset.train().images[0].path
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"0002_c1s1_1_1.jpg is empty"):
        fingerprint(dataset.parts, market)
    file.unlink()
    with pytest.raises(DataError, match=r"0002_c1s1_1_1.jpg was listed but can not be read"):
        fingerprint(dataset.parts, market)
