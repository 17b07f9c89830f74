"""The page of `harness report`: its data, what is escaped, where the entries stand."""

import base64
import hashlib
import html
import html.parser
import json
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import write_run

from protocols.registry import get
from results import collect, page
from results.entries import entries
from results.page import data, document, pictures, standings, versus

HOSTILE = "<script>alert(1)</script>"
BREAKING = '"><img src=x onerror="alert(2)">'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Parsed(html.parser.HTMLParser):
    """The elements of a page with their attributes, and the text in its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.found, self.raw, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside:
            self.raw.append((*self.inside, text))

    def json(self, name):
        (text,) = [text for _, attrs, text in self.raw if attrs.get("id") == name]
        return json.loads(text)


@pytest.fixture
def found(tmp_path):
    """Two methods on two protocols, one with two seeds, and one with hostile names."""
    write_run(tmp_path, "muva", ("MA",), ("D", "MS"), ap={"D": [0.75, 0.5], "MS": [0.5, 0.5]})
    write_run(tmp_path, "muva", ("MA",), ("D",), 1, ap=[0.5, 0.5], finished_at="2026-03-04")
    write_run(tmp_path, "clip-reid", ("MA",), ("D",), ap=[0.25, 0.5], losses=[{"id": math.nan}])
    write_run(
        tmp_path, HOSTILE, ("MA",), ("D",), config={"text": BREAKING}, ap=[0.125, 0.25],
        notes=[BREAKING], source_notes=["javascript:alert(3)"], environment={"platform": HOSTILE},
        losses=[{BREAKING: 1.0}], target_version=HOSTILE, weights=(BREAKING,),
    )  # fmt: skip
    write_run(tmp_path, HOSTILE, ("MA",), ("D",), config={}, seed=1, ap=[0.125, 0.125])
    write_run(tmp_path, HOSTILE, ("MA",), ("D",), config={}, ap=[0.125, 0.125])
    return tmp_path


def made(folder, **more):
    rows, problems = collect.rows(folder)
    assert not problems
    contents = {"title": "A title", "out": str(folder), "entries": entries(rows)}
    return page.build(page.Contents(**{**contents, **more}))


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(document, "drawn", lambda *_: [])


@settings(max_examples=30)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_embedded_data_end_no_script_and_come_back(value):
    text = str(data.embedded(data.plain(value)))
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text) == data.plain(value)


def test_plain_data_have_no_nan():
    assert data.plain({1: [math.nan, math.inf, 0.5, None]}) == {"1": [None, None, 0.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        data.embedded(math.nan)


def test_losses_are_by_stage_with_gaps_where_there_is_no_number():
    history = [
        {"stage": "one", "epoch": 1, "losses": {"id": 1.23456}},
        {"stage": "one", "epoch": 2, "losses": {"id": math.nan, "more": 2}},
        {"stage": "two", "epoch": 1, "losses": {}},
    ]
    assert data.losses(history) == [
        {"stage": "one", "epochs": [1, 2], "losses": {"id": [1.235, None], "more": [None, 2]}},
        {"stage": "two", "epochs": [1], "losses": {}},
    ]


def test_every_row_is_in_the_table_with_its_numbers(found, no_figures):
    parsed = Parsed(made(found).html)
    table, details = parsed.json("table-data"), parsed.json("run-data")
    keys = [column["key"] for column in table["columns"]]
    rows = [dict(zip(keys, row, strict=True)) for row in table["rows"]]
    assert len(rows) == 7
    assert [row["protocol"] for row in rows] == ["MA->D"] * 6 + ["MA->MS"]
    (one,) = [row for row in rows if row["method"] == "muva" and row["seed"] == 1]
    shown = {key: one[key] for key in ("mAP", "rank1", "mINP", "data", "finished", "parameters")}
    assert shown == {"mAP": 50.0, "rank1": 100.0, "mINP": 25.0, "data": "stand-in",
                     "finished": "2026-03-04", "parameters": 1_500_000}  # fmt: skip
    assert set(details["runs"]) == {row["run"] for row in rows}
    run = next(details["runs"][row["run"]] for row in rows if row["seed"] == 0
               and row["method"] == "muva")  # fmt: skip
    assert [target["target"] for target in run["targets"]] == ["D", "MS"]
    assert run["losses"][0]["losses"] == {"id": [2.0, 1.0]}


def test_no_name_becomes_markup(found, no_figures):
    tame = [row for row in collect.rows(found)[0] if row.run.spec.method != HOSTILE]
    clean = Parsed(made(found, entries=entries(tame)).html)
    cards = {HOSTILE: {"summary": BREAKING, "paper": "javascript:alert(4)"}}
    problems = [HOSTILE, BREAKING]
    text = made(found, title=HOSTILE, out=BREAKING, problems=problems, cards=cards).html
    parsed = Parsed(text)

    def count(parsed, tag):
        return sum(name == tag for name, _ in parsed.found)

    for tag in ("script", "style", "img", "iframe", "meta", "base", "object"):
        assert count(parsed, tag) == count(clean, tag), tag
    for tag, attributes in parsed.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not re.match(r"\s*javascript:", attributes.get("href") or "", re.IGNORECASE)
    assert HOSTILE not in text and BREAKING not in text
    # named, not dropped
    assert any(attributes.get("id") == f"/method/{HOSTILE}" for _, attributes in parsed.found)


def test_only_what_the_page_holds_may_run(found, no_figures):
    parsed = Parsed(made(found).html)
    (policy,) = [a["content"] for tag, a in parsed.found if tag == "meta" and "http-equiv" in a]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'" and "unsafe" not in policy
    for tag, attributes, text in parsed.raw:
        if attributes.get("type") != "application/json":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in allowed[f"{tag}-src"]
    assert not [a for _, a in parsed.found if "style" in a]
    sources = [a.get("src") or a.get("href") or "" for tag, a in parsed.found if tag != "a"]
    assert all(source.startswith(("data:", "")) for source in sources)
    assert not re.search(r"(src|href)=\"(https?:)?//", made(found).html)


def test_the_same_records_give_the_same_page(tmp_path):
    write_run(tmp_path, "muva")
    first = made(tmp_path).html
    assert first == made(tmp_path).html
    assert "CMC on MA-&gt;D" in first and "data:image/svg+xml;base64," in first


def test_a_path_that_is_no_text_can_be_written(tmp_path, no_figures):
    write_run(tmp_path)
    html = made(tmp_path, out="runs\udcff", title="\ud800").html
    assert html.encode("utf-8", "replace").decode().count("runs?") == 1


def test_stand_ins_are_named_at_the_top_and_photographs_are_not(tmp_path, no_figures):
    write_run(tmp_path / "real", data="real")
    write_run(tmp_path / "both", data="real")
    write_run(tmp_path / "both", seed=1)
    assert "stand-in data.</strong>" not in made(tmp_path / "real").html
    assert "1 of 2 results are of stand-in data.</strong>" in made(tmp_path / "both").html


def test_standings_mark_the_best_and_compare_on_the_same_images(tmp_path):
    mine = [0.9, 0.8, 0.9, 0.8]
    write_run(tmp_path, "muva", ap=mine)
    write_run(tmp_path, "muva", seed=1, ap=[0.7] * 4)
    write_run(tmp_path, "clip-reid", ap=[0.3, 0.4, 0.3, 0.4])
    write_run(tmp_path, "clip-reid", ap=[0.2] * 4, config={"lr": 1})
    write_run(tmp_path, "clip-reid", ap=[0.1] * 4, data="real", seed=9)
    rows, _ = collect.rows(tmp_path)
    first, other = standings.groups(get("MA->D"), entries(rows))
    assert (first.data, len(first.standings), other.data) == ("stand-in", 3, "real")
    cells = [(one.cells["mAP"].text, one.cells["mAP"].place) for one in first.standings]
    assert cells == [("77.5 ± 10.6", 1), ("35.0", 2), ("20.0", 0)]
    best, second, third = first.standings
    assert best.against is None and best.left_out == "our best"
    assert second.against.estimate == pytest.approx(0.425)
    assert third.against.estimate == pytest.approx(0.575)
    # Holm: the smaller p counts twice
    assert sorted((second.p, third.p))[0] >= min(second.against.p, third.against.p)
    assert max(second.p, third.p) >= max(second.against.p, third.against.p)
    assert any("No published numbers" in note for note in first.notes)
    (alone,) = other.standings
    assert (alone.cells["mAP"].place, alone.against, alone.left_out) == (0, None, "")


def test_published_lines_stand_where_they_compare_and_without_an_interval(tmp_path):
    write_run(tmp_path, "muva", ap=[0.29] * 8, data="real", preset="paper")
    (group,) = standings.groups(get("MA->D"), entries(collect.rows(tmp_path)[0]))
    (theirs,) = [one for one in group.standings if one.line.name.startswith("QAConv (")]
    assert theirs.cells["mAP"].text == "28.7" and theirs.interval is theirs.against is None
    assert [one.line.entry.method for one in group.entries] == ["muva"]


def test_methods_are_compared_from_both_sides(tmp_path):
    for target in ("D", "MS"):
        write_run(tmp_path, "muva", targets=(target,), ap=[0.8, 0.9] * 4, seed=ord(target[0]))
        write_run(tmp_path, "clip-reid", targets=(target,), ap=[0.3, 0.4] * 4, seed=ord(target[0]))
    found = versus.versus(entries(collect.rows(tmp_path)[0]))
    (one,), (back,) = found["muva"].found, found["clip-reid"].found
    assert (one.other, one.protocols, back.other) == ("clip-reid", 2, "muva")
    assert one.estimate == pytest.approx(0.5) == -back.estimate
    assert one.low < 0.5 < one.high and (back.low, back.high) == (-one.high, -one.low)


def test_methods_that_are_not_compared_are_named_with_the_reason(tmp_path, monkeypatch):
    write_run(tmp_path, "muva", targets=("D",))
    write_run(tmp_path, "muva", targets=("D",), precision="bf16")
    write_run(tmp_path, "clip-reid", targets=("MS",))
    compared = entries(collect.rows(tmp_path)[0])
    found = versus.versus(compared)
    # not with itself in another precision
    assert not found["muva"].found and len(found["muva"].left_out) == 2
    assert "no protocol that can be compared" in found["clip-reid"].left_out[0]
    monkeypatch.setattr(versus, "MOST", 2)
    ((reason,),) = {tuple(one.left_out) for one in versus.versus(compared).values()}
    assert "3 are too many" in reason and reason in html.unescape(made(tmp_path).html)


def test_the_best_of_real_data_is_marked_beside_more_stand_ins(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "muva", seed=seed)
    for method, ap in (("muva", 0.5), ("clip-reid", 0.75)):
        write_run(tmp_path, method, data="real", ap=[ap] * 8, target_fingerprints={"D": "real"})
    found = standings.groups(get("MA->D"), entries(collect.rows(tmp_path)[0]))
    (real,) = [group for group in found if group.data == "real"]
    assert [one.cells["mAP"].place for one in real.standings] == [1, 2]
    assert not any("1 comparisons" in note for note in real.notes)


def test_pictures_stand_in_the_page_or_beside_it(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "a b#.png").write_bytes(PNG)
    (folder / "figures" / "a b#.svg").write_text("<svg></svg>")
    (folder / "figures" / "half.png").write_bytes(PNG[:30])
    (folder / "figures" / "half.svg").write_text("<svg><path")
    (folder / "figures" / "notes.txt").write_text("no picture")
    found = pictures.pictures([folder])
    assert [one.name for one in found.of["run"]] == ["a b#"] and not found.copies
    assert base64.b64decode(found.of["run"][0].source.partition(",")[2]) == PNG
    assert [problem.split()[0] for problem in found.problems] == [
        str(folder / "figures" / name) for name in ("half.png", "half.svg")
    ]
    monkeypatch.setattr(pictures, "MOST_INSIDE", len(PNG) - 1)
    beside = pictures.pictures([folder])
    assert beside.of["run"][0].source == "figures/run/a%20b%23.png"
    assert beside.copies == {"figures/run/a b#.png": folder / "figures" / "a b#.png"}
