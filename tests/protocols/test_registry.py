"""Protocols: counts of the paper, spellings, refusals, folds."""

import itertools
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import registry
from protocols.catalog import ROWS
from protocols.datasets import CARDS
from protocols.errors import ReIDError, UnknownName

BIG = ("MA", "D", "MS", "C3")
SOURCES = [k for k, card in CARDS.items() if card.can_be_source]
TARGETS = [k for k, card in CARDS.items() if card.can_be_target]


def names(text):
    return [p.name for p in registry.select(text)]


def test_groups_are_the_published_ones():
    sizes = {group: len(rows) for group, rows in registry.groups().items()}
    assert sizes == {
        "single-source": 12,
        "multi-source": 4,
        "source-domain": 3,
        "ablation": 2,
        "P1": 4,
        "P1+D": 4,
        "P2": 3,
        "P3": 3,
        "all": 16,
    }
    assert set(names("single-source")) == {f"{a}->{b}" for a, b in itertools.permutations(BIG, 2)}
    assert set(names("multi-source")) == {
        "+".join(s for s in BIG if s != left_out) + f"->{left_out}" for left_out in BIG
    }


def test_tables_of_the_paper():
    for p in registry.all_protocols():
        expected = {"multi-source": 3, "source-domain": 4}.get(p.group)
        if p.group == "single-source":
            expected = 2 if "C3" in (*p.sources, p.target) else 1
        assert p.table == expected, p.name
    assert [p.table for p in registry.select("all")].count(1) == 6


def test_p_rows_train_on_what_the_literature_trains_on():
    rows = {p.name: p for p in registry.all_protocols()}
    assert set(rows["P1->PRID"].sources) == {"MA", "C2", "C3", "CS"}
    assert set(rows["P1+D->GRID"].sources) == {"MA", "D", "C2", "C3", "CS"}
    for target in ("C3", "MS", "MA"):
        for group, images in (("P2", "train"), ("P3", "all")):
            row = rows[f"{group}->{target}"]
            assert set(row.sources) == {"MA", "MS", "C3", "CS"} - {target}
            assert row.source_images == images
    assert {rows[n].source_images for n in names("P1,P1+D")} == {"all"}


def test_every_row_is_in_source_order_and_open_for_its_data_sets():
    for p in ROWS:
        assert list(p.sources) == sorted(p.sources, key=registry.source_rank), p.name
        assert all(CARDS[s].can_be_source for s in p.sources) and CARDS[p.target].can_be_target
        assert p.name.endswith(f"->{p.target}")
        assert (p.target in p.sources) == (p.group == "source-domain")


@pytest.mark.parametrize("row", ROWS, ids=lambda p: p.name)
def test_canonical_names_round_trip(row):
    assert registry.get(row.name) == row
    assert registry.get(row.name.replace("->", ":").lower()) == row


def test_ablation_rows_are_the_single_source_rows():
    assert registry.select("ablation") == [registry.get("MA->MS"), registry.get("MS->MA")]
    assert {p.group for p in registry.select("ablation")} == {"single-source"}


@pytest.mark.parametrize(
    "typed", ["MA+D+C3->MS", "c3 + ma+D : ms", "D+C3+MA\N{RIGHTWARDS ARROW}MS", " MA+C3+D -> MS "]
)
def test_spellings(typed):
    assert registry.get(typed).name == "MA+D+C3->MS"
    assert registry.get(typed).table == 3


@given(st.data())
def test_any_order_of_sources_is_the_same_protocol(data):
    target = data.draw(st.sampled_from(TARGETS))
    families = {CARDS[k].family for k in SOURCES} - {CARDS[target].family}
    sources = data.draw(st.lists(st.sampled_from(sorted(families)), min_size=1, unique=True))
    expected = registry.get("+".join(sources) + "->" + target)
    random.Random(data.draw(st.integers())).shuffle(sources)
    typed = "+".join(sources).swapcase() + data.draw(st.sampled_from(["->", ":", " -> "])) + target
    assert registry.get(typed) == expected
    assert registry.get(expected.name) == expected


