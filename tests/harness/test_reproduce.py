"""The paper's ablation tables: their rows against what it reports, their runs, the command."""

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.catalog import DataCatalog
from harness.commands import reproduce_notes as notes
from harness.commands.reproduce import choose_tables
from harness.config import make_config, parse_overrides
from harness.grounding.record import GroundRecord, record_file
from harness.reproduce import Wanted, plan_rows
from methods.muva.method import Muva
from protocols.errors import ReIDError
from protocols.registry import select
from results.ablations import ABLATIONS
from results.published import UNSAID, comparison
from results.reproduction import published

HERE = ("--tracking", "off", "--workers", 0)
CSV = Path(__file__).resolve().parents[2] / "results" / "published" / "ablations.csv"
SOURCES = {"MA->MS": ("MA",), "MS->MA": ("MS",)}


def reported():
    return list(csv.DictReader(CSV.read_text(encoding="utf-8").splitlines()))


def wanted(*keys, given=None):
    return [
        Wanted((key, variant.name), variant.overrides, given or {})
        for key in keys
        for variant in ABLATIONS[key].variants
    ]


def meaning(config, sources):
    """A config as a plain dict, the heads as they come out on some sources."""
    heads = config.heads_for(sources) if config.predicts_masks() else None
    return {**config.model_dump(), "rmp_heads": heads}


@pytest.fixture(scope="module")
def plan(standins):
    everything = wanted(*ABLATIONS)
    protocols = select("ablation")
    return plan_rows(everything, "tiny", protocols, (0, 1), DataCatalog(standins))


def test_every_published_row_is_one_of_ours_and_every_one_of_ours_is_published():
    theirs = sorted((int(r["table"]), r["variant"], r["protocol"]) for r in reported())
    ours = sorted(
        (one.number, variant.name, protocol)
        for one in ABLATIONS.values()
        for variant in one.variants
        for protocol in SOURCES
    )
    assert ours == theirs
    assert len(ours) == 2 * 30
    assert [one.number for one in ABLATIONS.values()] == list(range(5, 13))


@pytest.mark.parametrize("row", reported(), ids=lambda r: f"{r['table']}-{r['variant']}")
def test_a_row_is_what_the_published_difference_says(row):
    sources = SOURCES[row["protocol"]]
    theirs = make_config(
        "muva", Muva, "paper", parse_overrides(row["difference_from_muva"].split())
    )
    (mine,) = (w for w in wanted(f"table{row['table']}") if w.key[1] == row["variant"])
    assert meaning(mine.choice("paper", sources).config, sources) == meaning(theirs, sources)
    assert published(int(row["table"]))[row["variant"], row["protocol"]] == (
        float(row["mAP"]),
        float(row["rank1"]),
    )


def test_labels_and_columns_are_the_papers():
    for one in ABLATIONS.values():
        assert all(len(v.cells) + 1 == len(one.columns) for v in one.variants)
    granularities = {v.label: v.cells for v in ABLATIONS["table5"].variants}
    assert granularities["MUVA (w/ G+U+L)"] == ("✓", "", "✓", "✓")
    structure = {v.label: v.cells for v in ABLATIONS["table10"].variants}
    assert structure["MUVA (RMP w/ RC)"] == ("", "✓")
    assert ABLATIONS["table12"].columns == ("Number of heads",)


def test_rows_that_several_tables_share_are_one_run(plan):
    full = plan.rows["table5", "w/ G+H+U+L"]
    same = [("table6", "vision-language, multi-grained"), ("table7", "original"),
            ("table8", "AM-MSA"), ("table9", "w/ calibration"), ("table10", "RMP w/ LN+RC"),
            ("table11", "w/o RCRE")]  # fmt: skip
    assert all(plan.rows[key] == full for key in same)
    assert plan.rows["table6", "vision-language, single-grained"] == plan.rows["table5", "w/ G"]
    # section 4.2: 2 heads for MA, 8 for MS
    assert plan.rows["table12", "2"]["MA->MS"] == full["MA->MS"]
    assert plan.rows["table12", "8"]["MS->MA"] == full["MS->MA"]
    assert plan.rows["table12", "2"]["MS->MA"] != full["MS->MA"]
    assert plan.rows["table12", "8"]["MA->MS"] != full["MA->MS"]
    ids = [run.spec.id for run in plan.runs]
    assert len(ids) == len(set(ids))
    # 22 configs on either protocol, two seeds; true boxes: what table 9 varies is the same masks
    assert len({(run.config.model_dump_json(), run.fold.name) for run in plan.runs}) == 44
    assert len(ids) == 88
    assert {run for row in plan.rows.values() for runs in row.values() for run in runs} == set(ids)
    assert {run.setting for run in plan.runs if run.spec.id in full["MA->MS"]} == {""}


