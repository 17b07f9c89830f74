"""Names broken to lines and keys that fit."""

from hypothesis import given, settings
from hypothesis import strategies as st
from layout import TWELVE

from results.figures import COLUMN, plain
from results.sheet import NOTE, SIDE, Key, breadth, name_lines
from results.tables import printable


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=80))
def test_a_broken_name_loses_nothing_but_blanks_and_fits(name):
    lines = name_lines(name, 1.0, NOTE)
    kept = "".join("".join(lines).split())
    assert kept == "".join(printable(name).split())
    with plain():
        assert all(breadth(line, NOTE) <= 1.0 for line in lines)


def test_names_break_behind_their_own_signs():
    assert name_lines("clip-reid", 5.0, NOTE) == ["clip-reid"]
    lines = name_lines("my.package.module:Method", 0.7, NOTE)
    assert lines[0] in ("my.", "my.package.") and "".join(lines) == "my.package.module:Method"


def test_what_no_file_can_hold_is_a_blank():
    assert printable("a\x07b\nc\ud800d\u0436") == "a b c d\u0436"


def test_a_key_has_as_many_columns_as_fit():
    assert Key.of(["a", "b", "c"], COLUMN).columns == 3
    many = Key.of([f"method-{i}" for i in range(12)], COLUMN)
    assert 1 < many.columns <= 6
    long = Key.of(TWELVE, COLUMN)
    assert long.columns == 1 and "\n" in long.labels[0]
    assert long.depth > many.depth
    with plain():
        widest = max(breadth(line, NOTE) for label in long.labels for line in label.split("\n"))
    assert widest < COLUMN - 2 * SIDE
