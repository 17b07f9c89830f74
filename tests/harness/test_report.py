"""`harness report`: the command, and its page in a real browser."""

import json
import re
import shutil
import sqlite3
from types import SimpleNamespace

import pytest
from records import write_run

from harness.mlflow_links import mlflow_links
from harness.texts import safe
from results.page import document, pictures

HOSTILE = "<script>alert(1)</script>"
BREAKING = '"><img src=x onerror="alert(2)">'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63"
    "64f8cf500f00038601805a347d6b0000000049454e44ae426082"
)


def write_runs(out):
    """Two methods with two seeds each, one of hostile names; returns the run with a picture."""
    run_id = write_run(out, "muva", ("MA",), ("D", "MS"), ap={"D": [0.9] * 8, "MS": [0.8] * 8})
    write_run(out, "muva", ("MA",), ("D",), 1, ap=[0.7] * 8)
    write_run(out, "clip-reid", ("MA",), ("D",), ap=[0.4] * 8)
    write_run(out, "clip-reid", ("MA",), ("D",), 1, ap=[0.3] * 8)
    write_run(
        out, HOSTILE, ("MA",), ("D",), config={"text": BREAKING}, ap=[0.1] * 8,
        notes=[BREAKING], losses=[{HOSTILE: 1.0}], environment={BREAKING: HOSTILE},
    )  # fmt: skip
    (out / run_id / "figures").mkdir()
    (out / run_id / "figures" / f"{BREAKING.replace('/', '')}.png").write_bytes(PNG)
    return run_id


def test_a_report_replaces_a_report_and_nothing_else(tmp_path, harness, monkeypatch):
    monkeypatch.setattr(document, "drawn", lambda *_: [])
    out, report = tmp_path / "runs", tmp_path / "new" / "report"
    run_id = write_run(out)
    (out / "damaged").mkdir()
    (out / "damaged" / "run.json").write_text("{")
    code, said = harness("report", "-o", report, "--out", out)
    assert code == 0 and "1 result of 1 run" in said and "damaged/run.json" in said
    first = (report / "index.html").read_text()
    assert run_id in first and "Left out or doubtful" in first
    assert harness("report", "-o", report, "--out", out)[0] == 0
    assert (report / "index.html").read_text() == first
    (report / "mine.txt").write_text("kept")
    code, said = harness("report", "-o", report, "--out", out)
    assert code == 1 and "mine.txt" in said and "left as it is" in said
    assert (report / "mine.txt").read_text() == "kept"
    assert [path.name for path in report.parent.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "report.html"], "expected the name of a folder"),
        (["-o", "a-file"], "it is a file"),
        (["-o", "."], "no report of this command"),
        (["--out", "nowhere"], "There is no folder nowhere"),
        (["--out", "empty"], "holds no finished run"),
        (["--methods", "muvva"], "muva"),
        (["--protocol", "MA->X"], "Unknown data set"),
        (["--protocol", "D->MS"], "no finished run of what was asked for"),
    ],
)
def test_bad_input_is_named(tmp_path, monkeypatch, harness, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "runs")
    code, printed = harness("report", *arguments)
    assert code == 1 and said in printed
    assert not (tmp_path / "report").exists()


def test_the_folder_one_is_in_is_not_replaced(tmp_path, monkeypatch, harness):
    write_run(tmp_path / "runs")
    (tmp_path / "report").mkdir()
    monkeypatch.chdir(tmp_path / "report")
    code, said = harness("report", "-o", ".", "--out", tmp_path / "runs")
    assert code == 1 and "you are in it" in said


def test_links_lead_to_whole_runs_of_mlflow(tmp_path):
    assert mlflow_links(tmp_path).pages == {}
    (tmp_path / "mlflow.db").write_text("no database at all" * 100)
    assert mlflow_links(tmp_path).pages == {}
    (tmp_path / "mlflow.db").unlink()
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.executescript(
            "create table runs (run_uuid, experiment_id, lifecycle_stage, start_time);"
            "create table tags (key, value, run_uuid);"
            "insert into runs values ('a', 7, 'active', 1), ('b', 7, 'deleted', 1), "
            "('c', 7, 'active', 1);"
            "insert into tags values ('harness.key', 'one', 'a'), ('harness.mirrored', 'x', 'a'),"
            "('harness.key', 'two', 'b'), ('harness.mirrored', 'x', 'b'),"
            "('harness.key', 'three', 'c');"
        )
    found = mlflow_links(tmp_path)
    assert found.pages == {"one": "http://127.0.0.1:5000/#/experiments/7/runs/a"}
    assert f"harness ui --out {tmp_path}" in found.said
    (tmp_path / "mlflow.db").unlink()
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "1.json").write_text(json.dumps({"uri": safe("http://me:pw@host:1")}))
    (tmp_path / ".mlflow" / "2.json").write_text("{")
    assert "http://***@host:1" in mlflow_links(tmp_path).said


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with its picture beside it, and the run that has one."""
    from harness.commands.report import ReportRequest, report_command
    from harness.options import console, stderr

    folder = tmp_path_factory.mktemp("report")
    run_id = write_runs(folder / "runs")
    request = ReportRequest(folder / "report", folder / "runs", None, None, HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "MOST_INSIDE", 0)
        assert report_command(request, console, stderr) == 0
    return SimpleNamespace(url=(folder / "report" / "index.html").as_uri(), run=run_id)


@pytest.fixture(scope="module")
def api():
    return pytest.importorskip("playwright.sync_api", reason="pip install playwright")


@pytest.fixture(scope="module")
def browser(api):
    if CHROMIUM is None:
        pytest.skip("neither chromium nor google-chrome is on the PATH")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, report):
    """The report, opened; whatever it says, asks for or pops up fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(5000)
    page, wrong, here = context.new_page(), [], report.url.rpartition("/")[0]
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: asked.url.startswith((here, "data:", "blob:"))
            or wrong.append(asked.url))  # fmt: skip
    page.goto(report.url)
    page.wait_for_selector("#runs tbody tr")
    yield page
    assert not wrong
    context.close()


