"""`harness show cmc`, `intervals` ...: files that are written, and what is said instead."""

import pytest
from records import write_run

from harness import cli_show_figures
from harness.record import RunFolder
from results.overview import KINDS


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    for i, method in enumerate(("colour-histogram", "muva")):
        for source, target in (("MA", "D"), ("D", "MA")):
            write_run(out, method, (source,), (target,), ap=[0.2 + 0.3 * i] * 6,
                      losses=[{"id": 2.0}] if i else [])  # fmt: skip
    return out


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_kind_of_figure_has_a_command():
    assert {*cli_show_figures.SUMMARIES, "heatmap", "losses", "robustness"} == set(KINDS)


def test_figures_are_written_below_out_in_both_formats(harness, out):
    code, said = harness("show", "cmc", "--out", out, "--protocol", "MA->D")
    assert code == 0 and f"{out}/figures/cmc-MA-to-D.png, .svg" in said
    assert files(out / "figures") == ["cmc-MA-to-D.png", "cmc-MA-to-D.svg"]


def test_a_choice_does_not_take_the_place_of_the_whole(harness, out, tmp_path):
    for options in ((), ("--protocol", "MA->D"), ("--methods", "muva")):
        assert harness("show", "intervals", "--out", out, "--format", "svg", *options)[0] == 0
    names = [name for name in files(out / "figures") if name.startswith("intervals")]
    assert names == ["intervals-MA-to-D.svg", "intervals-muva.svg", "intervals.svg"]


def test_o_holds_one_figure(harness, out, tmp_path):
    code, said = harness("show", "cmc", "--out", out, "-o", tmp_path / "x.png")
    assert code == 1 and "holds one figure" in said and not list(tmp_path.iterdir())
    code, said = harness("show", "heatmap", "--difference", "--methods", "muva,colour-histogram",
                         "--out", out, "-o", tmp_path / "x.svg")  # fmt: skip
    assert code == 0 and files(tmp_path) == ["x.svg"]
    content = (tmp_path / "x.svg").read_text()
    assert ">mAP of muva minus mAP of colour-histogram<" in content  # text is text


def test_everything_goes_into_a_folder(harness, out, tmp_path):
    folder = tmp_path / "all"
    code, said = harness("show", "figures", "--out", out, "-o", folder, "--format", "svg")
    assert code == 0
    assert files(folder) == [
        "cmc-D-to-MA.svg", "cmc-MA-to-D.svg", "cost.svg", "critical-difference.svg", "heatmap.svg",
        "intervals.svg", "losses-muva.svg",
    ]  # fmt: skip
    assert "Not drawn: sweep: No method has runs here" in said
    code, said = harness("show", "figures", "--out", out, "-o", tmp_path / "x.png")
    assert code == 1 and "expected a folder" in said


def test_losses_of_one_run(harness, out):
    run = next(p.parent.name for p in sorted(out.glob("*/run.json")) if '"muva"' in p.read_text())
    code, said = harness("show", "losses", "--run", run[:6], "--out", out, "--format", "svg")
    assert code == 0 and f"losses-{run[:6]}.svg" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("cmc", "--protocol", "MA->MS"),
            "no finished run of MA->MS here. There are runs of: MA->D",
        ),
        (("cmc", "--protocol", "MA->DD"), "Did you mean 'D'"),
        (("cmc", "--methods", "muvaa"), "Did you mean 'muva'"),
        (("cmc", "--protocol", "MA->D", "-o", "x"), "ends in .png or .svg"),
        (("cmc", "--format", "jpg"), "Did you mean 'png'"),
        (("critical-difference", "--methods", "muva"), "needs two methods or more"),
        (("heatmap", "--difference", "--methods", "muva"), "of two methods"),
        (("losses", "--methods", "colour-histogram"), "trained nothing"),
        (("losses", "--run", "zz"), "no finished run's id"),
        (("sweep",), "`harness sweep` makes some"),
    ],
)
def test_what_cannot_be_drawn_says_why(harness, out, options, message):
    code, said = harness("show", *options, "--out", out)
    assert code == 1 and message in said and "Traceback" not in said


def test_settings_that_are_not_drawn_are_named_and_so_are_damaged_records(harness, tmp_path):
    write_run(tmp_path, "mine")
    write_run(tmp_path, "mine", ("D",), ("MA",))
    write_run(tmp_path, "mine", config={"heads": 2})
    broken = write_run(tmp_path, "other")
    RunFolder(tmp_path, broken).run.write_text("{")
    code, said = harness("show", "cost", "--out", tmp_path, "--format", "svg")
    assert code == 0 and "Not drawn: 1 with other settings" in said
    assert "'mine (heads=2)'" in said and f"{broken}/run.json is not a whole record" in said
