"""What MLflow shows of a training and its targets, in a real SQLite store."""

from __future__ import annotations

import math
from pathlib import Path

from by_hand import (
    COMMIT,
    FINISHED_MS,
    METRICS,
    assert_whole,
    client,
    make_spec,
    make_target,
    make_training,
    mirrored,
)

from harness import record, texts
from harness.record import RunFolder
from harness.tracking import default_uri, sync


def test_a_training_of_a_search_shows_what_it_is_chosen_by(out: Path) -> None:
    folder = make_training(out, make_spec().model_copy(update={"holdout": 0.2}))
    done = folder.read_run()
    assert done is not None
    history = [dict(entry) for entry in done.history]
    history[0]["validation"] = {"mAP": 0.25, "rank1": math.nan}
    last = {"mAP": 0.5, "rank1": 0.75, "sources": {}}
    record.write(folder.run, done.model_copy(update={"history": history, "validation": last}))
    sync(out, default_uri(out))
    (run,) = mirrored(out)
    assert run.data.tags["holdout"] == "0.2"
    assert run.data.metrics["held-out/mAP"] == 0.5
    assert run.data.metrics["held-out/rank1"] == 0.75
    found = client(default_uri(out)).get_metric_history(run.info.run_id, "held-out/mAP")
    assert [(m.step, m.value) for m in found] == [(1, 0.25), (2, 0.5)]
    found = client(default_uri(out)).get_metric_history(run.info.run_id, "held-out/rank1")
    assert [(m.step, m.value) for m in found] == [(2, 0.75)]


def test_a_training_shows_config_losses_and_origin(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    run = mirrored(out)[-1]
    assert run.info.run_name == "vision-only MA+D seed 0"
    assert run.data.params == {
        "method": "vision-only",
        "preset": "tiny",
        "seed": "0",
        "fold": "MA+D",
        "set.epochs": "2",
        "set.milestones": "[1, 2]",
        "set.erase": "0.5",
        "set.fidelity": "printed",
    }
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith(("harness.", "mlflow."))}
    assert tags == {
        "kind": "training",
        "method": "vision-only",
        "method_version": "1",
        "preset": "tiny",
        "seed": "0",
        "precision": "fp32",
        "fold": "MA+D",
        "fidelity": "printed",
        "data": "stand-in",
        "sources": "MA, D",
        "source_images": "train",
        "fingerprints": "MA print-MA, D print-D",
        "interruptions": "1",
        "git_commit": COMMIT,
    }
    assert run.data.tags["harness.run_id"] == training.run_id
    assert run.data.tags["mlflow.source.git.commit"] == COMMIT
    assert "MA: drawn, not photographed" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["parameters"] == 1234
    assert run.data.metrics["parameters_trainable"] == 1000
    assert run.data.metrics["train_seconds"] == 4.0
    assert (run.info.start_time, run.info.end_time) == (FINISHED_MS - 4000, FINISHED_MS)

    history = client(default_uri(out)).get_metric_history(run.info.run_id, "identity/id")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (1, 2.0, FINISHED_MS - 2000),
        (2, 1.0, FINISHED_MS),
    ]


def test_a_target_shows_its_metrics_below_its_training(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    target, _, parent = mirrored(out)
    assert target.info.run_name == "vision-only MA+D->C3 seed 0"
    assert target.data.params == parent.data.params
    assert target.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert target.data.metrics == {**METRICS, "seconds": 3.0, "images": 80}
    expected = {"protocol": "MA+D->C3", "target": "C3", "target_version": "stand-in",
                "fingerprint": "print-C3", "preset": "tiny", "data": "stand-in", "seed": "0",
                "git_commit": COMMIT, "kind": "target", "sources": "MA, D",
                "fidelity": "printed"}  # fmt: skip
    assert expected.items() <= target.data.tags.items()
    assert (target.info.start_time, target.info.end_time) == (FINISHED_MS - 3000, FINISHED_MS)


def test_records_can_be_downloaded_and_lie_below_out(
    out: Path, training: RunFolder, tmp_path: Path
) -> None:
    sync(out, default_uri(out))
    target, _, parent = mirrored(out)
    store = client(default_uri(out))
    for run, files in (
        (parent, [training.spec, training.run]),
        (target, [training.target("C3"), training.queries("C3")]),
    ):
        for file in files:
            fetched = store.download_artifacts(run.info.run_id, file.name, str(tmp_path))
            assert Path(fetched).read_bytes() == file.read_bytes()
        assert run.info.artifact_uri.startswith((out / "mlflow-artifacts").as_uri())


def test_what_differs_from_the_preset_is_in_the_names(out: Path, training: RunFolder) -> None:
    usual = {"tiny": {**make_spec().config, "epochs": 3, "milestones": [3]}}
    result = sync(out, default_uri(out), presets={"vision-only": usual}.__getitem__)
    assert not result.problems
    target, *_, parent = mirrored(out)
    assert parent.info.run_name == "vision-only MA+D seed 0 epochs=2 milestones=[1,2]"
    assert target.info.run_name == "vision-only MA+D->C3 seed 0 epochs=2 milestones=[1,2]"
    assert target.data.tags["setting"] == "epochs=2 milestones=[1,2]"


def test_names_of_group_rows_are_those_of_the_tables(out: Path) -> None:
    folder = make_training(out, make_spec(sources=("MA",)))
    make_target(folder, "MA")
    sync(out, default_uri(out))
    assert mirrored(out)[0].info.run_name == "vision-only source-domain->MA seed 0"


def test_long_values_are_cut_where_one_sees_it() -> None:
    cut = texts.params({"names": {"all": "x" * 9000}, "none": None, "empty": {}})
    assert cut.keys() == {"names.all", "none", "empty"}
    assert len(cut["names.all"]) == texts.MAX_TEXT
    assert cut["names.all"].endswith(
        "[cut: 9000 characters, all of them in the JSON among the artifacts]"
    )
    assert (cut["none"], cut["empty"]) == ("null", "{}")


def test_many_values_and_strange_names_arrive(out: Path) -> None:
    config = {f"key{i}": i for i in range(150)} | {"loss@k=1": 1}
    folder = make_training(out, make_spec(**config), epochs=700)
    sync(out, default_uri(out))
    (run,) = mirrored(out)
    assert len(run.data.params) == 159
    assert run.data.params["set.loss_k_1"] == "1"
    history = client(default_uri(out)).get_metric_history(run.info.run_id, "identity/contrastive")
    assert [m.step for m in history] == list(range(1, 701))
    assert folder.run.exists()


def test_only_the_runs_asked_for(out: Path, training: RunFolder) -> None:
    other = make_training(out, make_spec(seed=1))
    sync(out, default_uri(out), run_ids=[other.run_id])
    assert_whole(out, other.run_id)
    assert other.run_id not in sync(out, default_uri(out)).mirrored


def test_a_new_target_joins_its_training(out: Path, training: RunFolder) -> None:
    sync(out, default_uri(out))
    make_target(training, "VIPeR")
    run = training.run_id
    assert sync(out, default_uri(out)).mirrored == [f"{run}/VIPeR"]
    assert_whole(out, run, f"{run}/C3", f"{run}/MS", f"{run}/VIPeR")
