"""How a grid ends: the best in bold, the pictures beside the table, both known to the plan."""

import json
import re
from types import SimpleNamespace

from harness.commands import sweep_figures
from protocols.registry import select

HERE = ("--tracking", "off", "--workers", 0)


def test_a_grid_ends_in_a_table_and_pictures(harness, tmp_path):
    out = tmp_path / "runs"
    sweep = ("sweep", "stripes=1,6", "--protocol", "MA->D,MA->C3", "--out", out, *HERE)
    status, printed = harness(*sweep)
    assert status == 0, printed
    (kept,) = (out / "tables").glob("sweep-*.md")
    lines = [line for line in kept.read_text().splitlines() if line.startswith("| stripes=")]
    assert "- Bold: the best of a column." in kept.read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[2:-1]] for line in lines]
    assert len(cells) == 2
    for pair in zip(*cells, strict=True):
        values = [float(cell.strip("*")) for cell in pair]
        bold = [cell.startswith("**") for cell in pair]
        assert bold == [value == max(values) for value in values]
    names = [kept.name, *(kept.with_suffix(end).name for end in (".png", ".svg"))]
    assert sorted(path.name for path in (out / "tables").glob("sweep-*")) == sorted(names)
    assert all(name in printed for name in names)
    (plan,) = (json.loads(path.read_text()) for path in out.glob(".plans/*.json"))
    attached = json.loads((out / "tables" / f".{plan['id']}.json").read_text())
    assert attached == [f"tables/{name}" for name in names]
    svg = kept.with_suffix(".svg").read_text()
    assert re.search(r">stripes<", svg)
    assert re.search(r">MA-&gt;C3<", svg)


def _planned(**values):
    config = SimpleNamespace(**values)
    name = "-".join(map(str, values.values()))
    return SimpleNamespace(spec=SimpleNamespace(method="m", id=name), config=config)


def _row(target, value):
    spec = SimpleNamespace(sources=("MA",), source_images="train")
    target = SimpleNamespace(target=target, metrics={"mAP": value})
    return SimpleNamespace(run=SimpleNamespace(spec=spec), target=target)


def test_two_keys_are_a_panel_for_each_value_of_the_second():
    planned = [_planned(lr=lr, parts=parts) for lr in (0.1, 0.2) for parts in ((), ("head",))]
    by_run = {"0.1-()": [_row("D", 0.5), _row("D", 0.25), _row("MS", 0.1)],
              "0.2-('head',)": [_row("D", 0.75)]}  # fmt: skip
    panels = sweep_figures._panels(planned, "lr", ["parts"], select("MA->D"), by_run)
    assert [panel.title for panel in panels] == ["parts=[]", "parts=[head]"]
    assert [panel.curves[0].points for panel in panels] == [[[50.0, 25.0], []], [[], [75.0]]]
    assert sweep_figures._values(planned, "lr") == [0.1, 0.2]
    assert sweep_figures._values(planned, "parts") == ["[]", "[head]"]
    switches = [_planned(language=value) for value in (True, False)]
    assert sweep_figures._values(switches, "language") == ["true", "false"]
