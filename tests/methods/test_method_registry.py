"""Methods by name, by entry point, by package.module:Class; and what is said when there is none."""

from importlib.metadata import EntryPoint

import pytest

from methods import registry
from methods.cards import CARDS
from methods.colour_histogram import ColourHistogram
from protocols.errors import ReIDError


def test_every_built_in_name_has_a_card_and_a_class_of_that_name():
    assert set(registry.BUILT_IN) == set(CARDS)
    for name in registry.BUILT_IN:
        assert registry.load(name).card is CARDS[name]


def test_a_class_by_its_place():
    assert registry.load("methods.colour_histogram:ColourHistogram") is ColourHistogram


def test_an_entry_point_adds_a_name_and_can_not_replace_one(monkeypatch):
    points = (
        EntryPoint("mine", "methods.colour_histogram:ColourHistogram", registry.ENTRY_POINT_GROUP),
        EntryPoint("vision-only", "methods.colour_histogram:ColourHistogram", "harness.methods"),
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert registry.load("mine") is ColourHistogram
    assert registry.load("vision-only") is not ColourHistogram
    assert list(registry.locations()) == sorted({*registry.BUILT_IN, "mine"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("color-histogram", "Did you mean 'colour-histogram'"),
        ("xyz", r"Known: .*clip-zero-shot, .*package\.module:Class"),
        ("no_such_package:Class", "no module 'no_such_package'"),
        ("methods.colour_histogram:ColorHistogram", "Did you mean 'ColourHistogram'"),
        ("methods.interface:Batch", "not a subclass"),
        ("methods.interface:Method", "has no `card`"),
    ],
)
def test_messages(name, message):
    with pytest.raises(ReIDError, match=message):
        registry.load(name)


def test_a_module_that_is_broken_is_told(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ReIDError, match="SyntaxError"):
        registry.load("broken_module:Class")


def test_one_method_has_one_name():
    assert registry.canonical("methods.colour_histogram:ColourHistogram") == "colour-histogram"
    assert registry.canonical("vision-only") == "vision-only"
    assert registry.canonical("mine.module:Class") == "mine.module:Class"


def test_a_package_that_misses_something_says_what(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ReIDError, match="surely_not_installed"):
        registry.load("needs_more:Class")
