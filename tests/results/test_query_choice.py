"""Which queries are shown: orders by hand, ties by path, names that are paths or their ends."""

import numpy as np
import pytest

from protocols.errors import ReIDError, UnknownName
from results.collect import Queries
from results.query_choice import choose, choose_apart, named

NAN = float("nan")


def table(ap, path=None, probe=None):
    """Queries q/a, q/b, ... of one split with these AP; NaN has no match."""
    ap = np.array(ap)
    Q = len(ap)
    path = [f"q/{chr(97 + i)}" for i in range(Q)] if path is None else path
    probe = ["test"] * Q if probe is None else probe
    numbers = np.arange(Q)
    return Queries(np.array(probe), np.array(path), numbers, numbers, ~np.isnan(ap), ap, numbers,
                   ap, numbers)  # fmt: skip


@pytest.mark.parametrize(
    ("order", "count", "expected"),
    [
        ("hardest", 3, [3, 1, 4]),  # 1 and 4 are equal: by path
        ("hardest", 99, [3, 1, 4, 0, 5]),
        ("easiest", 4, [5, 0, 1, 4]),
        ("spread", 3, [3, 4, 5]),
        ("spread", 1, [3]),
        ("spread", 99, [3, 1, 4, 0, 5]),
    ],
)
def test_orders_leave_out_what_has_no_match(order, count, expected):
    assert choose(table([0.8, 0.3, NAN, 0.1, 0.3, 1.0]), order, count) == expected


def test_random_is_of_the_seed_alone():
    queries = table([*np.linspace(0, 1, 40), NAN])
    drawn = choose(queries, "random", 10, seed=3)
    assert drawn == choose(queries, "random", 10, seed=3) != choose(queries, "random", 10, seed=4)
    assert len(set(drawn)) == 10 and 40 not in drawn and drawn != sorted(drawn)
    assert sorted(choose(queries, "random", 99)) == list(range(40))


def test_a_query_of_several_splits_is_shown_once():
    queries = table([0.5, 0.2, 0.5, 0.4, 0.9], ["a", "a", "b", "b", "a"], ["1", "2", "1", "2", "3"])
    assert choose(queries, "hardest", 9) == [1, 3]
    assert choose(queries, "easiest", 9) == [4, 2]
    assert named(queries, ["b", "a"]) == [3, 1]


def test_an_order_that_is_none():
    with pytest.raises(UnknownName, match="Did you mean 'hardest'"):
        choose(table([0.5]), "hardset", 1)


def test_where_two_runs_differ_most():
    one = table([0.5, 0.9, 0.2, NAN, 0.6])
    other = table([0.6, 0.1, 0.9, 0.5, 0.6])
    assert choose_apart(one, other, 9) == [1, 2, 0, 4]
    assert choose_apart(other, one, 2) == [1, 2]


def test_names_are_paths_or_the_ends_of_paths():
    queries = table([0.5, NAN, 0.2], ["q/x/1.jpg", "q/y/1.jpg", "q/y/2.jpg"])
    assert named(queries, ["q/y/1.jpg", "2.jpg", "y/2.jpg", "x/1.jpg"]) == [1, 2, 0]
    with pytest.raises(ReIDError, match=r"several queries end so \(q/x/1.jpg, q/y/1.jpg\)"):
        named(queries, ["1.jpg"])
    with pytest.raises(ReIDError, match=r"none of the 3 queries .* Did you mean .*q/y/2.jpg"):
        named(queries, ["q/z/2.jpeg"])
    with pytest.raises(ReIDError, match=r"none of the 3 queries .* The first is q/x/1.jpg\."):
        named(queries, ["portrait.webp"])
