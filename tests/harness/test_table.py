"""`harness table`: what it prints, writes and refuses, and what damaged records do to it."""

import csv
import io
import json
import math

import pytest
from records import write_run

from harness.commands.presets import built_in_presets
from harness.config import make_config
from methods.muva.method import Muva
from protocols.registry import select
from results.ablations import ABLATIONS
from results.costs import COSTS

PAIR = (("MA",), ("MS",)), (("MS",), ("MA",))


@pytest.fixture(scope="module")
def out(tmp_path_factory, standin_cache):
    """Two methods on table 1, muva with two seeds; one of them also with a setting."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("vision-only", "muva"):
        config = built_in_presets(method)["tiny"]
        for sources, targets in (("MA", "D MS"), ("D", "MA MS"), ("MS", "MA D")):
            for seed in range(2):
                write_run(folder, method, (sources,), targets.split(), seed, config=config)
    for i in range(3):
        write_run(folder, "muva", config={**built_in_presets("muva")["tiny"], "rmp_heads": 2**i})
    return folder


@pytest.fixture
def real(tmp_path, standin_cache):
    """One method on the official data with the paper's preset."""
    config = built_in_presets("muva")["paper"]
    for sources, targets in (("MA", "D MS"), ("MS", "MA D")):
        write_run(tmp_path, "muva", (sources,), targets.split(), config=config, preset="paper",
                  data="real", precision="bf16")  # fmt: skip
    return tmp_path


def test_a_table_on_the_screen(harness, out):
    status, printed = harness("table", 1, "--out", out)
    assert status == 0
    lines = [line.split() for line in printed.splitlines()]
    (muva,) = (line for line in lines if line[:1] == ["muva"])
    assert len([cell for cell in muva if "±" in cell]) == 12
    assert "published numbers are shown beside these: the data are embedded" in printed
    assert "3 lines of other settings are left out" in printed
    assert "QAConv" not in printed


def test_narrow_screens_get_a_section_a_protocol(harness, out, monkeypatch):
    from harness import cli

    monkeypatch.setattr(cli.console, "width", 60)
    status, printed = harness("table", 1, "--out", out)
    assert status == 0 and all(len(line) <= 60 for line in printed.splitlines())
    names = [line.strip() for line in printed.splitlines()]
    assert [name for name in names if "->" in name] == [p.name for p in select("all")[:6]]


@pytest.mark.parametrize(
    ("kind", "ending", "has"),
    [
        ("markdown", ".md", "| muva"),
        ("latex", ".tex", r"\begin{table*}"),
        ("csv", ".csv", "vision-only,vision-only,Vision-only,"),
        ("html", ".html", '<th scope="row">muva</th>'),
        ("terminal", ".txt", "Vision-only"),
    ],
)
def test_every_format_to_the_screen_and_to_a_file(kind, ending, has, harness, out, tmp_path):
    status, printed = harness("table", "table1", "--format", kind, "--out", out)
    assert status == 0 and has in printed
    file = tmp_path / "new" / f"t{ending}"
    status, said = harness("table", "1", "-o", file, "--out", out)
    assert (status, said) == (0, f"Table: {file}\n")
    written = file.read_text(encoding="utf-8")
    assert has in written
    if kind != "terminal":
        assert printed == written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("14",), "tables 1 to 13"),
        (("tabel 3",), "Unknown table or protocol"),
        (("singel-source",), "Did you mean 'single-source'"),
        (("MA->X",), "Unknown data set 'X'"),
        (("1", "--format", "latx"), "Did you mean 'latex'"),
        (("1", "-o", "x.doc"), "expected a name that ends in"),
        (("1", "-o", "."), "it is a folder"),
        (("1", "--protocol", "MA->D"), "--protocol goes with tables 5 to 12"),
        (("1", "--methods", "muvva"), "Did you mean 'muva'"),
        (("4",), "no finished row"),
        (("P1",), "no finished row"),
    ],
)
def test_bad_input_is_told(arguments, message, harness, out):
    status, printed = harness("table", *arguments, "--out", out)
    assert status == 1
    assert message in printed and "Traceback" not in printed


