"""`harness show masks`: where a trained model sees body parts, drawn and measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table

from harness.catalog import DataCatalog
from harness.data import decode
from harness.files import write_atomic
from harness.masks import NoMasks, Overlap, choose, measure, part_maps
from harness.mirror import FIGURES
from harness.part_labels import standin_labels
from harness.record import RunFolder, RunRecord
from harness.tracking import OFF, TrackingUnavailable, default_uri, sync
from harness.trained import load_run
from methods.interface import PARTS, Method
from protocols import standin
from protocols.datasets.folders import require_data_root
from protocols.errors import ReIDError, UnknownName
from protocols.registry import row_name
from results.figures import FORMATS, MaskPicture, mask_figure, save

ALL = "all"
"""In place of a run: every finished one that predicts masks."""

NOTES = (
    "Mean IoU on the patch grid, last layer's masks (probability above 0.5), over the images of "
    "query and gallery that show the part; stand-in data (rendered people).",
    "hidden: n of m parts that are not in their image, and so in no mean, get an empty mask.",
)


@dataclass(frozen=True)
class MasksRequest:
    """The options of `harness show masks`, as typed."""

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


@dataclass(frozen=True)
class Shown:
    """One run on one target: what was drawn, and how well masks and true boxes agree."""

    run: RunRecord
    target: str
    data: str
    files: tuple[Path, ...]
    overlap: Overlap | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it; `iou` and what follows are null where no true boxes are known."""
        spec, overlap = self.run.spec, self.overlap
        parts = overlap.parts if overlap else {}
        return {
            "run": self.run.run_id,
            "method": spec.method,
            "fold": spec.fold_name,
            "seed": spec.seed,
            "target": self.target,
            "data": self.data,
            "images": overlap.images if overlap else None,
            "iou": overlap.iou() if overlap else None,
            "per_layer": [overlap.iou(i) for i in range(overlap.layers)] if overlap else None,
            "hidden": {k: one.hidden for k, one in parts.items()} or None,
            "hidden_and_empty": {k: one.empty for k, one in parts.items()} or None,
            "files": [str(path) for path in self.files],
        }


def masks_command(request: MasksRequest, console: Console, stderr: Console) -> int:
    """Draw and measure what is asked; returns the exit status: 0, or 1 if a run failed."""
    show = _Show(request, stderr if request.as_json else console, stderr)
    shown = show.everything()
    if request.as_json:
        console.print_json(json.dumps([one.to_dict() for one in shown], allow_nan=False))
    else:
        _table(shown, console)
    if request.tracking != OFF and any(one.files for one in shown) and request.file is None:
        show.mirror(list(dict.fromkeys(one.run.run_id for one in shown)))
    return 1 if show.failed else 0


class _Show:
    """What is said goes to `console`, progress to `stderr`, so that JSON can be piped."""

    def __init__(self, request: MasksRequest, console: Console, stderr: Console) -> None:
        self.request, self.console, self.stderr = request, console, stderr
        self.failed = False
        self.catalogs: dict[str, DataCatalog] = {}
        for kind in request.formats:
            if kind not in FORMATS:
                raise UnknownName("--format", kind, FORMATS)
        if request.file and request.file.suffix[1:] not in FORMATS:
            expected = " or ".join(f".{kind}" for kind in FORMATS)
            raise ReIDError(f"-o {request.file}: expected a name that ends in {expected}.")

    def say(self, text: str, style: str = "") -> None:
        """One line, unbroken: most hold a path."""
        self.console.print(escape(text), style=style, highlight=False, soft_wrap=True)

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
        return Shown(run, target, catalog.kind, files, self.measure(run, method, target, catalog))

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
        files = [folder / f"masks-{target}.{kind}" for kind in dict.fromkeys(self.request.formats)]
        if self.request.file:
            files = [self.request.file]
        for path in files:
            _write(path, save(figure, path.suffix[1:]))
            self.say(f"Figure:  {path}")
        return tuple(files)

    def mirror(self, run_ids: Sequence[str]) -> None:
        """Bring the figures of some runs into MLflow; where it is away, say what brings them."""
        out = self.request.out
        try:
            problems = sync(out, self.request.tracking or default_uri(out), run_ids).problems
        except TrackingUnavailable as error:
            problems = [str(error)]
        for problem in problems:
            self.console.print(
                f"[yellow]MLflow:[/yellow] {escape(problem)}", highlight=False, soft_wrap=True
            )


def _origin(trained: str, shown: str) -> list[str]:
    """What a reader of a figure must know of rendered people in it or behind it."""
    if shown == "stand-in":
        behind = "" if trained == shown else " The run was trained on real images."
        return [f"Stand-in data: rendered people.{behind}"]
    return ["Trained on stand-in data: rendered people."] if trained == "stand-in" else []


def _write(path: Path, content: bytes) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)


def _table(shown: Sequence[Shown], console: Console) -> None:
    """Mean IoU per run, target and part, where true boxes are known."""
    measured = [(one, one.overlap) for one in shown if one.overlap]
    if not measured:
        return
    parts = [part for part in PARTS if any(part in o.parts for _, o in measured)]
    grid = Table(box=box.SIMPLE_HEAD, title="Part masks against true boxes", title_justify="left")
    grid.add_column("run", no_wrap=True)
    grid.add_column("", overflow="fold")
    for name in (*parts, "mean", "hidden"):
        grid.add_column(name, justify="right", no_wrap=True)
    for one, overlap in measured:
        spec, iou = one.run.spec, overlap.iou()
        row = row_name(tuple(spec.sources), spec.source_images, one.target)
        hidden = sum(part.hidden for part in overlap.parts.values())
        empty = sum(part.empty for part in overlap.parts.values())
        grid.add_row(
            one.run.run_id,
            escape(f"{spec.method} {row} seed {spec.seed}"),
            *(_number(iou.get(part)) for part in (*parts, "mean")),
            f"{empty}/{hidden}",
        )
    if len(measured) > 1:
        ious = [overlap.iou() for _, overlap in measured]
        means = [_mean([iou.get(part) for iou in ious]) for part in (*parts, "mean")]
        grid.add_section()
        grid.add_row("mean", f"{len(measured)} rows", *map(_number, means), "")
    console.print(grid)
    for note in NOTES:
        console.print(Padding(note, (0, 0, 0, 2), expand=False), highlight=False)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
