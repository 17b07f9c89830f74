"""`harness compare`: what it prints, writes and refuses, and what damaged records do to it."""

import csv
import json

import numpy as np
import pytest
from records import write_run

from harness.commands.presets import built_in_presets
from results.collect import rows

PIDS = np.arange(60) // 3 + 1


@pytest.fixture
def out(tmp_path, standin_cache):
    """Two methods on MA->D, MA->MS; one of them on D->MA, too, and with another setting."""
    folder = tmp_path / "runs"

    def write(method, sources, targets, mean, **settings):
        ap = np.clip(np.random.default_rng(0).normal(mean, 0.1, 60), 0, 1)
        write_run(folder, method, sources, targets, ap=ap, pids=PIDS,
                  config={**built_in_presets(method)["tiny"], **settings})  # fmt: skip

    write("muva", ("MA",), ("D", "MS"), 0.6)
    write("muva", ("D",), ("MA",), 0.6)
    write("muva", ("MA",), ("D",), 0.5, rmp_heads=2)
    write("vision-only", ("MA",), ("D", "MS"), 0.4)
    return folder


def compare(harness, out, *arguments):
    return harness("compare", *arguments, "--out", out, "--resamples", 300)


def test_on_the_screen(harness, out):
    status, printed = compare(harness, out, "muva", "vision-only")
    assert status == 0
    assert "muva is better in mAP on both protocols. Overall, muva is better:" in printed
    assert [line.split()[0] for line in printed.splitlines() if "[" in line] == [
        *("MA->D", "MA->MS", "overall"), *("MA->D", "MA->MS", "overall")
    ]  # fmt: skip
    assert "Left out: D->MA: vision-only has no results." in printed
    assert "One seed of muva and of vision-only" in printed
    assert "Embedded stand-in data" in printed


def test_a_setting_and_one_protocol(harness, out):
    status, printed = compare(harness, out, "muva", "muva(rmp_heads=2)", "--protocol", "ma:d")
    assert status == 0
    assert "On MA->D, muva is better: its mAP is" in printed
    assert "overall" not in printed


def test_json(harness, out):
    status, printed = compare(harness, out, "muva", "vision-only", "--json", "--protocol", "all")
    told = json.loads(printed)
    assert status == 0
    assert (told["a"], told["b"], told["resamples"]) == ("muva", "vision-only", 300)
    assert [line["protocol"] for line in told["lines"]] == ["MA->D", "MA->MS"]
    assert told["overall"]["mAP"]["estimate"] == pytest.approx(0.2, abs=0.02)
    assert len(told["left_out"]) == 14
    assert told["left_out"]["MS->D"] == "neither muva nor vision-only has results"
    assert compare(harness, out, "muva", "vision-only", "--json", "--protocol", "all")[1] == printed


def test_files(harness, out, tmp_path):
    written = {}
    for kind in ("md", "tex", "html", "csv", "json"):
        file = tmp_path / "new" / f"found.{kind}"
        assert compare(harness, out, "muva", "vision-only", "-o", file)[0] == 0
        written[kind] = file.read_text()
    assert "| MA->D " in written["md"]
    assert r"\begin{table*}" in written["tex"]
    assert "<caption>muva against vision-only</caption>" in written["html"]
    lines = list(csv.DictReader(written["csv"].splitlines()))
    assert [(one["protocol"], one["metric"]) for one in lines][-1] == ("overall", "Rank-1")
    told = json.loads(written["json"])["overall"]["rank1"]["b"]["high"]
    assert float(lines[-1]["b_high"]) == told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("muvaa", "vision-only"), "Did you mean 'muva'"),
        (("muva", "muva"), "muva is compared with itself"),
        (("muva", "vision-only", "--protocol", "D->MA"), "Left out: D->MA: vision-only has no"),
        (("muva", "vision-only", "--protocol", "MA->X"), "Unknown data set 'X'"),
        (("muva", "vision-only", "-o", "found.xlsx"), "expected a name that ends in .md, .tex"),
        (("muva", "vision-only", "-o", "folder.md"), "it is a folder"),
    ],
)
def test_what_is_refused(harness, out, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.md").mkdir()
    status, printed = compare(harness, out, *arguments)
    assert status == 1
    assert said in printed
    assert "Traceback" not in printed


def test_no_records(harness, tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        status, printed = compare(harness, folder, "muva", "vision-only")
        assert status == 1
        assert str(folder) in printed


def test_damaged_records_are_named_and_the_rest_shown(harness, out):
    path = next(row.queries_file for row in rows(out)[0] if row.protocol == "MA->MS")
    path.write_bytes(b"half")
    (out / "0123").mkdir()
    (out / "0123" / "run.json").write_text("{")
    status, printed = compare(harness, out, "muva", "vision-only")
    assert status == 0
    assert "On MA->D, muva is better" in printed
    assert "MA->MS" in printed
    assert "0123" in printed
