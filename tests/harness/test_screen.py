"""What the terminal shows, whatever its width; and how far a plan of several workers is."""

import io
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from harness.commands.tables import fits, show_table
from harness.drivers import drivers
from harness.lease import Holder
from harness.live import Watched
from harness.screen import Screen, ScreenProgress, duration, live_table
from harness.tally import Tally
from results.tables import Cell, Section, Table

TABLE = Table(
    title="two methods",
    header=("Protocol", "clip-zero-shot\nmAP", "colour-histogram\nmAP"),
    sections=[
        Section("Table 3. Multi-source, leave one out", [("MA+D+C3->MS", "49.3 ± 0.2", "7.5")])
    ],
    mean=("mean of 1", "49.3", "7.5"),
    notes=["Per cent; higher is better."],
)
OTHER = Holder(host="far", machine="another boot", pid=4711, started="1")


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that stands still until it is put forward: `clock[0] += seconds`."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def live(run_id, done, *, total=100.0, **more):
    state = Watched(run_id, f"muva on {run_id}, seed 0", "muva", run_id, 0, total).live()
    return replace(state, **{"done": done, "elapsed": 0.0, "writer": OTHER, **more})


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_number_is_cut_in_a_narrow_terminal(width):
    printed = io.StringIO()
    show_table(Console(file=printed, width=width), TABLE)
    text = printed.getvalue().replace("\N{NO-BREAK SPACE}", " ")
    for cell in ("MA+D+C3->MS", "49.3 ± 0.2", "7.5"):
        assert cell in text
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 80, 90, 140])
def test_of_many_columns_none_is_cut(width):
    cells = [f"{i}.{i}" for i in range(12, 24)]
    header = ("Setting", *(f"MA->C{i}\nRank-1" for i in range(12)))
    table = Table("by setting", header, [Section("Settings", [("lr=1e-05", *cells)])], None, [])
    printed = io.StringIO()
    show_table(Console(file=printed, width=width), table)
    row = next(line for line in printed.getvalue().splitlines() if "lr=1e-05" in line)
    assert row.split() == ["lr=1e-05", *cells]


BEST = Table(
    "t",
    ("Model", "mAP"),
    [Section("s", [("a", Cell("2.5", 1)), ("b", "**"), ("c", Cell("2.0", 2, "§")), ("[d]", "1")])],
    None,
    [],
)


@pytest.mark.parametrize("width", [4, 80])
def test_the_best_is_bold_and_starred_where_nothing_is_bold(width, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    plain, bold = io.StringIO(), io.StringIO()
    show_table(Console(file=plain, width=width), BEST)
    show_table(Console(file=bold, width=width, force_terminal=True), BEST)
    assert "**2.5**" in plain.getvalue()
    assert "_2.0_§" in plain.getvalue()
    assert "\x1b[1m2.5\x1b[0m" in bold.getvalue()
    assert "\x1b[4m2.0\x1b[0m§" in bold.getvalue()
    assert bold.getvalue().count("**") == 1  # what is no mark stays
    assert "[d]" in plain.getvalue() and "[d]" in bold.getvalue()


def test_a_table_fits_where_its_words_are_whole():
    # 5 + 7, and two for each column
    assert fits(Console(file=io.StringIO(), width=16), BEST)
    assert not fits(Console(file=io.StringIO(), width=15), BEST)
    assert not fits(Console(file=io.StringIO(), width=80), replace(BEST, header=("M" * 80, "mAP")))


def test_lines_where_there_is_no_terminal(clock):
    printed = io.StringIO()
    with Screen(Console(file=printed, width=200), 200.0, 2) as screen:
        progress = Watched("one", "vision-only on MA, seed 0", "vision-only", "MA", 0, 100.0)
        progress.advance(20, "going on after epoch 2")
        for _ in range(4):
            clock[0] += 6
            progress.advance(10, "identity 3/5")
            progress.step(stage="identity", epoch=3, epochs=5, loss=1.5, images=12)
            screen.update([progress.live()])
        screen.finished("one", 100.0, failed=True)
    lines = printed.getvalue().splitlines()
    # 20 were done by an earlier process; of this one's, 10 take 6 s, and 160 are left
    assert lines == [
        " 20 %  0/2 runs  about 2 min left  "
        "vision-only on MA, seed 0: identity 3/5, loss 1.500, 2 images/s",
        " 30 %  0/2 runs  about 84 s left  "
        "vision-only on MA, seed 0: identity 3/5, loss 1.500, 2 images/s",
    ]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 24), (80, 9)])
