"""From records to figures: what is compared with what, what is said, what is left out."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from layout import require_readable, words
from records import write_run

from protocols.errors import ReIDError
from results import collect, run_figures
from results.entries import entries
from results.figure_data import by_seed, complete, percents, principal, said, shown, slug
from results.figures import save
from results.line_style import COLOURS
from results.overview import KINDS, difference, figures
from results.tables import STANDIN_NOTE

AP = [0.2, 0.4, 0.6, 0.8, 0.5, 0.5]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Two methods on four protocols, one of them with two seeds, a sweep, and one without rows."""
    out = tmp_path_factory.mktemp("runs")
    history = [
        {
            "stage": "encoder",
            "epoch": epoch,
            "losses": {"id": 4.0 / epoch, "bce": None if epoch == 3 else 1.0},
            "validation": {"mAP": 0.1 * epoch, "rank1": 0.2},
        }
        for epoch in (1, 2, 3)
    ]
    more = {"config": {"heads": 8}, "history": history, "parameters": {"all": 2_000_000}}
    for seed in (0, 1):
        ap = [one + 0.1 * seed for one in AP]
        for source, targets in (("MA", ("D", "MS")), ("D", ("MA",))):
            write_run(
                out, "ours", (source,), targets, seed, ap=ap, seconds=60.0 + 60 * seed, **more
            )
    for source, targets in (("MA", ("D", "MS")), ("D", ("MA",)), ("MA+D", ("MS",))):
        ap = [0.3] * 6
        write_run(out, "bot", tuple(source.split("+")), targets, ap=ap, seconds=400.0, losses=[])
    for heads in (1, 2, 4):
        write_run(out, "ours", ("MA",), ("D",), ap=[heads / 10] * 6, config={"heads": heads})
    return out


@pytest.fixture(scope="module")
def found(out):
    return entries(collect.rows(out)[0])


@pytest.fixture(scope="module")
def drawn(found):
    return {key: figure for key, _, figure in figures(found)}


def test_every_figure_there_can_be(drawn):
    assert list(drawn) == [
        "intervals", "heatmap", "critical-difference", "cost", "cmc-MA-to-D", "cmc-MA-to-MS",
        "cmc-D-to-MA", "cmc-MA+D-to-MS", "sweep-ours-heads", "losses-ours",
    ]  # fmt: skip


def test_every_figure_can_be_read_and_says_that_stand_ins_are_behind_it(drawn):
    for figure in drawn.values():
        require_readable(figure)
        assert STANDIN_NOTE in words(figure)


def test_the_same_records_are_the_same_bytes(found, drawn):
    again = {key: figure for key, _, figure in figures(found)}
    for key in (
        "intervals",
        "heatmap",
        "critical-difference",
        "cost",
        "cmc-MA-to-D",
        "losses-ours",
    ):
        assert save(again[key], "svg") == save(drawn[key], "svg"), key
    assert save(again["heatmap"], "png") == save(drawn["heatmap"], "png")


def test_methods_are_compared_as_their_presets_have_them(found):
    # most rows of ours have eight heads, which stands for its preset
    assert [entry.name for entry in found] == [
        "bot", "ours", "ours (heads=1)", "ours (heads=2)", "ours (heads=4)",
    ]  # fmt: skip
    assert [entry.name for entry in principal(found)] == ["bot", "ours"]
    swept = [entry for entry in found if entry.settings]
    assert [entry.name for entry in principal(swept)] == ["ours (heads=1)"]


def test_a_curve_has_a_seed_a_line(found, drawn):
    _, ours = drawn["cmc-MA-to-D"].axes[0].get_lines()
    rows = found[1].at("MA->D")
    mean = 100 * np.mean([row.target.cmc[:20] for row in rows], axis=0)
    assert len(rows) == 2 and ours.get_ydata() == pytest.approx(mean)
    assert "over 1 to 2 seeds" in words(drawn["cmc-MA-to-D"])


def test_a_method_looks_the_same_on_every_protocol(found):
    bot, ours = found[0], replace(found[1], rows=tuple(found[1].at("MA->D")))
    first, second = (figure for _, _, figure in KINDS["cmc"]([ours, bot], ["MA->D", "D->MA"]))
    (other,) = second.axes[0].get_lines()
    assert other.get_color() == first.axes[0].get_lines()[1].get_color() == COLOURS[1]


