"""Markdown, LaTeX and HTML of a table: the form, and that anything may stand in a cell."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.rendering import MOST_COLUMNS, tex, to_csv, to_html, to_latex, to_markdown, to_page
from results.tables import Cell, Section, Table

NASTY = r"""my_method%&#{}~^\$ <b>|`"'*[a] --x -> ± × é Ł 中 § † ✓"""  # noqa: RUF001
TABLE = Table(
    title="Table 1. A title",
    header=("Model", "Seeds", "MA->D\nmAP", "MA->D\nRank-1", "Average\nmAP"),
    sections=[
        Section("First", [("a", "2", Cell("60.0 ± 1.0", 1), "70.0", "-")]),
        Section("", [(Cell("b", marks="*†[a]"), "1", Cell("50.0", 2, "§"), "-", "1.0")]),
    ],
    mean=("mean", "", "55.0", "-", "-"),
    notes=["One.", "[a] Two."],
)
ANY = Table(NASTY, (NASTY, f"{NASTY}\n{NASTY}"),
            [Section(NASTY, [(Cell(NASTY, 1, NASTY), Cell(NASTY, 2)), ("[x]", "[y]"),
                             (" [z]", ""), ("*", "")])],
            None, [NASTY])  # fmt: skip


def test_markdown():
    lines = to_markdown(TABLE).splitlines()
    assert lines[0] == "# Table 1. A title"
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert cells[0] == ["Model", "Seeds", "MA->D mAP", "MA->D Rank-1", "Average mAP"]
    assert cells[2:] == [
        ["**First**", "", "", "", ""],
        ["a", "2", "**60.0 ± 1.0**", "70.0", "-"],
        [r"b\*†[a]", "1", "<u>50.0</u>§", "-", "1.0"],
        ["mean", "", "55.0", "-", "-"],
    ]
    assert lines[-2:] == ["- One.", "- [a] Two."]


