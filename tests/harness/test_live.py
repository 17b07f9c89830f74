"""How far a run is, as other processes read it; and what of it is logged."""

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from harness import live as live_module
from harness.lease import Holder
from harness.live import LIVE, LOG, LiveRun, Watched, read_live
from harness.signs import Pulse

ELSEWHERE = Holder(host="far", machine="another boot", pid=1, started="1")


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that stands still until it is put forward: `clock[0] += seconds`."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def live_run(folder, **more):
    return LiveRun(folder, "muva on MA, seed 3", "muva", "MA", 3, total=1000.0, **more)


def epoch(progress, number, losses, of=2):
    for loss in losses:
        progress.advance(30, f"identity {number}/{of}")
        progress.step(stage="identity", epoch=number, epochs=of, loss=loss, images=10)


def test_a_run_shows_how_far_it_is_and_leaves_a_log(tmp_path, clock):
    folder = tmp_path / "0123"
    said = []
    with live_run(folder, worker="node 2", tell=said.append) as progress:
        epoch(progress, 1, [2.0, 4.0])
        clock[0] += 120
        epoch(progress, 2, [1.0])
        progress.say("a checkpoint is damaged")
        progress._show()
        live = read_live(folder)
    assert (live.run_id, live.title, live.method) == ("0123", "muva on MA, seed 3", "muva")
    assert (live.fold, live.seed, live.worker) == ("MA", 3, "node 2")
    assert (live.stage, live.epoch, live.epochs, live.loss) == ("identity", 2, 2, 1.0)
    assert (live.done, live.skipped, live.total) == (90, 0, 1000)
    assert (live.said, live.lines, said) == (["a checkpoint is damaged"], 1, live.said)
    assert live.writer == Holder.here() and live.what == "identity 2/2"
    assert [path.name for path in folder.iterdir()] == [LOG], "live.json is gone with its process"
    lines = [line.split(" ", 1)[1] for line in (folder / LOG).read_text().splitlines()]
    assert lines[0].startswith("started: muva on MA, seed 3 (process ")
    assert lines[1:3] == [
        "identity 1/2: loss 3.0000, 20 images in 2 min",
        "a checkpoint is damaged",
    ]
    assert lines[3].startswith("identity 2/2: loss 1.0000, 10 images") and "ended" in lines[4]


def test_an_epoch_that_was_cut_off_is_not_logged_as_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt), live_run(tmp_path) as progress:
        epoch(progress, 1, [2.0])
        raise KeyboardInterrupt
    log = (tmp_path / LOG).read_text()
    assert "loss 2.0000" not in log and "stopped by KeyboardInterrupt at identity 1/2" in log
    assert not (tmp_path / LIVE).exists()


def test_a_busy_run_goes_on_to_show_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(live_module, "BEAT", 0.01)
    shown = []
    with live_run(tmp_path, watch=shown.append):
        # nothing is told, as in a long pass over the data
        first = read_live(tmp_path).sequence
        while read_live(tmp_path).sequence < first + 3:
            time.sleep(0.01)
    assert [live.sequence for live in shown] == list(range(1, len(shown) + 1))


def test_work_of_an_earlier_process_is_no_part_of_the_speed(clock):
    progress = Watched("0123", "title", "muva", "MA", 0, total=1000)
    progress.advance(600, "going on after epoch 6")
    clock[0] += 2
    progress.advance(50, "identity 7/10")
    assert progress.live().left is None, "too early to say"
    clock[0] += 8
    progress.advance(50, "identity 7/10")
    live = progress.live()
    # from the first work on, 50 took 8 s; 300 are left
    assert (live.done, live.skipped, live.left) == (700, 600, pytest.approx(48))
    progress.advance(9999, "identity 10/10")
    assert progress.live().done == 1000, "never more than all"


