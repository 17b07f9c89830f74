"""What `harness show` does for every picture of finished runs: which runs, which data, where to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rich.console import Console

from harness.catalog import DataCatalog
from harness.commands.figure_files import require_file, require_formats
from harness.commands.tracking import Mirroring
from harness.files import write_bytes
from harness.mirror import FIGURES
from harness.record import RunFolder, RunRecord, TargetRecord, target_file
from harness.screen import say
from protocols import standin
from protocols.datasets.folders import require_data_root
from protocols.errors import ReIDError, UnknownName
from protocols.variants import dataset_of
from results.figures import FORMATS, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all"
"""In place of a run: every finished one."""

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class ShowRequest:
    """The options that these commands share, as typed; no `formats` for the usual ones."""

    runs: tuple[str, ...]
    out: Path
    data: Path | None
    target: str | None
    seed: int
    formats: tuple[str, ...]
    file: Path | None
    as_json: bool
    tracking: str | None
    experiment: str


class Showing(Generic[Shown]):
    """Goes through runs. What is said goes to `console`, or to `stderr` beside JSON.

    A subclass says what is shown of `one` run. Of all runs, errors of the kinds `passed_over` are
    no failure: the run has nothing of the kind to show.
    """

    passed_over: tuple[type[ReIDError], ...] = ()
    usual_formats: tuple[str, ...] = FORMATS

    def __init__(self, request: ShowRequest, console: Console, stderr: Console) -> None:
        self.request, self.stderr = request, stderr
        self.console = stderr if request.as_json else console
        self.failed = False
        self.catalogs: dict[str, DataCatalog] = {}
        self.everyone = ALL in request.runs
        self.formats = require_formats(request.formats, self.usual_formats)

    def require_file(self, also: Sequence[tuple[bool, str]] = ()) -> None:
        """Raise ReIDError where `-o` goes with nothing; `also` as in `figure_files`."""
        if self.request.file:
            several = len(set(self.request.runs)) > 1 or self.everyone
            one = "one file holds one run's figure: name one --run, or leave -o out."
            require_file(self.request.file, self.request.formats, [(several, one), *also])

    def say(self, text: str, style: str = "") -> None:
        """One line, unbroken: most hold a path."""
        say(self.console, text, style)

    def everything(self) -> list[Shown]:
        """Every run that was named; one that fails among several is only told."""
        ids = list(dict.fromkeys(self.request.runs))
        if self.everyone:
            ids = [path.parent.name for path in sorted(self.request.out.glob("*/run.json"))]
            if not ids:
                raise ReIDError(f"--out {self.request.out} holds no finished run.")
        return list(self.each(ids, self.one))

    def one(self, run_id: str) -> Iterable[Shown]:
        """What is shown of a run. Raises ReIDError where it can't be."""
        raise NotImplementedError

    def each(
        self, names: Sequence[str], show: Callable[[str], Iterable[Shown]], of: str = ""
    ) -> Iterator[Shown]:
        """What `show` gives for every name; the failures of several are told, with `of` before."""
        for name in names:
            try:
                yield from show(name)
            except ReIDError as error:
                if len(names) == 1:
                    raise
                expected = self.everyone and isinstance(error, self.passed_over)
                self.failed |= not expected
                self.say(f"{of}{name}: {error}", "dim" if expected else "red")

    def tested(self, run: RunRecord, advice: str = "name a --target") -> list[TargetRecord]:
        """The targets a run has been tested on, variants of them if one is asked for.

        Raises ReIDError with an `advice` for none.
        """
        folder = RunFolder(self.request.out, run.run_id)
        found = [folder.read_target(path.stem) for path in sorted(folder.targets.glob("*.json"))]
        several = "/" not in (self.request.target or "")
        records = [one for one in found if one and not (several and "/" in one.target)]
        if not records:
            ways = ", ".join(one.target for one in found if one)
            if ways:
                raise ReIDError(f"Run {run.run_id} was tested on {ways} alone: choose by --target.")
            raise ReIDError(f"Run {run.run_id} has not been tested yet: {advice}.")
        return records

    def require_one(self, run: RunRecord, targets: Sequence[str]) -> None:
        """Raise ReIDError where `-o` is to hold the figures of several targets."""
        if self.request.file and len(targets) > 1:
            raise ReIDError(
                f"-o {self.request.file} holds one figure and run {run.run_id} has been tested on "
                f"{', '.join(targets)}: choose one with --target."
            )

    def require_data(self, run: RunRecord, records: Iterable[TargetRecord]) -> None:
        """Raise ReIDError where real images are to be shown and nobody has said where they are."""
        real = [record.target for record in records if record.data == "real"]
        if real and self.request.data is None:
            raise ReIDError(
                f"Run {run.run_id} was tested on real images ({', '.join(real)}): give the folder "
                "that holds them with --data DIR, or a stand-in to look at with --target."
            )

    def require_plain(self) -> None:
        """Raise ReIDError for a variant of a target where images are shown as they are."""
        target = self.request.target or ""
        if "/" in target:
            key = dataset_of(target)
            raise ReIDError(f"--target {target}: images are shown as they are here; give {key}.")

    def catalog(self, target: str) -> DataCatalog:
        """The data root that holds a data set."""
        data, memory = self.request.data, self.request.out / ".verified"
        key = dataset_of(target)
        place = "" if data else key
        if place not in self.catalogs:
            if data is not None:
                require_data_root(data)
            elif key not in standin.KEYS:
                hint = "Give the real data sets with --data DIR."
                raise UnknownName("stand-in data set", key, standin.KEYS, hint)
            root = data or standin.data_root(keys=(key,))
            self.catalogs[place] = DataCatalog(root, memory, self.say)
        return self.catalogs[place]

    def write(self, figure: Figure, run: RunRecord, name: str) -> tuple[Path, ...]:
        """A figure's files: beside the run, in every format asked for, or where `-o` says.

        `name` may hold a target's.
        """
        folder = RunFolder(self.request.out, run.run_id).path / FIGURES
        files = [folder / f"{target_file(name)}.{kind}" for kind in self.formats]
        if self.request.file:
            files = [self.request.file]
        for path in files:
            write_bytes(path, save(figure, path.suffix[1:]))
            self.say(f"Figure:  {path}")
        return tuple(files)

    def print_json(self, console: Console, shown: Iterable[Mapping[str, Any]]) -> None:
        """What was shown, as JSON."""
        console.print_json(json.dumps(list(shown), allow_nan=False))

    def mirror(self, run_ids: Iterable[str]) -> None:
        """Bring MLflow up to date with runs that figures have been drawn of."""
        ids = list(dict.fromkeys(run_ids))
        if ids and self.request.file is None:
            request = self.request
            mirroring = Mirroring(request.out, request.tracking, self.console, request.experiment)
            mirroring.sync(ids)


def origin(trained: str, shown: str) -> list[str]:
    """What a reader of a figure must know of rendered people in it or behind it."""
    if shown == "stand-in":
        behind = "" if trained == shown else " The run was trained on real images."
        return [f"Stand-in data: rendered people.{behind}"]
    return ["Trained on stand-in data: rendered people."] if trained == "stand-in" else []
