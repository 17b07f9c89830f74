"""Which images a number was measured on."""

from pathlib import Path

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
