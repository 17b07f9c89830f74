"""A table as Markdown, LaTeX and HTML, and plain records as CSV; everything is escaped."""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from results.tables import Cell, Line, Section, Table

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "±": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "→": r"$\rightarrow$", "✓": r"$\surd$", "†": r"$\dagger$",
    "‡": r"$\ddagger$", "§": r"$\mathsection$", "`": "'", "\N{EN DASH}": r"\textendash{}",
    "\N{LEFT SINGLE QUOTATION MARK}": "`", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": "``", "”": "''", "\N{NO-BREAK SPACE}": "~",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c ",
}  # fmt: skip
_MARKUP = re.compile(r"[\\|*`<~&]|(?<=])[(\[]|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])")
"""What Markdown takes for more than a letter; it lets rmp_heads and [head,legs] be."""
MOST_COLUMNS = 12
"""Numbers side by side that are readable at a page's width."""
_NUMBERED = re.compile(r"^Table \d+\. ")
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; font-weight: 400; }
thead th { font-weight: 600; vertical-align: bottom; }
thead tr:first-child > th { border-top: 2px solid; }
thead th[colspan] { text-align: center; border-bottom: 1px solid; }
tbody th, thead tr:first-child th:first-child { text-align: left; }
sup { line-height: 0; }
tbody th[scope=rowgroup] { font-style: italic; }
tbody tr:first-child > * { border-top: 1px solid; }
tbody:last-of-type tr:last-child > * { border-bottom: 2px solid; }
td strong, th strong { font-weight: 700; }
"""


def to_markdown(table: Table) -> str:
    """The table as Markdown, sections as bold lines, the best bold, the second underlined."""
    from tabulate import tabulate

    width = len(table.header)
    lines: list[Sequence[str]] = []
    for section in table.sections:
        if section.title:
            lines.append((f"**{_markdown(section.title)}**", *[""] * (width - 1)))
        lines += [[_markdown_cell(cell) for cell in line] for line in section.lines]
    if table.mean:
        lines.append([_markdown_cell(cell) for cell in table.mean])
    align = ("left", *["right"] * (width - 1))
    header = [_markdown(title.replace("\n", " ")) for title in table.header]
    grid = tabulate(lines, header, "github", disable_numparse=True, colalign=align)
    notes = "\n".join(f"- {_markdown(note)}" for note in table.notes)
    return f"# {_markdown(table.title)}\n\n{grid}\n\n{notes}\n"


def to_latex(table: Table) -> str:
    """The table as a `table*` for a paper; it needs the packages booktabs and graphicx.

    What is wider than the page is scaled down to it. With many columns there are several, each with
    the lines that have something in it; the notes are below the last.
    """
    blocks = _blocks(table)
    lines = [r"% needs \usepackage{booktabs} and \usepackage{graphicx}"]
    for i, block in enumerate(blocks):
        part = f" ({i + 1} of {len(blocks)})" if len(blocks) > 1 else ""
        lines += [
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{tex(_NUMBERED.sub('', table.title) + part)}}}\smallskip",
            *_tabular(block),
            *(_tex_notes(table.notes) if i + 1 == len(blocks) else []),
            r"\end{table*}",
        ]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """The table as a `<section>` to stand in a page: the table and a list of its notes."""
    head, *below = _html_header(table.header)
    width = len(table.header)
    lines = [
        '<section class="results">',
        "<table>",
        f"<caption>{html.escape(table.title)}</caption>",
        "<thead>",
        *(f"<tr>{row}</tr>" for row in (head, *below) if row),
        "</thead>",
    ]
    for section in table.sections:
        title = html.escape(section.title)
        named = f'<tr><th scope="rowgroup" colspan="{width}">{title}</th></tr>'
        lines += ["<tbody>", *([named] if title else []), *map(_html_line, section.lines)]
        lines.append("</tbody>")
    if table.mean:
        lines += ["<tbody>", _html_line(table.mean), "</tbody>"]
    notes = [f"<li>{html.escape(note)}</li>" for note in table.notes]
    lines += ["</table>", '<ul class="notes">', *notes, "</ul>", "</section>"]
    return "\n".join(lines) + "\n"


def to_page(table: Table) -> str:
    """`to_html` as a page of its own, which needs no other file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(table.title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{to_html(table)}</body>\n</html>\n"
    )


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Records with the same keys as CSV: a line each, an empty cell for None."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def tex(text: str) -> str:
    """Any text so that LaTeX prints it; a letter that Latin fonts lack becomes its number."""
    text = text.replace("->", "→")
    letters = "".join(_TEX.get(letter) or _tex_letter(letter) for letter in text)
    # two hyphens would become a dash, as in the name of an option
    return letters.replace("--", "-{}-")


