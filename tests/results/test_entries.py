"""Which rows stand together: entries, their names, and how they are chosen."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols.errors import ReIDError, UnknownName
from protocols.registry import row_name
from results.collect import Row
from results.entries import Difference, Entry, Known, choose, entries

USUAL = {"epochs": 24, "lr": 0.1, "image_size": [256, 128]}
KNOWN = {
    "muva": Known("VLM-based", "", (), {"tiny": USUAL}),
    "vision-only": Known("Vision-only", "", (), {"tiny": USUAL}),
}


def row(method="muva", sources=("MA",), target="D", seed=0, *, config=None, preset="tiny",
        data="stand-in", images=None, weights=(), version="1", **more):  # fmt: skip
    """What an entry looks at; `images` are fingerprints that are other than usual."""
    images = images or {}
    spec = SimpleNamespace(
        method=method, method_version=version, preset=preset,
        config={**USUAL, **(config or {})}, weights=tuple(weights),
        sources={key: images.get(f"train {key}", f"{data} {key}") for key in sources},
        source_images="train", seed=seed, precision=more.get("precision", "fp32"),
        part_labels=more.get("part_labels"), holdout=more.get("holdout"),
        fold_name="+".join(sources),
    )  # fmt: skip
    run_id = more.get("run_id", f"{abs(hash((method, sources, seed, repr(config)))):012x}"[:12])
    found = SimpleNamespace(
        target=target, target_version=more.get("target_version", ""), data=data,
        fingerprint=images.get(target, f"{data} {target}"),
    )  # fmt: skip
    run = SimpleNamespace(run_id=run_id, spec=spec, data=data)
    return Row(row_name(tuple(sources), "train", target), run, found, Path("runs") / run_id)


def names(rows, known=KNOWN):
    return [entry.name for entry in entries(rows, known)]


def test_protocols_and_seeds_of_one_config_are_one_entry():
    rows = [row(seed=1), row(seed=0), row(target="MS"), row(sources=("MS",), target="MA")]
    (entry,) = entries(rows, KNOWN)
    assert (entry.name, entry.settings, entry.differs) == ("muva", (), ())
    assert entry.protocols == ("MA->D", "MA->MS", "MS->MA")
    assert [one.run.spec.seed for one in entry.at("MA->D")] == [0, 1]
    assert entry.at("D->MA") == []
    assert entry.known.type == "VLM-based"


def test_settings_are_what_is_not_the_presets():
    rows = [
        row(),
        row(config={"lr": 0.2, "parts": ["head", "legs"], "language": False}),
        row(config={"weights": "sha256:0123456789abcdef", "calibration": True}),
    ]
    assert names(rows) == [
        "muva",
        "muva (calibration=on, weights=sha256:01234567)",
        "muva (language=off, lr=0.2, parts=[head,legs])",
    ]


def test_a_method_or_preset_that_nobody_knows_is_compared_with_what_most_rows_have():
    rows = [row("mine", config={"lr": lr}, seed=i) for i, lr in enumerate((3, 3, 4))]
    assert names(rows) == ["mine", "mine (lr=4)"]
    (entry,) = entries(rows[:1], KNOWN)
    assert entry.known is None
    other = [row(preset="huge", config={"lr": lr}, seed=i) for i, lr in enumerate((3, 3, 4))]
    assert names(other) == ["muva", "muva (lr=4)"]


def test_methods_in_the_order_they_are_known_then_by_name():
    rows = [row(method) for method in ("z", "vision-only", "a", "muva")]
    assert names(rows) == ["muva", "vision-only", "a", "z"]
    assert [e.name for e in entries(reversed(rows), KNOWN)] == names(rows)


@pytest.mark.parametrize(
    ("other", "name", "words"),
    [
        ({"preset": "paper"}, "preset=paper", "preset paper"),
        ({"precision": "bf16"}, "precision=bf16", "computed in bf16"),
        ({"version": "2"}, "version=2", "version 2 of muva"),
        ({"weights": ["sha256:0123456789abcdef"]}, "weights=sha256:01234567",
         "other weights (sha256:01234567)"),
        ({"images": {"D": "cut"}, "target_version": "V2"}, "D=cut",
         "other test images of D, V2 (fingerprint cut)"),
        ({"images": {"train MA": "cut"}}, "MA=cut",
         "other training images of MA (fingerprint cut)"),
        ({"part_labels": "abcdef0123"}, "part-labels=abcdef0123", "other part labels (abcdef01)"),
        ({"holdout": 0.2}, "holdout=0.2", "20% of source identities held out"),
    ],
)  # fmt: skip
def test_rows_under_other_conditions_are_another_entry(other, name, words):
    labels = {"part_labels": "usual"} if "part_labels" in other else {}
    rows = [row(seed=0, **labels), row(seed=1, **labels), row(seed=2, **other)]
    first, second = entries(rows, KNOWN)
    assert (first.name, first.differs, len(first.rows)) == ("muva", (), 2)
    assert second.name == f"muva ({name})"
    assert second.differs == (Difference(name, words),)


def test_rows_with_part_labels_and_without_are_not_one_entry():
    rows = [row(seed=0, run_id="0" * 12), row(seed=1), row(seed=0, part_labels="abcdef0123")]
    assert names(rows) == ["muva", "muva (part-labels=abcdef0123)"]
    others = [row(seed=i, part_labels="abcdef0123") for i in range(2)]
    (_, without) = entries([*others, row(seed=2)], KNOWN)
    assert without.differs == (Difference("part-labels=none", "other part labels (none)"),)


def test_a_name_says_nothing_to_a_terminal():
    (entry,) = entries([row("a\x1b[31m\nb", weights=["\x1b]"])])
    assert entry.name == "a [31m b"
    rows = [row(), row(seed=1), row(seed=2, weights=["\x1b[2J"], config={"note": "\r\u202ex"})]
    assert names(rows)[1].isprintable()


def test_what_follows_from_the_config_has_words_but_no_name():
    rows = [row("a"), row("b"), row("c", config={"image_size": [384, 128], "fidelity": "paper"})]
    (other,) = (entry for entry in entries(rows) if entry.method == "c")
    assert other.name == "c"
    assert other.differs == (Difference("", "input of 384 x 128 pixels"),)
    told = entries([row("a", config={"fidelity": "paper"}), row("b", config={"fidelity": "r"}),
                    row("c", config={"fidelity": "r"})])  # fmt: skip
    assert [e.differs for e in told] == [(Difference("", "fidelity paper"),), (), ()]


def test_other_data_are_one_difference_and_not_one_for_every_data_set():
    """Real images have other fingerprints than stand-ins; that alone says nothing more."""
    rows = [row(seed=seed, target=key) for seed in range(4) for key in ("D", "MS")]
    rows += [row(target=key, data="real") for key in ("D", "MS")]
    usual, real = entries(rows, KNOWN)
    assert (usual.name, real.name) == ("muva", "muva (data=real)")
    assert real.protocols == ("MA->D", "MA->MS")
    rows += [row(target="MS", data="real", seed=1),
             row(target="MS", data="real", seed=2, images={"MS": "V2"})]  # fmt: skip
    assert names(rows) == ["muva", "muva (data=real)", "muva (data=real, MS=V2)"]


def test_of_as_many_rows_the_first_in_order_is_usual():
    rows = [row(preset="tiny"), row(preset="paper", seed=1)]
    assert names(rows) == ["muva", "muva (preset=tiny)"]
    assert names(rows[::-1]) == names(rows)


def test_no_two_entries_have_one_name():
    weights = [("sha256:" + "a" * 9 + end,) for end in "bcd"]
    rows = [row(seed=0), row(seed=1)]
    rows += [row(seed=i, weights=one, run_id=f"{i:012d}") for i, one in enumerate(weights)]
    rows += [row(config={"on": value}, run_id=f"9{i:011d}") for i, value in
             enumerate((True, "on", 1, "1"))]  # fmt: skip
    found = names(rows)
    assert len(set(found)) == len(found) == 8
    assert "muva (weights=sha256:aaaaaaaa, #3)" in found
    assert "muva (on=1, #2)" in found
    assert names(rows[::-1]) == found
    for entry in entries(rows, KNOWN):
        assert choose(entries(rows, KNOWN), entry.name) == entry


def test_a_mean_is_never_over_rows_of_several_entries():
    rows = [row(seed=0), row(seed=1), row(seed=0, config={"lr": 1}), row(seed=0, preset="paper")]
    for entry in entries(rows, KNOWN):
        seeds = [one.run.spec.seed for one in entry.at("MA->D")]
        assert len(seeds) == len(set(seeds))


FOUND = [
    row(),
    row("vision-only", config={"lr": 1}, run_id="abcdef012345"),
    row("vision-only", config={"lr": 2}, run_id="abcd99999999"),
    row("only", preset="paper", run_id="123456789abc"),
]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("muva", "muva"),
        (" vision-only(lr=1) ", "vision-only (lr=1)"),
        ("only", "only (preset=paper)"),
        ("abcdef", "vision-only (lr=1)"),
    ],
)
def test_an_entry_by_its_name_its_method_or_a_run(asked, name):
    assert choose(entries(FOUND, KNOWN), asked).name == name


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ("vision-only", ReIDError, "has several settings: 'vision-only (lr=1)'; 'vision-only (lr"),
        ("abcd", ReIDError, "is the beginning of runs of several entries"),
        ("muva (lr=7)", ReIDError, "of muva there are 'muva'"),
        ("muvva", UnknownName, "Did you mean 'muva'"),
        ("", UnknownName, "Known: muva, only, vision-only"),
    ],
)
def test_what_is_not_there_or_not_clear_is_told(asked, error, message):
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        choose(entries(FOUND, KNOWN), asked)


def test_of_many_entries_a_message_names_some():
    many = entries([row(config={"lr": i}, run_id=f"{i:012d}") for i in range(20)], KNOWN)
    with pytest.raises(ReIDError, match="and 12 more"):
        choose(many, "muva")


def test_an_entry_without_rows_is_none():
    assert entries([], KNOWN) == []
    assert isinstance(entries([row()], KNOWN)[0], Entry)
