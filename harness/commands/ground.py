"""`harness ground`: part labels of training images, from an expert's answers to a file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from harness.catalog import DataCatalog, require_standins
from harness.commands.grounding.files import open_file_expert
from harness.commands.grounding.models import ModelExpert
from harness.commands.grounding.settings import FILE_EXPERTS, GroundRequest, check, parse_grid
from harness.commands.grounding.tables import tell
from harness.files import require_writable, write_atomic
from harness.grounding.outcome import Grounded, keep
from harness.grounding.record import OWN, GroundRecord, ground_file
from harness.screen import say
from harness.signs import utc
from methods.grounding.experts import EXPERTS
from methods.grounding.labels import PartLabels
from methods.grounding.pickled_writer import write_masks
from protocols import standin
from protocols.datasets.folders import require_data_root
from protocols.types import Image, SourceImages


def ground_command(request: GroundRequest, console: Console) -> None:
    """Label the images of every data set and say what came out.

    Raises ReIDError for options that do not go together, for answers that can't be read or do not
    fit, for an expert that can't be had, and where too many images are damaged.
    """
    check(request, list(EXPERTS))
    grid = parse_grid(request.grid)
    catalog = _catalog(request, console)
    keys = dict.fromkeys(request.datasets)
    images = {key: catalog.source(key, _which(request)).images for key in keys}
    job = _Job(request, catalog, grid, console)
    try:
        if request.expert in FILE_EXPERTS:
            job.of_files(images)
        else:
            job.of_model(images)
    except (KeyboardInterrupt, SystemExit):
        if request.expert not in FILE_EXPERTS:
            job.say("What was answered is kept: the same command goes on from there.")
        raise


def _which(request: GroundRequest) -> SourceImages:
    return "all" if request.images == "all" else "train"


def _catalog(request: GroundRequest, console: Console) -> DataCatalog:
    root = request.data
    if root is not None:
        require_data_root(root)
    else:
        require_standins(request.datasets)
        root = standin.data_root(keys=request.datasets)
    require_writable(request.out)
    return DataCatalog(root, say=lambda text: console.print(escape(text)), empty=True)


class _Job:
    """One call of the command."""

    def __init__(
        self,
        request: GroundRequest,
        catalog: DataCatalog,
        grid: tuple[int, int],
        console: Console,
    ) -> None:
        self.request, self.catalog, self.grid, self.console = request, catalog, grid, console
        self.written: dict[Path, str] = {}
        """Label file -> how the names of all labels of its images begin."""

    def say(self, text: str) -> None:
        """A line that no width breaks."""
        say(self.console, text)

    def of_files(self, images: Mapping[str, Sequence[Image]]) -> None:
        """Labels from files, or known beforehand."""
        expert = open_file_expert(self.request, self.catalog)
        # before what is lacking: a name with a slip in it is both
        left = expert.left({key: [i.path for i in mine] for key, mine in images.items()})
        if left:
            say(self.console, left, "yellow")
        # all of them before any: what one lacks is known before files appear
        done = {key: expert.ground(key, mine, self.request) for key, mine in images.items()}
        for key, grounded in done.items():
            tell(key, grounded, self.console)
            self._keep(key, grounded, {"options": dict(expert.options or {})})
        self._use()

    def of_model(self, images: Mapping[str, Sequence[Image]]) -> None:
        """Labels from a model's answers, as far as it has been asked."""
        expert = ModelExpert(self.request, self.catalog, self.console)
        for key, mine in images.items():
            asked = expert.ask(key, mine)
            tell(key, asked.grounded, self.console)
            if asked.left:
                self.say(f"  {expert.rest(key, asked, len(mine))}")
            else:
                options = {
                    "double_check": self.request.double_check,
                    "single_person": self.request.single_person,
                }
                record = {**expert.record(asked), "options": options}
                kept = self._keep(key, asked.grounded, record, expert.tag)
                if not (asked.worked or kept):
                    self.say("  Done already: nothing was left to ask or to write.")
                if asked.grounded.seconds:
                    pace = len(mine) / asked.grounded.seconds
                    self.say(f"  {pace:.3g} images/s while it was asked")
            self.say(f"  Raw answers: {asked.folder}")
        self._use()

    def _keep(self, key: str, grounded: Grounded, about: Mapping[str, Any], tag: str = "") -> bool:
        """Write labels and record, and the masks to export; returns whether anything was new."""
        labels, request = grounded.labels, self.request
        fingerprint = self.catalog.source_fingerprint(key, _which(request))
        path = ground_file(request.out, key, fingerprint, request.expert, tag)
        settings = {"rule": labels.rule, "calibration": dict(labels.settings)}
        record = GroundRecord(
            labels=path.name,
            dataset=key,
            images=request.images,
            fingerprint=fingerprint,
            data=self.catalog.kind,
            expert=request.expert,
            count=len(labels.images),
            damaged=len(grounded.damaged),
            crowded=len(grounded.crowded),
            parts=grounded.parts,
            seconds=round(grounded.seconds, 3),
            created_at=utc(),
            **{**about, "options": {**about["options"], **settings}},
        )
        new = keep(labels, record, path)
        self.written[path] = f"{key}-{fingerprint}"
        self.say(f"  {path}")
        if request.export:
            self._export(request.export, labels)
        return new

    def _export(self, path: Path, labels: PartLabels) -> None:
        """The masks as MUVA's authors distribute theirs."""
        empty: list[int] = []

        def write(temporary: Path) -> None:
            empty.append(write_masks(temporary, labels, labels.images, self.grid))

        write_atomic(path, write)
        self.say(
            "  Masks on {}x{} patches: {}, {} of them empty".format(
                *self.grid, path, f"{empty[-1]:,}"
            )
        )

    def _use(self) -> None:
        """How to see what was made, and how a training gets it."""
        if not self.written:
            return
        request, out = self.request, shlex.quote(str(self.request.out))
        data = f" --data {shlex.quote(str(request.data))}" if request.data else ""
        where = f"{data}{'' if request.out == Path('runs') else f' --out {out}'}"
        keys = ",".join(dict.fromkeys(request.datasets))
        self.say(f"\n`harness show grounding --datasets {keys}{where}` draws them.")
        files = shlex.quote(",".join(map(str, self.written)))
        if self.catalog.kind == "stand-in":
            self.say(f"Stand-ins have true boxes, used unless you --set part_labels={files}.")
        elif self._rivals():
            self.say(
                f"There are labels by other experts, too; --set part_labels={files} for "
                f"`harness run` with --data {request.data} says that these are to be used."
            )
        else:
            self.say(
                f"`harness run` with --data {request.data} and --out {request.out} uses them; with "
                f"another --out, --set part_labels={files}."
            )

    def _rivals(self) -> bool:
        """Whether other labels of the same images lie beside those that were written."""
        return any(
            other.name.startswith(begin) and other not in self.written
            for path, begin in self.written.items()
            for other in path.parent.glob(f"*{OWN}")
        )
