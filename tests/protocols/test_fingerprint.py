"""Which images a number was measured on."""

import hashlib
import os
from pathlib import Path

import pytest

from protocols.contents import Contents
from protocols.errors import DataError
from protocols.fingerprint import fingerprint
from protocols.types import Image, Split


def test_another_name_of_the_folder_is_the_same_data(tmp_path: Path) -> None:
    """The folder's own name is nobody's data; names below it, sizes and labels are."""
    prints = []
    for folder in ("Market-1501-v15.09.15", "Market1501", "a/deeper/Market1501"):
        for name in ("query/0001_c1.jpg", "gallery/0001_c2.jpg"):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x")
        splits = [
            Split("MA", part, (Image(f"{folder}/{part}/0001_c{camera}.jpg", 1, camera - 1),))
            for part, camera in (("query", 1), ("gallery", 2))
        ]
        prints.append(fingerprint(splits, tmp_path))
    assert len(set(prints)) == 1
    (tmp_path / "Market1501" / "query" / "0001_c1.jpg").write_bytes(b"xx")
    moved = [
        Split("MA", part, (Image(f"Market1501/{part}/0001_c{camera}.jpg", 1, camera - 1),))
        for part, camera in (("query", 1), ("gallery", 2))
    ]
    assert fingerprint(moved, tmp_path) != prints[0]


def test_contents_are_read_once_and_again_when_they_change(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    root.mkdir()
    for name in "ab":
        (root / name).write_bytes(name.encode())
    first = Contents(root).digests(["a", "b"])
    assert first["a"] == hashlib.sha256(b"a").hexdigest()
    read = []
    monkeypatch.setattr("protocols.contents._digest", lambda path: read.append(path.name) or "new")
    assert Contents(root).digests(["a", "b"]) == first
    assert read == []
    (root / "a").write_bytes(b"x")
    os.utime(root / "a", ns=(1, 1))
    assert Contents(root).digests(["a", "b"]) == {"a": "new", "b": first["b"]}
    assert read == ["a"]
    # a memory that is damaged is none
    for file in (tmp_path / "cache").rglob("*.json"):
        file.write_text("{")
    assert Contents(root).digests(["b"]) == {"b": "new"}


def test_files_of_no_bytes_are_refused_unless_asked_for(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg is empty \(0 bytes\)"):
        Contents(tmp_path, remember=False).digests(["empty.jpg"])
    digests = Contents(tmp_path, remember=False, empty=True).digests(["empty.jpg"])
    assert digests["empty.jpg"] == hashlib.sha256(b"").hexdigest()
