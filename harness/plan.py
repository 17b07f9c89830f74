"""Methods x folds x seeds, as the list of trainings to be done, each with its targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.catalog import DataCatalog
from harness.config import Contents, Precision, RunSpec, make_config, make_spec
from harness.fold_masks import FoldMasks
from harness.holdout import hold_out
from harness.part_labels import PartLabelFinder
from methods import registry as methods
from methods.interface import Method, MethodConfig
from protocols import registry as protocols
from protocols.errors import ReIDError
from protocols.types import Fold, Protocol
from protocols.variants import dataset_of

DEFAULT_PRECISION: Mapping[str, Precision] = {"tiny": "fp32", "paper": "bf16"}


@dataclass(frozen=True)
class PlannedRun:
    """One training to be done: its spec, and what is needed to do it here.

    `setting` is what a sweep has set for it, in words.
    """

    spec: RunSpec
    fold: Fold
    method: type[Method]
    config: MethodConfig
    part_masks: FoldMasks | None = field(default=None, compare=False, repr=False)
    setting: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """How it is named on the screen."""
        run = f"{self.spec.method} on {self.fold.name}, seed {self.spec.seed}"
        return f"{run}, {self.setting}" if self.setting else run


@dataclass(frozen=True)
class Choice:
    """A method as the user asked for it; `setting` is what a sweep has set, in words."""

    name: str
    method: type[Method]
    config: MethodConfig
    preset: str
    setting: str = ""


def choose(
    names: Sequence[str],
    preset: str,
    overrides: Mapping[str, Any] | None = None,
    setting: str = "",
) -> list[Choice]:
    """The methods of those names, each once, configured. Raises ReIDError for what is not there."""
    chosen = []
    for name in dict.fromkeys(map(methods.canonical, names)):
        method = methods.load(name)
        config = make_config(name, method, preset, overrides or {})
        chosen.append(Choice(name, method, config, preset, setting))
    if not chosen:
        raise ReIDError("No method was named; `harness list methods` shows them.")
    return chosen


def plan(
    chosen: Sequence[Choice],
    rows: Sequence[Protocol],
    seeds: Sequence[int],
    catalog: DataCatalog,
    precision: Precision | None = None,
    out: Path | None = None,
    holdout: float | None = None,
) -> list[PlannedRun]:
    """Every training that `rows` need, sorted by method, fold and seed as they were asked for.

    `out` is where `harness ground` may have left part labels. With `holdout`, that share of each
    source's identities is not trained on and the trainings have no targets: none is even opened.
    Raises ReIDError, before anything is computed, if some of the data can't be used.
    """
    folds = protocols.folds(rows)
    if holdout is not None:
        folds = [replace(fold, targets=()) for fold in folds]
    _require_data(catalog, folds)
    if holdout is None:
        _refuse_leaks(catalog, rows)
    else:
        _require_people(catalog, folds, holdout)
    finder = PartLabelFinder(catalog, out)
    _require_part_labels(finder, chosen, folds)
    planned = []
    for choice in chosen:
        needs = choice.method.part_needs(choice.config)
        contents = Contents.of(choice.method, choice.config)
        for fold in folds:
            masks = finder.find(fold, needs) if needs else None
            digest = masks.digest if masks else None
            prints = {s: catalog.source_fingerprint(s, fold.source_images) for s in fold.sources}
            for seed in dict.fromkeys(seeds):
                spec = make_spec(
                    choice.name,
                    choice.method,
                    choice.config,
                    preset=choice.preset,
                    fold=fold,
                    fingerprints=prints,
                    seed=seed,
                    precision=precision or DEFAULT_PRECISION.get(choice.preset, "fp32"),
                    part_labels=digest,
                    holdout=holdout,
                    contents=contents,
                )
                one = PlannedRun(spec, fold, choice.method, choice.config, masks, choice.setting)
                planned.append(one)
    return planned


def _refuse_leaks(catalog: DataCatalog, rows: Sequence[Protocol]) -> None:
    """Raise ReIDError if an image that is trained on is tested on, whatever name it goes by.

    Files are compared by content, so a link, a copy or a CSV of one's own is found too. Left alone
    are data sets whose cards say what they share, and the test set of a source as it was published.
    """
    for row in rows:
        target = dataset_of(row.target)
        for source in row.sources:
            own = source == target
            if protocols.shared(source, target) or (own and catalog.official(source)):
                continue
            if not own and catalog.same_folder(source, target):
                raise ReIDError(
                    f"{row.name}: {source} and {row.target} are one folder on this disk, "
                    f"{catalog.dataset(row.target).root.resolve()}. Give each its own."
                )
            common = catalog.common_files(source, row.source_images, row.target)
            if common:
                mine, theirs = common[0]
                raise ReIDError(
                    f"{row.name}: {len(common)} images are both trained on and tested on; "
                    f"{mine} of {source} is {theirs} of {row.target}. "
                    "A target must hold nothing that was trained on."
                )


def _require_data(catalog: DataCatalog, folds: Sequence[Fold]) -> None:
    """Read every data set before anything is computed; name all that is amiss at once."""
    problems = []
    for fold in folds:
        for key in fold.sources:
            problems += _problem(partial(catalog.source_fingerprint, key, fold.source_images))
        for key in fold.targets:
            problems += _problem(partial(catalog.target_fingerprint, key))
    if problems:
        raise ReIDError("\n".join(dict.fromkeys(problems)))


def _require_people(catalog: DataCatalog, folds: Sequence[Fold], holdout: float) -> None:
    """Raise ReIDError for a source with too few identities, whatever the seed."""
    for fold in folds:
        hold_out([catalog.source(s, fold.source_images) for s in fold.sources], holdout, seed=0)


def _require_part_labels(
    finder: PartLabelFinder, chosen: Sequence[Choice], folds: Sequence[Fold]
) -> None:
    for choice in chosen:
        needs = choice.method.part_needs(choice.config)
        if needs:
            finder.require(choice.name, folds, needs)


def _problem(read: Callable[[], object]) -> list[str]:
    try:
        read()
    except ReIDError as error:
        return [str(error)]
    return []