def test_images_a_second_are_those_of_late(clock):
    progress = Watched("0123", "title", "muva", "MA", 0, total=1e9)

    def step(number, seconds, images):
        clock[0] += seconds
        progress.advance(3 * images, f"identity {number}/2, loss 1.0")
        progress.step(stage="identity", epoch=number, epochs=2, loss=1.0, images=images)
        return progress.live().images_per_second

    progress.advance(100, "identity 1/2")
    assert step(1, 2, 64) == pytest.approx(32), "from the end of what was before"
    for _ in range(20):
        rate = step(1, 1, 64)
    assert rate == pytest.approx(64), "the slow one is long past"
    clock[0] += 1000
    assert progress.live().images_per_second < 1, "it hangs"
    progress.advance(100, "identity 2/2")
    assert step(2, 4, 64) == pytest.approx(16)
    for _ in range(3):
        clock[0] += 1
        progress.advance(200, "testing on D")
    live = progress.live()
    assert live.images_per_second == pytest.approx(200)
    assert (live.stage, live.loss, live.what) == ("", None, "testing on D")


def test_a_loss_that_is_none_or_no_number_is_shown_as_none(tmp_path):
    with live_run(tmp_path) as progress:
        for loss in (None, math.nan, math.inf):
            epoch(progress, 1, [loss])
            progress._show()
            assert read_live(tmp_path).loss is None
        epoch(progress, 1, [2.0])
    assert "identity 1/2: loss 2.0000, 40 images" in (tmp_path / LOG).read_text()


def test_what_can_not_be_written_does_not_hurt_the_run(tmp_path):
    blocked = tmp_path / "file" / "run"
    (tmp_path / "file").write_text("no folder")
    with live_run(blocked) as progress:
        epoch(progress, 1, [1.0])
        progress.say("still here")
        progress._show()
    assert read_live(blocked) is None


def whole(tmp_path):
    with live_run(tmp_path / "whole"):
        return json.loads((tmp_path / "whole" / LIVE).read_text())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: "",
        lambda v: json.dumps(v)[:-20],
        lambda v: "[1, 2]",
        lambda v: json.dumps({**v, "epoch": "three"}),
        lambda v: json.dumps({**v, "said": [1]}),
        lambda v: json.dumps({**v, "writer": "me"}),
        lambda v: json.dumps({**v, "writer": {**v["writer"], "pid": [1]}}),
        lambda v: json.dumps({k: w for k, w in v.items() if k != "total"}),
        lambda v: "\x00\xff",
        lambda v: "[" * 100_000,
    ],
)
def test_a_torn_or_foreign_file_is_no_state(tmp_path, spoil):
    values = whole(tmp_path)
    path = tmp_path / LIVE
    path.write_text(json.dumps({**values, "of a later version": 1}))
    assert read_live(tmp_path).title == "muva on MA, seed 3"
    path.write_text(spoil(values), encoding="latin-1")
    assert read_live(tmp_path) is None


def test_the_file_of_a_process_that_took_over_stays(tmp_path):
    with live_run(tmp_path) as progress:
        progress._end.set()
        progress._beats.join()
        other = replace(progress.live(), writer=ELSEWHERE)
        (tmp_path / LIVE).write_text(json.dumps(asdict(other)))
    assert read_live(tmp_path).writer == ELSEWHERE


def test_on_this_machine_the_process_itself_is_looked_at():
    code = "from harness.lease import Holder; import json, sys; h = Holder.here(); print(h.pid, "
    code += "h.started, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        pid, started = other.stdout.readline().split()
        writer = replace(Holder.here(), pid=int(pid), started=started)
        assert Pulse().state("run", writer, 1) == "running", "though its state does not change"
        reused = replace(writer, started=str(int(started) + 1))
        assert Pulse().state("run", reused, 1) == "interrupted", "another process of that number"
        other.kill()
        # dead, though nobody has asked for its exit status yet
        while Pulse().state("run", writer, 1) == "running":
            time.sleep(0.01)
    assert Pulse().state("run", writer, 1) == "interrupted"


def test_of_another_machine_only_changes_tell(clock):
    pulse = Pulse(patience=60)
    assert pulse.state("run", ELSEWHERE, 7) == "silent", "nobody knows yet"
    clock[0] += 1
    assert pulse.state("run", ELSEWHERE, 8) == "running"
    clock[0] += 59
    assert pulse.state("run", ELSEWHERE, 8) == "running", "its file server may be slow"
    clock[0] += 2
    assert pulse.state("run", ELSEWHERE, 8) == "silent"
    # a later process of the same run begins to count again
    assert pulse.state("run", replace(ELSEWHERE, pid=2), 1) == "silent"
    assert pulse.state("run", replace(ELSEWHERE, pid=2), 2) == "running"
