"""`harness show features`: a map of what a trained model sees in images of sources and targets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from harness.catalog import DataCatalog
from harness.commands.showing import origin
from harness.commands.showing_features import FeaturesRequest, ShowingFeatures
from harness.feature_map import place, require_method, sample
from harness.record import RunRecord, TargetRecord
from methods.interface import Method
from protocols.errors import DataError, ReIDError, UnknownName
from protocols.types import Image
from results.feature_figure import Colouring, feature_figure, largest

BY = ("identity", "domain", "camera")
SOURCE, TARGET = "source", "target"


@dataclass(frozen=True)
class FeatureMapRequest(FeaturesRequest):
    """The options of `harness show features`, as typed; `images` of all data sets together."""

    by: tuple[str, ...]
    method: str
    images: int


@dataclass(frozen=True)
class Domain:
    """A data set of a run, as it was used: a source's training images, a target's others."""

    key: str
    role: str
    catalog: DataCatalog
    images: Sequence[Image]

    @property
    def name(self) -> str:
        """As the map names it."""
        return f"{self.key}, {self.role}"


@dataclass(frozen=True)
class ShownMap:
    """The map of one run: its points [N, 2], the images there, and the figure's files."""

    run: RunRecord
    how: str
    domains: Sequence[Domain]
    points: np.ndarray
    files: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it; the axes have no unit."""
        spec = self.run.spec
        images = [(domain, image) for domain in self.domains for image in domain.images]
        return {
            "run": self.run.run_id,
            "method": spec.method,
            "fold": spec.fold_name,
            "seed": spec.seed,
            "map": self.how,
            "points": [
                {"dataset": domain.key, "role": domain.role, **image._asdict(), "x": x, "y": y}
                for (domain, image), (x, y) in zip(images, self.points.tolist(), strict=True)
            ],
            "files": [str(path) for path in self.files],
        }


def features_command(request: FeatureMapRequest, console: Console, stderr: Console) -> int:
    """Draw what is asked; returns the exit status: 0, or 1 if a run failed or nothing is shown."""
    show = _Show(request, console, stderr)
    shown = show.everything()
    if request.as_json:
        show.print_json(console, [one.to_dict() for one in shown])
    show.mirror(one.run.run_id for one in shown)
    return 1 if show.failed or not shown else 0


class _Show(ShowingFeatures[ShownMap]):
    request: FeatureMapRequest

    def __init__(self, request: FeatureMapRequest, console: Console, stderr: Console) -> None:
        require_method(request.method)
        for name in request.by:
            if name not in BY:
                raise UnknownName("--by", name, BY)
        if not request.by:
            raise ReIDError(f"--by names nothing; expected a comma list of {', '.join(BY)}.")
        super().__init__(request, console, stderr)
        self.require_plain()

    def one(self, run_id: str) -> Iterator[ShownMap]:
        """The map of one run."""
        request = self.request
        run, method = self.load(run_id)
        domains = [*self.sources(run), *map(self.tested_on, self.targets(run))]
        drawn = sample([domain.images for domain in domains], request.images, request.seed)
        domains = [
            Domain(domain.key, domain.role, domain.catalog, images)
            for domain, images in zip(domains, drawn, strict=True)
            if images
        ]
        encoded = self.encode(run, method, domains)
        points, how = place(method, encoded, request.method, request.seed)
        yield ShownMap(run, how, domains, points, self.draw(run, domains, points, how))

    def sources(self, run: RunRecord) -> Iterator[Domain]:
        """The sources of a run, as far as the images that it was trained on are here."""
        for key, wanted in run.spec.sources.items():
            which = run.spec.source_images
            try:
                catalog = self.catalog(key)
                images = catalog.source(key, which).images
                if catalog.source_fingerprint(key, which) != wanted:
                    raise DataError(f"{key} below {catalog.root} is not what it was trained on.")
            except ReIDError as error:
                self.say(f"{run.run_id}: source {key} is left out. {error}", "yellow")
            else:
                yield Domain(key, SOURCE, catalog, images)

    def tested_on(self, record: TargetRecord) -> Domain:
        """A target of a run: the queries and the galleries."""
        catalog = self.images_of(record)
        splits = catalog.target_splits(record.target)
        return Domain(record.target, TARGET, catalog, [i for s in splits for i in s.images])

    def encode(
        self, run: RunRecord, method: Method, domains: Sequence[Domain]
    ) -> dict[str, Tensor]:
        """What the method encodes of the images of all domains, one after the other."""
        parts = []
        total = sum(len(domain.images) for domain in domains)
        with self.extractor(run, method, total) as extractor:
            for domain in domains:
                paths = [image.path for image in domain.images]
                parts.append(extractor(domain.catalog.root)(paths, f"features of {domain.key}"))
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def draw(
        self, run: RunRecord, domains: Sequence[Domain], points: np.ndarray, how: str
    ) -> tuple[Path, ...]:
        """The figure, written; returns its files."""
        request, spec = self.request, run.spec
        panels = [_panel(name, domains) for name in request.by]
        target = f" on {request.target}" if request.target else ""
        counts = ", ".join(f"{domain.key} {len(domain.images)}" for domain in domains)
        said = [
            f"{how}, seed {request.seed}, of {len(points)} images: {counts}. Axes have no unit.",
            f"Trained on {spec.fold_name}, seed {spec.seed}; run {run.run_id}.",
            *origin(run.data, domains[0].catalog.kind),
        ]
        figure = feature_figure(points, panels, f"Feature map: {spec.method}{target}", said)
        parts = ["features", request.method]
        parts += [request.target] if request.target else []
        parts += [] if request.by == BY[:2] else request.by
        return self.write(figure, run, "-".join(parts))


def _panel(by: str, domains: Sequence[Domain]) -> Colouring:
    if by == "domain":
        names = [domain.name for domain in domains]
        whose = [domain.name for domain in domains for _ in domain.images]
        return Colouring("By domain", whose, names)
    # of people that training has not seen, where there are any
    role = TARGET if any(domain.role == TARGET for domain in domains) else SOURCE

    def group(domain: Domain, image: Image) -> str:
        label = f"{image.pid}" if by == "identity" else f"c{image.camid}"
        return f"{domain.key} {label}" if domain.role == role else ""

    groups = [[group(domain, image) for image in domain.images] for domain in domains]
    everyone = list(itertools.chain(*groups))
    coloured = largest([names for names in groups if any(names)])
    count = len(set(everyone) - {""})
    shown = f"{by}: {len(coloured)} of {count}" if len(coloured) < count else by
    return Colouring(f"By {shown} ({role}s)", everyone, coloured)
