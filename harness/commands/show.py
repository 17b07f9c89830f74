"""`harness show masks`: where a trained model sees body parts, drawn and measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from harness.catalog import DataCatalog
from harness.commands.showing import Showing, ShowRequest, origin
from harness.decoding import decode
from harness.mask_table import Shown, print_table
from harness.masks import NoMasks, Overlap, choose, measure, part_maps
from harness.part_labels import standin_labels
from harness.record import RunRecord
from harness.trained import load_run
from methods.interface import Method
from results.figures import MaskPicture, mask_figure


@dataclass(frozen=True)
class MasksRequest(ShowRequest):
    """The options of `harness show masks`, as typed."""

    images: int
    figures: bool


def masks_command(request: MasksRequest, console: Console, stderr: Console) -> int:
    """Draw and measure what is asked; returns the exit status: 0, or 1 if a run failed.

    That is also where nothing but a measure was asked for and there is nothing to measure against.
    """
    show = _Show(request, console, stderr)
    shown = show.everything()
    if request.as_json:
        show.print_json(console, [one.to_dict() for one in shown])
    else:
        print_table(shown, console)
    show.mirror(one.run.run_id for one in shown if one.files)
    return 1 if show.failed else 0


class _Show(Showing[Shown]):
    passed_over = (NoMasks,)
    usual_formats = ("png",)
    request: MasksRequest

    def __init__(self, request: MasksRequest, console: Console, stderr: Console) -> None:
        super().__init__(request, console, stderr)
        nothing = "--iou-only draws nothing: leave one of the two out."
        self.require_file([(not request.figures, nothing)])
        self.require_plain()

    def one(self, run_id: str) -> Iterator[Shown]:
        """One run on each of its targets."""
        run, method = load_run(self.request.out, run_id)
        if run.spec.config.get("parts") == []:
            raise NoMasks("this run has parts= (none), so there are no masks.")
        targets = self.targets(run)
        self.require_one(run, targets)
        for target in targets:
            yield self.target(run, method, target)

    def targets(self, run: RunRecord) -> list[str]:
        """The target asked for, or those a run has been tested on."""
        if self.request.target:
            return [self.request.target]
        records = self.tested(run)
        self.require_data(run, records)
        return [record.target for record in records]

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
        said += origin(run.data, catalog.kind)
        figure = mask_figure(pictures, parts, size, f"Part masks: {spec.method} on {target}", said)
        return self.write(figure, run, f"masks-{target}")
