"""Tables and pictures of a plan as artifacts of its MLflow run."""

from __future__ import annotations

from pathlib import Path

from by_hand import client, make_spec, make_training, mirrored

from harness import plan_mirror, plans
from harness.tracking import default_uri, sync

SPEC = make_spec(seed=0)


def _artifacts(out: Path) -> set[str]:
    (run,) = (r for r in mirrored(out) if r.data.tags["harness.key"].startswith("plan:"))
    return {file.path for file in client(default_uri(out)).list_artifacts(run.info.run_id)}


def test_what_was_made_of_a_plan_is_shown_with_it_and_anew_when_it_changes(out: Path) -> None:
    uri = default_uri(out)
    make_training(out, SPEC)
    record = plans.remember(
        out, [SPEC.id], kind="plan", command="harness reproduce table8", methods=["muva"],
        protocol="ablation", seeds=[0],
    )  # fmt: skip
    sync(out, uri)
    assert _artifacts(out) == {f"{record.id}.json"}

    made = out / "tables" / "table8-1.md"
    made.parent.mkdir()
    made.write_text("one")
    before = plan_mirror.look(out, record).digest
    plan_mirror.attach(out, record, [made])
    assert plan_mirror.look(out, record).digest != before
    assert sync(out, uri, [SPEC.id]).plans == [f"plan:{record.id}"]
    assert _artifacts(out) == {f"{record.id}.json", "table8-1.md"}
    assert sync(out, uri).plans == []

    made.write_text("another")
    assert sync(out, uri).plans == [f"plan:{record.id}"]
    made.unlink()
    assert plan_mirror.look(out, record).digest == before
    (out / "tables" / f".{record.id}.json").write_text("{")
    assert plan_mirror.look(out, record).made == ()
