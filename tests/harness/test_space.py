"""What a sweep tries: how it is written, what is refused, what is drawn."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import parse_overrides
from harness.space import (
    Choices,
    Range,
    as_override,
    draws,
    grid,
    label,
    make_space,
    parse_space,
)
from methods import registry
from protocols.errors import ReIDError, UnknownName


def space(*texts, name="muva", overrides=None):
    return make_space(parse_space(texts), name, registry.load(name), "tiny", overrides or {})


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("lr=1e-6,5e-6", Choices((1e-6, 5e-6))),
        ("lr = 1e-6 , 5e-6", Choices((1e-6, 5e-6))),
        ("lr=1e-6", Choices((1e-6,))),
        ("lr=1e-6,0.000001,1e-6", Choices((1e-6,))),
        ("language=true,false", Choices((True, False))),
        ("language=on,off", Choices(("on", "off"))),
        ("fidelity=paper,released", Choices(("paper", "released"))),
        ("rmp_heads=null,2,4", Choices((None, 2, 4))),
        ("parts=[head,legs],[head],[]", Choices((["head", "legs"], ["head"], []))),
        ("parts=head,legs", Choices(("head", "legs"))),
        ("lr_milestones=[30, 50],[20]", Choices(([30, 50], [20]))),
        ('part_labels="a,b.pkl",../c.pkl', Choices(("a,b.pkl", "../c.pkl"))),
        ("lr=1e-6..1e-4", Range(1e-6, 1e-4)),
        ("lr=log:1e-6..1e-4", Range(1e-6, 1e-4, log=True)),
        ("lr=1..2", Range(1, 2)),
        ("label_smoothing=.0..0.2", Range(0.0, 0.2)),
        ("epochs=5..20", Range(5, 20, whole=True)),
        ("rmp_heads=log:1..8", Range(1, 8, log=True, whole=True)),
    ],
)
def test_axes(text, axis):
    assert list(space(text).values()) == [axis]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("lr=", "expected KEY=VALUE"),
        ("lr=1e-5,,1e-6", "a value is empty"),
        ("lr=1e-4..1e-6", "the first number must be the smaller one"),
        ("lr=log:0..1", "smaller one and more than 0"),
        ("lr=log:1e-6", "expected KEY=LOW..HIGH"),
        ("lr=fast,slow", "lr='fast': input should be a valid number"),
        ("lr=-1e-4..1e-4", "lr=-0.0001: input should be greater than 0"),
        ("epochs=0..5", "epochs=0: input should be greater than or equal to 1"),
        ("epochs=0.5..5", "epochs=0.5: input should be a valid integer"),
        ("language=1..5", "language='1..5'"),
        ("fidelity=paper,papers", "input should be 'released' or 'paper'"),
        ("lr_milestones=30,50", r"valid tuple. A list stands in brackets: lr_milestones=\[...\]"),
        ("parts=[head,tail]", "parts"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ReIDError, match=message):
        space(text)


def test_an_unknown_key_is_told_with_the_nearest_one():
    with pytest.raises(UnknownName, match=r"config key of muva 'lrr'\. Did you mean 'lr'"):
        space("lrr=1e-5")


def test_a_key_has_one_place():
    with pytest.raises(ReIDError, match="lr is swept twice"):
        space("lr=1e-5", "lr=1e-6")
    with pytest.raises(ReIDError, match="lr: swept and given with --set"):
        space("lr=1e-5,1e-6", overrides={"lr": 1e-3})
    with pytest.raises(ReIDError, match="Nothing to sweep"):
        parse_space([])


def test_the_grid_is_every_setting_in_order():
    settings = grid(space("lr=1e-5,1e-6", "language=true,false"))
    assert [label(setting) for setting in settings] == [
        "lr=1e-05 language=true",
        "lr=1e-05 language=false",
        "lr=1e-06 language=true",
        "lr=1e-06 language=false",
    ]
    with pytest.raises(ReIDError, match=r"lr=log:1e-06..0.0001: a grid needs every value"):
        grid(space("lr=log:1e-6..1e-4", "language=true,false"))


def test_draws_stay_inside_and_are_the_same_again():
    axes = space(
        "lr=log:1e-6..1e-4", "label_smoothing=0..0.2", "epochs=2..4", "parts=[head],[legs]"
    )
    drawn = list(itertools.islice(draws(axes, 0), 400))
    assert drawn == list(itertools.islice(draws(axes, 0), 400))
    assert drawn[:9] != list(itertools.islice(draws(axes, 1), 9))
    assert {setting["epochs"] for setting in drawn} == {2, 3, 4}
    assert {type(setting["epochs"]) for setting in drawn} == {int}
    assert {setting["parts"][0] for setting in drawn} == {"head", "legs"}
    assert all(1e-6 <= setting["lr"] <= 1e-4 for setting in drawn)
    assert all(0 <= setting["label_smoothing"] <= 0.2 for setting in drawn)
    # evenly in the logarithm: as many below 1e-5 as above
    assert 140 < sum(setting["lr"] < 1e-5 for setting in drawn) < 260
    assert 140 < sum(setting["label_smoothing"] < 0.1 for setting in drawn) < 260


@given(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.lists(st.sampled_from(["head", "legs"]), max_size=2)
)
def test_what_is_printed_for_set_is_that_very_value(value):
    (again,) = parse_overrides([as_override("key", value)]).values()
    assert again == value
    assert type(again) is type(value)
