"""Variants of targets: names that come back, groups of them, what makes no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import registry, variants
from protocols.errors import ReIDError, UnknownName
from protocols.variants import KINDS, LEVELS, Degradation, Reading, Rerank, Variant, parse

degradations = st.builds(
    Degradation, st.sampled_from(KINDS), st.sampled_from(LEVELS), st.booleans()
)
reranks = st.builds(
    Rerank, st.integers(1, 99), st.integers(1, 99), st.sampled_from((0.0, 0.25, 0.3, 1.0, 1e-7))
)
booleans = st.booleans()
some = st.builds(
    Variant,
    degradation=st.none() | degradations,
    bf16=booleans,
    flip=booleans,
    distractors=booleans,
    cross_camera=booleans,
    rerank=st.none() | reranks,
)


@given(some, st.randoms(use_true_random=False))
def test_a_name_says_it_all_in_any_order(variant, random):
    assert variants.split(variants.join("D", variant)) == ("D", variant)
    if variant.name:
        parts = variant.name.split("+")
        random.shuffle(parts)
        assert parse("+".join(parts).upper()) == variant


def test_names():
    assert parse("rerank+flip").name == "flip+rerank"
    assert parse("rerank-20-6-0.3").name == "rerank"
    assert parse("Rerank-50-15-.3").name == "rerank-50-15-0.3"
    assert parse("occluded-3-both+bf16").name == "occluded-3-both+bf16"
    assert variants.split("D") == ("D", Variant())
    assert variants.dataset_of("D/flip") == variants.dataset_of("D") == "D"


def test_queries_alone_are_degraded_unless_said():
    blurred = Degradation("blurred", 2)
    assert parse("blurred-2").reading("query") == Reading(blurred)
    assert parse("blurred-2+flip").reading("gallery") == Reading(flip=True)
    assert parse("blurred-2-both").reading("gallery").degradation.level == 2


def test_groups_of_variants_begin_with_the_clean_row():
    names = [row.name for row in registry.select("MA->D/jpeg")]
    assert names == ["MA->D", *(f"MA->D/jpeg-{level}" for level in LEVELS)]
    everything = registry.select("MA->D/robustness+flip")
    assert [row.name for row in everything[:2]] == ["MA->D/flip", "MA->D/occluded-1+flip"]
    assert len(everything) == 1 + len(KINDS) * len(LEVELS)
    both = [row.target for row in registry.select("MA->D/light-both")]
    assert both[:2] == ["D", "D/light-1-both"]
    assert len(registry.select("all/flip")) == 16


def test_rows_of_seen_domains():
    assert [row.name for row in registry.select("MA->D/seen")] == ["source-domain->MA"]
    rows = registry.select("MA+D+C2->MS/seen+flip")
    # CUHK02 has no test set
    assert [(row.name, row.target) for row in rows] == [
        ("MA+D+C2->MA/seen+flip", "MA/flip"),
        ("MA+D+C2->D/seen+flip", "D/flip"),
    ]
    for row in (*rows, registry.get("MA+D->D/seen")):
        assert registry.get(row.name) == row
        assert registry.row_name(row.sources, row.source_images, row.target) == row.name
    assert registry.seen_name(registry.get("MA->D/flip")) == "MA->D/seen"
    assert registry.seen_name(rows[0]) == "MA+D+C2->MA/seen"


def test_a_row_of_a_variant_is_the_row_otherwise():
    plain, flipped = registry.get("P1->PRID"), registry.get("p1->prid/flip")
    assert (flipped.name, flipped.target) == ("P1->PRID/flip", "PRID/flip")
    assert (flipped.sources, flipped.source_images) == (plain.sources, plain.source_images)
    assert registry.row_name(plain.sources, "all", "PRID/flip") == "P1->PRID/flip"
    assert len(registry.folds(registry.select("MA->D,MA->D/flip,MA->MS/rerank"))) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("MA->D/", "nothing behind its '/'"),
        ("MA->D/ocluded-3", "'occluded-3'"),
        ("MA->D/flap", "'flip'"),
        ("MA->D/occluded-9", "levels are 1 to 5"),
        ("MA->D/flip+flip", "twice"),
        ("MA->D/rerank+rerank", "twice"),
        ("MA->D/rerank-50-15-0.3+rerank", "twice"),
        ("MA->D/flip+", "nothing on one side of a '+'"),
        ("MA->D/+seen", "nothing on one side of a '+'"),
        ("MA->D/occluded-\N{SUPERSCRIPT TWO}", "Unknown variant"),
        ("MA->D/occluded-3+jpeg-1", "two ways"),
        ("MA->D/occluded+jpeg-1", "two ways"),
        ("MA->D/occluded+jpeg", "only one of"),
        ("MA->D/rerank+euclidean", "distance of its own"),
        ("MA->D/rerank-3", "rerank-K1-K2-WEIGHT"),
        ("MA->D/rerank-0-6-0.3", "at least 1"),
        ("P1->PRID/seen", "all images"),
        ("C2->D/seen", "no test set"),
        ("MA+D->D", "MA+D->D/seen"),
    ],
)
def test_what_makes_no_sense_is_said(typed, said):
    with pytest.raises(ReIDError, match=said.replace("+", r"\+")):
        registry.select(typed)


def test_get_is_one_row():
    with pytest.raises(ReIDError, match="26 rows"):
        registry.get("MA->D/robustness")
    with pytest.raises(UnknownName):
        registry.get("MA->D/nonsense")
