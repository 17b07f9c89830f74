"""`harness show masks`: where a trained model sees body parts, drawn and measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from harness.catalog import DataCatalog
from harness.commands.figure_files import require_file, require_formats
from harness.commands.tracking import Mirroring
from harness.data import decode
from harness.files import write_bytes
from harness.mask_table import Shown, print_table
from harness.masks import NoMasks, Overlap, choose, measure, part_maps
from harness.mirror import FIGURES
from harness.part_labels import standin_labels
from harness.record import RunFolder, RunRecord
from harness.screen import say
from harness.trained import load_run
from methods.interface import Method
from protocols import standin
from protocols.datasets.folders import require_data_root
from protocols.errors import ReIDError, UnknownName
from results.figures import MaskPicture, mask_figure, save

ALL = "all"
"""In place of a run: every finished one that predicts masks."""


@dataclass(frozen=True)
class MasksRequest:
    """The options of `harness show masks`, as typed; no `formats` for the usual one."""

    runs: tuple[str, ...]
    out: Path
    data: Path | None
    target: str | None
    images: int
    seed: int
    formats: tuple[str, ...]
    file: Path | None
    figures: bool
    as_json: bool
    tracking: str | None
    experiment: str


def masks_command(request: MasksRequest, console: Console, stderr: Console) -> int:
    """Draw and measure what is asked; returns the exit status: 0, or 1 if a run failed.

    That is also where nothing but a measure was asked for and there is nothing to measure against.
    """
    show = _Show(request, stderr if request.as_json else console, stderr)
    shown = show.everything()
    if request.as_json:
        console.print_json(json.dumps([one.to_dict() for one in shown], allow_nan=False))
    else:
        print_table(shown, console)
    if any(one.files for one in shown) and request.file is None:
        mirroring = Mirroring(request.out, request.tracking, show.console, request.experiment)
        mirroring.sync(list(dict.fromkeys(one.run.run_id for one in shown)))
    return 1 if show.failed else 0


class _Show:
    """What is said goes to `console`, progress to `stderr`, so that JSON can be piped."""

    def __init__(self, request: MasksRequest, console: Console, stderr: Console) -> None:
        self.request, self.console, self.stderr = request, console, stderr
        self.failed = False
        self.catalogs: dict[str, DataCatalog] = {}
        self.formats = require_formats(request.formats)
        if request.file:
            several = len(set(request.runs)) > 1 or ALL in request.runs
            also = [
                (several, "one file holds one run's figure: name one --run, or leave -o out."),
                (not request.figures, "--iou-only draws nothing: leave one of the two out."),
            ]
            require_file(request.file, request.formats, also)

    def say(self, text: str, style: str = "") -> None:
        """One line, unbroken: most hold a path."""
        say(self.console, text, style)

    def everything(self) -> list[Shown]:
        """Every run that was named, on its targets; one that fails among several is only told."""
        everyone = ALL in self.request.runs
        ids = list(dict.fromkeys(self.request.runs))
        if everyone:
            ids = [path.parent.name for path in sorted(self.request.out.glob("*/run.json"))]
            if not ids:
                raise ReIDError(f"--out {self.request.out} holds no finished run.")
        shown: list[Shown] = []
        for run_id in ids:
            try:
                shown += self.run(run_id)
            except ReIDError as error:
                if len(ids) == 1:
                    raise
                expected = everyone and isinstance(error, NoMasks)
                self.failed |= not expected
                self.say(f"{run_id}: {error}", "dim" if expected else "red")
        return shown

    def run(self, run_id: str) -> Iterator[Shown]:
        """One run on each of its targets."""
        run, method = load_run(self.request.out, run_id)
        if run.spec.config.get("parts") == []:
            raise NoMasks("this run has parts= (none), so there are no masks.")
        targets = self.targets(run)
        if self.request.file and len(targets) > 1:
            raise ReIDError(
                f"-o {self.request.file} holds one figure and run {run.run_id} has been tested on "
                f"{', '.join(targets)}: choose one with --target."
            )
        for target in targets:
            yield self.target(run, method, target)

    def targets(self, run: RunRecord) -> list[str]:
        """The target asked for, or those a run has been tested on."""
        if self.request.target:
            return [self.request.target]
        folder = RunFolder(self.request.out, run.run_id)
        found = [folder.read_target(p.stem) for p in sorted(folder.targets.glob("*.json"))]
        records = [record for record in found if record]
        if not records:
            raise ReIDError(f"Run {run.run_id} has not been tested yet: name a --target.")
        real = [record.target for record in records if record.data == "real"]
        if real and self.request.data is None:
            raise ReIDError(
                f"Run {run.run_id} was tested on real images ({', '.join(real)}): give the folder "
                "that holds them with --data DIR, or a stand-in to look at with --target."
            )
        return [record.target for record in records]

    def catalog(self, target: str) -> DataCatalog:
        """The data root that holds a target."""
        data, memory = self.request.data, self.request.out / ".verified"
        key = "" if data else target
        if key not in self.catalogs:
            if data is not None:
                require_data_root(data)
            elif target not in standin.KEYS:
                hint = "Give the real data sets with --data DIR."
                raise UnknownName("stand-in data set", target, standin.KEYS, hint)
            root = data or standin.data_root(keys=(target,))
            self.catalogs[key] = DataCatalog(root, memory, self.say)
        return self.catalogs[key]

    def target(self, run: RunRecord, method: Method, target: str) -> Shown:
        """One run on one target."""
        catalog = self.catalog(target)
        files = self.draw(run, method, target, catalog) if self.request.figures else ()
        overlap = self.measure(run, method, target, catalog)
        if overlap is None:
            self.say(f"No true boxes are known for {target}: its masks are not measured.", "yellow")
            self.failed |= not self.request.figures
        return Shown(run, target, catalog.kind, files, overlap)

    def measure(
        self, run: RunRecord, method: Method, target: str, catalog: DataCatalog
    ) -> Overlap | None:
        """The overlap with the boxes that stand-ins were drawn with; None for photographs."""
        if catalog.kind != "stand-in":
            return None
        labels = standin_labels(catalog.root, target, sorted(catalog.target_paths(target)))
        if labels is None:
            return None
        quiet = not self.stderr.is_terminal
        with Progress(console=self.stderr, transient=True, disable=quiet) as bar:
            task = bar.add_task(f"{run.run_id}: masks on {target}", total=len(labels.images))

            def watch(done: int, total: int) -> None:
                bar.update(task, completed=done)

            return measure(method, catalog.root, labels, watch)

    def draw(
        self, run: RunRecord, method: Method, target: str, catalog: DataCatalog
    ) -> tuple[Path, ...]:
        """The figure of some queries, written; returns its files."""
        queries = [image for probe in catalog.probes(target) for image in probe.query.images]
        chosen = choose(queries, self.request.images, self.request.seed, target)
        pictures: list[MaskPicture] = []
        parts: Sequence[str] = ()
        for paths, maps in part_maps(method, catalog.root, [image.path for image in chosen]):
            parts, masks, attention = maps.parts, maps.masks.numpy(), maps.attention[-1].numpy()
            pictures += [
                MaskPicture(
                    Path(path).stem,
                    np.asarray(decode(catalog.root / path)),
                    masks[:, i],
                    attention[i],
                )
                for i, path in enumerate(paths)
            ]
        size, spec = method.transforms().eval.size, run.spec
        said = [f"Trained on {spec.fold_name}, seed {spec.seed}; run {run.run_id}."]
        said += _origin(run.data, catalog.kind)
        figure = mask_figure(pictures, parts, size, f"Part masks: {spec.method} on {target}", said)
        folder = RunFolder(self.request.out, run.run_id).path / FIGURES
        files = [folder / f"masks-{target}.{kind}" for kind in self.formats]
        if self.request.file:
            files = [self.request.file]
        for path in files:
            write_bytes(path, save(figure, path.suffix[1:]))
            self.say(f"Figure:  {path}")
        return tuple(files)


def _origin(trained: str, shown: str) -> list[str]:
    """What a reader of a figure must know of rendered people in it or behind it."""
    if shown == "stand-in":
        behind = "" if trained == shown else " The run was trained on real images."
        return [f"Stand-in data: rendered people.{behind}"]
    return ["Trained on stand-in data: rendered people."] if trained == "stand-in" else []