def test_an_interval_is_around_the_mean(drawn):
    _, ours = drawn["intervals"].axes[0].get_lines()
    assert list(ours.get_xdata()) == pytest.approx([55, 55, 55])
    assert "95 % intervals" in words(drawn["intervals"])


def test_a_heat_map_has_sources_down_and_targets_across(drawn):
    bot, ours, *_ = drawn["heatmap"].axes
    assert [text.get_text() for text in bot.get_yticklabels()] == ["MA", "D", "MA+D"]
    assert [text.get_text() for text in bot.get_xticklabels()] == ["MA", "D", "MS"]
    assert [text.get_text() for text in ours.texts] == [
        "", "55.0", "55.0", "55.0", "", "\u2013", "", "", "\u2013",
    ]  # fmt: skip


def test_a_difference_is_of_two(found):
    ours, bot = found[1], found[0]
    ((key, title, figure),) = difference([ours, bot])
    assert key == "heatmap-difference-ours-bot" and title == "mAP of ours minus mAP of bot"
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert numbers.count("25.0") == 3
    with pytest.raises(ReIDError, match="of two methods"):
        list(difference(found))


def test_ranks_are_over_the_protocols_that_all_have(drawn):
    text = words(drawn["critical-difference"])
    assert "ours 1.00" in text.replace("  ", " ") and "bot 2.00" in text.replace("  ", " ")
    assert "over 3 protocols" in text
    assert "Protocols left out, as not all have them: MA+D->MS." in text


def test_the_set_of_protocols_keeps_most_rows_and_names_what_it_leaves_out(found):
    kept = complete(found)
    # three protocols of two entries, not one of five
    assert [entry.name for entry in kept.entries] == ["bot", "ours"]
    assert kept.protocols == ("MA->D", "MA->MS", "D->MA")
    assert "ours (heads=1), ours (heads=2), ours (heads=4)" in kept.notes[0]
    everyone = complete(found, ["MA->D"])
    assert len(everyone.entries) == 5 and not everyone.notes


def test_entries_tested_on_other_images_have_no_rank_among_the_others(tmp_path):
    for method in ("a", "b"):
        write_run(tmp_path, method, ("MA",), ("D", "MS"))
    others = {"MA": "other", "D": "other", "MS": "other"}
    write_run(tmp_path, "b", ("MA",), ("D", "MS"), data="real", fingerprints=others)
    kept = complete(entries(collect.rows(tmp_path)[0]))
    assert [entry.name for entry in kept.entries] == ["a", "b"]
    (note,) = kept.notes
    assert note.startswith("Left out, as they were tested on other images: b (data=real")


def test_what_cannot_be_drawn_says_why_and_the_rest_is_drawn(found):
    reasons = []
    assert "cmc-MA-to-D" in [key for key, *_ in figures(found[:1], ["MA->D"], None, reasons)]
    kinds = [reason.partition(":")[0] for reason in reasons]
    assert kinds == ["critical-difference", "roc", "robustness", "sweep", "losses"]


def test_lines_of_a_setting_say_how_many_found_no_room(tmp_path, monkeypatch):
    for heads in (1, 2):
        for size in (1, 2):
            write_run(tmp_path, config={"heads": heads, "size": size})
    monkeypatch.setattr(run_figures, "PANELS", 1)
    (figure, *_) = (one for *_, one in KINDS["sweep"](entries(collect.rows(tmp_path)[0]), None))
    assert "1 of 2 panels" in words(figure)


def test_one_method_or_one_protocol_has_no_critical_difference(found):
    draw = KINDS["critical-difference"]
    with pytest.raises(ReIDError, match="two methods or more"):
        list(draw(found[:1], None))
    with pytest.raises(ReIDError, match="two protocols or more"):
        list(draw(found[:2], ["MA->D"]))


def test_cost_is_of_the_runs_that_are_shown(drawn):
    parameters, training = drawn["cost"].axes
    assert parameters.get_xlabel() == "parameters of the trained model (millions)"
    at = [line.get_xdata()[0] for line in parameters.get_lines() if line.get_marker() in "os"]
    assert at == [1.5, 2.0]
    assert training.get_xlabel() == "time of a training (min)"
    at = [line.get_xdata()[0] for line in training.get_lines() if line.get_marker() in "os"]
    assert at == pytest.approx([400 / 60, 1.5])
    assert "mean of 3 protocols" in words(drawn["cost"])


