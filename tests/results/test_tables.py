"""From record files to a table: means, spreads, dashes, notes."""

import hashlib
import shutil

import pytest

from harness import record
from harness.config import RunSpec
from harness.record import RunFolder, RunRecord, TargetRecord
from protocols.registry import select
from results import collect, rendering, tables

COUNTS = {"valid_queries": 10.0, "skipped_queries": 0.0}


def write(out, sources, target, values, *, method="m", seed=0, data="real", images="train"):
    spec = RunSpec(
        method=method,
        method_version="1",
        preset="tiny",
        config={},
        weights=(),
        sources={s: f"print-{s}" for s in sources},
        source_images=images,
        seed=seed,
        precision="fp32",
    )
    folder = RunFolder(out, spec.id)
    common = {"environment": {}, "finished_at": "2026-01-01T00:00:00+00:00", "run_id": spec.id}
    run = RunRecord(
        spec=spec,
        data=data,
        source_counts={},
        source_notes={s: ["version V1"] if s == "MS" else [] for s in sources},
        history=[],
        parameters={"all": 1, "trainable": 1},
        model_sha256=None,
        seconds=1.0,
        interruptions=0,
        **common,
    )
    metrics = dict(zip(("mAP", "rank1"), values, strict=True)) | COUNTS
    result = TargetRecord(
        target=target,
        target_version="",
        fingerprint="f",
        data=data,
        notes=[],
        metrics=metrics,
        cmc=[values[1]],
        probes=[{"name": "test", **metrics}],
        images=5,
        queries_sha256=hashlib.sha256(b"").hexdigest(),
        seconds=0.1,
        **common,
    )
    record.write(folder.run, run)
    record.write(folder.target(target), result)
    folder.queries(target).touch()
    return folder


def test_a_table_by_hand(tmp_path):
    write(tmp_path, ["MA"], "D", (0.5, 0.6))
    write(tmp_path, ["MA"], "D", (0.7, 0.8), seed=1)
    write(tmp_path, ["MA", "D", "C3"], "MS", (0.25, 0.5))
    write(tmp_path, ["MA", "D", "C3"], "MS", (0.35, 0.5), seed=1)
    rows, problems = collect.rows(tmp_path)
    assert not problems
    table = tables.build(select("MA->D,MA+D+C3->MS"), rows, "title")
    assert [s.title for s in table.sections] == [tables.TITLES[1], tables.TITLES[3]]
    # standard deviations of (50, 70), (60, 80), (25, 35) with one degree of freedom lost
    assert table.sections[0].lines == [("MA->D", "60.0 ± 14.1", "70.0 ± 14.1")]
    assert table.sections[1].lines == [("MA+D+C3->MS", "30.0 ± 7.1", "50.0 ± 0.0")]
    assert table.mean == ("mean of 2", "45.0", "60.0")
    assert any("2 seeds" in note for note in table.notes)
    markdown = rendering.to_markdown(table)
    assert "| MA->D" in markdown
    assert "60.0 ± 14.1" in markdown


def test_a_missing_row_is_a_dash_and_there_is_no_mean(tmp_path):
    write(tmp_path, ["MA"], "D", (0.5, 0.6))
    rows, _ = collect.rows(tmp_path)
    table = tables.build(select("MA->D,MA->MS"), rows, "title")
    assert table.sections[0].lines == [("MA->D", "50.0", "60.0"), ("MA->MS", "-", "-")]
    assert table.mean == ("mean of 2", "-", "-")


def test_methods_stand_side_by_side(tmp_path):
    write(tmp_path, ["MA"], "D", (0.5, 0.6), method="a")
    write(tmp_path, ["MA"], "D", (0.7, 0.8), method="b")
    rows, _ = collect.rows(tmp_path)
    table = tables.build(select("MA->D"), rows, "title")
    assert len(table.header) == 5
    assert sorted(table.sections[0].lines[0][1:]) == ["50.0", "60.0", "70.0", "80.0"]


def test_rows_are_named_by_what_was_trained_not_by_who_asks(tmp_path):
    """MA+C3+CS, all images, is P3's row whatever it was called when it was asked for."""
    write(tmp_path, ["MA", "C3", "CS"], "MS", (0.5, 0.6), images="all")
    write(tmp_path, ["MA", "C3", "CS"], "MS", (0.1, 0.2))
    write(tmp_path, ["MA"], "MA", (0.9, 0.9))
    rows, _ = collect.rows(tmp_path)
    found = {row.protocol: row.target.metrics["mAP"] for row in rows}
    assert found == {"P3->MS": 0.5, "P2->MS": 0.1, "source-domain->MA": 0.9}
    table = tables.build(select("MA+C3+CS->MS"), rows, "title")
    assert table.sections[0].lines == [("MA+C3+CS->MS", "10.0", "20.0")]


def test_stand_ins_and_versions_are_said(tmp_path):
    write(tmp_path, ["MA"], "D", (0.5, 0.6), data="stand-in")
    rows, _ = collect.rows(tmp_path)
    assert tables.STANDIN_NOTE in tables.build(select("MA->D"), rows, "t").notes
    real = tmp_path / "real"
    write(real, ["MS"], "D", (0.5, 0.6))
    rows, _ = collect.rows(real)
    notes = tables.build(select("MS->D"), rows, "t").notes
    assert "MS: version V1" in notes
    assert tables.STANDIN_NOTE not in notes


def test_what_can_not_be_read_is_named_and_the_rest_shown(tmp_path):
    good = write(tmp_path, ["MA"], "D", (0.5, 0.6))
    cut = write(tmp_path, ["D"], "MA", (0.5, 0.6))
    cut.run.write_text(cut.run.read_text()[:100])
    other = write(tmp_path, ["MS"], "MA", (0.5, 0.6))
    other.target("MA").write_text('{"record_version": 7}')
    rows, problems = collect.rows(tmp_path)
    assert [row.run.run_id for row in rows] == [good.run_id]
    assert len(problems) == 2
    assert any("not a whole record" in p for p in problems)
    assert any("record version 7" in p for p in problems)


def test_a_copied_folder_does_not_count_twice(tmp_path):
    folder = write(tmp_path, ["MA"], "D", (0.5, 0.6))
    shutil.copytree(folder.path, tmp_path / "copy")
    rows, problems = collect.rows(tmp_path)
    assert len(rows) == 1
    assert any("is a copy of run" in p for p in problems)


def test_damaged_queries_are_no_result(tmp_path):
    folder = write(tmp_path, ["MA"], "D", (0.5, 0.6))
    folder.queries("D").write_bytes(b"garbage")
    rows, (problem,) = collect.rows(tmp_path)
    assert rows == []
    assert "D.parquet is not the file that was written with D.json" in problem


def test_the_data_frame(tmp_path):
    write(tmp_path, ["MA"], "D", (0.5, 0.6))
    frame = collect.load(tmp_path)
    assert frame.loc[0, "protocol"] == "MA->D"
    assert frame.loc[0, "mAP"] == pytest.approx(0.5)
