"""Labels do not depend on the order of anything."""

from hypothesis import given
from hypothesis import strategies as st

from protocols.labels import label_map
from protocols.types import Image, Split


def split(key, *pids):
    return Split(key, "train", tuple(Image(f"{key}/{n}", pid, 0) for n, pid in enumerate(pids)))


def test_by_hand():
    given_splits = [split("zoo", 1), split("C3", 9), split("MA", 7, 2, 7, -1, 0), split("D", 1)]
    assert label_map(given_splits) == {
        ("MA", 2): 0,
        ("MA", 7): 1,
        ("D", 1): 2,
        ("C3", 9): 3,
        ("zoo", 1): 4,
    }


def test_two_splits_of_one_source_are_one_source():
    assert label_map([split("MA", 5), split("MA", 5, 3)]) == {("MA", 3): 0, ("MA", 5): 1}


@given(st.permutations([split("MS", 4, 1), split("MA", 3, 8, 2), split("C3", 1), split("D", 6)]))
def test_order_of_sources_does_not_matter(splits):
    labels = label_map(splits)
    people = [("MA", 2), ("MA", 3), ("MA", 8), ("D", 6), ("MS", 1), ("MS", 4), ("C3", 1)]
    assert labels == {person: n for n, person in enumerate(people)}
