"""Where the part masks of a fold's training images come from; found before anything is trained.

In this order: the files a method's config names; for stand-ins, the boxes they were drawn with;
what `harness ground` has written to `<out>/part_labels`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from harness.catalog import DataCatalog
from harness.fold_masks import FoldMasks
from harness.grounding.record import OWN, ground_folder
from methods.grounding.labels import PartLabels
from methods.grounding.pickled import read_masks
from methods.grounding.voting import Masks
from methods.interface import PARTS, PartNeeds
from protocols import standin
from protocols.errors import DataError, ReIDError
from protocols.types import Fold, SourceImages

PICKLES = (".pkl", ".pickle", ".pt", ".pth")
STANDIN_PARTS = dict(zip(PARTS, ("head", "upper body", "legs"), strict=True))
"""Part -> its name in the stand-ins' annotations."""


class NoPartLabels(ReIDError):
    """Nobody has labelled the parts of a source's images."""

    def __init__(self, key: str, which: SourceImages, stale: Path | None = None) -> None:
        self.key, self.which, self.stale = key, which, stale
        super().__init__(f"There are no part labels for {key}.")


class _Several(DataError):
    """Files that hold labels for the same images, and not the same ones."""

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__(
            f"{' and '.join(map(str, files))} all hold labels for its images, and not the same; "
            f"name the one to be used, such as --set part_labels={shlex.quote(str(files[0]))}."
        )


class PartLabelFinder:
    """Finds the masks of folds; every file is read once, every source voted on once."""

    def __init__(self, catalog: DataCatalog, out: Path | None = None) -> None:
        self.catalog, self.out = catalog, out
        self._files: dict[tuple[Path, tuple[int, int]], PartLabels] = {}
        self._masks: dict[tuple[str, SourceImages, PartNeeds], KnownMasks] = {}

    def find(self, fold: Fold, needs: PartNeeds) -> FoldMasks:
        """The masks of a fold's training images on the grid that is needed.

        Raises NoPartLabels for a source without any, ReIDError for labels that do not serve.
        """
        found = [self._source(key, fold.source_images, needs) for key in fold.sources]
        return FoldMasks(tuple(masks for masks, _ in found), tuple(known for _, known in found))

    def require(self, name: str, folds: Iterable[Fold], needs: PartNeeds) -> None:
        """Raise one ReIDError that names every source of `folds` whose labels `name` lacks."""
        lacking: list[NoPartLabels] = []
        problems: list[str] = []
        for key, which in sorted({(s, f.source_images) for f in folds for s in f.sources}):
            try:
                self._source(key, which, needs)
            except NoPartLabels as error:
                lacking.append(error)
            except ReIDError as error:
                problems.append(f"{key}: {error}")
        if lacking:
            problems.append(self._advice(name, lacking, needs.instead))
        if problems:
            raise ReIDError("\n".join(problems))

    def _source(self, key: str, which: SourceImages, needs: PartNeeds) -> KnownMasks:
        """In the order of the source's images."""
        if (key, which, needs) not in self._masks:
            paths = [image.path for image in self.catalog.source(key, which).images]
            labels, where = self._labels(key, which, paths, needs)
            try:
                self._masks[key, which, needs] = _masks(labels, paths, needs)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
        return self._masks[key, which, needs]

    def _labels(
        self, key: str, which: SourceImages, paths: Sequence[str], needs: PartNeeds
    ) -> tuple[PartLabels, str]:
        """The labels of a source, and in words where they are."""
        if needs.file is not None:
            return self._of_files(key, which, paths, needs)
        if self.catalog.kind == "stand-in":
            labels = standin_labels(self.catalog.root, key, paths)
            if labels is not None:
                return labels, "the stand-ins' own boxes"
        path = self._ground_file(key, which, paths, needs)
        return self._read(path, needs.grid), str(path)

    def _of_files(
        self, key: str, which: SourceImages, paths: Sequence[str], needs: PartNeeds
    ) -> tuple[PartLabels, str]:
        """Of the files that are named, the one that knows a source's images.

        Of several that do, those that know them by path; of those, any if their masks are the same,
        else the one that `harness ground` made of these images.
        """
        files = list_files(needs.file or "")
        known = {file: _known(self._read(file, needs.grid), paths) for file in files}
        # where none knows all, the one that knows most says what it lacks
        best = max(files, key=lambda file: known[file])
        rivals = [file for file in files if known[file] == known[best]]
        whole = known[best][0] == len(paths)
        if whole and not self._agree(rivals, paths, needs):
            mine = self._made_of(key, which, rivals)
            if len(mine) != 1:
                raise _Several(rivals)
            best = mine[0]
        return self._read(best, needs.grid), str(best)

    def _agree(self, files: Sequence[Path], paths: Sequence[str], needs: PartNeeds) -> bool:
        """Whether all `files` make the same masks of the images."""
        if len(files) == 1:
            return True
        labels = [self._read(file, needs.grid) for file in files]
        try:
            first, *others = (_masks(one, paths, needs) for one in labels)
        except DataError:  # masks on another grid
            return False
        return all(_same(first, masks) for masks in others)

    def _read(self, path: Path, grid: tuple[int, int]) -> PartLabels:
        if (path, grid) not in self._files:
            self._files[path, grid] = read_labels(path, grid)
        return self._files[path, grid]

    def _ground_file(
        self, key: str, which: SourceImages, paths: Sequence[str], needs: PartNeeds
    ) -> Path:
        """What `harness ground` wrote for a source's images, or for all of its data set's.

        Where several experts were asked, their masks have to be the same.
        """
        folder = ground_folder(self.out or Path("runs"))
        there = _named_for(key, sorted(folder.glob(f"*{OWN}")))
        mine = self._made_of(key, which, there)
        if not mine:
            raise NoPartLabels(key, which, there[0] if there else None)
        if not self._agree(mine, paths, needs):
            raise _Several(mine)
        return mine[0]

    def _made_of(self, key: str, which: SourceImages, files: Sequence[Path]) -> list[Path]:
        """Those of `files` that were made of a source's images, or of all its data set's."""
        there = _named_for(key, files)
        # the fingerprint of a whole data set is not asked for in vain: it reads every image
        for images in (which, "all") if there else ():
            name = f"{key}-{self.catalog.source_fingerprint(key, images)}"
            mine = [file for file in there if file.name.startswith(name)]
            if mine:
                return mine
        return []

    def _advice(self, name: str, lacking: Sequence[NoPartLabels], instead: str | None) -> str:
        keys = list(dict.fromkeys(one.key for one in lacking))
        lines = [f"{name} needs to know where body parts are, and nobody has said for"]
        lines[0] += f" {', '.join(keys)}."
        lines += [
            f"{one.stale} is of other images of {one.key}, or of images that have changed since."
            for one in lacking
            if one.stale
        ]
        for which in dict.fromkeys(one.which for one in lacking):
            mine = ",".join(one.key for one in lacking if one.which == which)
            data, out = shlex.quote(str(self.catalog.root)), shlex.quote(str(self.out or "runs"))
            lines.append(
                f"`harness ground --data {data} --datasets {mine} --expert annotations "
                f"--from FILE --out {out}{' --images all' if which == 'all' else ''}` takes boxes "
                "from a CSV; with --expert grounding-dino, or cogvlm as the paper, a model finds "
                "them; `harness ground --help` tells of all."
            )
        if instead:
            lines.append(f"`--set {instead}` runs without.")
        return "\n".join(lines)


