"""`harness show masks`: figures beside their run and in MLflow, overlap printed and as JSON."""

import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from harness import cli, mlflow_store, record
from harness.commands import show
from harness.config import RunSpec
from harness.files import file_digest
from harness.quiet import quiet
from harness.record import RunFolder, RunRecord, TargetRecord
from harness.tracking import default_uri, sync
from methods.interface import Method, MethodCard, MethodConfig, PartMaps, Transform, Transforms
from protocols.standin import truth

GRID = (8, 4)
COMMON = {"environment": {}, "finished_at": "2026-01-02T03:04:05+00:00"}
COUNTS = {"mAP": 0.5, "valid_queries": 1.0, "skipped_queries": 0.0}


class Stripes(Method):
    """Finds the head in the first quarter of any image, the body below, the legs in the rest."""

    card = MethodCard("stripes", "masks by hand", "none", "MIT", "image", ())

    def __init__(self, blind=False, parts=("head", "upper", "legs")):
        super().__init__(MethodConfig(), None)
        self.blind, self.parts = blind, parts

    def transforms(self):
        plain = Transform((96, 48), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return Transforms(plain, plain)

    def part_maps(self, batch):
        if self.blind:
            return None
        masks = stripes()[: len(self.parts)].float()
        masks = masks.expand(2, len(batch.images), len(self.parts), *GRID)
        return PartMaps(self.parts, torch.stack([masks[0] * 0.2, masks[1]]), masks / 16)


def stripes():
    """[R, h, w] bool."""
    rows = torch.arange(GRID[0])[:, None].expand(GRID)
    return torch.stack([rows < 2, (rows >= 2) & (rows < 4), rows >= 4])


def make_run(out, *, seed=0, targets=("C3",), method="stripes", data="stand-in", config=None):
    """The records of a finished training."""
    spec = RunSpec(method=method, method_version="1", preset="tiny", config=config or {},
                   weights=(), sources={"MA": "print"}, source_images="train", seed=seed,
                   precision="fp32")  # fmt: skip
    folder = RunFolder(out, spec.id)
    record.write_text(folder.spec, spec.model_dump_json())
    run = RunRecord(run_id=spec.id, spec=spec, data=data, source_counts={}, source_notes={},
                    history=[], parameters={}, model_sha256=None, seconds=1.0, interruptions=0,
                    **COMMON)  # fmt: skip
    record.write(folder.run, run)
    folder.targets.mkdir(exist_ok=True)
    for name in targets:
        folder.queries(name).write_bytes(b"PAR1")
        done = TargetRecord(run_id=spec.id, target=name, target_version="", fingerprint="print",
                            data=data, notes=[], metrics=COUNTS, cmc=[1.0], probes=[], images=3,
                            queries_sha256=file_digest(folder.queries(name)), seconds=1.0,
                            **COMMON)  # fmt: skip
        record.write(folder.target(name), done)
    return folder


def covered(box, size):
    """The patches that a box of pixels covers to a half; else the one it covers most."""
    x0, y0, x1, y1 = box
    high, wide = size[1] / GRID[0], size[0] / GRID[1]
    share = np.zeros(GRID)
    for row, column in np.ndindex(GRID):
        down = min(y1, (row + 1) * high) - max(y0, row * high)
        across = min(x1, (column + 1) * wide) - max(x0, column * wide)
        share[row, column] = max(down, 0) * max(across, 0) / (high * wide)
    if share.max() < 0.5:
        return np.arange(share.size).reshape(GRID) == share.argmax()
    return share >= 0.5


@pytest.fixture
def harness(standins, monkeypatch, capsys):
    """Runs the command in this process; returns (exit status, stdout, stderr)."""

    def load_run(out, run_id):
        (folder,) = out.glob(f"{run_id}*")
        run = RunFolder(out, folder.name).read_run()
        parts = run.spec.config.get("parts", ("head", "upper", "legs"))
        return run, Stripes(run.spec.method == "blind", tuple(parts))

    monkeypatch.setattr(show, "load_run", load_run)
    for console in (cli.console, cli.stderr):
        monkeypatch.setattr(console, "width", 400, raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return stopped.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """MLflow takes a second to make one."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    with quiet():
        mlflow_store._make_database(path, f"sqlite:///{path}", path.parent.as_uri())
    return path


@pytest.fixture
def out(tmp_path, empty_database):
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return folder


def test_the_figure_lies_beside_the_run_and_is_the_same_again(harness, tmp_path):
    folder = make_run(tmp_path)
    command = ("show", "masks", "--run", folder.run_id[:6], "--out", tmp_path, "--tracking", "off",
               "--images", 1)  # fmt: skip
    status, printed, _ = harness(*command)
    path = folder.path / "figures" / "masks-C3.png"
    assert status == 0 and f"Figure:  {path}\n" in printed
    first = path.read_bytes()
    assert PillowImage.open(path).format == "PNG"
    harness(*command)
    assert path.read_bytes() == first
    harness(*command, "--seed", 1)
    assert path.read_bytes() != first
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_figure_says_what_it_shows(harness, tmp_path):
    folder = make_run(tmp_path)
    harness("show", "masks", "--run", folder.run_id, "--out", tmp_path, "--tracking", "off",
            "--format", "svg", "--images", 2)  # fmt: skip
    content = (folder.path / "figures" / "masks-C3.svg").read_text()
    for text in ("Part masks: stripes on C3", f"Trained on MA, seed 0; run {folder.run_id}.",
                 "Stand-in data: rendered people.", "layer 1", "attention", "upper"):  # fmt: skip
        assert f">{text}<" in content
    assert not list(folder.path.glob("figures/*.png"))


def test_json_holds_the_overlap_with_the_true_boxes(harness, tmp_path, standins):
    folder = make_run(tmp_path)
    status, printed, _ = harness("show", "masks", "--run", folder.run_id, "--out", tmp_path,
                                 "--iou-only", "--json", "--target", "C3")  # fmt: skip
    assert status == 0
    (shown,) = json.loads(printed)
    assert {k: shown[k] for k in ("run", "method", "fold", "seed", "target", "data", "files")} == {
        "run": folder.run_id, "method": "stripes", "fold": "MA", "seed": 0, "target": "C3",
        "data": "stand-in", "files": []}  # fmt: skip
    assert not (tmp_path / "mlflow.db").exists() and not (folder.path / "figures").exists()

    # the same once more, an image and a patch at a time, from the annotations
    notes = truth(standins, "C3")
    split = [path for path in sorted(notes) if "bounding_box_train" not in path]
    expected = {"head": [], "upper body": [], "legs": []}
    for path in split:
        size = PillowImage.open(standins / path).size
        for (part, found), mine in zip(expected.items(), stripes().numpy(), strict=True):
            if part in notes[path]["boxes"]:
                true = covered(notes[path]["boxes"][part], size)
                found.append((true & mine).sum() / (true | mine).sum())
    assert shown["images"] == len(split)
    means = [float(np.mean(found)) for found in expected.values()]
    assert shown["iou"] == pytest.approx(
        dict(zip(("head", "upper", "legs", "mean"), [*means, sum(means) / 3], strict=True))
    )
    nothing = {"head": 0.0, "upper": 0.0, "legs": 0.0, "mean": 0.0}
    assert shown["per_layer"] == [nothing, shown["iou"]]
    assert shown["hidden"] == {
        name: len(split) - len(found)
        for name, found in zip(("head", "upper", "legs"), expected.values(), strict=True)
    }
    assert shown["hidden_and_empty"] == {"head": 0, "upper": 0, "legs": 0}


def test_every_run_and_every_target_in_one_table(harness, tmp_path):
    first = make_run(tmp_path, targets=("C3", "MS"))
    second = make_run(tmp_path, seed=1)
    blind = make_run(tmp_path, method="blind")
    status, printed, _ = harness("show", "masks", "--run", "all", "--out", tmp_path, "--iou-only")
    assert status == 0
    lines = [line.split() for line in printed.splitlines()]
    rows = [line for line in lines if line and line[0] in (first.run_id, second.run_id)]
    assert sorted((r[0], " ".join(r[1:5])) for r in rows) == sorted([
        (first.run_id, "stripes MA->C3 seed 0"), (first.run_id, "stripes MA->MS seed 0"),
        (second.run_id, "stripes MA->C3 seed 1"),
    ])  # fmt: skip
    assert f"{blind.run_id}: stripes predicts no part masks." in printed
    assert "rendered people" in printed

    damaged = make_run(tmp_path, seed=2)
    damaged.target("C3").write_text("{")
    status, printed, _ = harness(
        "show", "masks", "--run", damaged.run_id, "--run", second.run_id, "--out", tmp_path,
        "--iou-only",
    )  # fmt: skip
    assert status == 1
    assert f"{damaged.target('C3')} is not a whole record" in printed
    assert any(line.split()[:5] == [second.run_id, "stripes", "MA->C3", "seed", "1"]
               for line in printed.splitlines())  # fmt: skip


def test_only_rows_of_the_same_parts_have_a_mean(harness, tmp_path):
    make_run(tmp_path)
    command = ("show", "masks", "--run", "all", "--out", tmp_path, "--iou-only")

    def first_words():
        status, printed, _ = harness(*command)
        assert status == 0
        return [line.split()[:2] for line in printed.splitlines()]

    make_run(tmp_path, seed=1)
    assert ["mean", "2"] in first_words()
    make_run(tmp_path, seed=2, config={"parts": ["head"]})
    assert "mean" not in [words[0] for words in first_words() if words]


def test_real_images_are_drawn_but_not_measured(harness, tmp_path):
    root, out = tmp_path / "data", tmp_path / "runs"
    (root / "mine").mkdir(parents=True)
    lines = ["path,pid,camid,split"]
    for i in range(4):
        name = f"{i}.png"
        PillowImage.new("RGB", (30, 70), (60 * i, 0, 0)).save(root / "mine" / name)
        lines.append(f"{name},{1 + i // 2},{i % 2},{'query' if i % 2 else 'gallery'}")
    (root / "mine" / "dataset.csv").write_text("\n".join(lines) + "\n")
    folder = make_run(out, targets=("mine",), data="real")
    command = ("show", "masks", "--run", folder.run_id, "--out", out, "--tracking", "off")
    status, _, error = harness(*command)
    assert status == 1
    assert "was tested on real images (mine): give the folder" in error and "--data DIR" in error
    status, printed, _ = harness(*command, "--data", root, "--json", "--format", "svg")
    (shown,) = json.loads(printed)
    assert (status, shown["iou"], shown["per_layer"], shown["data"]) == (0, None, None, "real")
    assert "rendered" not in (folder.path / "figures" / "masks-mine.svg").read_text()
    said = "No true boxes are known for mine"
    status, printed, _ = harness(*command, "--data", root)
    assert status == 0 and said in printed
    assert "Part masks against true boxes" not in printed
    status, printed, error = harness(*command, "--data", root, "--iou-only")
    assert status == 1 and said in printed and not error
    status, printed, error = harness(*command, "--data", root, "--iou-only", "--json")
    assert status == 1 and json.loads(printed)[0]["iou"] is None and said in error


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--format", "gif"), "--format"),
        (("-o", "masks.pdf"), "expected a name that ends in .png or .svg"),
        (("-o", "masks.png"), "choose one with --target"),
        (("-o", "masks.png", "--run", "other"), "-o masks.png: one file holds one run's figure"),
        (("-o", "masks.png", "--run", "all"), "-o masks.png: one file holds one run's figure"),
        (("-o", "masks.png", "--iou-only"), "-o masks.png: --iou-only draws nothing"),
        (("-o", "masks.png", "--format", "png"), "-o masks.png: its name says the format (png)"),
        (("-o", "a-file/b/masks.png"), "-o a-file/b/masks.png: a-file is a file, not a folder"),
        (("-o", "folder.png"), "-o folder.png: it is a folder"),
        (("--target", "nowhere"), "nowhere"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(harness, tmp_path, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("")
    (tmp_path / "folder.png").mkdir()
    folder = make_run(tmp_path, targets=("C3", "MS"))
    status, _, error = harness("show", "masks", "--run", folder.run_id, "--out", tmp_path, *more)
    assert status == 1 and said in error
    assert not (folder.path / "figures").exists()


def test_runs_without_masks_or_targets_say_so(harness, tmp_path):
    blind, untested = make_run(tmp_path, method="blind"), make_run(tmp_path, targets=())
    command = ("show", "masks", "--out", tmp_path, "--run")
    assert "stripes predicts no part masks" in harness(*command, blind.run_id)[2]
    assert "has not been tested yet: name a --target" in harness(*command, untested.run_id)[2]
    assert "holds no finished run" in harness("show", "masks", "--out", tmp_path / "none",
                                              "--run", "all")[2]  # fmt: skip


def test_a_run_without_parts_says_so(harness, tmp_path):
    blind = make_run(tmp_path, method="blind", config={"parts": []})
    status, _, error = harness("show", "masks", "--out", tmp_path, "--run", blind.run_id)
    assert status == 1
    assert "this run has parts= (none), so there are no masks." in error


def test_a_file_of_ones_own(harness, tmp_path):
    folder = make_run(tmp_path / "runs")
    path = tmp_path / "paper" / "figure7.svg"
    status, printed, _ = harness("show", "masks", "--run", folder.run_id, "--out",
                                 tmp_path / "runs", "-o", path)  # fmt: skip
    assert status == 0 and f"Figure:  {path}" in printed and path.read_text().startswith("<?xml")
    assert not (folder.path / "figures").exists()
    assert not (tmp_path / "runs" / "mlflow.db").exists()


def client(out):
    with quiet():
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=default_uri(out))


def shown_in_mlflow(out):
    """(parent run, its figures: name -> content); asserts that there is one parent."""
    store = client(out)
    experiment = store.get_experiment_by_name("dg-reid")
    (parent,) = [
        run
        for run in store.search_runs([experiment.experiment_id])
        if run.data.tags["kind"] == "training"
    ]
    run_id = parent.info.run_id
    names = [a.path for a in store.list_artifacts(run_id, "figures")]
    with quiet():
        contents = [store.download_artifacts(run_id, name) for name in names]
    return parent, {n: Path(c).read_bytes() for n, c in zip(names, contents, strict=True)}


def test_figures_are_artifacts_of_their_training(harness, out):
    folder = make_run(out)
    command = ("show", "masks", "--run", folder.run_id, "--out", out, "--images", 1)
    status, printed, _ = harness(*command)
    assert status == 0 and "MLflow" not in printed
    path = folder.path / "figures" / "masks-C3.png"
    parent, figures = shown_in_mlflow(out)
    assert figures == {"figures/masks-C3.png": path.read_bytes()}
    assert parent.info.status == "FINISHED"
    key = f"{folder.run_id}/figures/masks-C3.png"
    again = sync(out, default_uri(out), check=True)
    assert (again.mirrored, again.unchanged) == ([], 3)

    harness(*command, "--seed", 5, "--tracking", "off")  # another content under the same name
    assert sync(out, default_uri(out)).mirrored == [key]
    same, figures = shown_in_mlflow(out)
    assert figures == {"figures/masks-C3.png": path.read_bytes()}
    assert same.info.run_id == parent.info.run_id


def test_a_training_computed_again_gets_its_figures_again(out):
    folder = make_run(out)
    path = folder.path / "figures" / "masks-C3.png"
    path.parent.mkdir()
    path.write_bytes(b"a picture")
    sync(out, default_uri(out))
    run = json.loads(folder.run.read_text())
    for seconds, drawn_before in ((2.0, True), (3.0, False)):
        if not drawn_before:
            path.unlink()
        folder.run.write_text(json.dumps({**run, "seconds": seconds}))
        sync(out, default_uri(out))
        if not drawn_before:
            assert shown_in_mlflow(out)[1] == {}
            path.write_bytes(b"a picture")  # the same as before, of a training that is another
            sync(out, default_uri(out))
        assert shown_in_mlflow(out)[1] == {"figures/masks-C3.png": b"a picture"}
        assert sync(out, default_uri(out)).mirrored == []


class Killed(BaseException):
    """Like a kill: nothing may catch it."""


@pytest.mark.parametrize("call", ["log_artifact", "set_tag"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_a_figure_is_mirrored_then_again(out, monkeypatch, call, after):
    from mlflow import MlflowClient

    folder = make_run(out)
    sync(out, default_uri(out))
    (folder.path / "figures").mkdir()
    (folder.path / "figures" / "masks-C3.png").write_bytes(b"a picture")
    real = getattr(MlflowClient, call)

    def dying(*arguments, **more):
        if after:
            real(*arguments, **more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, dying)
        with pytest.raises(Killed):
            sync(out, default_uri(out))
    sync(out, default_uri(out))
    assert shown_in_mlflow(out)[1] == {"figures/masks-C3.png": b"a picture"}
    assert sync(out, default_uri(out), check=True).mirrored == []


def test_a_figure_drawn_again_meanwhile_is_not_taken_for_the_old_one(out, monkeypatch):
    from mlflow import MlflowClient

    folder = make_run(out)
    sync(out, default_uri(out))
    path = folder.path / "figures" / "masks-C3.png"
    path.parent.mkdir()
    path.write_bytes(b"a picture")
    real = MlflowClient.log_artifact

    def slow(*arguments):
        path.write_bytes(b"another")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", slow)
        (problem,) = sync(out, default_uri(out)).problems
    assert "sync once more" in problem
    sync(out, default_uri(out))
    assert shown_in_mlflow(out)[1] == {"figures/masks-C3.png": b"another"}


def test_a_server_that_is_away_costs_nothing(harness, out):
    folder = make_run(out)
    with socket.socket() as held:  # bound but not listening: none can connect
        held.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{held.getsockname()[1]}"
        status, printed, _ = harness("show", "masks", "--run", folder.run_id, "--out", out,
                                     "--images", 1, "--tracking", uri)  # fmt: skip
    assert status == 0
    assert (folder.path / "figures" / "masks-C3.png").exists()
    assert f"harness sync --out {out} --tracking {uri}" in printed
    status, printed, _ = harness("sync", "--out", out)
    assert status == 0 and "3 mirrored" in printed
    assert list(shown_in_mlflow(out)[1]) == ["figures/masks-C3.png"]
