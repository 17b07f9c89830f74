"""`harness table robustness`, `seen` and the like: as typed, in every format, what is refused."""

import json

import pytest
from records import write_run

from harness.commands.presets import built_in_presets
from protocols.variants import KINDS, LEVELS

TARGETS = ("D", "MS", "MA", "D/flip", *(f"D/{kind}-{n}" for kind in KINDS for n in LEVELS))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    config = built_in_presets("muva")["tiny"]
    rates = {"D": {"eer": 0.125}}
    write_run(folder, "muva", ("MA",), TARGETS, config=config, metrics=rates)
    write_run(folder, "muva", ("MA",), TARGETS[:4], config={**config, "rmp_heads": 2})
    return folder


@pytest.mark.parametrize(
    ("what", "has"),
    [
        ("robustness", "MA->D, low-resolution"),
        ("seen", "Sources (seen)"),
        ("variants", "flip"),
        ("verification", "12.5"),
    ],
)
def test_every_format(what, has, harness, out, tmp_path):
    status, printed = harness("table", what, "--out", out)
    assert status == 0 and has in printed and "MA->D" in printed and "stand-in" in printed
    for ending, start in ((".md", "# "), (".tex", "% needs"), (".csv", "name,method,"),
                          (".html", "<!doctype html>")):  # fmt: skip
        file = tmp_path / f"t{ending}"
        assert harness("table", what.upper(), "-o", file, "--out", out)[0] == 0
        assert file.read_text().startswith(start)


def test_protocols_are_those_of_the_rows_as_they_are(harness, out):
    for protocol in ("MA->D", "ma:d/robustness", "MA->D/occluded-3"):
        status, printed = harness("table", "robustness", "--protocol", protocol, "--out", out)
        assert status == 0 and "MA->D, jpeg" in printed
    status, printed = harness("table", "seen", "--protocol", "MA->MS", "--out", out)
    assert status == 0 and "MA->MS" in printed and "MA->D" not in printed
    # typed as for harness run, where it is the sources' rows alone
    status, printed = harness("table", "seen", "--protocol", "MA->D/seen", "--out", out)
    assert status == 0 and "MA->D" in printed


def test_other_settings_are_left_out_unless_named(harness, out):
    status, printed = harness("table", "variants", "--out", out)
    assert status == 0 and "1 line of other settings is left out" in printed
    status, printed = harness("table", "variants", "--methods", "all", "--out", out)
    assert status == 0 and "rmp_heads=2" in printed


def test_tables_of_numbers_and_groups_show_plain_rows(harness, out):
    for what in ("1", "all"):
        status, printed = harness("table", what, "--out", out)
        assert status == 0 and "MA->D" in printed and "/" not in printed.split("Per cent")[0]
    status, printed = harness("table", "MA->D/flip", "--out", out)
    assert status == 0 and "MA->D/flip" in printed


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("robustnes",), "Did you mean 'robustness'"),
        (("robustness", "--protocol", "MA->MS"), "MA->D/robustness"),
        (("seen", "--protocol", "D->MA"), "no finished row of D->MA"),
        (("variants", "--methods", "muvva"), "Did you mean 'muva'"),
        (("seen", "--with-published"), "no published numbers"),
    ],
)
def test_what_is_refused(typed, says, harness, out):
    status, printed = harness("table", *typed, "--out", out)
    assert status == 1 and says in " ".join(printed.split())


def test_damaged_records_are_named_and_the_rest_is_shown(harness, tmp_path):
    run_id = write_run(tmp_path, "muva", ("MA",), ("D", "D/flip", "D/bf16"))
    path = tmp_path / run_id / "targets" / "D@bf16.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "metrics": None}))
    status, printed = harness("table", "variants", "--out", tmp_path)
    assert status == 0 and "flip" in printed and "D@bf16.json" in printed.replace("\n", "")