def test_a_line_a_worker_fits_the_terminal(clock, width, height):
    printed = io.StringIO()
    console = Console(
        file=printed, width=width, height=height, force_terminal=True, color_system=None
    )
    screen = Screen(console, 1000.0, 9)
    clock[0] = 60
    screen.finished("over", 100.0, failed=True)
    states = [
        replace(
            live(f"MA+C3+C2+CS[all]-{i}", 20.0, speed=80 / 180), method="clip-zero-shot", seed=12,
            doing="identity 12/60", stage="identity", epoch=12, epochs=60, loss=12.345,
            images_per_second=1234.0,
        )
        for i in range(6)
    ]  # fmt: skip
    screen.update(states)
    console.print(screen)
    text = printed.getvalue()
    lines = text.rstrip("\n").splitlines()
    assert all(len(line) <= width for line in lines) and len(lines) <= height
    assert "1/9 runs, 1 failed" in lines[0] and "22 %" in lines[0] and "0:01:00" in lines[0]
    rows = [line for line in lines if "identity 12/60" in line]
    assert len(rows) == (6 if height == 24 else 4)
    for row in rows:
        for cell in ("12", "12.345", "1234", "20 %", "3 min", "far"):
            assert cell in row, row
    assert ("and 2 more" in text) == (height == 9)


def test_runs_of_a_sweep_are_told_apart(clock):
    def seen(*states):
        printed = io.StringIO()
        Console(file=printed, width=80).print(live_table(states))
        return printed.getvalue()

    assert "setting" not in seen(live("MA", 20.0))
    several = [replace(live("MA", 20.0), title=f"muva on MA, seed 0, lr={i}") for i in (1, 2)]
    text = seen(*several)
    assert "setting" in text and "lr=1" in text and "lr=2" in text


def test_nothing_is_said_of_time_before_the_first_run_begins(clock):
    printed = io.StringIO()
    screen = Screen(Console(file=printed, width=80), 100.0, 2)
    assert "starting" in screen._line()
    screen.update([live("MA", 1.0)])
    assert "estimating" in screen._line()


def test_lines_said_elsewhere_are_shown_once(tmp_path):
    printed = io.StringIO()
    with Screen(Console(file=printed, width=200), 100.0, 2) as screen:
        screen.update([live("MA", 1, said=["first"], lines=1)])
        screen.update([live("MA", 1, said=["first"], lines=1)])
        screen.update([live("MA", 1, said=["first", "[2]"], lines=2)])
        mine = Watched("D", "muva on D", "muva", "D", 0, 50.0)
        mine.say("whoever said it has shown it")
        screen.update([mine.live()])
    assert printed.getvalue().splitlines() == [
        "muva on MA, seed 0: first",
        "muva on MA, seed 0: [2]",
    ]


def test_printing_and_drawing_do_not_wait_for_each_other():
    """A thread that shows states, one that prints, and the terminal's own."""
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)

    def work(screen, name):
        for i in range(60):
            screen.update([live(name, i, said=["x"], lines=i)])
            screen._live.refresh()
            screen.say("line")

    def both():
        with Screen(console, 1e6, 2) as screen:
            other = threading.Thread(target=work, args=(screen, "MA"), daemon=True)
            other.start()
            work(screen, "D")
            other.join()

    everything = threading.Thread(target=both, daemon=True)
    everything.start()
    everything.join(30)
    assert not everything.is_alive()