def test_a_run_trains_on_the_sources_of_its_protocol(plan):
    by_id = {run.spec.id: run for run in plan.runs}
    for row in plan.rows.values():
        for protocol, ids in row.items():
            assert [by_id[run].fold.sources for run in ids] == [SOURCES[protocol]] * 2
            assert [by_id[run].spec.seed for run in ids] == [0, 1]
            assert all(protocol.split("->")[1] in by_id[run].fold.targets for run in ids)


def test_what_is_set_for_every_row_is_left_out_where_it_means_nothing():
    given = {"part_labels": "file", "epochs": 3}
    rows = {w.key[1]: w for w in wanted("table5", "table8", given=given)}
    assert rows["w/ G"].left_out("paper") == ["part_labels"]
    assert rows["stripe-like"].choice("paper", ("MA",)).config.epochs == 3
    assert rows["w/ G+H"].left_out("paper") == []
    assert rows["w/ G+H"].choice("paper", ("MA",)).config.part_labels == "file"
    with pytest.raises(ReIDError, match=r"table7, w/ PAP: Config of muva: prompt=part-agnostic"):
        wanted("table7", given={"language": False})[0].choice("paper", ("MA",))


def test_a_number_of_heads_stands_for_itself_where_it_is_set_for_every_row():
    (row,) = (w for w in wanted("table8", given={"rmp_heads": 2}) if not w.overrides)
    assert row.choice("paper", ("MA",)).config.rmp_heads == 2


def test_a_table_of_the_command_line(harness, tmp_path):
    out = tmp_path / "runs"
    command = ("reproduce", "table8", "--protocol", "MA->D", "--set", "epochs=1")
    command += ("--set", "language=off", "--set", "image_size=[48,24]", "--out", out, *HERE)
    status, printed = harness(*command)
    assert status == 0, printed
    assert "2 trainings and 2 tests computed" in printed
    assert "**" in printed  # nothing is bold where there is no terminal
    (text,) = (path.read_text() for path in (out / "tables").glob("table8-*.md"))
    assert text.startswith("# Table 8. Partition\n")
    assert "MUVA (stripe-like)" in text
    assert "row 0, rows 1-2, row 3, counted from the top" in text
    assert "2 where MA is trained on" in text
    assert "true boxes" in text
    header = text.splitlines()[2]
    assert header.count("MA->D") == 2
    assert "paper" not in header
    (numbers,) = (path.read_text() for path in (out / "tables").glob("table8-*.csv"))
    lines = list(csv.DictReader(io.StringIO(numbers)))
    assert [(r["variant"], r["overrides"]) for r in lines] == [
        ("stripe-like", "partition=stripes"),
        ("AM-MSA", ""),
    ]
    for line in lines:
        done = json.loads((out / line["runs"] / "targets" / "D.json").read_text())["metrics"]
        assert float(line["mAP"]) == pytest.approx(100 * done["mAP"], abs=1e-3)
        assert f"{100 * done['rank1']:.1f}" in text
    (kept,) = (json.loads(path.read_text()) for path in out.glob(".plans/*.json"))
    assert (kept["kind"], kept["methods"]) == ("plan", ["muva"])
    assert sorted(kept["runs"]) == sorted(line["runs"] for line in lines)

    status, again = harness(*command, "--json")
    assert status == 0
    assert "0 trainings and 0 tests computed" in again
    (table,), _ = json.JSONDecoder().raw_decode(again)  # all else goes to the other stream
    assert (table["table"], table["name"]) == (8, "table8")
    assert [row["mAP"] for row in table["rows"]] == [float(line["mAP"]) for line in lines]
    assert table["rows"][0]["published_mAP"] is None
    (unchanged,) = (path.read_text() for path in (out / "tables").glob("table8-*.md"))
    assert unchanged == text


