"""`harness list`: protocols, variants of targets, methods, data sets. Imports no model code."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from protocols.errors import UnknownName

WHAT = ("protocols", "variants", "methods", "datasets")


def list_command(what: str, as_json: bool, console: Console) -> None:
    """Print one of `WHAT`, as a table or as JSON."""
    makers = {
        "protocols": _protocols,
        "variants": _variants,
        "methods": _methods,
        "datasets": _datasets,
    }
    if what not in makers:
        raise UnknownName("list", what, WHAT)
    entries = makers[what]()
    if as_json:
        console.print_json(json.dumps(entries, default=str))
        return
    shown = {
        "protocols": ("name", "groups", "sources", "target", "table"),
        "variants": ("name", "meaning"),
        "methods": ("name", "summary", "paper"),
        "datasets": ("key", "name", "year", "used as", "images (identities)"),
    }[what]
    grid = Table(box=box.SIMPLE_HEAD)
    for column in shown:
        grid.add_column(column, no_wrap=column in ("name", "key"), overflow="fold")
    for entry in entries:
        grid.add_row(*(escape(_cell(entry[column])) for column in shown))
    console.print(grid)
    if what == "protocols":
        from protocols.registry import groups

        sizes = ", ".join(f"{name} ({len(rows)})" for name, rows in groups().items())
        console.print(f"Groups: {sizes}.", highlight=False)
        console.print("Any other pair of data sets is a protocol too: MA->VIPeR.", highlight=False)
    if what in ("protocols", "variants"):
        more = "; `harness list variants`" if what == "protocols" else ""
        console.print(
            f"Targets are tested in other ways behind a slash: MA->D/flip+rerank{more}.",
            highlight=False,
        )


def _protocols() -> list[dict[str, Any]]:
    from protocols.registry import all_protocols, groups

    members = groups()
    return [
        {
            **dataclasses.asdict(p),
            "groups": [g for g, names in members.items() if p.name in names],
        }
        for p in all_protocols()
    ]


def _variants() -> list[dict[str, Any]]:
    from protocols.variants import MEANINGS, SHORTHANDS

    return [{"name": name, "meaning": words} for name, words in (MEANINGS | SHORTHANDS).items()]


def _methods() -> list[dict[str, Any]]:
    from methods.cards import CARDS
    from methods.registry import locations

    return [
        {
            **(CARDS[name].to_dict() if name in CARDS else {"name": name}),
            "summary": CARDS[name].summary if name in CARDS else "added by an installed package",
            "paper": CARDS[name].paper if name in CARDS else "",
            "class": location,
        }
        for name, location in locations().items()
    ]


def _datasets() -> list[dict[str, Any]]:
    from protocols.datasets import CARDS

    return [
        {
            **dataclasses.asdict(card),
            "used as": [
                role
                for role, can in (("source", card.can_be_source), ("target", card.can_be_target))
                if can
            ],
            "images (identities)": [
                f"{part} {count.images} ({count.identities})" for part, count in card.counts.items()
            ],
        }
        for card in CARDS.values()
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value)
    return str(value)