def test_the_plan_is_told_to_other_processes_while_it_lasts(tmp_path, clock):
    (tmp_path / ".drivers").mkdir()
    (tmp_path / ".drivers" / "old.json").write_text("torn")
    console = Console(file=io.StringIO())
    with Screen(console, 200.0, 3, out=tmp_path, command="harness run") as screen:
        clock[0] += 10
        screen.update([live("MA", 20.0)])
        clock[0] += 10
        screen.update([live("MA", 50.0)])
        (driver,) = drivers(tmp_path)
        assert (driver.command, driver.runs, driver.finished) == ("harness run", 3, 0)
        assert (driver.done, driver.total, driver.left) == (50, 200, pytest.approx(50))
    assert drivers(tmp_path) == []


def test_work_that_is_no_run_has_the_same_screen(clock):
    printed = io.StringIO()
    with ScreenProgress(Console(file=printed, width=200), 100.0) as progress:
        progress.begin("muva on DIR")
        clock[0] += 5
        progress.advance(25, "features")
        clock[0] += 10
        progress.advance(25, "features")
        progress.advance(50, "features")
        clock[0] += 10
        progress.advance(0, "features")
    assert printed.getvalue().splitlines() == [
        " 50 %  about 20 s left  muva on DIR: features",
        "100 %  finishing  muva on DIR: features",
    ]


def test_an_estimate_with_several_workers(clock):
    tally = Tally(1000, runs=10)
    clock[0] = 100  # until then, they were started
    tally.update([live("a", 50), live("b", 50)])
    assert (tally.done, tally.left()) == (100, None)
    clock[0] = 110
    tally.finish("a", 100)
    tally.update([live("b", 100), live("c", 0)])
    assert (tally.done, tally.finished) == (200, 1)
    assert tally.left() == pytest.approx(80), "both together have done 10 a second"
    # a state that was read late does not bring a run back
    tally.update([live("a", 70)])
    assert (tally.done, tally.active) == (200, ())


def test_the_slowest_run_has_to_end_too(clock):
    tally = Tally(200, runs=2)
    tally.finish("quick", 100)
    clock[0] = 10
    tally.update([live("slow", 20, speed=1.0)])
    assert tally.left() == pytest.approx(80), "not 80 units at 2 a second"


def test_an_estimate_after_an_interruption(clock):
    tally = Tally(10_000, runs=100)
    tally.update([live("a", 80, skipped=70.0)])
    clock[0] = 10
    a = live("a", 90, skipped=70.0)
    tally.update([a])
    assert tally.left() == pytest.approx(9910), "10 in 10 s"
    # of a run that somebody else began long ago only what is done from now on counts
    tally.update([a, live("b", 60, elapsed=500.0)])
    assert (tally.done, tally.left()) == (150, pytest.approx(9850))
    tally.update([a, live("b", 70, elapsed=501.0)])
    assert (tally.done, tally.left()) == (160, pytest.approx(9840 / 2))
    tally.finish("b", 100)
    assert (tally.done, tally.left()) == (190, pytest.approx(9810 / 5)), "10, and 40 of b"


def test_a_second_attempt_counts_from_its_checkpoint(clock):
    tally = Tally(100, runs=1)
    tally.update([live("a", 50)])
    clock[0] = 10
    tally.update([live("a", 70)])
    again = {"skipped": 40.0, "writer": replace(OTHER, pid=2)}
    tally.update([live("a", 40, **again)])
    # 20 were computed in 10 s, though they are lost
    assert (tally.done, tally.left()) == (40, pytest.approx(60 / 2))
    clock[0] = 20
    tally.update([live("a", 50, **again)])
    assert (tally.done, tally.left()) == (50, pytest.approx(50 / 1.5))


def test_a_failed_run_is_out_of_the_way_and_makes_nobody_faster(clock):
    tally = Tally(300, runs=3)
    tally.update([live("a", 10)])
    clock[0] = 10
    tally.update([live("a", 20)])
    tally.finish("a", 100, failed=True)
    assert (tally.done, tally.failed, tally.left()) == (100, 1, pytest.approx(200))


def test_durations():
    assert [duration(s) for s in (5, 89, 91, 7200)] == ["5 s", "89 s", "2 min", "2.0 h"]
