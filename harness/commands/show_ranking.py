"""`harness show ranking`: queries and what a trained model finds for them, right and wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from harness.catalog import DataCatalog
from harness.commands.showing import origin
from harness.commands.showing_features import FeaturesRequest, ShowingFeatures
from harness.data import read_image
from harness.evaluate import Features
from harness.feature_store import stored, untrained
from harness.galleries import Gallery, below_common, galleries
from harness.gallery_table import Found, ShownRanking, print_ranking
from harness.record import RunFolder, RunRecord, TargetRecord
from methods.interface import Method
from protocols import variants
from protocols.errors import ReIDError, UnknownName
from protocols.types import DISTRACTOR_PID, Image
from protocols.variants import Side, Variant
from results.collect import Queries, Row, queries
from results.query_choice import ORDERS, choose, choose_apart, named
from results.ranking_figure import Picture, RankedRow, ranking_figure

LARGEST = 192
"""Pixels: larger images are shown smaller, so that a figure stays small."""
WORDS = {
    "hardest": "hardest queries first",
    "easiest": "easiest queries first",
    "spread": "queries from the hardest to the easiest",
    "random": "random queries",
    "chosen": "chosen queries",
}


@dataclass(frozen=True)
class RankingRequest(FeaturesRequest):
    """The options of `harness show ranking`, as typed; `paths` are the queries that are named."""

    queries: int
    top: int
    order: str
    paths: tuple[str, ...]
    versus: str | None


def ranking_command(request: RankingRequest, console: Console, stderr: Console) -> int:
    """Draw what is asked; returns the exit status: 0, or 1 if a run failed or nothing is shown."""
    show = _Show(request, console, stderr)
    shown = show.everything()
    if request.as_json:
        show.print_json(console, [one.to_dict() for one in shown])
    else:
        for one in shown:
            print_ranking(one, console)
    show.mirror(one.found[0].run.run_id for one in shown)
    return 1 if show.failed or not shown else 0


@dataclass(frozen=True)
class _Tested:
    """A run with its weights, and what is recorded of one of its targets."""

    run: RunRecord
    method: Method
    record: TargetRecord
    queries: Queries


class _Show(ShowingFeatures[ShownRanking]):
    request: RankingRequest

    def __init__(self, request: RankingRequest, console: Console, stderr: Console) -> None:
        super().__init__(request, console, stderr)
        if request.order not in ORDERS:
            raise UnknownName("--order", request.order, ORDERS)
        if request.versus and request.paths:
            raise ReIDError("--versus chooses the queries itself: leave --query or it out.")
        self.order = "chosen" if request.paths else request.order
        self.other = self.load(request.versus) if request.versus else None

    def one(self, run_id: str) -> Iterator[ShownRanking]:
        """One run on each of its targets."""
        run, method = self.load(run_id)
        if self.other and self.other[0].run_id == run.run_id:
            raise ReIDError(
                f"--versus {self.request.versus}: that is the run itself. Give another."
            )
        records = {record.target: record for record in self.targets(run)}
        self.require_one(run, list(records))

        def show(target: str) -> Iterator[ShownRanking]:
            yield self.target(self.tested_on(run, method, records[target]))

        yield from self.each(list(records), show, f"{run.run_id} on ")

    def tested_on(self, run: RunRecord, method: Method, record: TargetRecord) -> _Tested:
        """A run and a target of it, with its per-query results, on the very images of both."""
        probes = self.images_of(record).probes(record.target)
        row = Row("", run, record, RunFolder(self.request.out, run.run_id).path)
        known = queries(row)
        asked = [(probe.name, image) for probe in probes for image in probe.query.images]
        here = [(name, image.pid, image.camid) for name, image in asked]
        if here != list(zip(known.probe, known.pid, known.camid, strict=True)):
            raise ReIDError(f"{row.queries_file} is not of the queries of {record.target}.")
        # the same images may lie in a folder of another name now
        paths = np.array([image.path for _, image in asked])
        return _Tested(run, method, record, replace(known, query=paths))

    def target(self, mine: _Tested) -> ShownRanking:
        """One run on one target, beside the other run if there is one."""
        request, target, catalog = (
            self.request,
            mine.record.target,
            self.catalog(mine.record.target),
        )
        tested = [mine]
        if self.other:
            tested.append(self.other_on(mine))
            rows = choose_apart(mine.queries, tested[1].queries, request.queries)
        elif request.paths:
            rows = named(mine.queries, request.paths)
        else:
            rows = choose(mine.queries, request.order, request.queries, request.seed)
        found = [self.found(one, catalog, rows) for one in tested]
        without = int((~mine.queries.valid).sum())
        files = self.draw(tested, found, catalog)
        order = f"versus {tested[1].run.run_id}" if self.other else self.order
        return ShownRanking(target, catalog.kind, order, found, without, files)

    def other_on(self, mine: _Tested) -> _Tested:
        """The other run on the same images. Raises ReIDError where it was not tested on them."""
        assert self.other
        (run, method), target = self.other, mine.record.target
        records = {record.target: record for record in self.tested(run, "`harness run` tests it")}
        if target not in records:
            raise UnknownName(f"target of --versus {run.run_id}", target, records)
        return self.tested_on(run, method, records[target])

    def found(self, one: _Tested, catalog: DataCatalog, rows: Sequence[int]) -> Found:
        """The galleries of the queries in some rows of a record; says so if they differ."""
        target, known = one.record.target, one.queries
        wanted = [(str(known.probe[row]), str(known.query[row])) for row in rows]
        images = len(catalog.target_paths(target))
        with self.extractor(one.run, one.method, images) as extractor:
            extract = extractor(catalog.root)
            features: Features = extract
            if untrained(one.method):
                features = stored(extract, self.request.out, one.run.spec, catalog.digests)
            ranked = galleries(
                features,
                catalog.probes(target),
                wanted,
                self.request.top,
                variant=variants.split(target)[1],
            )
        recorded = [float(known.ap[row]) if known.valid[row] else None for row in rows]
        found = Found(one.run, [ranked[one] for one in wanted], recorded)
        if found.unlike:
            self.say(f"{one.run.run_id} on {target}: {_unlike(found)}", "yellow")
        return found

    def draw(
        self, tested: Sequence[_Tested], found: Sequence[Found], catalog: DataCatalog
    ) -> tuple[Path, ...]:
        """The figure, written; returns its files."""
        mine, target = tested[0], tested[0].record.target
        several, variant = len(catalog.probes(target)) > 1, variants.split(target)[1]
        names = _names([one.run for one in tested])
        rows = []
        for path, *answers in zip(below_common(found[0].galleries),
                                  *(one.galleries for one in found), strict=True):  # fmt: skip
            for i, (name, gallery) in enumerate(zip(names, answers, strict=True)):
                said = (f"{name}: " if self.other else "") + _facts(gallery, several)
                rows.append(_row(catalog.root, "" if i else path, said, gallery, variant))
        spec, top = mine.run.spec, self.request.top
        which = WORDS[self.order]
        name = f"ranking-{target}-{self.order}"
        if self.other:
            which = f"where it differs most from {names[1]}"
            name = f"ranking-{target}-versus-{self.other[0].run_id}"
        title = f"Ranking: {names[0] if self.other else spec.method} on {target}, {which}"
        figure = ranking_figure(rows, title, self.notes(tested, found, catalog), top)
        return self.write(figure, mine.run, name)

    def notes(
        self, tested: Sequence[_Tested], found: Sequence[Found], catalog: DataCatalog
    ) -> list[str]:
        """What stands below the title."""
        names = _names([one.run for one in tested])
        said = []
        for name, one in zip(names, tested, strict=True):
            spec, before = one.run.spec, f"{name}: trained" if len(tested) > 1 else "Trained"
            mean = f"mAP {100 * one.record.metrics['mAP']:.1f} %"
            said.append(
                f"{before} on {spec.fold_name}, seed {spec.seed}; run {one.run.run_id}; {mean}."
            )
        known, shown = tested[0].queries, len(found[0].galleries)
        drawn = f", drawn with seed {self.request.seed}" if self.order == "random" else ""
        splits = len(catalog.probes(tested[0].record.target))
        line = f"{shown} of {len(known.ap)} queries"
        line += f" of {splits} probe splits{drawn}." if splits > 1 else f"{drawn}."
        if not known.valid.all():
            line += f" {int((~known.valid).sum())} have no match in the gallery: in no mean."
        said.append(line)
        everyone = [image for one in found for g in one.galleries for image in g.shown]
        if any(image.pid == DISTRACTOR_PID for image in everyone):
            said.append(f"pid {DISTRACTOR_PID}: a distractor, nobody's match.")
        said += [_unlike(one) for one in found if one.unlike]
        return said + origin(tested[0].run.data, catalog.kind)


def _unlike(found: Found) -> str:
    count, most = len(found.unlike), max(found.unlike)
    return (
        f"The AP of {count} of {len(found.galleries)} queries is not the recorded one (by up to "
        f"{100 * most:.1f} %): images of almost equal score change places on another device or "
        "with other versions; by more, the record is of other weights."
    )


def _names(runs: Sequence[RunRecord]) -> list[str]:
    """Methods, with their run where that does not tell two apart."""
    methods = [run.spec.method for run in runs]
    if len(set(methods)) == len(runs):
        return methods
    return [f"{run.spec.method} {run.run_id}" for run in runs]


def _facts(gallery: Gallery, several: bool) -> str:
    before = f"{gallery.probe}: " if several else ""
    if gallery.ap is None:
        return f"{before}no match among {gallery.kept}"
    return (
        f"{before}AP {100 * gallery.ap:.1f} %, first hit at {gallery.first_hit} of {gallery.kept}, "
        f"{gallery.matches} match{'es' if gallery.matches > 1 else ''}"
    )


def _row(root: Path, name: str, said: str, gallery: Gallery, variant: Variant) -> RankedRow:
    def picture(image: Image, side: Side = "gallery") -> Picture:
        pixels = read_image(root / image.path, variant.reading(side).degradation)
        pixels.thumbnail((LARGEST, LARGEST))
        return Picture(np.asarray(pixels), (str(image.pid), f"c{image.camid}"))

    shown, first = [picture(image) for image in gallery.shown], gallery.first_right
    later = picture(first) if first and not any(gallery.right) else None
    return RankedRow(name, said, picture(gallery.query, "query"), shown, gallery.right, later)
