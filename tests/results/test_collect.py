"""Records as rows and as a data frame: every value against the files, everything damaged named."""

import json
import math
import shutil
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import write_run

from harness.record import QUERY_COLUMNS, RunFolder
from protocols.errors import ReIDError
from results import collect, tidy


def edit(path, **changes):
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **changes}))


def load(out):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        frame = collect.load(out)
    return frame, "\n".join(str(one.message) for one in said)


@pytest.fixture
def good(tmp_path):
    """A whole run, beside which others are damaged."""
    return write_run(tmp_path, "vision-only", ("D",), ("MA",))


def test_every_value_is_that_of_the_files(tmp_path):
    config = {"rmp_heads": 4, "fidelity": "paper", "lr": 1e-5, "parts": ["head", "legs"], "x": None}
    run = write_run(
        tmp_path, "muva", ("MA", "D"), ("MS", "C3"), seed=3, config=config,
        notes={"MS": ["version V1", "cut"]}, parameters={"all": 7, "trainable": 5},
        losses=[{"id": 3.0}, {"id": 2.0, "cmp": 1.5}], seconds=12.5, holdout=None,
    )  # fmt: skip
    frame, said = load(tmp_path)
    assert (said, frame.attrs["problems"]) == ("", [])
    assert list(frame.protocol) == ["MA+D->C3", "MA+D->MS"]
    line = frame[frame.target == "MS"].iloc[0]
    target = json.loads((tmp_path / run / "targets" / "MS.json").read_text())
    trained = json.loads((tmp_path / run / "run.json").read_text())
    for name in ("mAP", "rank1", "rank5", "rank10", "mINP", "valid_queries", "skipped_queries"):
        assert line[name] == target["metrics"][name]
    for name in ("run_id", "fingerprint", "data", "images", "queries_sha256"):
        assert line[name] == target[name]
    assert list(line.cmc) == target["cmc"]
    assert (line.method, line.seed, line.sources, line.holdout) == ("muva", 3, "MA+D", 0.0)
    assert (line.parameters, line.parameters_trainable, line.train_seconds) == (7, 5, 12.5)
    assert (line.epochs, json.loads(line.last_losses)) == (2, {"identity/id": 2.0,
                                                              "identity/cmp": 1.5})  # fmt: skip
    assert line.notes == "version V1; cut"
    assert (line.train_images, line.train_identities) == (528, 88)
    assert json.loads(line.config) == config
    assert json.loads(line.environment) == trained["environment"]
    assert line.finished_at == pd.Timestamp(trained["finished_at"])
    assert (line["config.rmp_heads"], line["config.fidelity"]) == ("4", "paper")
    assert (line["config.parts"], line["config.x"]) == ('["head", "legs"]', "null")
    assert (tmp_path / line.queries_file).is_file()


def test_columns_are_documented_and_keep_their_types(tmp_path):
    metrics = {"map_at_r": 0.5, "eer": 0.25}
    write_run(tmp_path / "a", seed=1, metrics={"D": metrics}, config={"k": 1})
    (tmp_path / "b").mkdir()
    full, empty = collect.load(tmp_path / "a"), load(tmp_path / "b")[0]
    assert list(full.columns) == [*tidy.COLUMNS, "metric.map_at_r", "config.k"]
    assert full["metric.map_at_r"][0] == 0.5
    assert full["eer"][0] == 0.25 and full["auc"].isna().all()
    assert list(full["variant"]) == [""]
    assert len(empty) == 0
    for name in tidy.COLUMNS:
        assert full[name].dtype == empty[name].dtype
    schema = tidy.table(collect.rows(tmp_path / "a")[0]).schema
    assert all(field.metadata[b"description"] for field in schema)
    assert schema.metadata[b"harness.table_version"] == b"1"


def test_an_empty_folder_is_said_and_none_is_an_error(tmp_path):
    frame, said = load(tmp_path)
    assert "holds no finished run" in said
    assert frame.attrs["problems"] == [said]
    with pytest.raises(ReIDError, match=r"There is no folder .*nowhere"):
        collect.load(tmp_path / "nowhere")


def cut(folder):
    folder.run.write_bytes(folder.run.read_bytes()[:-200])


def lose_queries(folder):
    folder.queries("D").unlink()


