"""What was asked for at once: a plan or a sweep, as a list of runs, kept below `<out>/.plans`.

A run may be asked for by several plans and is computed once. For whoever shows runs below plans it
belongs to one of them: the earliest that lists it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from harness.files import write_json
from harness.texts import safe
from protocols.errors import ReIDError

Kind = Literal["plan", "sweep"]
PLAN_VERSION = 1
FOLDER = ".plans"


@dataclass(frozen=True)
class PlanRecord:
    """One plan. `runs` are ids of runs in the order of the plan; `created_at` is ISO 8601.

    `settings` says of runs of a sweep, by their ids, what was set for them, in words.
    A plain dataclass, for that is what a sync with nothing new to show can afford to import.
    """

    id: str
    kind: Kind
    command: str
    methods: tuple[str, ...]
    protocol: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    created_at: str
    plan_version: int = PLAN_VERSION
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How it is named where it is shown."""
        return f"{self.kind} {', '.join(self.methods)} on {self.protocol}"

    def path(self, out: Path) -> Path:
        """Its file below `out`."""
        return out / FOLDER / f"{self.id}.json"


def remember(
    out: Path,
    runs: Sequence[str],
    *,
    kind: Kind,
    command: str,
    methods: Sequence[str],
    protocol: str,
    seeds: Sequence[int],
    search: str = "",
    settings: Mapping[str, str] | None = None,
) -> PlanRecord:
    """Keep a plan below `out`, unless it is there already; returns the one that is there.

    The same runs for the same protocol are the same plan, whatever was typed and in which order.
    `search` is for a sweep that finds its runs on the way: the same text is the same sweep, and
    `runs` are added to those it has already.
    """
    unique = tuple(dict.fromkeys(runs))
    path = out / FOLDER / f"{_id(kind, protocol, search or sorted(unique))}.json"
    record = PlanRecord(
        id=path.stem,
        kind=kind,
        command=safe(command),
        methods=tuple(methods),
        protocol=protocol,
        seeds=tuple(seeds),
        runs=unique,
        created_at=datetime.now(UTC).isoformat(),
        settings=dict(settings or {}),
    )
    if path.exists():
        # one that is damaged is written again
        with contextlib.suppress(ReIDError):
            before = read(path)
            record = replace(
                before,
                runs=tuple(dict.fromkeys((*before.runs, *unique))),
                settings={**before.settings, **record.settings},
            )
            if record == before:
                return before
    write_json(path, asdict(record))
    return record


def _id(*content: Any) -> str:
    """12 hex digits that tell a plan from all others."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def read(path: Path) -> PlanRecord:
    """A plan from its file. Raises ReIDError naming one that is damaged or of another version."""
    advice = "Remove it: its runs are whole, and the same command makes it again."
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReIDError(f"{path} is not a whole plan ({error}). {advice}") from error
    version = value.get("plan_version") if isinstance(value, dict) else None
    if version != PLAN_VERSION:
        raise ReIDError(
            f"{path} was written as plan version {version}; this harness reads version "
            f"{PLAN_VERSION}. {advice}"
        )
    wrong = _wrong(value, path.stem)
    if wrong:
        raise ReIDError(f"{path} is not a whole plan ({wrong}). {advice}")
    lists = {name: tuple(value[name]) for name in ("methods", "seeds", "runs")}
    return PlanRecord(**{**value, **lists})


def read_all(out: Path) -> tuple[list[PlanRecord], list[str]]:
    """Every plan below `out`, the earliest first, and what is wrong with those that are damaged."""
    plans, problems = [], []
    for path in sorted((out / FOLDER).glob("*.json")):
        try:
            plans.append(read(path))
        except ReIDError as error:
            problems.append(str(error))
    return sorted(plans, key=lambda plan: (_moment(plan.created_at), plan.id)), problems


def owners(plans: Iterable[PlanRecord]) -> dict[str, str]:
    """Run id -> id of the first among `plans` that lists the run."""
    found: dict[str, str] = {}
    for plan in plans:
        for run in plan.runs:
            found.setdefault(run, plan.id)
    return found


def _wrong(value: dict[str, Any], name: str) -> str:
    """What keeps `value` from being a plan called `name`, in words; empty if nothing does."""
    names = {field.name for field in fields(PlanRecord)}
    if value.keys() | {"settings"} != names:
        return f"it should have {', '.join(sorted(names))}"
    if value["id"] != name:
        return f"it calls itself {value['id']!r}"
    for key in ("kind", "command", "protocol", "created_at"):
        if not isinstance(value[key], str):
            return f"{key} is no text"
    for key, kind in (("methods", str), ("runs", str), ("seeds", int)):
        if not isinstance(value[key], list) or not all(isinstance(v, kind) for v in value[key]):
            return f"{key} is no list of {kind.__name__}"
    settings = value.get("settings", {})
    if not isinstance(settings, dict) or not all(isinstance(v, str) for v in settings.values()):
        return "settings is no dict of str"
    if value["kind"] not in get_args(Kind):
        return f"kind is {value['kind']!r}"
    try:
        _moment(value["created_at"])
    except (ValueError, TypeError):
        return f"created_at is {value['created_at']!r}"
    return ""


def _moment(text: str) -> float:
    """Seconds since 1970. Raises ValueError for what is no ISO 8601 with its zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.timestamp()