def _tex_letter(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isprintable() else " "
    apart = unicodedata.normalize("NFD", letter)
    base, accent = apart[0], _ACCENTS.get(apart[1:])
    if base.isascii() and accent:
        return rf"{{\{accent}{base}}}"
    return f"U+{ord(letter):04X}"


def _blocks(table: Table) -> list[Table]:
    """The table, or parts of it of at most `MOST_COLUMNS` besides the first that have no title.

    These, as the name and the number of seeds, are in every part.
    """
    (_, _, first), *others = _groups(table.header)
    if len(table.header) - first <= MOST_COLUMNS:
        return [table]
    chunks: list[list[int]] = [[]]
    for _, start, count in others:
        if chunks[-1] and len(chunks[-1]) + count > MOST_COLUMNS:
            chunks.append([])
        chunks[-1] += range(start, start + count)
    return [_part(table, first, chunk) for chunk in chunks]


def _part(table: Table, first: int, chunk: Sequence[int]) -> Table:
    """The first columns and some others, without the lines that have dashes alone in these."""
    columns = [*range(first), *chunk]

    def cut(line: Line) -> Line:
        return tuple(line[i] for i in columns)

    sections = [
        Section(
            section.title,
            [cut(line) for line in section.lines if {*cut(line)[first:]} != {"-"}],
        )
        for section in table.sections
    ]
    return replace(
        table,
        header=tuple(table.header[i] for i in columns),
        sections=[section for section in sections if section.lines],
        mean=cut(table.mean) if table.mean else None,
    )


def _tabular(table: Table) -> list[str]:
    width = len(table.header)
    lines = [
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        *_tex_header(table.header),
    ]
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{tex(section.title)}}}}} \\")
        lines += [_tex_line(line) for line in section.lines]
    if table.mean:
        lines += [r"\midrule", _tex_line(table.mean)]
    return [*lines, r"\bottomrule", r"\end{tabular}}"]


def _tex_notes(notes: Sequence[str]) -> list[str]:
    lines = [rf"{tex(note)}\par" for note in notes]
    begin = r"\begin{minipage}{\textwidth}\footnotesize\raggedright"
    return [r"\par\smallskip", begin, *lines, r"\end{minipage}"]


def _tex_header(header: Sequence[str]) -> list[str]:
    groups = _groups(header)
    titles = [title.rpartition("\n")[2] for title in header]
    below = " & ".join(map(tex, titles)) + r" \\"
    if not any(over for over, _, _ in groups):
        return [below]
    spans = [
        rf"\multicolumn{{{count}}}{{c}}{{{tex(over)}}}" if over else " & ".join([""] * count)
        for over, _, count in groups
    ]
    rules = " ".join(
        rf"\cmidrule(lr){{{start + 1}-{start + count}}}" for over, start, count in groups if over
    )
    return [" & ".join(spans) + r" \\", rules, below]


def _tex_line(line: Line) -> str:
    return " & ".join(map(_tex_cell, line)) + r" \\"


def _tex_cell(cell: str | Cell) -> str:
    cell = Cell.of(cell)
    wraps: tuple[str, ...] = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")
    text = wraps[cell.place].format(tex(cell.text))
    # a line that begins with these would be taken for an argument of the one before
    text = f"{{}}{text}" if text.lstrip().startswith(("[", "*")) else text
    return text + (rf"\textsuperscript{{{tex(cell.marks)}}}" if cell.marks else "")


def _html_header(header: Sequence[str]) -> tuple[str, str]:
    """The cells of one or two rows; what has nothing above it spans both."""
    groups = _groups(header)
    two = any(over for over, _, _ in groups)
    above, below = [], []
    for over, start, count in groups:
        titles = [html.escape(t.rpartition("\n")[2]) for t in header[start : start + count]]
        if over:
            span = f'scope="colgroup" colspan="{count}"'
            above.append(f"<th {span}>{html.escape(over)}</th>")
            below += [f'<th scope="col">{title}</th>' for title in titles]
        else:
            rows = ' rowspan="2"' if two else ""
            above += [f'<th scope="col"{rows}>{title}</th>' for title in titles]
    return "".join(above), "".join(below)


def _html_line(line: Line) -> str:
    first, *rest = map(_html_cell, line)
    cells = "".join(f"<td>{cell}</td>" for cell in rest)
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'


def _html_cell(cell: str | Cell) -> str:
    cell = Cell.of(cell)
    wraps: tuple[str, ...] = ("{}", "<strong>{}</strong>", "<u>{}</u>")
    raised = f"<sup>{html.escape(cell.marks)}</sup>" if cell.marks else ""
    return wraps[cell.place].format(html.escape(cell.text)) + raised


def _groups(header: Sequence[str]) -> list[tuple[str, int, int]]:
    """What stands over header cells (nothing: ""), its first column, how many it spans."""

    def over(column: int) -> str:
        return header[column].rpartition("\n")[0]

    found = [(name, list(columns)) for name, columns in groupby(range(len(header)), over)]
    return [(name.replace("\n", " "), columns[0], len(columns)) for name, columns in found]


def _markdown(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _markdown_cell(cell: str | Cell) -> str:
    cell = Cell.of(cell)
    wraps: tuple[str, ...] = ("{}", "**{}**", "<u>{}</u>")
    return wraps[cell.place].format(_markdown(cell.text)) + _markdown(cell.marks)