def test_in_markdown_a_name_neither_ends_a_cell_nor_is_markup():
    line = next(line for line in to_markdown(ANY).splitlines() if "[x]" in line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 3
    name = "_u_ [l](x) a\nb ~~c~~ &lt; rmp_heads=[1]"
    one = Table("t", ("Model",), [Section("", [(name,)])], None)
    assert r"| \_u\_ [l]\(x) a b \~\~c\~\~ \&lt; rmp_heads=[1] |" in to_markdown(one)
    assert r"\<b>" in to_markdown(ANY) and not re.search(r"(?<!\\)<b>", to_markdown(ANY))


class Reader(HTMLParser):
    """What a browser would make of it: tags with their attributes, texts of cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.cells, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag in ("td", "th", "caption", "li"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th", "caption", "li"} & set(self.open):
            self.cells[-1] += data


def test_html_says_what_is_a_header_of_what():
    read = Reader(to_html(TABLE))
    scopes = [(attrs.get("scope"), attrs.get("colspan"), attrs.get("rowspan"))
              for tag, attrs in read.tags if tag == "th"]  # fmt: skip
    assert scopes == [
        ("col", None, "2"), ("col", None, "2"), ("colgroup", "2", None), ("colgroup", "1", None),
        ("col", None, None), ("col", None, None), ("col", None, None),
        ("rowgroup", "5", None), ("row", None, None), ("row", None, None), ("row", None, None),
    ]  # fmt: skip
    assert read.open == []
    assert "<td><strong>60.0 ± 1.0</strong></td>" in to_html(TABLE)
    assert "<td><u>50.0</u><sup>§</sup></td>" in to_html(TABLE)
    assert read.cells[-2:] == ["One.", "[a] Two."]


def test_a_page_of_its_own_asks_for_nothing_else():
    page = to_page(TABLE)
    assert page.startswith("<!doctype html>") and to_html(TABLE) in page
    assert not {"script", "link", "img"} & {tag for tag, _ in Reader(page).tags}
    assert "http" not in page and "@import" not in page


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_in_html_every_text_stays_what_it_is(text):
    one = Table(text, (text, "x"), [Section("", [(text, Cell(text, 1, text))])], None, [text])
    read = Reader(to_html(one))
    assert read.cells == [text, text, "x", text, text * 2, text]
    assert {tag for tag, _ in read.tags} == {
        "section", "table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong",
        *(["sup"] if text else []),
    }  # fmt: skip


def test_latex():
    lines = to_latex(TABLE).splitlines()
    assert r"\caption{A title}\smallskip" in lines  # LaTeX numbers it
    start = lines.index(r"\toprule")
    assert lines[start + 1 : start + 13] == [
        r" &  & \multicolumn{2}{c}{MA$\rightarrow$D} & \multicolumn{1}{c}{Average} \\",
        r"\cmidrule(lr){3-4} \cmidrule(lr){5-5}",
        r"Model & Seeds & mAP & Rank-1 & mAP \\",
        r"\midrule",
        r"\multicolumn{5}{l}{\textit{First}} \\",
        r"a & 2 & \textbf{60.0 $\pm$ 1.0} & 70.0 & - \\",
        r"\midrule",
        r"b\textsuperscript{*$\dagger$[a]} & 1 & \underline{50.0}\textsuperscript{$\mathsection$}"
        r" & - & 1.0 \\",
        r"\midrule",
        r"mean &  & 55.0 & - & - \\",
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def test_a_table_too_wide_for_a_page_is_several():
    protocols = [f"P{i}\n{what}" for i in range(7) for what in ("mAP", "Rank-1")]
    numbers = [f"{i}.0" for i in range(14)]
    lines = [("a", *numbers), ("b", *["-"] * 12, "7.0", "8.0")]
    wide = Table("t", ("Model", *protocols), [Section("s", lines)], None, ["note"])
    text = to_latex(wide)
    first, second = text.split(r"\end{table*}")[:2]
    assert r"\caption{t (1 of 2)}" in first and "note" not in first and "\nb &" not in first
    assert r"\caption{t (2 of 2)}" in second and "note" in second and "\nb & 7.0 & 8.0" in second
    assert first.count(r"\multicolumn{2}{c}") == MOST_COLUMNS // 2
    assert "12.0" in second and "12.0" not in first


def test_every_part_of_a_wide_table_has_the_columns_before_the_numbers():
    over = [f"P{i}\n{what}" for i in range(7) for what in ("mAP", "Rank-1")]
    lines = [("a", "2/3", *["1.0"] * 12)]
    six = to_latex(Table("t", ("Model", "Seeds", *over[:12]), [Section("", lines)], None))
    assert six.count(r"\begin{table*}") == 1 and "\na & 2/3 & 1.0" in six
    lines = [("a", "2/3", *["1.0"] * 14), ("b", "1", *["-"] * 12, "7.0", "8.0")]
    seven = to_latex(Table("t", ("Model", "Seeds", *over), [Section("", lines)], None))
    first, second = seven.split(r"\end{table*}")[:2]
    assert "Model & Seeds & mAP" in first and "\na & 2/3 & 1.0" in first and "\nb" not in first
    assert "Model & Seeds & mAP" in second and "\nb & 1 & 7.0" in second


@given(st.text())
def test_in_latex_nothing_is_a_command_of_its_own(text):
    """What is special is escaped: braces are balanced, and no line, comment or cell is begun."""
    written = tex(text)
    assert written.isascii() and "\n" not in written
    bare = re.sub(r"\\[{}$&#%_]", "", written)
    assert not re.search(r"(?<!\\)[&#%_]", bare)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0


def test_letters_of_latin_alphabets_and_others():
    assert tex("é ü ç ñ Ł 中") == r"{\'e} {\"u} {\c c} {\~n} U+0141 U+4E2D"
    assert tex("--out a--b") == r"-{}-out a-{}-b"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no LaTeX here")
def test_latex_compiles(tmp_path):
    document = "\n".join([
        r"\documentclass{article}", r"\usepackage{booktabs}", r"\usepackage{graphicx}",
        r"\begin{document}", to_latex(TABLE), to_latex(ANY), r"\end{document}",
    ])  # fmt: skip
    (tmp_path / "table.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "{}*" in to_latex(ANY)  # the star would be taken for one of the line's end
    assert "undefined" not in done.stdout and "Overfull" not in done.stdout
    assert (tmp_path / "table.pdf").stat().st_size > 1000


def test_csv():
    text = to_csv([{"a": 'x,"y"\nz', "b": None}, {"a": 1.5, "b": 2}])
    assert list(csv.reader(io.StringIO(text))) == [
        ["a", "b"], ["x,\"y\"\nz", ""], ["1.5", "2"],
    ]  # fmt: skip
