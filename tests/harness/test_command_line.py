"""`harness` as a user types it: the main path, exactly once, and what is said of bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from forked import Forked

from harness.record import QUERY_COLUMNS, RunFolder

FAST = ("--set", "epochs=2", "--set", "image_size=[48,24]", "--tracking", "off")


def records(out):
    return {
        f"{run.parent.name}/{target.stem}": json.loads(target.read_text())
        for run in sorted(out.glob("*/run.json"))
        for target in sorted((run.parent / "targets").glob("*.json"))
    }


def metrics(out):
    return {name: record["metrics"] for name, record in records(out).items()}


def test_one_training_serves_all_its_targets_and_is_computed_once(harness, tmp_path):
    out = tmp_path / "runs"
    run = ("run", "--method", "vision-only", "--out", out, *FAST)
    status, printed = harness(*run, "--protocol", "MA->D")
    assert status == 0
    assert "1 training and 1 test computed" in printed
    status, printed = harness(*run, "--protocol", "MA:D,ma->C3")
    assert "0 trainings and 1 test computed" in printed

    def times():
        ours = (p for p in out.glob("[!.]*/**/*") if p.is_file() and "tables" not in p.parts)
        return {p: p.stat().st_mtime_ns for p in ours}

    before = times()
    status, printed = harness(*run, "--protocol", "MA->D,MA->C3")
    assert status == 0
    assert "0 trainings and 0 tests computed" in printed
    assert "MA->D" in printed and "MA->C3" in printed
    assert before and times() == before


def test_what_a_run_leaves_behind(harness, tmp_path):
    out = tmp_path / "runs"
    status, printed = harness(
        "run", "--method", "vision-only", "--protocol", "C3->D", "--out", out, *FAST
    )
    assert status == 0
    (run_id,) = {name.split("/")[0] for name in records(out)}
    folder = RunFolder(out, run_id)
    done, target = folder.read_run(), folder.read_target("D")
    assert done.spec.id == run_id
    assert [e["epoch"] for e in done.history] == [1, 2]
    assert set(done.history[0]["losses"]) == {"id", "imp"}
    assert done.interruptions == 0
    assert not folder.checkpoints.exists()
    header, *people = folder.labels.read_text().splitlines()
    assert header == "source,pid"
    assert len(people) == done.source_counts["C3"]["identities"]
    assert people == sorted(people, key=lambda line: int(line.removeprefix("C3,")))
    queries = pq.read_table(folder.queries("D")).to_pylist()
    assert set(queries[0]) == set(QUERY_COLUMNS)
    valid = [q["ap"] for q in queries if q["valid"]]
    assert sum(valid) / len(valid) == pytest.approx(target.metrics["mAP"], abs=1e-12)
    first = [q["first_hit"] == 1 for q in queries if q["valid"]]
    assert sum(first) / len(first) == pytest.approx(target.metrics["rank1"], abs=1e-12)
    assert f"{100 * target.metrics['mAP']:.1f}" in printed
    assert "stand-in" in printed


def test_several_methods_and_seeds_stand_in_one_table(harness, tmp_path):
    status, printed = harness(
        "run", "--method", "colour-histogram,clip-zero-shot", "--protocol", "ablation",
        "--seeds", "0,1", "--out", tmp_path, "--tracking", "off",
    )  # fmt: skip
    assert status == 0
    assert "over 2 seeds" in printed
    (path,) = (tmp_path / "tables").glob("*.md")
    (shown_with_the_plan,) = (tmp_path / "tables").glob(".*.json")
    assert json.loads(shown_with_the_plan.read_text()) == [f"tables/{path.name}"]
    table = path.read_text()
    for name in ("colour-histogram mAP", "clip-zero-shot Rank-1", "| MA->MS", "| MS->MA", "±"):
        assert name in table


KILLED = ("run", "--method", "vision-only", "--protocol", "C3->MA,C3->D", "--tracking", "off",
          "--set", "epochs=3", "--set", "image_size=[48,24]")  # fmt: skip


def started(*arguments):
    """The command as a user starts it, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *map(str, arguments)],
        # also where the tests run in the background of a shell, which ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop_it_at(out, moment, signal_number, start=Forked):
    """Start the command in a process of its own; stop it once some file is there.

    Returns its exit status, what it said of it, and whether its training was over by then.
    """
    process = start(*KILLED, "--out", out)
    deadline = time.monotonic() + 60
    while not list(out.glob(f"*/{moment}")):
        assert process.poll() is None and time.monotonic() < deadline, f"no {moment}"
        time.sleep(0.005)
    process.send_signal(signal_number)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said, bool(list(out.glob("*/run.json")))