@given(st.text(alphabet="MADSC3->:+, P1/x", max_size=14))
def test_no_text_is_a_traceback(text):
    try:
        assert registry.select(text)
    except ReIDError as error:
        assert str(error)


def test_ad_hoc_rows():
    row = registry.get("ma->viper")
    assert (row.name, row.group, row.table) == ("MA->VIPeR", "ad-hoc", None)
    assert registry.get("C2+MA->VIPeR-ba").sources == ("MA", "C2")
    assert "DukeMTMC-reID's images" in registry.get("D->Occluded-Duke").overlap
    assert "DukeMTMC-reID's images" in registry.get("Occluded-Duke->D").overlap
    assert registry.get("MA->D").overlap == ""


def test_own_data_sets():
    row = registry.get("mine-2+MS+MA->shop", extra=("shop", "mine-2"))
    assert (row.sources, row.target) == (("MA", "MS", "mine-2"), "shop")
    with pytest.raises(UnknownName, match="'shop'"):
        registry.get("MA->shopp", extra=("shop",))
    with pytest.raises(ReIDError, match="among the sources"):
        registry.get("shop->shop", extra=("shop",))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("MA->MA", "ask for 'source-domain->MA'"),
        ("MA+D->D", "ask for 'source-domain->D'"),
        ("C3-labeled->C3", "C3-labeled is the same data set"),
        ("C3->C3-labeled", "C3 is the same data set"),
        ("MA+MA->D", "MA is among the sources twice"),
        ("C3+C3-labeled->D", "C3 and C3-labeled are the same data set"),
        ("MA->CS", "CS is a source only"),
        ("PRID->MA", "PRID is a target only"),
        ("", "empty"),
        ("MA->D,,MS->D", "empty"),
        ("MA+->D", "empty source"),
        ("->D", "one source side and one target"),
        ("MA->", "one source side and one target"),
        ("MA->D->MS", "one source side and one target"),
        ("Market->D", "Unknown data set 'Market'"),
        ("C33->D", "Did you mean 'C3'"),
        ("MA->VIPER2", "Did you mean 'VIPeR'"),
        ("singel-source", "'single-source'"),
        ("P7", "Unknown protocol or group 'P7'"),
        ("source-domain->C3", "source-domain->MA, source-domain->D, source-domain->MS"),
        ("P2->PRID", "P2->C3"),
    ],
)
def test_refusals(typed, message):
    with pytest.raises(ReIDError) as caught:
        registry.select(typed)
    assert message in str(caught.value)


def test_no_way_is_named_that_does_not_exist():
    with pytest.raises(ReIDError) as caught:
        registry.get("C3->C3")
    assert "source-domain" not in str(caught.value)


def test_select_keeps_the_first_place_of_each_row():
    assert names("MS->MA, ma:viper ,ablation,MA->VIPeR") == ["MS->MA", "MA->VIPeR", "MA->MS"]


def test_sixteen_rows_are_eight_folds():
    folds = registry.folds(registry.select("all"))
    assert [(f.name, f.targets) for f in folds] == [
        ("MA", ("D", "MS", "C3")),
        ("D", ("MA", "MS", "C3")),
        ("MS", ("MA", "D", "C3")),
        ("C3", ("MA", "D", "MS")),
        ("D+MS+C3", ("MA",)),
        ("MA+MS+C3", ("D",)),
        ("MA+D+C3", ("MS",)),
        ("MA+D+MS", ("C3",)),
    ]


def test_folds_share_a_training_only_where_the_images_are_the_same():
    rows = registry.select("P3->MA,P2->MA,MA->MS,source-domain->MA")
    folds = registry.folds([*rows, *rows])
    assert [(f.name, f.targets) for f in folds] == [
        ("MS+C3+CS[all]", ("MA",)),
        ("MS+C3+CS", ("MA",)),
        ("MA", ("MS", "MA")),
    ]


def test_importing_protocols_stays_light():
    heavy = ["torch", "PIL", "pandas", "scipy", "mlflow", "numpy"]
    code = (
        "import sys, protocols.registry, protocols.datasets, protocols.labels;"
        "import protocols.fingerprint, protocols.check;"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
