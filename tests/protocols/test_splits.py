"""The committed splits: what the literature's sizes say, never changed, made again byte by byte."""

import json

import pytest

from protocols import splits
from protocols.errors import DataError
from protocols.splits import draw

# Pinned here too: who changes a split changes every number measured on it, and this line.
SHA256 = {
    "viper": "52adb2ac96a05c87a3f48ff39ff1e1aee0e09c88c121920199e23ba52e8c20c6",
    "prid": "0b4be85b08f70ded32452d4593c0fc29e372133c75fecbef16a26d98a4bd369b",
    "ilids": "e7a34031c72de5137e667eebedb97f2ba21f8d8fed83ba3233566b648568cb29",
}


@pytest.mark.parametrize("name", SHA256)
def test_hash_is_pinned(name):
    assert splits.digest(splits.load(name)) == SHA256[name]


def test_drawing_again_writes_the_same_bytes(tmp_path):
    for path in draw.write(tmp_path):
        assert path.read_bytes() == (splits.FOLDER / path.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "population", "test"),
    [("viper", range(632), 316), ("prid", range(1, 201), 100), ("ilids", range(119), 60)],
)
def test_sizes(name, population, test):
    found = splits.load(name)
    assert len(found) == 10
    for split in found:
        people = [row[0] if name == "ilids" else row for row in split]
        assert len(people) == len(set(people)) == test
        assert people == sorted(people) and set(people) <= set(population)
        # The others are the training side: together they are everyone, once.
        assert len(set(population) - set(people)) == len(population) - test
    assert len({json.dumps(split) for split in found}) == 10


def test_nobody_is_in_all_or_no_test_set_by_construction():
    """Independent draws of a half: the mean person is a test person about 5 times of 10."""
    times = [sum(p in split for split in splits.load("viper")) for p in range(632)]
    assert sum(times) == 3160
    assert 1.2 < (sum((t - 5) ** 2 for t in times) / 632) ** 0.5 < 2.0  # binomial: 1.58


@pytest.mark.parametrize("change", ["member", "hash", "text", "missing"])
def test_tampering_is_noticed(tmp_path, change):
    content = json.loads((splits.FOLDER / "prid.json").read_text())
    if change == "member":
        content["splits"][0][0] += 1
    if change == "hash":
        content["sha256"] = "0" * 64
    text = "{" if change == "text" else json.dumps(content)
    if change != "missing":
        (tmp_path / "prid.json").write_text(text)
    with pytest.raises(DataError, match=r"prid\.json"):
        splits.load("prid", tmp_path)


def test_a_caller_can_not_change_the_splits():
    splits.load("prid")[0].clear()
    assert len(splits.load("prid")[0]) == 100