def test_costs_that_were_measured_take_the_place_of_what_records_say(out, found, drawn):
    report = {
        "method_version": "1", "preset": "tiny", "identities": 10, "finished_at": "2026",
        "params_train": 3, "params_trainable": 3, "stages": [], "repeats": 2, "device": "CPU, x",
        "precision": "fp32", "threads": 1, "environment": {},
    }  # fmt: skip
    for method, config, params, batch in (("ours", {"heads": 8}, 5e6, 4), ("bot", {}, 7e6, 8)):
        phase = {"name": "inference", "latency_ms": 20.0, "latency_ms_min": 1.0,
                 "latency_ms_max": 30.0, "images_per_second": 1.0, "batch_size": batch,
                 "peak_memory_bytes": None}  # fmt: skip
        mine = {**report, "method": method, "config": config, "params_infer": int(params),
                "inference": phase}  # fmt: skip
        (out / "costs").mkdir(exist_ok=True)
        (out / "costs" / f"{method}.json").write_text(json.dumps(mine))
    ((_, _, figure),) = KINDS["cost"](found[:2], None)
    parameters, latency, _ = figure.axes
    assert parameters.get_xlabel() == "parameters at inference (millions)"
    assert {text.get_text() for text in parameters.texts} == {"ours", "bot"}
    # batches of another size do not compare
    assert len(latency.texts) == 1
    assert "left out:" in words(figure) and "images at a time" in words(figure)


def test_lines_of_a_setting_join_entries_that_differ_in_it_alone(drawn):
    (axes,) = drawn["sweep-ours-heads"].axes
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == [1, 2, 4, 8]
    assert list(line.get_ydata()) == pytest.approx([10, 20, 40, 55])


def test_losses_have_a_panel_a_stage_and_say_where_they_are_no_number(drawn):
    losses, held, *others = drawn["losses-ours"].axes
    assert len(others) == 2  # the other fold's
    identity, bce = losses.get_lines()
    assert list(identity.get_ydata()) == pytest.approx([4, 2, 4 / 3])
    assert np.array_equal(bce.get_ydata(), [1, 1, math.nan], equal_nan=True)
    assert list(held.get_lines()[0].get_ydata()) == pytest.approx([10, 20, 30])
    assert "Not a finite number: bce of MA: encoder from epoch 3" in words(drawn["losses-ours"])


def test_what_does_not_compare_is_said(tmp_path):
    for method in ("bot", "ours"):
        for seed in (0, 1):
            write_run(tmp_path, method, seed=seed)
    write_run(tmp_path, "ours", data="real", preset="paper")
    found = entries(collect.rows(tmp_path)[0])
    lines = said(shown(found))
    assert lines[0] == "Preset paper and tiny; mean and standard deviation over 1 to 2 seeds."
    other = next(entry for entry in found if entry.differs)
    for one in other.differs:
        assert f"{other.name}: {one.words}." in lines
    assert STANDIN_NOTE in lines
    # alone, it has nothing that it does not compare with
    assert said(shown([other])) == ["Preset paper; 1 seed."]


def test_more_than_can_be_told_apart_are_named_not_drawn(found):
    many = [replace(found[0], method=f"method-{i}") for i in range(23)]
    limited = shown(many)
    assert len(limited.entries) == 21
    assert limited.notes == ("Left out, as too many to tell apart: method-21, method-22.",)


def test_no_rows_of_what_is_asked_names_what_there_is(found):
    with pytest.raises(ReIDError, match=r"no finished run of P2->C3 .*MA->D, MA->MS, D->MA"):
        shown(found, ["P2->C3"])


def test_means_over_protocols_are_by_seed(found):
    bot, ours = found[:2]
    assert percents(ours, "MA->D") == pytest.approx([50, 60])
    assert by_seed(ours, ["MA->D", "D->MA"]) == pytest.approx([50, 60])
    assert by_seed(bot, ["MA->D", "D->MA"]) == pytest.approx([30])
    # no seed has both: one number, of the means
    apart = replace(ours, rows=(ours.at("MA->D")[0], ours.at("D->MA")[1]))
    assert by_seed(apart, ["MA->D", "D->MA"]) == pytest.approx([55])


def test_a_key_is_a_file_name_and_no_two_names_have_one():
    assert slug("cmc", "MA+D->MS") == "cmc-MA+D-to-MS"
    strange = [slug("losses", name) for name in ("a/b", "a b", "../x", "\u65e5\u672c", "x" * 300)]
    assert len(set(strange)) == 5
    assert all(len(key) < 100 and "/" not in key and not key.startswith(".") for key in strange)
