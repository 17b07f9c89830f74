"""Features that were computed are kept: a killed extraction goes on, others compute them no more.

Below `<out>/.shared/features/`, a folder for each state of a method, read in one way (degraded, in
bfloat16, flipped), on one kind of device. A list of images is cut into chunks of whole batches, in
its order; a chunk is one file, there as a whole or not at all, named by the contents of its images.
So a list gives the same numbers whatever was there before, which rows of other lists would not:
the last digits of a feature depend on how many images are encoded with it. Lists that begin with
the same images share chunks, under whatever names or root the images lie.

Features of an untrained method stay, for runs on other sources have the same. Those of a trained
one are there for its run, until `drop`. Removing any of it costs time and changes no number.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from harness import degradations
from harness.config import RunSpec
from harness.extract import BATCH_SIZE, Encoded, Extractor, gathered
from harness.lease import hold
from harness.progress import EVALUATION_PASS
from harness.shared import FOLDER, digest, read_tensors, write_tensors
from methods.interface import Method
from protocols.variants import Reading

FEATURES, UNTRAINED = "features", "untrained"
CHUNK = 8 * BATCH_SIZE
"""Images in a file; a kill loses the work on so many at most."""

Digests = Callable[[Sequence[str]], Mapping[str, str]]
"""SHA-256 of the content of image files by path, such as `Contents.digests`."""


@dataclass(frozen=True)
class StoredFeatures:
    """An extractor that keeps what it has computed, and reads what is kept; see `stored`.

    `owner` is how folders begin, `known` all that features depend on but images and reading.
    """

    extractor: Extractor
    folder: Path
    owner: str
    known: Mapping[str, Any]
    digests: Digests

    @property
    def method(self) -> Method:
        """Whose features they are."""
        return self.extractor.method

    def __call__(
        self, paths: Sequence[str], doing: str = "features", how: Reading = Reading()
    ) -> Encoded:
        """Features in the order of `paths`; see `Extractor`. One process at a time makes a list's.

        Memory: the result and one chunk.
        """
        read = {**asdict(how), "version": degradations.VERSION if how.degradation else None}
        folder = self.folder / f"{self.owner}-{digest({**self.known, 'how': read})}"
        names = self._names(paths, how)
        with hold(folder / f"{digest(names)}.lease"):
            files = [folder / f"{name}.safetensors" for name in names]
            return gathered(len(paths), self._chunks(paths, files, doing, how))

    def _names(self, paths: Sequence[str], how: Reading) -> list[str]:
        """The name of each chunk of a list. A degradation is drawn for a file's name, too."""
        contents = self.digests(paths)
        named = how.degradation is not None
        images = [[contents[p], PurePosixPath(p).name] if named else contents[p] for p in paths]
        return [digest(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]

    def _chunks(
        self, paths: Sequence[str], files: Sequence[Path], doing: str, how: Reading
    ) -> Iterator[tuple[Tensor, Encoded]]:
        """(rows, features) of every chunk: first those that are kept, then the others."""
        missing = []
        chunks = torch.arange(len(paths)).split(CHUNK)
        for file, rows in zip(files, chunks, strict=True):
            if kept := read_tensors(file):
                self.extractor.progress.advance(len(rows) * EVALUATION_PASS, doing)
                yield rows, kept[0]
            else:
                missing.append((file, rows))
        batches = [batch.tolist() for _, rows in missing for batch in rows.split(BATCH_SIZE)]
        parts = self.extractor.batches(paths, batches, doing, how)
        for file, rows in missing:
            first = int(rows[0])
            pieces = (next(parts) for _ in rows.split(BATCH_SIZE))
            chunk = gathered(len(rows), ((at - first, piece) for at, piece in pieces))
            write_tensors(file, chunk)
            yield rows, chunk


def stored(extractor: Extractor, out: Path, spec: RunSpec, digests: Digests) -> StoredFeatures:
    """`extractor`, which computes no second time what is kept below `out`; one serves a whole run.

    `spec` is of the run whose method it is, `digests` are of the images below its root.
    """
    values = spec.model_dump(mode="json")
    state = extractor.method.state_dict()
    known = {
        **{key: values[key] for key in ("method", "method_version", "config", "weights")},
        "state": {name: _tensor_digest(value) for name, value in state.items()},
        "device": extractor.device.type,
    }
    owner = UNTRAINED if untrained(extractor.method) else spec.id
    return StoredFeatures(extractor, out / FOLDER / FEATURES, owner, known, digests)


def drop(out: Path, spec: RunSpec) -> None:
    """Remove the features of a run's trained method. Those of an untrained one stay."""
    for folder in (out / FOLDER / FEATURES).glob(f"{spec.id}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def untrained(method: Method) -> bool:
    """Whether every run of a method, on whatever sources, has the same features."""
    return method.same_for_all_sources and not method.stages()


def _tensor_digest(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content.tobytes()).hexdigest()[:16]