def records(harness, *arguments):
    status, printed = harness("table", *arguments, "--format", "csv")
    assert status == 0, printed
    return list(csv.DictReader(io.StringIO(printed)))


def test_methods_by_name_and_all_of_them(harness, out):
    def names(*arguments):
        return list(dict.fromkeys(r["name"] for r in records(harness, *arguments, "--out", out)))

    heads = [f"muva (rmp_heads={n})" for n in (1, 2, 4)]
    assert names("MA->D") == ["vision-only", "muva"]
    assert names("MA->D", "--methods", "all") == ["vision-only", "muva", *heads]
    assert names("MA->D", "--methods", f"{heads[2]},muva") == [heads[2], "muva"]
    status, printed = harness("table", "D->MS", "--methods", heads[0], "--out", out)
    assert status == 1 and "no finished row" in printed


def test_published_numbers_beside_what_compares(harness, real):
    status, printed = harness("table", 1, "--out", real)
    assert status == 0
    assert "QAConv\N{NO-BREAK SPACE}(ECCV'20)*" in printed
    assert "The paper does not say over how many seeds" in printed
    assert "NOT COMPARABLE" not in printed and "No rivals" not in printed
    mine = {r["name"]: r for r in records(harness, "MA->D", "--out", real)}
    assert {"muva", "MUVA (arXiv'26)"} <= mine.keys()


def test_what_has_no_row_in_a_table_does_not_decide_what_is_comparable(harness, real):
    config = built_in_presets("muva")["tiny"]
    write_run(real, "muva", ("C3",), ("D",), config=config)
    asked = "muva, muva (preset=tiny, data=stand-in)"
    status, printed = harness("table", "C3->D", "--methods", asked, "--out", real)
    assert status == 0 and "No published numbers are shown beside these" in printed


def test_published_numbers_beside_what_does_not_only_if_forced(harness, out):
    status, printed = harness("table", 1, "--with-published", "--out", out)
    assert status == 0
    assert "NOT COMPARABLE with the published numbers" in printed
    assert "No rivals for the best, as they do not compare: published lines." in printed
    by_name = {
        r["name"]: r["competes"] for r in records(harness, 1, "--with-published", "--out", out)
    }
    assert (by_name["muva"], by_name["MUVA (arXiv'26)"]) == ("yes", "no")


def test_the_papers_table_alone(harness, tmp_path):
    status, printed = harness(
        "table", 4, "--with-published", "--out", tmp_path, "--format", "markdown"
    )
    assert status == 0
    assert "| PromptSG (CVPR'24) " in printed and "**94.6**" in printed
    assert "holds no finished run" in printed and "seed" not in printed
    assert "record left out" not in printed
    assert harness("table", 4, "--out", tmp_path)[0] == 1


def test_damaged_records_are_named_and_the_rest_is_shown(harness, tmp_path):
    config = built_in_presets("muva")["tiny"]
    good = write_run(tmp_path, "muva", config=config)
    nan = write_run(tmp_path, "muva", targets=("MS",), seed=1, config=config)
    cut, old = (write_run(tmp_path, "muva", targets=("D",), seed=s, config=config) for s in (2, 3))
    path = tmp_path / nan / "targets" / "MS.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"metrics": {**values["metrics"], "mAP": math.nan}}))
    (tmp_path / cut / "run.json").write_text('{"record_version": 1, "run')
    (tmp_path / old / "run.json").write_text('{"record_version": 7}')
    write_run(tmp_path, "gone:Method", config={})
    status, printed = harness("table", "MA->D,MA->MS", "--out", tmp_path, "--format", "csv")
    assert status == 0
    shown = [line for line in printed.splitlines() if line.startswith("muva,")]
    assert [line.split(",")[10] for line in shown] == ["MA->D"] and good
    for run in (nan, cut, old):
        assert f"{run}/" in printed
    assert "record version 7" in printed
    assert "gone:Method is not a method that is registered here" in printed
    (tmp_path / good / "run.json").write_text("")
    status, printed = harness("table", "D->MS", "--out", tmp_path)
    assert status == 1 and "record version 7" in printed and "no finished row" in printed