def change_queries(folder):
    folder.queries("D").write_bytes(folder.queries("D").read_bytes() + b" ")


def lose_training(folder):
    folder.run.unlink()


def copied(folder):
    folder.path.rename(folder.path.with_name("copy"))


def of_another(folder):
    edit(folder.target("D"), run_id="0" * 12)


def edited(folder):
    run = json.loads(folder.run.read_text())
    run["spec"]["config"]["lr"] = 1.0
    folder.run.write_text(json.dumps(run))


def loop(folder):
    shutil.rmtree(folder.path)
    folder.path.symlink_to(folder.path)


def file_for_folder(folder):
    shutil.rmtree(folder.path)
    folder.path.write_text("no folder")


def folder_for_file(folder):
    folder.target("D").unlink()
    folder.target("D").mkdir()


def targets_a_file(folder):
    folder.targets.rename(folder.path.parents[1] / "targets")
    folder.targets.write_text("no folder")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "run.json is not a whole record"),
        (lambda f: f.target("D").write_text(""), "D.json is not a whole record"),
        (lambda f: f.target("D").write_text("[1]"), "D.json is not a whole record"),
        (lambda f: edit(f.target("D"), record_version=9), "record version 9"),
        (lambda f: edit(f.run, record_version=0, more=1), "record version 0"),
        (lambda f: edit(f.target("D"), extra=1), r"D.json is not a whole record \(extra"),
        (lose_queries, "D.parquet can't be read"),
        (change_queries, "D.parquet is not the file that was written"),
        (lose_training, "holds results and no run.json"),
        (copied, "is a copy of run"),
        (of_another, "D.json is of D of run 000000000000"),
        (edited, "was changed by hand"),
        (loop, "can't be read"),
        (file_for_folder, r"can't be read \(Not a directory\)"),
        (folder_for_file, r"D.json can't be read \(Is a directory\)"),
        (targets_a_file, r"targets can't be read \(Not a directory\)"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_shown(tmp_path, damage, words):
    out = tmp_path / "runs"
    good = write_run(out, "vision-only", ("D",), ("MA",))
    bad = write_run(out, "muva", ("MA",), ("D",))
    damage(RunFolder(out, bad))
    (out / "mlflow.db").write_text("no run")
    rows, problems = collect.rows(out)
    assert [row.run.run_id for row in rows] == [good]
    (problem,) = problems
    assert pd.Series([problem]).str.contains(words).all(), problem
    frame, said = load(out)
    assert list(frame.run_id) == [good]
    assert problem in said


def test_of_several_targets_only_the_damaged_one_is_left_out(tmp_path):
    run = write_run(tmp_path, targets=("D", "MS"))
    lose_queries(RunFolder(tmp_path, run))
    rows, problems = collect.rows(tmp_path)
    assert [row.target.target for row in rows] == ["MS"]
    assert len(problems) == 1


def test_runs_that_are_not_finished_are_no_problem(tmp_path, good):
    (tmp_path / "0123456789ab" / "checkpoint").mkdir(parents=True)
    (tmp_path / "0123456789ab" / "spec.json").write_text("{}")
    folder = RunFolder(tmp_path, write_run(tmp_path, seed=5))
    folder.target("D").unlink()
    (tmp_path / "tables").mkdir()
    rows, problems = collect.rows(tmp_path)
    assert ([row.run.run_id for row in rows], problems) == ([good], [])


def test_a_metric_that_tables_need_and_that_is_not_there_is_named(tmp_path, good):
    path = RunFolder(tmp_path, write_run(tmp_path, seed=1)).target("D")
    edit(path, metrics={"mAP": 0.5, "valid_queries": 1, "skipped_queries": 0})
    rows, (problem,) = collect.rows(tmp_path)
    assert [row.run.run_id for row in rows] == [good]
    assert "D.json: rank1 is no number" in problem


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_metric_that_is_no_number_is_named_and_in_no_mean(tmp_path, good, value):
    bad = write_run(tmp_path, seed=1)
    path = RunFolder(tmp_path, bad).target("D")
    metrics = json.loads(path.read_text())["metrics"]
    edit(path, metrics={**metrics, "mINP": value})
    rows, (problem,) = collect.rows(tmp_path)
    assert [row.run.run_id for row in rows] == [good]
    assert "D.json: mINP is no number" in problem
    frame, _ = load(tmp_path)
    line = frame[frame.run_id == bad].iloc[0]
    assert not math.isfinite(line.mINP)
    assert line.mAP == metrics["mAP"]


def test_a_last_loss_that_is_no_number_is_missing(tmp_path):
    write_run(tmp_path, losses=[{"id": 1.0, "bce": 2.0}, {"id": math.nan, "bce": 1.0}])
    frame, problems = load(tmp_path)
    assert not problems and json.loads(frame.last_losses[0]) == {
        "identity/id": None, "identity/bce": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"stage": ["one"]},
        {"epoch": "1"},
        {"epoch": 0},
        {"epoch": 10**9},
        {"losses": [1.0]},
        {"losses": {"id": "much"}},
        {"validation": None},
        {"finished_at": "yesterday"},
    ],
)
def test_a_history_that_is_none_is_named(tmp_path, good, wrong):
    entry = {"stage": "one", "epoch": 1, "losses": {"id": None}, "validation": {"mAP": 0.5}}
    path = RunFolder(tmp_path, good).run
    edit(path, history=[entry])
    assert not collect.rows(tmp_path)[1]
    edit(path, history=[entry | wrong])
    rows, (problem,) = collect.rows(tmp_path)
    assert not rows and "(history entry 1 is no epoch of a stage" in problem


