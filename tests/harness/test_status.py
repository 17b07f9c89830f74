"""`harness status`: what it tells of a folder of runs, whoever computes them."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.drivers import FOLDER, Driver
from harness.lease import Holder
from harness.live import LIVE, LiveRun, Watched
from harness.signs import put

ELSEWHERE = Holder(host="far", machine="another boot", pid=4711, started="1")


@pytest.fixture
def gone():
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return replace(Holder.here(), pid=process.pid, started="1")


@pytest.fixture
def patience(monkeypatch):
    """Little of it, for processes on other machines."""
    monkeypatch.setattr("harness.commands.status.LOOK", 0.5)


def finished(out: Path, run_id: str, targets: tuple[str, ...] = ("D",)) -> Path:
    folder = out / run_id
    (folder / "targets").mkdir(parents=True)
    for name in ("run.json", "spec.json"):
        (folder / name).write_text("{}")
    for target in targets:
        for suffix in ("json", "parquet"):
            (folder / "targets" / f"{target}.{suffix}").write_text("{}")
    return folder


def state(run_id, writer):
    made = Watched(run_id, f"muva on MA, run {run_id}", "muva", "MA", 0, 100.0).live()
    return replace(made, writer=writer, done=25.0, speed=1.25, doing="identity 3/5")


def put_state(out, live):
    (out / live.run_id).mkdir(exist_ok=True)
    put(out / live.run_id / LIVE, live)


def driver(writer, **more):
    made = Driver("harness run --all", writer, 1, 12, 5, 1, 50.0, 100.0, 60.0, 80.0, "noon")
    return replace(made, **more)


def test_everything_in_one_folder(tmp_path, harness, gone):
    finished(tmp_path, "aaa", ("D", "MS"))
    half = finished(tmp_path, "bbb")
    (half / "targets" / "D.parquet").unlink()  # without its queries a record is none
    finished(tmp_path, "ccc", ())
    put_state(tmp_path, state("ddd", gone))
    failed = {"title": "muva on D", "error": "muva on D: out of [memory]", "log": "eee/run.log",
              "command": "harness run --fail", "at": "midnight"}  # fmt: skip
    (tmp_path / "eee").mkdir()
    (tmp_path / "eee" / "failed.json").write_text(json.dumps(failed))
    unfinished(tmp_path / "fff")
    (tmp_path / "ggg").mkdir()
    (tmp_path / "ggg" / "stopped.json").write_text("{}")
    (tmp_path / "tables").mkdir()
    (tmp_path / FOLDER).mkdir()
    put(tmp_path / FOLDER / "me.json", driver(Holder.here()))
    put(tmp_path / FOLDER / "gone.json", driver(gone, command="harness old"))
    with LiveRun(tmp_path / "hhh", "vision-only on MS", "vision-only", "MS", 7, 100.0):
        code, text = harness("status", "--out", tmp_path)
        code_json, as_json = harness("status", "--out", tmp_path, "--json")
    assert (code, code_json) == (0, 0)
    head, *lines = text.splitlines()
    assert head.endswith(": 3 trainings and 2 tests finished; 1 given up by a search.")
    assert (
        "  harness run --all: 5 of 12 runs, 50 %, 1 failed, about 80 s left "
        f"(process {os.getpid()} on {os.uname().nodename})"
    ) in lines
    assert "  harness old: interrupted at 5 of 12 runs, 50 %, 1 failed (noon)." in lines
    row = next(line for line in lines if "vision-only" in line)
    assert row.split() == ["vision-only", "MS", "7", "preparing", "0", "%", str(os.getpid())]
    assert "2 interrupted; the same command goes on:" in lines
    assert f"muva on MA, run ddd: identity 3/5, {state('x', gone).updated[:10]}" in text
    assert f"(process {gone.pid} on {gone.host} is gone)" in text
    assert "  muva on MA+D[all], seed 3: after identity 4" in lines
    at = lines.index("1 failed:")
    assert [line.strip() for line in lines[at + 1 :]] == [
        "muva on D, midnight",
        "out of [memory]",
        "log: eee/run.log",
        "command: harness run --fail",
    ]
    told = json.loads(as_json)
    assert (told["trainings"], told["tests"], told["stopped"]) == (3, 2, 1)
    assert [one["run_id"] for one in told["running"]] == ["hhh"]
    assert [one["run_id"] for one in told["interrupted"]] == ["ddd", "fff"]
    assert [one["run_id"] for one in told["failed"]] == ["eee"]
    assert [one["state"] for one in told["plans"]] == ["interrupted", "running"]


def unfinished(folder: Path) -> None:
    checkpoint = folder / "checkpoint" / "epoch-00004"
    checkpoint.mkdir(parents=True)
    spec = {"method": "muva", "sources": {"MA": "", "D": ""}, "source_images": "all", "seed": 3}
    (folder / "spec.json").write_text(json.dumps(spec))
    history = [{"stage": "identity", "epoch": 4}]
    (checkpoint / "checkpoint.json").write_text(json.dumps({"history": history}))


def test_a_run_that_failed_and_is_computed_again_is_running(tmp_path, harness):
    (tmp_path / "aaa").mkdir()
    (tmp_path / "aaa" / "failed.json").write_text("{}")
    put_state(tmp_path, state("aaa", Holder.here()))
    _, text = harness("status", "--out", tmp_path)
    assert "1 running" in text and "1 failed" not in text


def test_what_is_damaged_does_not_end_it(tmp_path, harness):
    for name in ("failed.json", "spec.json", LIVE):
        for content in ("", "[]", "\x00"):
            folder = tmp_path / f"{name}{len(content)}"
            folder.mkdir()
            (folder / name).write_text(content)
    code, text = harness("status", "--out", tmp_path)
    assert code == 0 and "3 failed" in text and "3 interrupted" in text


def test_a_process_on_another_machine_is_waited_for_until_it_moves(tmp_path, harness, monkeypatch):
    live = state("aaa", ELSEWHERE)
    put_state(tmp_path, live)
    monkeypatch.setattr("harness.commands.status.LOOK", 60)
    stop = threading.Event()

    def move():
        for number in range(2, 10_000):
            put_state(tmp_path, replace(live, sequence=number))
            if stop.wait(0.02):
                return

    mover = threading.Thread(target=move)
    mover.start()
    try:
        _, text = harness("status", "--out", tmp_path)
    finally:
        stop.set()
        mover.join()
    assert "1 running" in text and "far 4711" in text and "no sign" not in text


def test_one_that_does_not_move_may_be_gone(tmp_path, harness, patience):
    put_state(tmp_path, state("aaa", ELSEWHERE))
    code, text = harness("status", "--out", tmp_path)
    assert code == 0
    assert "muva on MA, run aaa: no sign of life from process 4711 on far" in text
    assert json.loads(harness("status", "--out", tmp_path, "--json")[1])["running"][0]["state"] == (
        "silent"
    )


def test_long_lists_are_cut(tmp_path, harness):
    for i in range(30):
        (tmp_path / f"{i:02d}").mkdir()
        (tmp_path / f"{i:02d}" / "failed.json").write_text("{}")
    _, text = harness("status", "--out", tmp_path)
    assert (
        "30 failed" in text and "and 10 more" in text and "  19\n" in text and "  20\n" not in text
    )


def test_watching_ends_with_ctrl_c(tmp_path, harness, monkeypatch):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        finished(tmp_path, f"run{len(looks)}")
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("harness.commands.status.time.sleep", sleep)
    code, text = harness("status", "--out", tmp_path, "--watch", "--json")
    assert code == 0
    assert [json.loads(line)["trainings"] for line in text.splitlines()] == [0, 1, 2]
    looks.clear()
    for folder in tmp_path.iterdir():
        folder.rename(tmp_path / f"old-{folder.name}")
    _, text = harness("status", "--out", tmp_path, "--watch")
    assert "3 trainings" in text and "5 trainings" in text


def test_a_folder_that_is_not_there(tmp_path, harness):
    code, text = harness("status", "--out", tmp_path / "none")
    assert code == 1 and "there is no such folder" in text


def test_it_needs_no_torch_and_writes_nothing(tmp_path):
    finished(tmp_path, "aaa")
    before = sorted(tmp_path.rglob("*"))
    code = (
        "import sys; sys.argv = ['harness', 'status', '--out', sys.argv[1]]\n"
        "from harness import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'mlflow', 'pandas', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_written_can_be_read_by_others(tmp_path, harness):
    """The columns of --json are those of the states, so that scripts may rely on them."""
    put_state(tmp_path, state("aaa", Holder.here()))
    (one,) = json.loads(harness("status", "--out", tmp_path, "--json")[1])["running"]
    assert one.keys() == {*asdict(state("aaa", Holder.here())), "left", "state"}
    assert one["left"] == pytest.approx(60)
