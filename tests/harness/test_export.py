"""`harness export`: the table that is written, read with other readers and checked by hand."""

import json
import math

import pandas as pd
import pyarrow.parquet as pq
import pytest
from records import write_run

from harness.commands import export
from harness.record import RunFolder
from results import collect, tidy


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "runs"
    write_run(
        folder,
        "muva",
        ("MA",),
        ("D", "MS"),
        ap={"D": [0.5, math.nan, 1.0]},
        config={"parts": ["head", "legs"]},
        notes={"D": ['a "note", with; marks']},
    )
    write_run(folder, "clip-reid", ("D",), ("MA",), seed=1)
    return folder


def test_parquet_holds_every_row_as_the_records_have_it(out, harness, tmp_path):
    file = tmp_path / "new" / "all.parquet"
    status, printed = harness("export", "--out", out, "--parquet", file)
    assert (status, f"{file}: 3 lines" in printed) == (0, True)
    table = pq.read_table(file)
    assert table.num_rows == 3
    for line in table.to_pylist():
        folder = RunFolder(out, line["run_id"])
        target = json.loads(folder.target(line["target"]).read_text())
        assert {name: line[name] for name in target["metrics"]} == target["metrics"]
        assert line["notes"] == "; ".join(target["notes"])
        assert line["method"] == json.loads(folder.spec.read_text())["method"]
    assert table.schema.field("mAP").metadata[b"description"] == tidy.COLUMNS["mAP"][1].encode()
    pd.testing.assert_frame_equal(
        pd.read_parquet(file).convert_dtypes(), collect.load(out).convert_dtypes()
    )


def test_the_same_records_are_the_same_bytes(out, harness, tmp_path):
    files = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for file in files:
        assert harness("export", "--out", out, "--parquet", file)[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_csv_holds_the_same(out, harness, tmp_path):
    file = tmp_path / "all.csv"
    assert harness("export", "--out", out, "--csv", file)[0] == 0
    found, frame = pd.read_csv(file), collect.load(out)
    assert list(found.columns) == list(frame.columns)
    assert found.mAP.tolist() == frame.mAP.tolist()
    assert found.notes[0] == 'a "note", with; marks'
    assert json.loads(found.cmc[0]) == list(frame.cmc[0])
    assert list(pd.to_datetime(found.finished_at)) == list(frame.finished_at)


def test_queries_are_a_line_each_however_many_are_gathered(out, harness, tmp_path, monkeypatch):
    tables = []
    for lines in (1, 10**6):
        monkeypatch.setattr(export, "GROUP", lines)
        file = tmp_path / f"{lines}.parquet"
        assert harness("export", "--out", out, "--parquet", file, "--queries")[0] == 0
        tables.append(pq.read_table(file))
    assert tables[0].equals(tables[1])
    lines = pd.DataFrame(tables[0].to_pylist())
    assert len(lines) == 3 + 12 + 12
    mine = lines[(lines.method == "muva") & (lines.target == "D")]
    assert mine.valid.tolist() == [True, False, True]
    assert mine.ap.tolist()[::2] == [0.5, 1.0]
    means = lines[lines.valid].groupby("protocol").ap.mean()
    frame = collect.load(out).set_index("protocol")
    assert means.to_dict() == pytest.approx(frame.mAP.to_dict())


def test_what_is_damaged_is_named_and_the_rest_written(out, harness, tmp_path):
    write_run(out, "gone", ("MS",), ("D",))
    bad = RunFolder(out, write_run(out, "muva", ("C3",), ("D",)))
    bad.queries("D").unlink()
    file = tmp_path / "all.parquet"
    status, printed = harness("export", "--out", out, "--parquet", file)
    assert status == 0
    assert str(bad.queries("D")) in printed
    assert "gone is not a method that is registered here" in printed
    assert pq.read_table(file).num_rows == 4


def test_with_nothing_to_write_no_file_is_made(out, harness, tmp_path):
    bad = tmp_path / "bad"
    RunFolder(bad, write_run(bad)).run.write_text("{")
    file = tmp_path / "all.parquet"
    status, printed = harness("export", "--out", bad, "--parquet", file)
    assert (status, "not a whole record" in printed) == (1, True)
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "runs"], "give --parquet FILE or --csv FILE"),
        (["--out", "nowhere", "--csv", "a.csv"], "There is no folder nowhere"),
        (["--out", "empty", "--csv", "a.csv"], "empty holds no finished run"),
        (["--out", "runs", "--csv", "empty"], "--csv empty: it is a folder"),
        (["--out", "runs", "--csv", "a", "--parquet", "a"], "are both a"),
    ],
)
def test_bad_requests_are_named(out, harness, tmp_path, monkeypatch, arguments, words):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    status, printed = harness("export", *arguments)
    assert (status, words in printed) == (1, True)
    assert not (tmp_path / "a.csv").exists()