def test_stopped_and_started_again_ends_with_the_same_numbers(harness, standins, tmp_path):
    """Ctrl-C, kill -9 in the training and after it; the same command ends bit-identical."""
    out, straight = tmp_path / "runs", tmp_path / "straight"
    status, errors, trained = stop_it_at(out, "checkpoint/epoch-00001", signal.SIGINT, started)
    assert (status, trained) == (130, False)
    assert "The same command goes on" in errors
    assert "Traceback" not in errors
    interruptions = 1
    for moment in ("checkpoint/epoch-00002", "run.json"):
        status, _, trained = stop_it_at(out, moment, signal.SIGKILL)
        assert status == -signal.SIGKILL
        interruptions += not trained
    status, printed = harness(*KILLED, "--out", out)
    assert status == 0, printed
    status, printed = harness(*KILLED, "--out", straight)
    assert status == 0, printed
    assert metrics(out) == metrics(straight)
    one, other = (next(p.glob("*/model.safetensors")).read_bytes() for p in (out, straight))
    assert one == other
    (run,) = (RunFolder(out, p.parent.name).read_run() for p in out.glob("*/run.json"))
    assert run.interruptions == interruptions


def test_force_computes_again_and_keeps_the_old_until_then(harness, tmp_path, monkeypatch):
    run = ("run", "--method", "colour-histogram", "--protocol", "MA->C3", "--out", tmp_path,
           "--tracking", "off")  # fmt: skip
    harness(*run)
    first = metrics(tmp_path)
    status, printed = harness(*run, "--force")
    assert status == 0
    assert "1 training and 1 test computed" in printed
    assert metrics(tmp_path) == first
    assert not list(tmp_path.glob("*/.replaced"))

    def stops(*arguments):
        raise RuntimeError("power cut")

    monkeypatch.setattr("harness.run.evaluate", stops)
    assert harness(*run, "--force")[0] == 1
    (kept,) = tmp_path.glob("*/.replaced/targets/C3.json")
    assert json.loads(kept.read_text())["metrics"] == next(iter(first.values()))


def test_a_damaged_model_is_not_tested_with(harness, tmp_path):
    run = ("run", "--method", "vision-only", "--out", tmp_path, *FAST, "--set", "epochs=1")
    harness(*run, "--protocol", "C3->D")
    (model,) = tmp_path.glob("*/model.safetensors")
    content = bytearray(model.read_bytes())
    content[-1000] ^= 1
    model.write_bytes(content)
    status, printed = harness(*run, "--protocol", "C3->D,C3->MA")
    assert status == 1
    assert "is gone or is not what was saved" in printed
    assert [name.split("/")[1] for name in records(tmp_path)] == ["D"]
    assert harness(*run, "--protocol", "C3->D,C3->MA", "--force")[0] == 0


def copy_of(standins, tmp_path, *changed):
    """The stand-ins; folders that a test changes are copied, others are links."""
    root = tmp_path / "data"
    root.mkdir()
    for one in standins.iterdir():
        if one.name in changed:
            shutil.copytree(one, root / one.name)
        else:
            (root / one.name).symlink_to(one)
    return root


def test_a_damaged_target_fails_alone(harness, standins, tmp_path):
    root = copy_of(standins, tmp_path, "DukeMTMC-reID")
    victim = sorted((root / "DukeMTMC-reID" / "query").glob("*.jpg"))[0]
    victim.write_bytes(victim.read_bytes()[:300])
    run = ("run", "--method", "colour-histogram", "--protocol", "MA->D,MA->C3", "--data", root,
           "--preset", "tiny", "--out", tmp_path / "runs", "--tracking", "off")  # fmt: skip
    status, printed = harness(*run)
    assert status == 1
    assert victim.name in printed
    assert [name.split("/")[1] for name in records(tmp_path / "runs")] == ["C3"]
    shutil.copy(standins / victim.relative_to(root), victim)
    status, printed = harness(*run)
    assert status == 0
    assert "0 trainings and 1 test computed" in printed


def test_a_number_of_data_that_have_changed_is_not_shown(harness, standins, tmp_path):
    root = copy_of(standins, tmp_path, "cuhk03-np")
    run = ("run", "--method", "colour-histogram", "--protocol", "MA->C3", "--data", root,
           "--preset", "tiny", "--out", tmp_path / "runs", "--tracking", "off")  # fmt: skip
    harness(*run)
    (first,) = metrics(tmp_path / "runs").values()
    victim = sorted((root / "cuhk03-np" / "detected" / "query").glob("*.png"))[0]
    good = victim.read_bytes()
    victim.write_bytes(b"no image any more")
    status, printed = harness(*run)
    assert status == 1
    assert victim.name in printed
    assert f"{100 * first['mAP']:.1f}" not in printed
    # an image of the same size in bytes is another image all the same
    other = bytearray(good)
    other[60] ^= 1
    victim.write_bytes(good)
    assert "0 trainings and 0 tests computed" in harness(*run)[1]


