"""`harness eval` and `harness import`: features that were made elsewhere."""

import json

import numpy as np
import pytest
import torch

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


@pytest.fixture
def labelled(tmp_path):
    """Queries and a gallery of few people, with distractors, pids beyond 2^31 and a zero vector."""
    rng = np.random.default_rng(2)
    for name, count in (("q", 10), ("g", 80)):
        pids = rng.integers(0, 6, count)
        features = (np.eye(6, 7)[pids] + rng.normal(scale=0.4, size=(count, 7))).astype(np.float16)
        features[-1] = 0
        np.save(tmp_path / f"{name}.npy", features)
        np.save(tmp_path / f"{name}.pids.npy", np.where(pids > 0, pids + 2**40, 0))
        np.save(tmp_path / f"{name}.camids.npy", rng.integers(0, 3, count))
    return ["eval", "--query", tmp_path / "q.npy", "--gallery", tmp_path / "g.npy"]


def sides(command):
    """Features, pids and camids of both sides of such a command."""
    names = ("", ".pids", ".camids")
    return [[np.load(path.with_suffix(f"{n}.npy")) for n in names] for path in command[2::2]]


def measured(harness, *command):
    status, said = harness(*command, "--json")
    assert status == 0, said
    return json.loads(said[said.index("{") : said.rindex("}") + 1])


def test_rules_that_options_change(harness, labelled, tmp_path):
    """The same as plain, of files without distractors or with queries of other cameras."""
    plain = measured(harness, *labelled)
    found = [measured(harness, *labelled, one) for one in ("--no-distractors", "--all-cameras")]
    assert [one.pop("variant") for one in found] == ["no-distractors", "all-cameras"]
    _, gallery = sides(labelled)
    names = [tmp_path / f"g{name}.npy" for name in ("", ".pids", ".camids")]
    for name, array in zip(names, gallery, strict=True):
        np.save(name, array[gallery[1] != 0])
    assert found[0] == measured(harness, *labelled) != plain
    for name, array in zip(names, gallery, strict=True):
        np.save(name, array)
    np.save(tmp_path / "q.camids.npy", np.full(10, 9))
    assert found[1] == measured(harness, *labelled) != plain


@pytest.mark.parametrize(("options", "variant"), [
    (["--distance", "euclidean"], "euclidean"),
    (["--rerank"], "rerank"),
    (["--rerank", "--k1", "5", "--lambda", "0.5"], "rerank-5-6-0.5"),
    (["--no-distractors", "--rerank"], "no-distractors+rerank"),
])  # fmt: skip
def test_ways_to_rank(harness, labelled, options, variant):
    from harness.evaluate import Compared
    from protocols.variants import parse

    found = measured(harness, *labelled, *options)
    (query, *of_query), (gallery, pids, camids) = sides(labelled)
    known = {
        "query_pids": of_query[0],
        "query_camids": of_query[1],
        "gallery_pids": np.where(pids == 0, -1, pids) if "no" in variant else pids,
        "gallery_camids": camids,
    }
    both = ({"features": torch.from_numpy(one).float()} for one in (query, gallery))
    assert found["variant"] == variant
    assert found["mAP"] == Compared(None, *both, parse(variant)).rank(known).mAP
    assert found["mAP"] != measured(harness, *labelled)["mAP"]
    status, said = harness(*labelled, *options)
    assert status == 0
    assert f"g.npy, {variant}" in said


@pytest.mark.parametrize(("options", "said"), [
    (["--distance", "euclid"], "Unknown --distance 'euclid'. Did you mean 'euclidean'?"),
    (["--measures", "verify"], "Unknown measure 'verify'. Did you mean 'verification'?"),
    (["--k1", "5"], "--rerank's: ask for it"),
    (["--sample", "0"], "--approximate's: ask for it"),
    (["--rerank", "--k1", "0"], "k1 and k2 of at least 1"),
    (["--rerank", "--distance", "euclidean"], "a distance of its own"),
    (["--rerank", "--workers", "2"], "all features in the memory of one process"),
    (["--approximate", "--workers", "2"], "ranks in this process"),
])  # fmt: skip
def test_options_that_make_no_sense(harness, labelled, options, said):
    status, text = harness(*labelled, *options)
    assert status == 1
    assert said in text


def test_features_that_can_not_be_ranked(harness, labelled, tmp_path):
    rows = np.load(tmp_path / "g.npy")
    rows[7, 3] = np.nan
    np.save(tmp_path / "g.npy", rows)
    for options in ([], ["--rerank"], ["--distance", "euclidean"]):
        status, said = harness(*labelled, *options)
        assert status == 1
        assert "g.npy, row 7: the features hold nan or inf" in said
    np.save(tmp_path / "g.pids.npy", np.zeros(80, int))
    status, said = harness(*labelled)
    assert status == 1
    assert "None of the 10 queries has a match" in said


def test_further_measures(harness, labelled):
    from harness.measures import measure_features

    (query, *of_query), (gallery, pids, camids) = sides(labelled)
    known = {"query_pids": of_query[0], "query_camids": of_query[1],
             "gallery_pids": pids, "gallery_camids": camids}  # fmt: skip
    want = measure_features(query, gallery, which=("single-shot", "verification"), **known)
    found = measured(harness, *labelled, "--measures", "verification, single-shot")
    assert want.metrics
    assert {key: found[key] for key in want.metrics} == want.metrics
    assert set(found["curves"]) == set(want.curves)
    assert "single_shot_rank1" in harness(*labelled, "--measures", "all")[1]


def test_a_variant_of_a_protocol_is_the_same_as_its_options(harness, made):
    command = ["eval", "--features", made, "--protocol"]
    plain, named = (measured(harness, *command, f"MA->D{end}") for end in ("", "/rerank-4-2-0.3"))
    options = ["--rerank", "--k1", "4", "--k2", "2"]
    assert measured(harness, *command, "MA->D", *options) == named
    assert named["variant"] == "rerank-4-2-0.3"
    assert named["mAP"] != plain["mAP"]
    for options, said in (
        (["MA->D/euclidean", "--rerank"], "put 'rerank' there, too"),
        (["MA->D", "--workers", "2"], "files with labels of their own"),
    ):
        status, text = harness(*command, *options)
        assert status == 1
        assert said in text


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
