"""`harness eval` and `harness import`: features that were made elsewhere."""

import json

import numpy as np
import pytest

from harness.feature_files import FeatureFile
from harness.imported import match
from protocols.errors import DataError

PATHS = ("Duke/query/1.jpg", "Duke/query/2.jpg", "Duke/test/1.jpg")


def named(*names):
    return FeatureFile("f.npz", np.eye(len(names), 4, dtype=np.float16), None, None, names)


@pytest.mark.parametrize(
    "names",
    [
        PATHS,
        ("query/1.jpg", "2.jpg", "test/1.jpg"),
        ("/data/Duke/query/1.jpg", "./query/2.jpg", "C:\\Duke\\test\\1.jpg"),
    ],
)
def test_names_are_matched_by_their_longest_end(names):
    for order in ([0, 1, 2], [2, 0, 1]):
        features = match(named(*(names[i] for i in order)), PATHS)
        found = features(PATHS)["features"].numpy()
        np.testing.assert_array_equal(found, np.eye(3, 4)[np.argsort(order)])
        assert found.dtype == np.float32
        assert features.extra == ()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("query/1.jpg", "query/2.jpg"), "1 images.*no features: Duke/test/1.jpg"),
        (("1.jpg", "2.jpg"), "several images.*Duke/query/1.jpg or Duke/test/1.jpg"),
        (("query/1.jpg", "query/1.jpg"), "share a name"),
        (("query/1.jpg", "Duke/query/1.jpg"), "of one image"),
        (("train/2.jpg", "query/1.jpg", "test/1.jpg"), "not in the protocol is train/2.jpg"),
    ],
)
def test_names_that_fit_nothing_or_too_much_are_told(names, said):
    with pytest.raises(DataError, match=said):
        match(named(*names), PATHS)


def test_extra_names_are_left_out():
    features = match(named(*PATHS, "Duke/train/9.jpg"), PATHS)
    assert features.extra == ("Duke/train/9.jpg",)


@pytest.fixture
def made(standins, tmp_path):
    """Features of every image of the stand-in for D, by a seed, with its name."""
    from harness.catalog import DataCatalog

    paths = sorted(DataCatalog(standins).target_paths("D"))
    values = np.random.default_rng(0).normal(size=(len(paths), 8)).astype(np.float32)
    np.savez(tmp_path / "f.npz", features=values, names=np.array(paths))
    return tmp_path / "f.npz"


def readable_map(query, gallery):
    """Mean AP from features, pids, camids of both sides, one query after the other."""
    found = []
    for feature, pid, camid in zip(*query, strict=True):
        unit = gallery[0] / np.linalg.norm(gallery[0], axis=1, keepdims=True)
        order = np.argsort(-(unit @ (feature / np.linalg.norm(feature))), kind="stable")
        kept = [i for i in order if (gallery[1][i], gallery[2][i]) != (pid, camid)]
        hits = [rank for rank, i in enumerate(kept, 1) if gallery[1][i] == pid]
        if hits:
            found.append(np.mean([k / rank for k, rank in enumerate(hits, 1)]))
    return float(np.mean(found))


def test_files_with_labels(harness, tmp_path):
    rng = np.random.default_rng(1)
    sides = []
    for name, count in (("q", 12), ("g", 60)):
        side = (rng.normal(size=(count, 5)), rng.integers(1, 6, count), rng.integers(0, 3, count))
        np.savez(tmp_path / name, **dict(zip(("features", "pids", "camids"), side, strict=True)))
        sides.append(side)
    status, said = harness(
        "eval", "--query", tmp_path / "q.npz", "--gallery", tmp_path / "g.npz", "--json"
    )
    found = json.loads(said)
    assert status == 0
    assert found["mAP"] == pytest.approx(readable_map(*sides), abs=1e-12)
    assert set(found) == {"mAP", "rank1", "rank5", "rank10", "mINP", "valid_queries",
                          "skipped_queries"}  # fmt: skip
    assert found["valid_queries"] == 12
    np.savez(tmp_path / "n", features=np.ones((2, 4)), pids=[1, 1], camids=[0, 1])
    status, said = harness("eval", "--query", tmp_path / "n.npz", "--gallery", tmp_path / "g.npz")
    assert status == 1
    assert "features of 4 numbers" in said


@pytest.mark.parametrize("options", [[], ["--query", "q.npz"], ["--features", "f.npz"]])
def test_half_of_what_is_needed(harness, options):
    status, said = harness("eval", *options)
    assert status == 1
    assert "Give --query and --gallery" in said


def test_an_imported_method_is_measured_and_kept(harness, made, tmp_path):
    out = tmp_path / "runs"
    status, said = harness("eval", "--features", made, "--protocol", "MA->D", "--json")
    measured = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert status == 0
    command = ["import", made, "--method", "theirs", "--protocol", "MA->D", "--out", out,
               "--tracking", "off"]  # fmt: skip
    for _ in range(2):
        assert harness(*command)[0] == 0

    from results.collect import rows

    (row,), problems = rows(out)
    assert problems == []
    assert row.target.metrics["mAP"] == measured["mAP"]
    assert (row.run.spec.method, row.run.spec.preset, row.protocol) == (
        "theirs", "imported", "MA->D")  # fmt: skip
    assert any("imported" in note for note in row.target.notes)

    with np.load(made) as file:
        np.savez(made, features=-(file["features"] ** 3), names=file["names"])
    status, said = harness(*command)
    assert status == 1
    assert "--force replaces it" in said
    assert harness(*command, "--force")[0] == 0
    assert rows(out)[0][0].target.metrics["mAP"] != measured["mAP"]


def test_names_that_are_taken_or_that_tables_could_not_tell_apart(harness, made):
    for name, said in (("muva", "muva-authors"), ("a (b)", "expected a name")):
        status, text = harness("import", made, "--method", name, "--protocol", "MA->D")
        assert status == 1
        assert said in text
    status, text = harness("eval", "--features", made, "--protocol", "all")
    assert status == 1
    assert "give one row" in text