def test_what_was_trained_on_is_not_tested_on_under_another_name(harness, standins, tmp_path):
    root = copy_of(standins, tmp_path)
    run = ("run", "--method", "colour-histogram", "--data", root, "--preset", "tiny",
           "--out", tmp_path / "runs", "--tracking", "off", "--protocol")  # fmt: skip
    folder = root / "Market-1501-v15.09.15" / "bounding_box_train"
    files = sorted(folder.glob("*.jpg"))
    lines = ["path,pid,camid,split"]
    for i, path in enumerate(files[:40]):
        pid, camera = int(path.name[:4]), int(path.name[6]) - 1
        lines.append(f"{path.relative_to(root)},{pid},{camera},{'query' if i % 2 else 'gallery'}")
    (root / "Mine.csv").write_text("\n".join(lines) + "\n")
    status, printed = harness(*run, "MA->Mine")
    assert status == 1
    assert "both trained on and tested on" in printed
    # one folder under two names
    (root / "DukeMTMC-reID").unlink()
    (root / "DukeMTMC-reID").symlink_to(root / "Market-1501-v15.09.15")
    status, printed = harness(*run, "MA->D")
    assert status == 1
    assert "one folder on this disk" in printed
    assert not list((tmp_path / "runs").glob("*/run.json"))


def test_a_seen_domain_is_not_tested_on_what_was_trained_on(harness, standins, tmp_path):
    """Neither by a copy among its own training images, nor by another source that holds some."""
    root = copy_of(standins, tmp_path, "Market-1501-v15.09.15")
    run = ("run", "--method", "colour-histogram", "--data", root, "--preset", "tiny",
           "--out", tmp_path / "runs", "--tracking", "off", "--protocol")  # fmt: skip
    folder = root / "Market-1501-v15.09.15"
    tested = sorted((folder / "bounding_box_test").glob("[0-9]*.jpg"))[-8:]
    lines = [f"{path.relative_to(root)},{i},0,train" for i, path in enumerate(tested, 1)]
    (root / "Other.csv").write_text("\n".join(["path,pid,camid,split", *lines, ""]))
    status, printed = harness(*run, "MA+Other->MA/seen")
    assert status == 1 and "8 images are both trained on and tested on" in printed
    assert harness(*run, "MA->D/seen")[0] == 0
    shutil.copy(tested[-1], next((folder / "bounding_box_train").glob("*.jpg")))
    status, printed = harness(*run, "MA->D/seen+flip")
    assert status == 1 and "1 images are both trained on and tested on" in printed


def test_a_half_copied_data_set(harness, standins, tmp_path):
    root = copy_of(standins, tmp_path, "Market-1501-v15.09.15")
    shutil.rmtree(root / "Market-1501-v15.09.15" / "query")
    status, printed = harness(
        "run", "--method", "colour-histogram", "--protocol", "D->MA", "--data", root,
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert status == 1
    assert "query" in printed and "Market" in printed
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "vision-onyl", "--protocol", "all"), "Did you mean 'vision-only'"),
        (("--method", "vision-only", "--protocol", "MA->DD"), "Did you mean 'D'"),
        (("--method", "vision-only", "--protocol", "multi-sorce"), "Did you mean 'multi-source'"),
        (("--method", "vision-only", "--protocol", "MA->MA"), "source-domain->MA"),
        (("--method", "vision-only", "--protocol", "all", "--preset", "tniy"), "'tiny'"),
        (("--method", "vision-only", "--protocol", "all", "--set", "epoch=1"), "'epochs'"),
        (("--method", "vision-only", "--protocol", "all", "--set", "epochs=-1"), "epochs=-1"),
        (("--method", "vision-only", "--protocol", "all", "--seeds", "a"), "--seeds 'a'"),
        (("--method", "vision-only", "--protocol", "all", "--data", "/no/such"), "/no/such"),
        (("--method", "vision-only", "--protocol", "MA->D", "--tracking", "mlruns"), "http://HOST"),
        (("--method", "vision-only", "--protocol", "MA->D", "--gpus-per-run", "inf"), "1024"),
        (("--method", "no.such.module:Class", "--protocol", "all"), "no.such.module"),
        (("--method", "methods.clip_zero_shot:Batch", "--protocol", "all"), "is not a subclass"),
        (("--method", "vision-only", "--protocol", "all", "--precision", "fp8"), "fp16"),
        (
            ("--method", "vision-only", "--protocol", "all", "--set", "weights=x.pt"),
            "backbone=tiny",
        ),
        (("--method", "vision-only", "--protocol", "all", "--set", "lr=1e400"), "lr=inf"),
        (("--method", "colour-histogram", "--protocol", "all", "--set", "bins=[0,4,4]"), "bins"),
        (("--method", "colour-histogram", "--protocol", "all", "--set", "stripes=999"), "stripes"),
        (("--method", ":Foo", "--protocol", "all"), "package.module:Class"),
        (("--method", "vision-only", "--protcol", "all"), "--protocol"),
        (("--method", "vision-only", "--protocol", "P1"), "stand-ins are MA, D, MS, C3"),
    ],
)
def test_bad_input_is_told_and_loses_nothing(harness, tmp_path, arguments, message):
    status, printed = harness("run", *arguments, "--out", tmp_path / "runs")
    assert status != 0
    assert message in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.glob("runs/*/spec.json"))


