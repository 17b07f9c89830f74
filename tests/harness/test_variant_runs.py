"""Targets tested in other ways, from the command to the records."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from harness import reranking
from harness.catalog import DataCatalog, listed
from harness.data import read_image
from harness.evaluate import Compared, evaluate, labels, without_cameras
from harness.extract import Extractor
from harness.measures import NAMES
from harness.record import RunFolder
from methods import registry
from methods.interface import SourceInfo
from protocols import variants
from protocols.errors import ReIDError
from protocols.types import Image as Item
from protocols.types import Probe, Split
from protocols.variants import Variant, parse
from results.collect import queries, rows

WAYS = ("D", "D/flip", "D/euclidean", "D/rerank", "D/all-cameras", "D/no-distractors",
        "D/occluded-4", "D/occluded-4-both", "D/bf16")  # fmt: skip
RUN = ("run", "--method", "clip-zero-shot", "--tracking", "off")


@pytest.fixture(scope="module")
def tested(tmp_path_factory, standins):
    """Records of one untrained method on D, in every way, and on its source's own test set."""
    from harness.commands.run import RunRequest, run_command
    from harness.options import console
    from harness.settings import How

    out = tmp_path_factory.mktemp("variants")
    names = ",".join(f"MA->{way}" for way in WAYS)
    request = RunRequest(
        ("clip-zero-shot",), names, None, None, (0,), (), out, False, "off", None, "cpu", 0,
        how=How(0), seen=True,
    )  # fmt: skip
    assert run_command(request, console) == 0
    return out


@pytest.fixture(scope="module")
def found(tested):
    return {row.target.target: row for row in rows(tested)[0]}


def test_every_way_is_a_row_with_files_of_its_own(tested, found):
    assert {f"MA->{way}" for way in WAYS} <= {row.protocol for row in found.values()}
    assert found["MA"].protocol == "source-domain->MA"
    for target, row in found.items():
        assert row.queries_file.name == target.replace("/", "@") + ".parquet"
        assert row.queries_file.exists()
        assert row.target.data == "stand-in"
    assert len({row.run.run_id for row in found.values()}) == 1
    assert rows(tested)[1] == []


def test_they_differ_as_they_should(found):
    def score(way, metric="mAP"):
        return found[way].target.metrics[metric]

    for way in ("D/flip", "D/rerank", "D/occluded-4", "D/occluded-4-both", "D/bf16"):
        assert score(way) != score("D"), way
    assert score("D/occluded-4") < score("D") - 0.05
    assert abs(score("D/bf16") - score("D")) < 0.02
    clean, every = queries(found["D"]), queries(found["D/all-cameras"])
    assert every.matches.sum() > clean.matches.sum()
    assert list(every.camid) == list(clean.camid)
    assert (queries(found["D/no-distractors"]).matches == clean.matches).all()


def test_images_that_differ_have_another_fingerprint(found):
    prints = {way: found[way].target.fingerprint for way in WAYS}
    for way in ("D/flip", "D/euclidean", "D/rerank", "D/all-cameras", "D/bf16"):
        assert prints[way] == prints["D"]
    # the stand-in for D has no distractors
    assert len({prints[way] for way in ("D", "D/occluded-4", "D/occluded-4-both")}) == 3


def test_asked_again_nothing_is_computed(harness, tested):
    before = {path: path.stat().st_mtime_ns for path in tested.glob("*/targets/*")}
    status, printed = harness(
        *RUN, "--protocol", "MA:d/flip,MA->D/Rerank,MA->D/occluded-4", "--out", tested
    )
    assert status == 0
    assert "0 trainings and 0 tests computed" in printed
    assert "MA->D/rerank" in printed
    assert before == {path: path.stat().st_mtime_ns for path in tested.glob("*/targets/*")}


def test_rankings_show_queries_as_they_were_read(harness, tested, monkeypatch):
    from harness.commands import show_ranking

    seen = []

    def read(path, degradation):
        seen.append(degradation)
        return read_image(path, degradation)

    monkeypatch.setattr(show_ranking, "read_image", read)
    (run,) = (path.parent.name for path in tested.glob("*/run.json"))
    call = ("--run", run, "--target", "D/occluded-4", "--out", tested, "--tracking", "off")
    status, printed = harness("show", "ranking", *call, "--queries", 1, "--top", 1)
    assert status == 0 and "not the recorded one" not in printed
    assert seen[-1] == parse("occluded-4").degradation and set(seen[:-1]) == {None}
    drawn = {path.name for path in (tested / run / "figures").iterdir()}
    assert drawn == {f"ranking-D@occluded-4-hardest.{kind}" for kind in ("png", "svg")}
    for what in ("features", "masks"):
        status, printed = harness("show", what, *call)
        assert status == 1 and "give D." in printed


def test_means_leave_variants_and_seen_domains_out(harness, tested):
    status, printed = harness("table", "MA->D,MA->D/flip,source-domain->MA", "--out", tested)
    assert status == 0
    assert "MA->D/flip" in printed
    status, printed = harness("compare", "clip-zero-shot", "clip-zero-shot", "--out", tested)
    assert status == 1