def column(page, number):
    return page.locator(f"#runs tbody tr > :nth-child({number})").all_inner_texts()


def test_the_table_sorts_filters_and_says_so_in_its_address(page, report):
    assert page.locator("#count").inner_text() == "6 results of 5 runs"
    head = page.locator("th[data-key=mAP]")
    head.locator("button").click()
    assert column(page, 5) == ["90.0", "80.0", "70.0", "40.0", "30.0", "10.0"]
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    assert column(page, 5)[0] == "10.0" and head.get_attribute("aria-sort") == "ascending"
    page.locator("#words").fill("muva MA→D seed:1")
    assert column(page, 5) == ["70.0"]
    page.locator("#words").fill("mAP>=70 -seed:1")
    assert column(page, 5) == ["80.0", "90.0"]
    page.locator("#words").fill("")
    page.locator("#choose-method").select_option("clip-reid")
    assert page.locator("#count").inner_text() == "2 of 6 results of 2 runs"
    shared = page.url
    page.goto("about:blank")
    page.goto(shared)
    assert column(page, 5) == ["30.0", "40.0"]
    page.locator("#words").fill("nothing is like this")
    assert page.locator("#no-rows").is_visible()
    with page.expect_download() as started:
        page.locator("#clear").click()
        page.locator("#csv").click()
    lines = started.value.path().read_text("utf-8-sig").splitlines()
    assert len(lines) == 7 and lines[0].startswith("protocol,method,settings,seed,mAP")


def test_runs_methods_and_protocols_open_and_back_leads_back(page, report, api):
    page.locator("#words").fill("muva seed:0 MA->MS")
    page.locator("#runs tbody tr td.num").first.click()
    api.expect(page.locator("h2:visible")).to_have_text("muva on MA, seed 0")
    assert page.url.endswith(f"#/run/{report.run}")
    assert "80.0" in page.locator("#run-page table").first.inner_text()
    assert page.locator("#run-page svg.chart").count() == 2  # CMC and losses
    picture = page.locator("#run-page figure img")
    picture.scroll_into_view_if_needed()
    api.expect(picture).to_have_js_property("naturalWidth", 1)
    assert "figures/" in picture.get_attribute("src")
    page.go_back()
    page.wait_for_selector("#runs tbody tr")
    assert column(page, 5) == ["80.0"] and page.locator("#words").input_value()
    page.get_by_role("link", name="MA->MS").click()
    api.expect(page.locator("h2:visible")).to_have_text("MA->MS")
    assert page.locator("table:visible tbody tr").count() == 1
    page.get_by_role("link", name="muva").click()
    api.expect(page.locator("h2:visible")).to_have_text("muva")
    assert "VLM-based" in page.locator("dl.facts:visible").first.inner_text()
    assert page.locator("svg.chart:visible").count() == 1
    page.go_back()
    page.go_back()
    page.wait_for_selector("#runs tbody tr")
    page.goto(f"{page.url.partition('#')[0]}#/run/%E0%A4%A")
    api.expect(page.locator("h2:visible")).to_have_text(re.compile("^No run"))


def test_keys_are_enough(page, api):
    page.get_by_role("link", name="Methods").click()
    page.wait_for_selector("h2:visible:text('Methods')")
    page.keyboard.press("/")
    page.keyboard.type("clip")
    api.expect(page.locator("#runs tbody tr")).to_have_count(2)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.textContent") == "MA->D"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    api.expect(page).to_have_title(re.compile("^clip-reid"))
    assert page.evaluate("document.activeElement.tagName") == "H2"
    page.keyboard.press("Escape")
    api.expect(page.locator("h2:focus")).to_have_text("Runs")
    assert page.locator("#words").input_value() == "clip"
    page.keyboard.press("Escape")
    assert page.locator("#words").input_value() == "" and len(column(page, 1)) == 6
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.locator("h2:visible").inner_text() == "Runs"


def test_a_phone_and_the_dark_are_fine(page, report):
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme="dark")
    bright = "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number)[0]"
    for where in ("/", "/protocols", "/protocol/MA-%3ED", "/method/muva", "/methods", "/figures",
                  f"/run/{report.run}"):  # fmt: skip
        page.goto(f"{report.url}#{where}")
        page.wait_for_selector("h2:visible")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, where
        assert page.evaluate(bright) < 50
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Colours: light"
    assert page.evaluate(bright) > 200
    page.reload()
    assert page.evaluate(bright) > 200
    page.locator("#theme").click()
    assert page.evaluate(bright) < 50
    page.emulate_media(media="print")
    assert page.evaluate(bright) > 200


def test_names_from_outside_stay_text(page, api):
    page.get_by_role("link", name=HOSTILE).first.click()
    api.expect(page.locator("h2:visible")).to_have_text(HOSTILE)
    assert page.locator("h1").inner_text() == HOSTILE
    page.get_by_role("link", name="This run").click()
    page.wait_for_selector("#run-page h2:visible")
    text = page.locator("#run-page").text_content()
    assert BREAKING in text and HOSTILE in text
    assert page.locator("img[src=x]").count() == page.locator("main script").count() == 0