def variant_config(name, sources, **given):
    """As `harness reproduce table12` has it."""
    config = {} if name in {("MA",): "2", ("MS",): "8"}[sources] else {"rmp_heads": int(name)}
    made = make_config("muva", Muva, "tiny", {**config, **given})
    return {**made.model_dump(mode="json"), "part_labels": None}


@pytest.fixture(scope="module")
def ablation(tmp_path_factory, standin_cache):
    """Table 12 with one epoch, two cells missing; the full model as it is."""
    folder = tmp_path_factory.mktemp("ablation")
    for sources, targets in PAIR:
        for variant in ABLATIONS["table12"].variants:
            if variant.name != "16":
                config = variant_config(variant.name, sources, epochs=1, lr_milestones=[1])
                write_run(
                    folder, "muva", sources, targets, config=config, ap=[int(variant.name) / 10]
                )
        full = built_in_presets("muva")["tiny"]
        write_run(folder, "muva", sources, targets, config=full, ap=[0.95])
    return folder


def test_an_ablation_table_from_rows_that_share_the_rest(harness, ablation):
    found = records(harness, 12, "--out", ablation)
    values = [(r["variant"], r["protocol"], r["mAP"]) for r in found if r["mAP"]]
    assert values == [
        (name, protocol, f"{int(name) * 10}.0")
        for name in ("1", "2", "4", "8") for protocol in ("MA->MS", "MS->MA")
    ]  # fmt: skip
    status, printed = harness("table", 12, "--out", ablation)
    assert status == 0
    assert "All rows: epochs=1, lr_milestones=[1]." in printed
    assert "Dashes: 2 cells not computed. `harness reproduce table12" in printed
    assert "--set 'lr_milestones=[1]'" in printed
    assert "not mixed in (--methods): no settings (2 of 10 cells)" in printed
    (best,) = (line.split() for line in printed.splitlines() if line.split()[:1] == ["8"])
    assert best == ["8", "**80.0**", "**100.0**", "**80.0**", "**100.0**"]


def test_the_rows_that_an_ablation_shares_can_be_named(harness, ablation):
    found = records(harness, 12, "--methods", "muva", "--out", ablation)
    assert [(r["variant"], r["protocol"]) for r in found if r["mAP"]] == [
        ("2", "MA->MS"), ("8", "MS->MA"),
    ]  # fmt: skip
    assert records(harness, 12, "--methods", "all", "--out", ablation) == records(
        harness, 12, "--out", ablation
    )
    other = records(harness, 12, "--protocol", "MA->MS", "--out", ablation)
    assert {r["protocol"] for r in other} == {"MA->MS"}


def test_an_ablation_without_rows(harness, tmp_path, out):
    status, printed = harness("table", 8, "--out", tmp_path, "--with-published")
    assert status == 0 and "No row of ours." in printed and "27.6" in printed
    write_run(tmp_path, "vision-only", config={})
    status, printed = harness("table", 8, "--out", tmp_path)
    assert status == 1 and "harness reproduce table8" in printed


def test_the_table_of_costs(harness, out, tmp_path, real):
    status, printed = harness("table", 13, "--out", out)
    assert status == 0 and "`harness cost --method vision-only --preset tiny --out" in printed
    assert "RTX A6000" not in printed
    report = {
        "method": "clip-reid", "method_version": "1", "preset": "paper", "identities": 751,
        "config": {**built_in_presets("clip-reid")["paper"], "weights": "random", "epochs": 1},
        "finished_at": "2026", "params_train": 9_000_000, "params_trainable": 1,
        "params_infer": 5_000_000,
    }  # fmt: skip
    (real / COSTS).mkdir()
    (real / COSTS / "a.json").write_text(json.dumps(report))
    (real / COSTS / "b.json").write_text("{")
    status, printed = harness("table", 13, "--out", real)
    assert status == 0
    assert "RTX A6000" in printed and "clip-reid (epochs=1, preset=paper, no rows)" in (
        printed.replace("\N{NO-BREAK SPACE}", " ")
    )
    assert "b.json is not a whole report" in printed
