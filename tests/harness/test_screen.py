"""What the terminal shows, whatever its width."""

import io

import pytest
from rich.console import Console

from harness.screen import ScreenProgress, duration, show_table
from results.tables import Section, Table

TABLE = Table(
    title="two methods",
    header=("Protocol", "clip-zero-shot\nmAP", "colour-histogram\nmAP"),
    sections=[
        Section("Table 3. Multi-source, leave one out", [("MA+D+C3->MS", "49.3 ± 0.2", "7.5")])
    ],
    mean=("mean of 1", "49.3", "7.5"),
    notes=["Per cent; higher is better."],
)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_number_is_cut_in_a_narrow_terminal(width):
    printed = io.StringIO()
    show_table(Console(file=printed, width=width), TABLE)
    text = printed.getvalue().replace("\N{NO-BREAK SPACE}", " ")
    for cell in ("MA+D+C3->MS", "49.3 ± 0.2", "7.5"):
        assert cell in text
    assert all(len(line) <= width for line in text.splitlines())


def test_lines_where_there_is_no_terminal(monkeypatch):
    printed = io.StringIO()
    now = [0.0]
    monkeypatch.setattr("harness.screen.time.monotonic", lambda: now[0])
    with ScreenProgress(Console(file=printed, width=200), 100.0, 2) as progress:
        progress.begin("vision-only on [MA]")
        progress.advance(20, "going on after epoch 2")
        for _ in range(4):
            now[0] += 6
            progress.advance(10, "identity 3/5")
    lines = printed.getvalue().splitlines()
    # 20 were done by an earlier process: 20 of this one's took 12 s, 60 are left
    assert lines[0] == " 40 %  run 1/2  about 36 s left  vision-only on [MA]: identity 3/5"
    assert len(lines) == 2


def test_durations():
    assert [duration(s) for s in (5, 89, 91, 7200)] == ["5 s", "89 s", "2 min", "2.0 h"]
