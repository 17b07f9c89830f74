"""From entries to the page: one file of HTML, and pictures beside it where there are many."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from protocols import registry
from protocols.catalog import AD_HOC
from protocols.types import Protocol
from results.costs import CostReport
from results.entries import Entry
from results.figure_data import principal
from results.page import data
from results.page.methods import Method, environments, parts
from results.page.pictures import Pictures, drawn, pictures
from results.page.standings import Group, groups
from results.page.versus import versus
from results.tables import STANDIN_NOTE

ASSETS = Path(__file__).parent / "assets"
CHOICES = [("method", "Method"), ("protocol", "Protocol"), ("data", "Data"), ("preset", "Preset"),
           ("seed", "Seed")]  # fmt: skip
"""What the table of all runs can be narrowed to from lists."""
OF_ALL = ("intervals", "heatmap", "critical-difference", "cost")
OF_PROTOCOL, OF_METHOD = ("cmc",), ("sweep",)
"""Which figures (`results.overview.KINDS`) stand on which pages; losses are drawn by the script."""


@dataclass(frozen=True)
class Contents:
    """What a page is made of.

    `out` is the folder of the records as the user names it. `cards` are method cards as plain data.
    `mlflow` are addresses of runs in MLflow by run id; `mlflow_said` says how they are opened.
    """

    title: str
    out: str
    entries: Sequence[Entry]
    problems: Sequence[str] = ()
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    costs: Sequence[CostReport] = ()
    mlflow: Mapping[str, str] = field(default_factory=dict)
    mlflow_said: str = ""


@dataclass(frozen=True)
class Page:
    """`html` is the page; `copies` are the files that it needs beside it, by their path there."""

    html: str
    copies: dict[str, Path]
    problems: list[str]


@dataclass(frozen=True)
class ProtocolPage:
    """A protocol in words, its entries, its figures as (title, address)."""

    name: str
    said: str
    groups: list[Group]
    figures: list[tuple[str, str]]


def build(contents: Contents) -> Page:
    """The page of some entries; the same contents give the same page.

    Pictures that are damaged are named among its problems, besides those of the contents.
    """
    entries = contents.entries
    rows = [row for entry in entries for row in entry.rows]
    protocols, compared = _protocols(entries), principal(entries)
    order = {name: i for i, name in enumerate(protocols)}
    standings = {name: groups(protocol, entries) for name, protocol in protocols.items()}
    found = pictures({row.folder for row in rows})
    problems = [*contents.problems, *found.problems]
    runs = {row.run.run_id for row in rows}
    not_drawn: list[str] = []
    values = {
        "title": contents.title,
        "out": contents.out,
        "results": len(rows),
        "runs": len(runs),
        "stand_in": sum(row.target.data == "stand-in" for row in rows),
        "stand_in_note": STANDIN_NOTE,
        "finished": max(row.target.finished_at for row in rows),
        "choices": CHOICES,
        "protocols": [
            ProtocolPage(
                name,
                _said(protocol),
                standings[name],
                # of variants, which may be many, the numbers alone
                drawn(OF_PROTOCOL, compared, [name]) if registry.is_plain(name) else [],
            )
            for name, protocol in protocols.items()
        ],
        "methods": _methods(contents, standings, found),
        "figures": drawn(OF_ALL, compared, None, not_drawn),
        "not_drawn": not_drawn,
        "problems": problems,
        "mlflow_said": contents.mlflow_said,
        "table": data.embedded(data.table(entries, order)),
        "details": data.embedded(data.details(entries, found.of, contents.mlflow)),
    }
    return Page(_render(values), found.copies, problems)


def _protocols(entries: Sequence[Entry]) -> dict[str, Protocol]:
    """Those that have rows, by name: as the catalog has them, then all others alphabetically."""
    catalog = {protocol.name: protocol for protocol in registry.all_protocols()}
    found: dict[str, Protocol] = {}
    for entry in entries:
        for row in entry.rows:
            spec, name = row.run.spec, row.protocol
            found[name] = catalog.get(name) or Protocol(
                name, AD_HOC, tuple(spec.sources), row.target.target, spec.source_images
            )
    order = {name: i for i, name in enumerate(catalog)}
    return dict(sorted(found.items(), key=lambda one: (order.get(one[0], len(order)), one[0])))


def _said(protocol: Protocol) -> str:
    """What a protocol is, in words."""
    *others, last = protocol.sources
    sources = f"{', '.join(others)} and {last}" if others else last
    images = "all images" if protocol.source_images == "all" else "the training images"
    table = f"; table {protocol.table} of the MUVA paper" if protocol.table else ""
    overlap = f" Overlap: {protocol.overlap}." if protocol.overlap else ""
    return (
        f"Trained on {images} of {sources}, tested on {protocol.target}; "
        f"group {protocol.group}{table}.{overlap}"
    )


def _methods(
    contents: Contents, standings: Mapping[str, Sequence[Group]], found: Pictures
) -> list[Method]:
    by_name: dict[str, list[Entry]] = {}
    for entry in contents.entries:
        by_name.setdefault(entry.method, []).append(entry)
    rivals = versus(contents.entries)
    methods = []
    for name, mine in by_name.items():
        runs = list(dict.fromkeys(row.run.run_id for entry in mine for row in entry.rows))
        methods.append(
            Method(
                name=name,
                card=contents.cards.get(name, {}),
                parts=parts(mine, standings, contents.costs),
                runs=runs,
                drawn=[run_id for run_id in runs if run_id in found.of],
                environments=environments(mine),
                figures=drawn(OF_METHOD, mine),
                rivals=rivals[name],
            )
        )
    return methods


def _render(values: Mapping[str, Any]) -> str:
    start, script, style = _asset("start.js"), _script(), _asset("page.css")
    sources = {"script-src": (start, script), "style-src": (style,)}
    allowed = [
        f"{kind} " + " ".join(f"'sha256-{_digest(text)}'" for text in texts)
        for kind, texts in sources.items()
    ]
    policy = ["default-src 'none'", *allowed, "img-src 'self' data:", "base-uri 'none'",
              "form-action 'none'"]  # fmt: skip
    environment = Environment(
        loader=PackageLoader("results.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        quoted=lambda text: quote(str(text), safe="", errors="replace"),
        percent=lambda value, digits=1: f"{100 * value:.{digits}f}",
        p_value=lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}",
        settings=data.settings,
        moment=_moment,
        count_of=lambda count, what: f"{count:,} {what}{'' if count == 1 else 's'}",
    )
    inline = {"start": start, "script": script, "style": style}
    return environment.get_template("index.html").render(
        **values,
        **{name: Markup(text) for name, text in inline.items()},
        policy="; ".join(policy),
    )


def _script() -> str:
    """The page's script: its files in one scope, so that none meets a name of the browser's."""
    files = [_asset(f"{name}.js") for name in ("page", "table", "run", "chart")]
    return "\n".join(["(() => {", '"use strict";', *files, "})();"])


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _moment(text: str) -> str:
    """ISO 8601 as a reader takes it, or what stands there instead."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"
    except ValueError:
        return text