def test_an_out_that_is_a_file(harness, standins, tmp_path):
    (tmp_path / "runs").write_text("mine")
    status, printed = harness(
        "run", "--method", "colour-histogram", "--protocol", "MA->C3", "--out", tmp_path / "runs"
    )
    assert status == 1
    assert "--out" in printed and "Traceback" not in printed
    assert (tmp_path / "runs").read_text() == "mine"


def test_no_data_set_there(harness, tmp_path):
    (tmp_path / "data").mkdir()
    status, printed = harness(
        "run", "--method", "colour-histogram", "--protocol", "MA->D", "--data", tmp_path / "data",
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert status == 1
    for folder in ("Market-1501-v15.09.15", "Market1501", "DukeMTMC-reID", "dukemtmcreid"):
        assert folder in printed


def test_a_record_of_another_version_is_left_alone(harness, tmp_path):
    run = ("run", "--method", "colour-histogram", "--protocol", "MA->C3", "--out", tmp_path,
           "--tracking", "off")  # fmt: skip
    harness(*run)
    (path,) = tmp_path.glob("*/run.json")
    foreign = path.read_text().replace('"record_version": 1', '"record_version": 99')
    path.write_text(foreign)
    status, printed = harness(*run)
    assert status == 1
    assert "record version 99" in printed
    assert path.read_text() == foreign


def test_a_loss_that_is_no_number_stops_the_run_and_names_it(harness, tmp_path):
    status, printed = harness(
        "run", "--method", "vision-only", "--protocol", "C3->MA", "--out", tmp_path, *FAST,
        "--set", "lr=1e30",
    )  # fmt: skip
    assert status == 1
    assert "diverged in stage identity, epoch" in printed
    assert not list(tmp_path.glob("*/run.json"))


def test_a_data_set_of_ones_own(harness, standins, tmp_path):
    root = copy_of(standins, tmp_path)
    lines = ["path,pid,camid,split"]
    folder = root / "cuhk03-np" / "detected"
    for name, split in (("bounding_box_train", "train"), ("query", "query"),
                        ("bounding_box_test", "gallery")):  # fmt: skip
        for path in sorted((folder / name).glob("*.png")):
            pid, camera = path.name.split("_")[:2]
            lines.append(f"{path.relative_to(root)},{int(pid)},{int(camera[1:]) - 1},{split}")
    (root / "Mine.csv").write_text("\n".join(lines) + "\n")
    run = ("run", "--method", "colour-histogram", "--data", root, "--out", tmp_path / "runs",
           "--tracking", "off", "--protocol")  # fmt: skip
    assert harness(*run, "MA->Mine,Mine->MA")[0] == 0
    harness(*run, "MA->C3")
    found = {name.split("/")[1]: m for name, m in metrics(tmp_path / "runs").items()}
    assert found["Mine"] == found["C3"]


def test_list_and_check(harness, standins):
    assert len(json.loads(harness("list", "protocols", "--json")[1])) > 16
    assert {m["name"] for m in json.loads(harness("list", "methods", "--json")[1])} >= {
        "colour-histogram", "clip-zero-shot", "vision-only",
    }  # fmt: skip
    status, printed = harness("check", "--data", standins, "--datasets", "C3,VIPeR")
    assert status == 0
    assert "rendered stand-ins" in printed
    assert "VIPeR: not here" in printed


LIGHT = """
import sys
from harness import cli
sys.argv = ["harness", "list", "protocols"]
try:
    cli.main()
except SystemExit:
    pass
heavy = {"torch", "pandas", "mlflow", "ray", "scipy", "numpy", "PIL"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_listing_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_training_needs_neither_ray_nor_mlflow(standin_cache, tmp_path):
    """--workers 0 is for machines that lack Ray, for several runs, too."""
    blocked = tmp_path / "blocked"
    for name in ("ray", "mlflow"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text(f"raise ModuleNotFoundError('{name}')")
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", "--method", "colour-histogram",
         "--protocol", "MA->C3,D->C3", "--workers", "0", "--out", str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(blocked), str(Path.cwd())])},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(records(tmp_path / "runs")) == 2
    assert "mlflow" in done.stdout.lower()
