"""Kept reports of `harness cost`, the one that says most of an entry, and table 13."""

import csv
import io
import json
from types import SimpleNamespace

import pytest

from protocols.registry import select
from results import costs, published
from results.contenders import Contender
from results.cost_table import CostLine, CostTable
from results.entries import Entry
from results.tables import Cell

CONFIG = {"epochs": 3, "image_size": [256, 128], "weights": "random", "part_labels": None}


def phase(name, latency=10.0, memory=2_500_000_000):
    return {"name": name, "latency_ms": latency, "latency_ms_min": 9.0, "latency_ms_max": 11.0,
            "images_per_second": 6400.0, "batch_size": 64, "peak_memory_bytes": memory}  # fmt: skip


def report(**changed):
    return {
        "method": "muva", "method_version": "1", "preset": "paper", "config": CONFIG,
        "identities": 751, "finished_at": "2026-01-01T00:00:00+00:00", "params_train": 161_725_952,
        "params_trainable": 1, "params_infer": 115_904_512, "stages": [phase("one"), phase("two")],
        "inference": phase("inference", 69.4), "repeats": 5, "device": "CPU, one",
        "precision": "fp32", "threads": 1, "environment": {}, **changed,
    }  # fmt: skip


def keep(out, **files):
    (out / "costs").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (out / "costs" / f"{name}.json").write_text(text)


def entry(config=CONFIG, version="1", method="muva", settings=()):
    spec = SimpleNamespace(
        method=method, method_version=version, preset="paper", config=config, seed=0
    )
    metrics = {"mAP": 0.276, "rank1": 0.568, "skipped_queries": 0}
    target = SimpleNamespace(target="MS", data="real", probes=[1], notes=[], metrics=metrics)
    run = SimpleNamespace(run_id="1", spec=spec, source_notes={}, data="real")
    row = SimpleNamespace(protocol="MA->MS", run=run, target=target)
    return Entry(method, settings, (), (row,))


def test_what_is_no_report_is_named_and_the_rest_read(tmp_path):
    keep(tmp_path, a=report(), b='{"method": "muv', c=report(params_infer="many"))
    found, problems = costs.read(tmp_path)
    assert [one.params_infer for one in found] == [115_904_512]
    assert [problem.split(" is not")[0].rpartition("/")[2] for problem in problems] == [
        "b.json", "c.json",
    ]  # fmt: skip
    assert costs.load(tmp_path) == found
    assert costs.read(tmp_path / "nothing") == ([], [])


ONLY_COUNTED = dict.fromkeys(("stages", "inference", "device", "precision", "threads"))


def test_the_report_that_says_most_of_an_entry(tmp_path):
    keep(
        tmp_path,
        a=report(device="CPU, new", finished_at="2026-03-01"),
        b=report(device="NVIDIA A", finished_at="2026-01-01"),
        c=report(device="NVIDIA B", finished_at="2026-02-01"),
        d=report(finished_at="2026-09-01", **ONLY_COUNTED),
    )
    reports = costs.load(tmp_path)
    assert costs.of(reports, entry()).device == "NVIDIA B"
    assert costs.of([r for r in reports if not r.on_gpu], entry()).device == "CPU, new"
    assert costs.of(reports[3:], entry()).params_infer == 115_904_512


@pytest.mark.parametrize(
    ("mine", "there"),
    [
        (entry({**CONFIG, "weights": "openai", "part_labels": "mine"}), True),
        (entry({**CONFIG, "image_size": [384, 128]}), False),
        (entry(version="2"), False),
        (entry(method="other"), False),
    ],
)
def test_a_report_is_of_a_config_weights_apart(mine, there):
    assert (costs.of([costs.CostReport(**report())], mine) is not None) == there


PROTOCOLS = select("ablation")


def line(**changed):
    return CostLine(Contender.ours(entry(), PROTOCOLS), costs.CostReport(**report(**changed)))


def test_table_13_beside_the_papers():
    whole = CostTable(PROTOCOLS, [line()], published.costs(), ["said"])
    table = whole.table()
    assert table.header[1:5] == (
        "Parameters (M)\nTrain.", "Parameters (M)\nInfer.", "Latency (ms)\nS1", "Latency (ms)\nS2",
    )  # fmt: skip
    theirs, ours = table.sections
    assert [len(theirs.lines), len(ours.lines)] == [6, 1]
    (mine,) = ours.lines
    assert [Cell.of(cell).text for cell in mine] == [
        "muva", "161.7", "115.9", "10.0", "10.0", "69.4", "2.5", "2.5", "2.5",
        "27.6", "56.8", "-", "-",
    ]  # fmt: skip
    # from the paper's table 13
    assert theirs.lines[0] == (
        Cell("PAT", marks="[a]"), "87.1", "86.5", "-", "364.3", "23.2", "-", "5.7", "1.1",
        "18.2", "42.8", "45.8", "71.6",
    )  # fmt: skip
    assert mine[0] == Cell("muva", marks="[b]")
    assert "[b] measured on CPU, one, fp32, 1 thread, batches of 64, 751 identities." in table.notes
    (device,) = (note for note in table.notes if note.startswith("[a]"))
    assert "RTX A6000" in device and "another device" in device
    assert not any(Cell.of(c).place for s in table.sections for row in s.lines for c in row)


def test_a_single_stage_is_under_the_last_title_and_what_is_unknown_a_dash():
    one = line(stages=[phase("only", 5.0, None)], method="x")
    none = line(params_train=None, stages=[], inference=phase("inference", 1.0, 20_000_000))
    lines = [line(), one, none, CostLine(Contender("y", "", "", {}), None)]
    table = CostTable(PROTOCOLS, lines).table()
    texts = [[Cell.of(cell).text for cell in row[1:9]] for row in table.sections[0].lines]
    assert texts[1:] == [
        ["161.7", "115.9", "-", "5.0", "69.4", "-", "-", "2.5"],
        ["-", "115.9", "-", "-", "1.0", "-", "-", "0.02"],
        ["-"] * 8,
    ]


def test_three_stages_leave_the_papers_two_at_the_end():
    three = line(stages=[phase(str(i)) for i in range(3)])
    table = CostTable(PROTOCOLS, [three], published.costs()).table()
    muva = table.sections[0].lines[4]
    assert muva[3:7] == ("-", "161.2", "247.2", "69.4")
    assert all(len(row) == len(table.header) for s in table.sections for row in s.lines)


def test_stacked_for_a_narrow_screen():
    table = CostTable(PROTOCOLS, [line()], published.costs()).table(stacked=True)
    assert [section.title for section in table.sections] == [
        "Parameters (M)", "Latency (ms)", "Memory (GB)", "MA->MS", "MS->MA",
    ]  # fmt: skip
    assert table.sections[0].lines[0] == ("", "Train.", "Infer.", "")
    assert all(len(row) == len(table.header) for s in table.sections for row in s.lines)


def test_numbers_as_csv():
    text = CostTable(PROTOCOLS, [line()], published.costs()).csv()
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 7
    assert (lines[0]["params_train"], lines[0]["latency_ms S1"]) == ("87100000", "")
    mine = lines[-1]
    assert (mine["published"], mine["params_train"], mine["memory_bytes S2"]) == (
        "no", "161725952", "2500000000",
    )  # fmt: skip
    assert (float(mine["MA->MS mAP"]), mine["MS->MA mAP"]) == (27.6, "")