KnownMasks = tuple[Masks, Masks | None]
"""Masks [N, R, h, w] of images, and of which of their parts [N, R] they are known; None: all."""


def _masks(labels: PartLabels, paths: Sequence[str], needs: PartNeeds) -> KnownMasks:
    """Raises DataError for images without labels, or masks on another grid."""
    return labels.masks_for(paths, needs.grid, needs.calibrate), labels.known_for(paths)


def _same(a: KnownMasks, b: KnownMasks) -> bool:
    return all(
        (x is None and y is None) or (x is not None and y is not None and np.array_equal(x, y))
        for x, y in zip(a, b, strict=True)
    )


def _known(labels: PartLabels, paths: Sequence[str]) -> tuple[int, bool]:
    """How many of the images have labels, and whether all are known by their paths."""
    rows = [row for row in labels.find(paths) if row is not None]
    return len(rows), [labels.images[row] for row in rows] == list(paths)


def _named_for(key: str, files: Iterable[Path]) -> list[Path]:
    """Those of `files` that are named as `harness ground` names a data set's."""
    name = re.compile(rf"{re.escape(key)}-[0-9a-f]{{16}}(-[a-z0-9-]+)?\{OWN}")
    return [file for file in files if name.fullmatch(file.name)]


def standin_labels(root: Path, key: str, paths: Sequence[str]) -> PartLabels | None:
    """The boxes that pictures of a stand-in were drawn with; None if some are no stand-ins'."""
    try:
        truth = standin.truth(root, key)
    except DataError:
        return None
    if not all(path in truth for path in paths):
        return None
    boxes = np.full((len(paths), len(PARTS), 4), np.nan, dtype=np.float32)
    for row, path in enumerate(paths):
        width, height = image_size(root / path)
        for part, name in enumerate(STANDIN_PARTS.values()):
            if name in truth[path]["boxes"]:
                boxes[row, part] = truth[path]["boxes"][name]
        boxes[row] /= (width, height, width, height)
    return PartLabels(tuple(paths), boxes=boxes, made="drawn with the picture", exact=True)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the file's header. Raises DataError naming the file."""
    try:
        with PillowImage.open(path) as image:
            return image.size
    except Exception as error:  # what Pillow raises for a header is anybody's guess
        raise DataError(f"{path} can not be read as an image ({error}).") from error


def list_files(named: str) -> list[Path]:
    """The label files of a comma list of files and folders, sorted within a folder.

    Raises DataError for what is not there, for a folder without any, and for an unknown suffix.
    """
    suffixes = (OWN, *PICKLES)
    files: list[Path] = []
    for text in filter(None, (part.strip() for part in named.split(","))):
        path = Path(text).expanduser()
        found = sorted(p for p in path.glob("*") if p.suffix in suffixes) if path.is_dir() else []
        if not found and not (path.is_file() and path.suffix in suffixes):
            raise DataError(
                f"part_labels={named}: {path} is no file of part labels and no folder with any; "
                f"expected {', '.join(suffixes)}.{_conversion(path)}"
            )
        files += found or [path]
    if not files:
        raise DataError(f"part_labels={named!r}: expected a file, a folder or a comma list.")
    return list(dict.fromkeys(files))


def _conversion(path: Path) -> str:
    if path.suffix.lower() != ".csv":
        return ""
    return f" Convert it: `harness ground --expert annotations --from {shlex.quote(str(path))}`."


def read_labels(path: Path, grid: tuple[int, int]) -> PartLabels:
    """Labels from a file: our own, or the authors' pickled masks on a `grid` of patches."""
    return read_masks(path, grid) if path.suffix in PICKLES else PartLabels.read(path)