def test_table_9_on_stand_ins_has_labels_with_errors(harness, tmp_path):
    out = tmp_path / "runs"
    command = ("reproduce", "table9", "table8", "--dry-run", "--out", out, *HERE)
    status, printed = harness(*command, "--protocol", "MA->D")
    assert status == 0, printed
    # with, without, the stripes of table 8, and the full model, which table 9 does not share here
    assert "4 runs: 4 to do." in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("tabel12",), "Unknown table 'tabel12'. Did you mean 'table12'"),
        (("table4",), "Tables 5 to 12 are here"),
        (("table12", "--set", "rmp_heads=4"), "--set rmp_heads: table 12 varies this itself"),
        (("table8", "--json", "--dry-run"), "--json prints results, and --dry-run computes none"),
        (("table8", "--set", "rpm_heads=4"), "Unknown config key of muva 'rpm_heads'"),
    ],
)
def test_what_is_refused(harness, tmp_path, options, message):
    status, printed = harness("reproduce", *options, "--out", tmp_path / "runs", *HERE)
    assert status == 1
    assert message in printed


def test_tables_stand_in_the_papers_order_each_once():
    assert [t.number for t in choose_tables(["table12", "table5", "table12"])] == [5, 12]
    assert [t.number for t in choose_tables(["ablations"])] == list(range(5, 13))


class _Catalog:
    """Data sets of chosen sizes."""

    def __init__(self, kind, differing=()):
        self.kind, self.differing = kind, differing

    def dataset(self, key):
        train = SimpleNamespace(name="train", images=(), pids=())
        counts = {"train": (12936, 751)} if key in self.differing else {}
        card = SimpleNamespace(name=f"official {key}", counts=counts, cameras=None)
        return SimpleNamespace(card=card, parts=[train])


def call(catalog, protocol="ablation", preset="paper"):
    return SimpleNamespace(catalog=catalog, selected=select(protocol), preset=preset)


def test_published_numbers_are_for_the_papers_data_and_preset():
    numbers = published(5)
    real = _Catalog("real")
    assert notes.unlike(call(real), numbers, {"fidelity": "paper", "part_labels": "x"}) == []
    assert notes.unlike(call(_Catalog("stand-in")), numbers, {}) == [
        "the data are embedded stand-ins (rendered people)"
    ]
    assert notes.unlike(call(real, preset="tiny"), numbers, {}) == ["the preset is tiny"]
    assert notes.unlike(call(real), numbers, {"epochs": 1}) == ["epochs changed with --set"]
    (cut,) = notes.unlike(call(_Catalog("real", ("MA",))), numbers, {})
    assert cut.startswith("MA is not the official official MA (train: 0 images of 0 people;")


def test_what_is_said_of_published_numbers():
    assert comparison(["a", "b"], True, False) == [
        "No published numbers are shown beside these: a; b."
    ]
    assert comparison(["a"], True, True)[0].startswith("NOT COMPARABLE")
    assert comparison([], True, True) == [UNSAID]
    assert comparison([], False, True) == ["The paper's table has MA->MS and MS->MA only."]


def test_who_said_where_parts_are_is_told_from_the_record(tmp_path):
    labels = tmp_path / "MA-0-cogvlm.safetensors"
    assert notes._expert(labels) == str(labels)
    record = GroundRecord(
        labels=labels.name, dataset="MA", images="train", fingerprint="0", data="real",
        expert="cogvlm", model="m", options={"calibration": {"small": 0.1, "large": 2.0}},
        count=1, parts={}, created_at="now",
    )  # fmt: skip
    record.write(record_file(labels))
    assert notes._expert(labels) == "cogvlm (m, small=0.1)"


def test_the_papers_16_rows_in_3_bands():
    config = make_config("muva", Muva, "paper", {})
    assert "rows 0-4, rows 5-10, rows 11-15" in notes.stripes_note(config)
