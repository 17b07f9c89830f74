"""Files appear whole or not at all; a lock goes with its holder."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.files import locked, new_directory, require_place, write_atomic, write_text
from protocols.errors import ReIDError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "record.json"
    write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_full_disk_is_told_and_the_old_file_kept(tmp_path):
    path = tmp_path / "record.json"
    write_text(path, "old")

    def full(temporary):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ReIDError, match="disk is full"):
        write_atomic(path, full)
    assert path.read_text() == "old"


def test_a_really_full_disk(tmp_path):
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("this system has no /dev/full")

    def full(temporary):
        device.write_text("x" * 100_000)

    with pytest.raises(ReIDError, match="disk is full"):
        write_atomic(tmp_path / "record.json", full)


def test_a_directory_appears_whole(tmp_path):
    with pytest.raises(RuntimeError), new_directory(tmp_path / "d") as new:
        (new / "a").write_text("half")
        raise RuntimeError("killed")
    assert not list(tmp_path.iterdir())
    for text in ("one", "two"):
        with new_directory(tmp_path / "d") as new:
            (new / "a").write_text(text)
        assert (tmp_path / "d" / "a").read_text() == text


def test_a_directory_that_is_replaced_is_never_gone(tmp_path, monkeypatch):
    with new_directory(tmp_path / "d") as new:
        (new / "a").write_text("old")

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    whole = []
    rename = Path.rename

    def watched(path, to):
        done = rename(path, to)
        whole.append(sorted(one.read_text() for one in tmp_path.glob("*/a")))
        return done

    monkeypatch.setattr(Path, "rename", watched)
    with pytest.raises(KeyboardInterrupt), new_directory(tmp_path / "d") as new:
        (new / "a").write_text("new")
    assert whole == [["new", "old"], ["new", "old"]] and (tmp_path / "d/a").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("folder", "it is a folder"),
        ("link", "it is a link or a device"),
        ("/dev/null", "it is a link or a device"),
        ("/dev/stdout", "it is a link or a device"),
        ("file/new/t.csv", "file is a file, not a folder"),
    ],
)
def test_a_file_takes_the_place_of_no_other_thing(tmp_path, name, problem):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(ReIDError, match=rf"^--csv .*{name}: .*{problem}"):
        require_place(tmp_path / name, "--csv")
    require_place(tmp_path / "file")
    require_place(tmp_path / "new" / "t.csv")


HOLD = """
import sys, time
from pathlib import Path
from harness.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    assert f"process {holder.pid} on" in path.read_text()
    holder.kill()
    holder.communicate()
    with locked(path, lambda who: pytest.fail(f"still held by {who}")):
        pass


def test_a_written_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    write_text(tmp_path / "record.json", "x")
    with new_directory(tmp_path / "d"):
        pass
    (tmp_path / "e").mkdir()
    assert (tmp_path / "record.json").stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "d").stat().st_mode == (tmp_path / "e").stat().st_mode
