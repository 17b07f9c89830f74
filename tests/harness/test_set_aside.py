"""`--force`: what was finished stays until its successor is whole, however often it is stopped."""

import pytest

from harness.record import RunFolder


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path, "0123456789ab")
    folder.path.mkdir()
    folder.lease.mkdir()
    return folder


def leave(folder, text, finished):
    """The files of a training, as far as it has come."""
    folder.checkpoints.mkdir()
    (folder.checkpoints / "epoch-00001").write_text(text)
    folder.spec.write_text(text)
    if finished:
        folder.run.write_text(text)


def there(path):
    return sorted(p.name for p in path.iterdir())


def test_what_is_finished_is_set_aside_whole(folder):
    leave(folder, "first", finished=True)
    folder.set_aside()
    assert there(folder.path) == [".lease", ".replaced"]
    assert there(folder.replaced) == [".session", "checkpoint", "run.json", "spec.json"]


def test_an_interrupted_force_does_not_cost_what_was_finished(folder):
    leave(folder, "first", finished=True)
    for _ in range(2):
        folder.set_aside()
        leave(folder, "stopped", finished=False)
    folder.set_aside()
    assert there(folder.path) == [".lease", ".replaced"]
    assert (folder.replaced / "run.json").read_text() == "first"


def test_a_later_finished_training_takes_the_place_of_an_older_one(folder):
    leave(folder, "first", finished=True)
    folder.set_aside()
    leave(folder, "second", finished=True)
    folder.set_aside()
    assert (folder.replaced / "run.json").read_text() == "second"


def test_an_unfinished_training_is_kept_where_nothing_better_is(folder):
    leave(folder, "begun", finished=False)
    folder.set_aside()
    assert there(folder.replaced) == [".session", "checkpoint", "spec.json"]
    folder.drop_replaced()
    assert there(folder.path) == [".lease"]


def test_a_worker_of_the_same_command_goes_on_where_another_was_killed(folder):
    leave(folder, "first", finished=True)
    folder.set_aside("one call")
    leave(folder, "half", finished=False)
    folder.set_aside("one call")
    assert (folder.checkpoints / "epoch-00001").read_text() == "half"
    folder.set_aside("another call")
    assert not folder.checkpoints.exists()
    assert (folder.replaced / "run.json").read_text() == "first"
