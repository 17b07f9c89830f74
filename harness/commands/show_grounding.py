"""`harness show grounding`: the boxes that experts gave, drawn, counted, and measured."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console

from harness.catalog import DataCatalog
from harness.commands.figure_files import require_formats
from harness.commands.grounding.pictures import Drawing, How
from harness.commands.grounding.settings import parse_grid
from harness.commands.tracking import Mirroring
from harness.grounding.shown import Grounding, LabelFile, label_files
from harness.grounding.table import Shown, print_grounding
from harness.screen import say
from protocols import standin
from protocols.datasets.folders import require_data_root
from protocols.errors import ReIDError, UnknownName
from protocols.types import SourceImages


@dataclass(frozen=True)
class GroundingRequest:
    """The options of `harness show grounding`, as typed; no `datasets` for all there are."""

    datasets: tuple[str, ...]
    expert: str | None
    data: Path | None
    out: Path
    images: int
    seed: int
    grid: str
    formats: tuple[str, ...]
    as_json: bool
    tracking: str | None
    experiment: str


def grounding_command(request: GroundingRequest, console: Console, stderr: Console) -> int:
    """Draw and count what is asked; returns 1 if a data set or a file could not be shown."""
    show = _Show(request, stderr if request.as_json else console)
    shown = show.everything()
    if request.as_json:
        console.print_json(json.dumps([one.to_dict() for one in shown], allow_nan=False))
    else:
        for one in shown:
            print_grounding(one, console)
    stems = [one.grounding.file.path.stem for one in shown if one.grounding.file.record]
    if stems:
        mirroring = Mirroring(request.out, request.tracking, show.console, request.experiment)
        mirroring.sync((), stems)
    return 1 if show.failed else 0


class _Show:
    """What is said goes to `console`."""

    def __init__(self, request: GroundingRequest, console: Console) -> None:
        self.request, self.console = request, console
        self.failed = False
        formats = require_formats(request.formats)
        self.how = How(request.images, request.seed, parse_grid(request.grid), formats)

    def say(self, text: str, style: str = "") -> None:
        """One line, unbroken: most hold a path."""
        say(self.console, text, style)

    def everything(self) -> list[Shown]:
        """Every label file that is asked for; one that can't be shown is only told."""
        files = self.chosen()
        catalog = self.catalog({file.key for file in files})
        shown = []
        for file in files:
            try:
                one = self.one(file, catalog)
            except ReIDError as error:
                self.say(f"{file.title}: {error}", "red")
                self.failed = True
                continue
            if one:
                shown.append(one)
        lacking = {file.key for file in files} - {one.grounding.file.key for one in shown}
        self.failed |= bool(lacking)
        return shown

    def chosen(self) -> list[LabelFile]:
        """The label files of the data sets and the expert that were named.

        Raises ReIDError, with the command that makes them, if there are none of a data set.
        """
        request = self.request
        files = label_files(request.out)
        keys = request.datasets or tuple(dict.fromkeys(file.key for file in files))
        files = [file for file in files if file.key in keys]
        lacking = [key for key in keys if key not in {file.key for file in files}]
        if lacking or not files:
            where = f"--out {request.out} holds no part labels"
            raise ReIDError(
                f"{where} of {', '.join(lacking)}. {self.advice(lacking)}"
                if lacking
                else f"{where}. {self.advice(['MA'])}"
            )
        experts = sorted({file.expert for file in files if file.expert})
        if request.expert is not None:
            if request.expert not in experts:
                hint = "" if experts else "No label file here names its expert."
                raise UnknownName("--expert", request.expert, experts, hint)
            files = [file for file in files if file.expert == request.expert]
        return files

    def advice(self, keys: Sequence[str]) -> str:
        """The command that makes labels."""
        data = ""
        if self.request.data is not None:
            data = f" --data {shlex.quote(str(self.request.data))}"
        elif not set(keys) <= set(standin.KEYS):
            data = " --data DIR"
        return (
            f"`harness ground{data} --datasets {','.join(keys)} --expert "
            f"{self.request.expert or 'grounding-dino'} --out "
            f"{shlex.quote(str(self.request.out))}` makes them; `harness ground --help` tells of "
            "the experts."
        )

    def catalog(self, keys: set[str]) -> DataCatalog:
        """The data root that holds the images: the one named, or the stand-ins'."""
        if self.request.data is not None:
            require_data_root(self.request.data)
            root = self.request.data
        else:
            drawn = tuple(key for key in standin.KEYS if key in keys)
            root = standin.data_root(keys=drawn or standin.DEFAULT_KEYS)
        return DataCatalog(root, self.request.out / ".verified", self.say, empty=True)

    def one(self, file: LabelFile, catalog: DataCatalog) -> Shown | None:
        """A label file, drawn; None if it is of other images."""
        if file.problem:
            self.say(file.problem, "yellow")
            self.failed = True
        record = file.record
        if record and record.data == "real" and self.request.data is None:
            raise ReIDError("these are labels of real images: give their folder with --data DIR.")
        if self.request.data is None and file.key not in standin.KEYS:
            raise ReIDError(f"{file.key} has no stand-in: give the data sets with --data DIR.")
        which = self.which(file, catalog)
        if which is None:
            self.say(
                f"{file.path} is of other images of {file.key} than those below {catalog.root}, or "
                f"of images that have changed since; it is not shown. {self.advice([file.key])}",
                "yellow",
            )
            return None
        images = catalog.source(file.key, which).images
        contents = catalog.contents.digests(image.path for image in images)
        grounding = Grounding.read(file, images, contents)
        shown = Shown(grounding, which, catalog.kind)
        if catalog.kind == "stand-in":
            shown.quality = grounding.quality(catalog.root)
        Drawing(shown, catalog, self.how, self.say).everything()
        return shown

    def which(self, file: LabelFile, catalog: DataCatalog) -> SourceImages | None:
        """Which of a data set's images labels are of; None for none that are there."""
        kinds: tuple[SourceImages, ...] = get_args(SourceImages)
        if file.record:
            kinds = tuple(kind for kind in kinds if kind == file.record.images)
        if file.unfinished:
            return "train"
        for kind in kinds:
            if catalog.source_fingerprint(file.key, kind) == file.fingerprint:
                return kind
        return None