def test_features_of_a_trained_method_are_kept_while_they_are_needed(harness, tmp_path):
    call = ("run", "--method", "vision-only", "--protocol", "MA->D,MA->D/rerank", "--set",
            "epochs=1", "--tracking", "off", "--out", tmp_path, "--workers", "0",
            "--set", "image_size=[24,12]")  # fmt: skip
    assert harness(*call)[0] == 0
    kept = tmp_path / ".shared" / "features"
    assert not list(kept.glob("*/*.safetensors"))
    (record,) = tmp_path.glob("*/targets/D@rerank.json")
    before = json.loads(record.read_text())["metrics"]
    record.unlink()
    assert harness(*call, "--keep-features")[0] == 0
    assert list(kept.glob("*/*.safetensors"))
    assert json.loads(record.read_text())["metrics"] == before


def test_a_gallery_without_distractors(tmp_path):
    (tmp_path / "images").mkdir()
    lines = ["path,pid,camid,split"]
    draw = np.random.default_rng(0)
    for i, (pid, camid, split) in enumerate(
        [(1, 0, "query"), (1, 1, "gallery"), (0, 1, "gallery"), (0, 2, "gallery"), (7, 0, "train")]
    ):
        pixels = draw.integers(0, 255, (32, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        lines.append(f"images/{i}.png,{pid},{camid},{split}")
    (tmp_path / "Mine.csv").write_text("\n".join(lines))
    catalog = DataCatalog(tmp_path)
    sizes = {
        target: len(catalog.probes(target)[0].gallery.images)
        for target in ("Mine", "Mine/no-distractors+flip", "Mine/flip")
    }
    assert sizes == {"Mine": 3, "Mine/no-distractors+flip": 1, "Mine/flip": 3}
    prints = {target: catalog.target_fingerprint(target) for target in sizes}
    assert prints["Mine"] == prints["Mine/flip"] != prints["Mine/no-distractors+flip"]
    assert listed("Mine/no-distractors+flip") == "Mine/no-distractors"


def test_a_query_in_its_own_gallery_is_not_found_by_itself():
    image = Item("a.jpg", 1, 0)
    probe = Probe("p", Split("Mine", "query", (image,)), Split("Mine", "gallery", (image,)))
    assert labels(probe)["query_camids"].tolist() == [0]
    with pytest.raises(ReIDError, match=r"a\.jpg.*find itself"):
        labels(probe, parse("all-cameras"))


def test_without_cameras_no_camera_is_the_query_s():
    known = {
        "query_pids": np.array([1]),
        "query_camids": np.array([3]),
        "gallery_pids": np.array([1, 2]),
        "gallery_camids": np.array([3, 5]),
    }
    assert not set(without_cameras(known)["query_camids"]) & {3, 5}


class OwnScore(registry.load("colour-histogram")):
    def score(self, queries, gallery):
        return super().score(queries, gallery)


@pytest.mark.parametrize("way", ["euclidean", "rerank", "flip"])
def test_a_method_with_a_score_of_its_own_is_refused_what_compares_features(standins, way):
    method = OwnScore(OwnScore.Config(), SourceInfo(1, ("MA",)))
    catalog = DataCatalog(standins)
    extractor = Extractor(method, catalog.root, torch.device("cpu"))
    with pytest.raises(ReIDError, match=way):
        evaluate(extractor, catalog.probes("D"), variant=parse(way))


def test_a_record_of_a_variant_under_another_name_is_no_record(found, tmp_path):
    row = found["D/flip"]
    folder = RunFolder(tmp_path, row.run.run_id)
    folder.targets.mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        source = row.queries_file.with_suffix(suffix)
        (folder.targets / f"D@rerank{suffix}").write_bytes(source.read_bytes())
    (folder.path / "run.json").write_bytes((row.folder / "run.json").read_bytes())
    (problem,) = folder.read_finished().problems
    assert "is of D/flip" in problem
    assert variants.split("D/flip")[1] == Variant(flip=True)


def test_reranking_is_prepared_once_for_ranks_and_measures(monkeypatch):
    calls, real = [], reranking.reranked_score
    monkeypatch.setattr(reranking, "reranked_score", lambda *sides: calls.append(1) or real(*sides))
    draw = np.random.default_rng(0)
    sides = [{"features": torch.from_numpy(draw.standard_normal((n, 8)))} for n in (6, 30)]
    known = {
        "query_pids": np.arange(6) + 1,
        "query_camids": np.zeros(6, dtype=int),
        "gallery_pids": np.arange(30) % 6 + 1,
        "gallery_camids": np.ones(30, dtype=int),
    }
    compared = Compared(None, *sides, parse("rerank"))
    assert compared.rank(known).valid_queries == 6
    assert compared.measures(known, NAMES).metrics["auc"] > 0
    assert calls == [1]
