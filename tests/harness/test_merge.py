"""`harness merge`: folders of several machines joined, whatever is wrong with some of them."""

import itertools
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import write_run

from harness import merge_files, plans
from harness.lease import hold
from harness.merge import merge
from harness.record import RunFolder
from protocols.errors import ReIDError
from results import collect


def tree(folder):
    """Every file of records below a folder, with its content."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    names = {p: p.relative_to(folder).as_posix() for p in paths}
    return {name: p.read_bytes() for p, name in names.items()
            if ".lease" not in name and not name.startswith(".merge")}  # fmt: skip


def edit(path, **changes):
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **changes}))


@pytest.fixture
def a(tmp_path):
    return tmp_path / "a"


@pytest.fixture
def b(tmp_path):
    return tmp_path / "b"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs"


def test_runs_of_two_machines_are_joined_with_everything_that_belongs_to_them(a, b, out):
    first = write_run(a, targets=("D", "MS"), model=b"weights")
    (a / first / "figures").mkdir()
    for name in ("figures/masks.png", "run.log", "labels.csv", "system.jsonl"):
        (a / first / name).write_bytes(name.encode())
    second = write_run(b, seed=1)
    done = merge([a, b], out)
    assert sorted(done.added) == sorted([first, second])
    assert (done.conflicts, done.left, done.failed) == ([], [], [])
    assert tree(out) == tree(a) | tree(b)
    again = merge([a, b], out)
    assert (again.added, sorted(again.same)) == ([], sorted([first, second]))


def test_targets_and_weights_that_one_has_are_added_to_the_other(a, b, out):
    run = write_run(a, targets=("D",), model=b"weights")
    write_run(b, targets=("MS",), model=b"weights")
    write_run(out, targets=("C3",), model=b"weights")
    (out / run / "model.safetensors").unlink()
    before = tree(out)
    done = merge([a, b], out)
    assert done.joined == {run: ["D", "MS", "weights"]}
    assert before.items() <= tree(out).items()
    rows, problems = collect.rows(out)
    assert ([row.target.target for row in rows], problems) == (["C3", "D", "MS"], [])
    assert (out / run / "model.safetensors").read_bytes() == b"weights"


def test_weights_can_be_left_out_and_added_later(a, out):
    run = write_run(a, model=b"weights")
    merge([a], out, models=False)
    assert not (out / run / "model.safetensors").exists()
    assert merge([a], out, models=False).same == [run]
    assert merge([a], out).joined == {run: ["weights"]}


@pytest.mark.parametrize("there", [True, False])
def test_other_results_are_a_conflict_and_what_is_there_stays(a, b, out, there):
    """The second is no other if it is in `out` already, or in the folder that is named first."""
    run = write_run(a, targets=("D", "MS"), ap=[0.5, 0.25])
    write_run(b, targets=("D", "C3"), ap={"D": [0.5, 0.375], "C3": [1.0]})
    if there:
        merge([a], out)
    done = merge([b] if there else [a, b], out)
    (conflict,) = done.conflicts
    assert str(b / run) in conflict
    assert "D: mAP 0.4375, not 0.375" in conflict
    assert tree(a).items() <= tree(out).items()
    # the same training's result on a target that only the other has is no conflict
    assert (out / run / "targets" / "C3.json").exists()


def test_other_weights_are_a_conflict_and_nothing_is_mixed(a, out):
    run = write_run(out, model=b"one")
    write_run(a, targets=("D", "MS"), model=b"two")
    before = tree(out)
    (conflict,) = merge([a], out).conflicts
    assert "weights" in conflict
    assert tree(out) == before
    assert not (out / run / "targets" / "MS.json").exists()


def test_when_and_where_it_was_computed_is_no_conflict(a, out):
    run = write_run(out, seconds=1.0, environment={"cores": 1})
    write_run(a, seconds=9.0, target_seconds=9.0, environment={"cores": 9},
              finished_at="2027-01-02T03:04:05+00:00")  # fmt: skip
    done = merge([a], out)
    assert (done.same, done.conflicts) == ([run], [])


def test_the_same_queries_in_other_bytes_are_no_conflict(a, out):
    for folder in (a, out):
        run = write_run(folder)
    path = RunFolder(a, run).queries("D")
    pq.write_table(pq.read_table(path), path, compression="gzip")
    digest = merge_files.file_digest(path)
    edit(RunFolder(a, run).target("D"), queries_sha256=digest)
    assert merge([a], out).same == [run]
    changed = pq.read_table(path).slice(1)
    pq.write_table(changed, path)
    edit(RunFolder(a, run).target("D"), queries_sha256=merge_files.file_digest(path))
    (conflict,) = merge([a], out).conflicts
    assert "per-query results" in conflict


def test_a_dry_run_says_the_same_and_writes_nothing(a, b, out):
    write_run(a, targets=("D",))
    write_run(b, targets=("MS",))
    write_run(b, seed=1)
    before = out.exists()
    said = merge([a, b], out, dry_run=True)
    assert out.exists() == before
    assert said == merge([a, b], out)


def link_to_it(folder):
    folder.path.rename(folder.path.parents[1] / "moved")
    folder.path.symlink_to(folder.path.parents[1] / "moved")


def link_in_it(folder):
    secret = folder.path.parents[1] / "secret"
    secret.write_text("secret")
    folder.log.symlink_to(secret)


def changed_spec(folder):
    spec = json.loads(folder.run.read_text())["spec"]
    edit(folder.run, spec={**spec, "seed": 99})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: f.run.write_text("{"), "run.json is not a whole record"),
        (lambda f: edit(f.run, record_version=9), "record version 9"),
        (lambda f: f.run.unlink(), "holds results and no run.json"),
        (lambda f: (f.run.unlink(), shutil.rmtree(f.targets)), "is not finished"),
        (lambda f: f.queries("D").unlink(), "D.parquet can't be read"),
        (lambda f: f.model.write_bytes(b"cut"), "model.safetensors is not the file"),
        (changed_spec, "was changed by hand"),
        (link_to_it, "is no folder"),
        (link_in_it, "run.log is neither a file nor a folder"),
        (lambda f: os.mkfifo(f.labels), "labels.csv is neither a file nor a folder"),
    ],
)
def test_what_is_damaged_or_odd_is_left_alone_and_named(a, out, damage, words):
    good = write_run(a, seed=1)
    bad = write_run(a, model=b"weights")
    damage(RunFolder(a, bad))
    done = merge([a], out)
    assert good in done.added
    assert words in "\n".join(done.left + done.failed)
    assert not collect.rows(out)[1]
    assert [row.run.run_id for row in collect.rows(out)[0]] == [good]


def test_a_run_that_is_being_computed_is_left_alone(a, b, out):
    run = write_run(a)
    write_run(b, targets=("D", "MS"))
    with hold(RunFolder(a, run).lease):
        done = merge([a], out)
    assert (done.added, "is being computed by process" in done.left[0]) == ([], True)
    assert merge([a], out).added == [run]
    with hold(RunFolder(out, run).lease):
        done = merge([b], out)
    assert (done.joined, "is being computed by process" in done.left[0]) == ({}, True)
    assert merge([b], out).joined == {run: ["MS"]}


def test_what_is_unfinished_here_is_left_alone(a, out):
    run = write_run(a)
    (out / run).mkdir(parents=True)
    (out / run / "spec.json").write_text("{}")
    done = merge([a], out)
    assert (done.added, f"{out / run} is not finished" in done.left[0]) == ([], True)


def test_a_merge_that_is_killed_anywhere_is_finished_by_the_next(a, b, out, tmp_path, monkeypatch):
    write_run(a, targets=("D", "MS"), model=b"weights")
    write_run(a, seed=1)
    write_run(b, targets=("C3",), model=b"weights")
    write_run(out, targets=("C3",), model=b"weights")
    start = tmp_path / "start"
    shutil.copytree(out, start)
    merge([a, b], out)
    whole = tree(out)

    class Killed(BaseException):
        """As a signal would: nothing may tidy up after it by an `except`."""

    real = shutil.copyfile
    for moment in itertools.count(1):
        shutil.rmtree(out)
        shutil.copytree(start, out)
        left = [moment]

        def copyfile(source, target, left=left):
            left[0] -= 1
            if not left[0]:
                raise Killed
            return real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(merge_files.shutil, "copyfile", copyfile)
            try:
                merge([a, b], out)
                break
            except Killed:
                assert collect.rows(out)[1] == []
        merge([a, b], out)
        assert tree(out) == whole
    assert moment > 8


def test_plans_costs_and_labels_come_along(a, b, out):
    ids = [write_run(folder, seed=seed) for seed, folder in enumerate((a, b))]
    common = {"kind": "sweep", "command": "harness sweep", "methods": ["muva"],
              "protocol": "MA->D", "seeds": [0], "search": "one"}  # fmt: skip
    for folder, run in zip((a, b), ids, strict=True):
        plans.remember(folder, [run], settings={run: f"lr={run}"}, **common)
    for folder in (a, b):
        for name in ("costs/muva-1.json", "part_labels/MA-1-x.safetensors",
                     "part_labels/MA-1-x.json", "part_labels/MA-x.answers/1"):  # fmt: skip
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{folder.name} {name}")
    done = merge([a, b], out)
    (plan,), problems = plans.read_all(out)
    assert (set(plan.runs), problems) == (set(ids), [])
    assert plan.settings == {run: f"lr={run}" for run in ids}
    assert (out / "part_labels" / "MA-1-x.json").read_text() == "a part_labels/MA-1-x.json"
    assert not (out / "part_labels" / "MA-x.answers").exists()
    assert [c for c in done.conflicts if "MA-1-x.safetensors" in c] == done.conflicts != []
    assert any("muva-1.json was measured at another time" in text for text in done.left)


def test_folders_that_make_no_sense_are_refused_before_anything_is_done(a, out, tmp_path):
    run = write_run(a)
    write_run(out, seed=1)
    (tmp_path / "link").symlink_to(out)
    before = tree(tmp_path)
    for folder, words in (
        (tmp_path / "nowhere", "There is no folder"),
        (a / run / "run.json", "There is no folder"),
        (a / run, "holds no records"),
        (out, "one folder"),
        (out / run, "There is no folder"),
        (tmp_path, "one lies in the other"),
        (tmp_path / "link", "one folder"),
    ):
        with pytest.raises(ReIDError, match=words):
            merge([a, folder], out)
    assert tree(tmp_path) == before


def test_a_folder_named_twice_counts_once(a, out):
    write_run(a)
    done = merge([a, a.parent / "." / "a"], out)
    assert (len(done.added), done.same) == (1, [])


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_the_order_of_folders_does_not_matter_without_conflicts(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("merge")
    targets = st.sets(st.sampled_from(["D", "MS", "C3"]))
    folders = []
    for i in range(3):
        folders.append(root / str(i))
        for seed in data.draw(st.sets(st.sampled_from([0, 1, 2]), min_size=1)):
            write_run(folders[i], targets=sorted(data.draw(targets)), seed=seed)
    outs = []
    for name, order in (("x", folders), ("y", data.draw(st.permutations(folders)))):
        outs.append(root / name)
        merge(order, outs[-1])
    assert tree(outs[0]) == tree(outs[1])
    one_by_one = root / "z"
    for folder in folders:
        merge([folder], one_by_one)
    assert tree(one_by_one) == tree(outs[0])


def test_the_command_says_what_it_did_and_its_status_tells_of_conflicts(a, b, out, harness):
    run = write_run(a, ap=[0.5])
    assert harness("merge", tmp := a.parent / "nowhere", "--out", out)[0] == 1
    assert not (tmp.exists() or out.exists())
    status, printed = harness("merge", a, "--out", out, "--dry-run")
    assert (status, "1 run would be added" in printed, out.exists()) == (0, True, False)
    status, printed = harness("merge", a, "--out", out)
    assert (status, f"{out}: 1 run added" in printed) == (0, True)
    write_run(b, ap=[1.0])
    write_run(b, seed=1)
    status, printed = harness("merge", b, "--out", out)
    assert (status, "mAP 1.0, not 0.5" in printed, "1 run added" in printed) == (1, True, True)
    status, printed = harness("merge", b, "--out", out, "--json")
    assert (status, json.loads(printed)["added"]) == (1, [])
    assert run in json.loads(printed)["conflicts"][0]
    assert harness("merge", a, "--out", a)[0] == 1
