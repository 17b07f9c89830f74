"""`harness show ranking` and `harness show features` on a run that trains nothing."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from harness.augment import apply
from harness.commands import showing
from harness.commands.run import RunRequest, run_command
from harness.decoding import decode
from harness.files import file_digest
from harness.record import RunFolder
from harness.seeds import generator
from harness.trained import load_run
from methods.interface import Batch
from protocols.datasets import open_dataset


@pytest.fixture(scope="module")
def made(standins, tmp_path_factory):
    """A run of colour histograms on two targets: (its folder's folder, its id)."""
    out = tmp_path_factory.mktemp("ranking") / "runs"
    request = RunRequest(("colour-histogram",), "MA->D,MA->C3", None, None, (0,), (), out, False,
                         "off", None, "cpu", 0)  # fmt: skip
    assert run_command(request, Console(quiet=True)) == 0
    (path,) = out.glob("*/run.json")
    return out, path.parent.name


@pytest.fixture
def copied(made, tmp_path):
    """The run where it may be changed."""
    return shutil.copytree(made[0], tmp_path / "runs"), made[1]


@pytest.fixture
def show(harness, monkeypatch):
    """Runs `harness show`; returns (exit status, all that was printed)."""
    monkeypatch.setenv("COLUMNS", "400")

    def call(what, out, run_id, *more):
        return harness("show", what, "--run", run_id, "--out", out, "--tracking", "off", *more)

    return call


def as_json(printed):
    return json.loads(printed[printed.index("[\n") : printed.rindex("]") + 1])


def recorded(out, run_id, target):
    """The record's rows by path of the query."""
    table = pq.read_table(RunFolder(out, run_id).queries(target)).to_pylist()
    return {line["query"]: line for line in table}


def features(out, run_id, root, images):
    """[N, D] float64 at unit length, encoded one image at a time."""
    _, method = load_run(out, run_id)
    rows = []
    for image in images:
        pixels = apply(method.transforms().eval, decode(root / image.path), generator(0))
        with torch.no_grad():
            rows.append(method.encode(Batch(pixels[None]))["features"][0].double().numpy())
    rows = np.array(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_hardest_queries_as_the_evaluation_ranks_them(show, copied, standins):
    out, run_id = copied
    status, printed = show("ranking", out, run_id[:6], "--target", "D", "--queries", 3, "--top", 9,
                           "--json")  # fmt: skip
    assert status == 0
    (shown,) = as_json(printed)
    (mine,) = shown["runs"]
    assert (shown["target"], shown["data"], shown["order"]) == ("D", "stand-in", "hardest")
    assert (mine["run"], mine["method"], mine["as_recorded"]) == (run_id, "colour-histogram", True)
    lines = recorded(out, run_id, "D")
    hardest = sorted((line for line in lines.values() if line["valid"]),
                     key=lambda line: (line["ap"], line["query"]))  # fmt: skip
    assert [one["path"] for one in mine["queries"]] == [line["query"] for line in hardest[:3]]
    assert shown["queries_without_match"] == sum(not line["valid"] for line in lines.values())

    (probe,) = open_dataset("D", standins).probes()
    gallery = probe.gallery.images
    held = features(out, run_id, standins, gallery)
    place = {image.path: i for i, image in enumerate(gallery)}
    for one in mine["queries"]:
        (query,) = [image for image in probe.query.images if image.path == one["path"]]
        scores = held @ features(out, run_id, standins, [query])[0]
        kept = [
            i
            for i, image in enumerate(gallery)
            if image.pid != -1 and (image.pid, image.camid) != (query.pid, query.camid)
        ]
        assert one["ranked"] == len(kept) < len(gallery)
        order = np.array(kept)[np.argsort(-scores[kept], kind="stable")]
        drawn = [place[image["path"]] for image in one["gallery"]]
        assert len(drawn) == 9 and set(drawn) <= set(kept)
        # images of almost equal score may change places in other arithmetic
        assert scores[drawn] == pytest.approx(scores[order[:9]], abs=1e-6)
        assert [image["right"] for image in one["gallery"]] == [
            gallery[i].pid == query.pid for i in drawn
        ]
        ranks = [r for r, i in enumerate(order, 1) if gallery[i].pid == query.pid]
        line = lines[one["path"]]
        assert one["ap"] == one["recorded_ap"] == line["ap"]
        assert one["ap"] == pytest.approx(np.mean([(i + 1) / r for i, r in enumerate(ranks)]))
        assert (one["first_hit"], one["matches"]) == (line["first_hit"], line["matches"])
        assert (one["pid"], one["camid"]) == (line["pid"], line["camid"])


def test_figures_lie_beside_the_run_and_are_the_same_again(show, copied, monkeypatch):
    out, run_id = copied
    mirrored = []

    class Mirror:
        def __init__(self, *arguments):
            pass

        def sync(self, ids):
            mirrored.append(ids)

    monkeypatch.setattr(showing, "Mirroring", Mirror)
    few = ("--queries", 2, "--top", 2, "--format", "svg", "--format", "png")
    status, printed = show("ranking", out, run_id, *few)
    folder = RunFolder(out, run_id).path / "figures"
    names = [
        f"ranking-{target}-hardest.{kind}" for target in ("C3", "D") for kind in ("png", "svg")
    ]
    assert status == 0 and sorted(path.name for path in folder.iterdir()) == names
    assert all(f"Figure:  {folder / name}\n" in printed for name in names)
    assert mirrored == [[run_id]]
    first = {name: (folder / name).read_bytes() for name in names}
    show("ranking", out, run_id, *few)
    assert {name: (folder / name).read_bytes() for name in names} == first
    content = first["ranking-D-hardest.svg"].decode()
    for text in ("Ranking: colour-histogram on D, hardest queries first",
                 "Stand-in data: rendered people.", "2 of 120 queries."):  # fmt: skip
        assert f">{text}<" in content
    assert f"Trained on MA, seed 0; run {run_id}; mAP" in content


def test_queries_that_are_named_in_a_file_of_ones_own(show, made, tmp_path):
    out, run_id = made
    first, second = list(recorded(out, run_id, "D"))[4:6]
    path = tmp_path / "paper" / "figure.svg"
    status, printed = show("ranking", out, run_id, "--target", "D", "--query", second, "--query",
                           first.rsplit("/", 1)[1], "--top", 1, "-o", path)  # fmt: skip
    assert status == 0 and not (RunFolder(out, run_id).path / "figures").exists()
    assert second.rsplit("/", 1)[1] in printed
    content = path.read_text()
    assert content.index(second.rsplit("/", 1)[1]) < content.index(first.rsplit("/", 1)[1])
    assert "chosen queries" in content


def rewrite(folder, target, change):
    """The record with other per-query results, whole in itself."""
    table = pq.read_table(folder.queries(target))
    columns = {name: table[name].to_pylist() for name in table.column_names}
    change(columns)
    pq.write_table(type(table).from_pydict(columns, schema=table.schema), folder.queries(target))
    record = json.loads(folder.target(target).read_text())
    record["queries_sha256"] = file_digest(folder.queries(target))
    folder.target(target).write_text(json.dumps(record))


def test_a_record_of_other_weights_is_noticed(show, copied, tmp_path):
    out, run_id = copied

    def change(columns):
        columns["ap"][0] = 0.0  # now the hardest
        columns["valid"][1], columns["ap"][1] = False, None

    rewrite(RunFolder(out, run_id), "D", change)
    path = tmp_path / "figure.svg"
    status, printed = show("ranking", out, run_id, "--target", "D", "--queries", 2, "--top", 1,
                           "-o", path)  # fmt: skip
    assert status == 0
    said = "The AP of 1 of 2 queries is not the recorded one"
    assert f"{run_id} on D: {said}" in printed and said in path.read_text()
    assert "1 have no match in the gallery" in path.read_text()


def test_a_data_set_whose_folder_has_another_name_now(show, copied):
    out, run_id = copied

    def rename(columns):
        columns["query"] = [path.replace("DukeMTMC-reID", "duke") for path in columns["query"]]

    before = list(recorded(out, run_id, "D"))
    rewrite(RunFolder(out, run_id), "D", rename)
    more = ("--target", "D", "--queries", 1, "--top", 1, "--json")
    status, printed = show("ranking", out, run_id, *more)
    (query,) = as_json(printed)[0]["runs"][0]["queries"]
    assert status == 0 and query["path"] in before and query["ap"] == query["recorded_ap"]

    rewrite(RunFolder(out, run_id), "D", lambda columns: columns["pid"].reverse())
    status, printed = show("ranking", out, run_id, *more)
    assert status == 1 and "D.parquet is not of the queries of D." in printed


def test_two_runs_side_by_side(show, copied, tmp_path):
    out, run_id = copied
    other = "0" * 12
    shutil.copytree(out / run_id, out / other)
    record = out / other / "run.json"
    record.write_text(record.read_text().replace(run_id, other))
    for target in ("D", "C3"):
        path = RunFolder(out, other).target(target)
        path.write_text(path.read_text().replace(run_id, other))

    def change(columns):
        columns["ap"][7] = 1.0 if columns["ap"][7] < 0.5 else 0.0

    rewrite(RunFolder(out, other), "D", change)
    status, printed = show("ranking", out, run_id, "--versus", other, "--target", "D", "--queries",
                           1, "--top", 2, "--json")  # fmt: skip
    assert status == 0
    (shown,) = as_json(printed)
    path = list(recorded(out, run_id, "D"))[7]
    assert [(one["run"], [q["path"] for q in one["queries"]]) for one in shown["runs"]] == [
        (run_id, [path]), (other, [path])]  # fmt: skip
    assert [one["as_recorded"] for one in shown["runs"]] == [True, False]
    for file, kind in zip(shown["files"], ("png", "svg"), strict=True):
        assert file.endswith(f"{run_id}/figures/ranking-D-versus-{other}.{kind}")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--target", "CD"), "Did you mean 'D'"),
        (("--target", "D", "--query", "nobody.jpg"), "--query nobody.jpg: none of the 120 queries"),
        (("--order", "hardset"), "Did you mean 'hardest'"),
        (("-o", "x.png"), "-o x.png holds one figure"),
        (("-o", "x.pdf"), "expected a name that ends in .png or .svg"),
        (("--versus", "nobody"), "Unknown run below"),
        (("--versus", "a", "--query", "b"), "--versus chooses the queries itself"),
        (("--format", "gif"), "--format"),
        (("--device", "gpu"), "--device"),
        (("--data", "nowhere"), "The data root nowhere does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(show, made, more, said):
    status, printed = show("ranking", *made, *more)
    assert status == 1 and said in printed
    assert not (RunFolder(*made).path / "figures").exists()


@pytest.mark.parametrize("what", ["ranking", "features"])
def test_records_that_do_not_fit_are_named(show, copied, what):
    out, run_id = copied
    folder = RunFolder(out, run_id)
    record = json.loads(folder.target("D").read_text())
    folder.target("D").write_text(json.dumps({**record, "fingerprint": "of other images"}))
    status, printed = show(what, out, run_id, "--target", "D")
    assert status == 1 and "its fingerprint is" in printed and "of other images" in printed
    folder.queries("D").write_bytes(b"PAR1")
    status, printed = show(what, out, run_id, "--target", "D")
    assert status == 1 and f"{folder.queries('D')} is gone or is not what was written" in printed
    folder.target("D").unlink()
    folder.target("C3").rename(folder.target("C3/flip"))
    folder.queries("C3").rename(folder.queries("C3/flip"))
    record = folder.target("C3/flip")
    record.write_text(record.read_text().replace('"target": "C3"', '"target": "C3/flip"'))
    status, printed = show(what, out, run_id)
    assert status == 1 and "was tested on C3/flip alone" in printed
    record.unlink()
    status, printed = show(what, out, run_id)
    assert status == 1 and "has not been tested yet: `harness run` tests it" in printed
    folder.run.unlink()
    status, printed = show(what, out, run_id)
    assert status == 1 and "is not finished" in printed


def test_one_damaged_target_among_several_is_told(show, copied):
    out, run_id = copied
    folder = RunFolder(out, run_id)
    record = json.loads(folder.target("C3").read_text())
    folder.target("C3").write_text(json.dumps({**record, "fingerprint": "other"}))
    status, printed = show("ranking", out, run_id, "--queries", 1, "--top", 1)
    assert status == 1 and f"{run_id} on C3: C3 below" in printed
    drawn = {path.name for path in (folder.path / "figures").iterdir()}
    assert drawn == {"ranking-D-hardest.png", "ranking-D-hardest.svg"}


def test_a_map_of_features(show, copied):
    out, run_id = copied
    more = ("--images", 40, "--by", "identity,domain,camera", "--format", "svg")
    status, printed = show("features", out, run_id, *more, "--json")
    assert status == 0
    (shown,) = as_json(printed)
    assert (shown["run"], shown["map"]) == (run_id, "t-SNE, perplexity 13")
    domains = [(one["dataset"], one["role"]) for one in shown["points"]]
    assert {one: domains.count(one) for one in domains} == {
        ("MA", "source"): 13, ("C3", "target"): 13, ("D", "target"): 14}  # fmt: skip
    assert all(np.isfinite([one["x"], one["y"]]).all() for one in shown["points"])
    assert len({(one["dataset"], one["path"]) for one in shown["points"]}) == 40
    (file,) = shown["files"]
    path = RunFolder(out, run_id).path / "figures" / "features-tsne-identity-domain-camera.svg"
    content = path.read_text()
    assert file == str(path)
    for text in ("Feature map: colour-histogram", "By domain", "Stand-in data: rendered people.",
                 "MA, source", "D, target", "others"):  # fmt: skip
        assert f">{text}<" in content
    show("features", out, run_id, *more)
    assert path.read_text() == content


def test_a_map_without_its_source(show, copied):
    out, run_id = copied
    spec = RunFolder(out, run_id).run
    spec.write_text(spec.read_text().replace(json.loads(spec.read_text())["spec"]["sources"]["MA"],
                                             "0" * 16))  # fmt: skip
    status, printed = show("features", out, run_id, "--images", 20, "--target", "D", "--by",
                           "domain")  # fmt: skip
    assert status == 0 and f"{run_id}: source MA is left out." in printed
    folder = RunFolder(out, run_id).path / "figures"
    drawn = {path.name for path in folder.iterdir()}
    assert drawn == {"features-tsne-D-domain.png", "features-tsne-D-domain.svg"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--by", "identity,domian"), "Did you mean 'domain'"),
        (("--by", ","), "--by names nothing"),
        (("--method", "tnse"), "Did you mean 'tsne'"),
        (("--target", "CD"), "Did you mean 'D'"),
    ],
)
def test_what_cannot_be_mapped_is_said(show, made, more, said):
    status, printed = show("features", *made, *more)
    assert status == 1 and said in printed
