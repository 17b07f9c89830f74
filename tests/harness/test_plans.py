"""Plans as they are kept below `out`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import plans
from harness.plans import owners, read, read_all, remember
from protocols.errors import ReIDError


def keep(out: Path, runs: list[str], **changed: Any) -> plans.PlanRecord:
    values = {"kind": "plan", "command": "harness run", "methods": ["pat"], "protocol": "all",
              "seeds": [0, 1]}  # fmt: skip
    return remember(out, runs, **{**values, **changed})


def test_a_plan_is_kept_as_it_was_asked_for(tmp_path: Path) -> None:
    kept = keep(tmp_path, ["b", "a", "b"], command="harness run --tracking http://me:word@host")
    assert (kept.runs, kept.methods, kept.seeds) == (("b", "a"), ("pat",), (0, 1))
    assert kept.name == "plan pat on all"
    assert "word" not in kept.path(tmp_path).read_text(encoding="utf-8")
    assert read_all(tmp_path) == ([kept], [])
    assert read(kept.path(tmp_path)) == kept


def test_the_same_plan_is_kept_once(tmp_path: Path) -> None:
    first = keep(tmp_path, ["a", "b"])
    assert keep(tmp_path, ["b", "a"], command="harness run --seeds 0,1", seeds=[1, 0]) == first
    others = [
        keep(tmp_path, ["a"]),
        keep(tmp_path, ["a", "b"], protocol="MA->D"),
        keep(tmp_path, ["a", "b"], kind="sweep"),
    ]
    assert len({first.id, *(other.id for other in others)}) == 4
    assert len(read_all(tmp_path)[0]) == 4


def test_a_search_grows_and_stays_one_plan(tmp_path: Path) -> None:
    search = {"kind": "sweep", "search": "lr=1..2 optuna 20 0"}
    first = keep(tmp_path, ["a", "b"], **search)
    grown = keep(tmp_path, ["c", "a"], command="again", **search)
    assert (grown.id, grown.runs) == (first.id, ("a", "b", "c"))
    assert (grown.created_at, grown.command) == (first.created_at, first.command)
    assert keep(tmp_path, ["a"], **search) == grown
    assert keep(tmp_path, ["a"], kind="sweep", search="other").id != first.id


def test_what_a_sweep_set_for_its_runs_is_kept(tmp_path: Path) -> None:
    search = {"kind": "sweep", "search": "lr=1..2 optuna 20 0"}
    keep(tmp_path, ["a", "b"], settings={"a": "lr=1", "b": "lr=2"}, **search)
    grown = keep(tmp_path, ["c"], settings={"c": "lr=1.5"}, **search)
    assert grown.settings == {"a": "lr=1", "b": "lr=2", "c": "lr=1.5"}
    path = grown.path(tmp_path)
    value = json.loads(path.read_text(encoding="utf-8"))
    del value["settings"]  # as plans were written before there were any
    path.write_text(json.dumps(value), encoding="utf-8")
    assert read(path).settings == {}
    path.write_text(json.dumps({**value, "settings": ["lr=1"]}), encoding="utf-8")
    with pytest.raises(ReIDError, match="settings is no dict of str"):
        read(path)


def test_a_run_belongs_to_the_earliest_plan_that_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [keep(tmp_path, runs) for runs in (["a", "b"], ["b", "c"], ["c", "a"])]
    # Z and +02:00 are sorted as moments, not as text; of two at one moment the smaller id is first
    when = ["2026-01-01T13:00:00+02:00", "2026-01-01T12:00:00+00:00", "2026-01-01T12:00:00+00:00"]
    for one, moment in zip(kept, when, strict=True):
        path = one.path(tmp_path)
        value = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**value, "created_at": moment}), encoding="utf-8")
    early, late = kept[0].id, min(kept[1].id, kept[2].id)
    found, _ = read_all(tmp_path)
    assert [plan.id for plan in found[:2]] == [early, late]
    assert owners(found) == {"a": early, "b": early, "c": late}


@pytest.mark.parametrize(
    "change",
    [
        {"plan_version": 2},
        {"id": "another"},
        {"kind": "party"},
        {"runs": "abc"},
        {"seeds": [0.5]},
        {"created_at": "yesterday"},
        {"created_at": "2026-01-01T12:00:00"},
        {"created_at": None},
        {"more": 1},
    ],
)
def test_damaged_plans_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    good, bad = keep(tmp_path, ["a"]), keep(tmp_path, ["b"])
    path = bad.path(tmp_path)
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**value, **change}), encoding="utf-8")
    found, (problem,) = read_all(tmp_path)
    assert found == [good]
    assert str(path) in problem and "Remove it" in problem


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_torn_plan_is_named_and_written_again(tmp_path: Path, content: bytes) -> None:
    path = keep(tmp_path, ["a"]).path(tmp_path)
    path.write_bytes(content)
    with pytest.raises(ReIDError, match="plan"):
        read(path)
    assert str(path) in read_all(tmp_path)[1][0]
    assert keep(tmp_path, ["a"]).runs == ("a",)
    assert read_all(tmp_path)[1] == []


def test_processes_that_remember_the_same_plan_keep_one(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.plans import remember\n"
        "remember(Path(sys.argv[1]), ['a'], kind='plan', command='', methods=[], protocol='all',"
        " seeds=[])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=Path(plans.__file__).parents[1]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert len(read_all(tmp_path)[0]) == 1
    assert len(list((tmp_path / ".plans").iterdir())) == 1