def test_a_method_that_nobody_knows_is_a_row(tmp_path):
    write_run(tmp_path, "gone.package:Method")
    assert list(collect.load(tmp_path).method) == ["gone.package:Method"]


def test_the_warning_names_ten_and_counts_the_others(tmp_path):
    for seed in range(13):
        RunFolder(tmp_path, write_run(tmp_path, seed=seed)).run.write_text("")
    frame, said = load(tmp_path)
    assert len(frame.attrs["problems"]) == 13
    assert said.count("not a whole record") == 10
    assert said.endswith("... and 3 more")


def test_queries_hold_nan_where_not_valid(tmp_path):
    write_run(tmp_path, ap=[0.5, math.nan, 1.0], inp=[0.25, 0, 1.0], first_hit=[2, 0, 1],
              pids=[7, 8, 9], camids=[0, 1, 0])  # fmt: skip
    (row,), _ = collect.rows(tmp_path)
    found = collect.queries(row)
    np.testing.assert_array_equal(found.ap, [0.5, math.nan, 1.0])
    np.testing.assert_array_equal(found.inp, [0.25, math.nan, 1.0])
    assert found.first_hit.tolist() == [2, 0, 1]
    assert found.valid.tolist() == [True, False, True]
    assert (found.pid.tolist(), found.camid.tolist()) == ([7, 8, 9], [0, 1, 0])


@pytest.mark.parametrize("wrong", ["no number", "column", "type", "garbage"])
def test_queries_that_make_no_sense_are_named(tmp_path, wrong):
    write_run(tmp_path)
    (row,), _ = collect.rows(tmp_path)
    table = pq.read_table(row.queries_file)
    if wrong == "no number":
        table = table.set_column(5, "ap", pa.nulls(len(table), pa.float64()))
    elif wrong == "column":
        table = table.drop_columns("first_hit")
    elif wrong == "type":
        table = table.set_column(2, "pid", table["query"])
    pq.write_table(table, row.queries_file)
    if wrong == "garbage":
        row.queries_file.write_bytes(b"garbage")
    with pytest.raises(ReIDError, match=r"D\.parquet"):
        collect.queries(row)


def test_ids_choose_runs(tmp_path):
    ids = [write_run(tmp_path, seed=seed) for seed in range(3)]
    rows, _ = collect.rows(tmp_path, {ids[1]})
    assert [row.run.run_id for row in rows] == [ids[1]]


def test_query_columns_are_those_of_the_record(tmp_path):
    write_run(tmp_path, "muva", ap=[0.5, math.nan])
    (row,), _ = collect.rows(tmp_path)
    table = tidy.queries(row)
    assert table.column_names == [*tidy.QUERIES_OF, *QUERY_COLUMNS]
    assert table["ap"].to_pylist() == [0.5, None]
    assert set(table["method"].to_pylist()) == {"muva"}
