"""Queries and a gallery that carry their own labels, in files that may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from harness.cosine import Features
from harness.evaluate import ProbeLabels, without_cameras
from harness.feature_files import FeatureFile, read_all
from harness.matches import People
from harness.scores import NotFinite
from protocols.errors import DataError
from protocols.types import DISTRACTOR_PID, JUNK_PID
from protocols.variants import Variant


@dataclass(frozen=True, eq=False)
class Labelled:
    """Both sides as files, and the labels by which a variant has them ranked."""

    query: FeatureFile
    gallery: FeatureFile
    known: ProbeLabels

    def engine(self) -> tuple[Features, Features, People]:
        """Both sides and who matches whom, as the ranking engine takes them."""
        sides = Features("query", self.query.features), Features("gallery", self.gallery.features)
        return *sides, People(**self.known)

    @contextmanager
    def placed(self) -> Iterator[None]:
        """In the block, features that are not finite are named by file and row."""
        try:
            yield
        except NotFinite as error:
            file = self.query if error.side == "query" else self.gallery
            raise DataError(
                f"{file.place(error.row)}: the features hold nan or inf, and no {error.side} "
                "before it does. The model diverged, or overflowed in half precision."
            ) from error


def open_labelled(query: Sequence[str], gallery: Sequence[str], variant: Variant) -> Labelled:
    """Both sides, mapped. Raises DataError for what is missing, or of unequal width."""
    queries, items = read_all(query, "query"), read_all(gallery, "gallery")
    widths = queries.features.shape[1], items.features.shape[1]
    if widths[0] != widths[1]:
        raise DataError(
            f"{queries.path} has features of {widths[0]} numbers and {items.path} of {widths[1]}; "
            "they must be of one width."
        )
    (query_pids, query_camids), (pids, camids) = queries.labels(), items.labels()
    if not variant.distractors:
        # out for all, like junk; so that features on disk need not be copied without them
        pids = np.where(pids == DISTRACTOR_PID, JUNK_PID, pids)
    known: ProbeLabels = {
        "query_pids": query_pids,
        "query_camids": query_camids,
        "gallery_pids": pids,
        "gallery_camids": camids,
    }
    return Labelled(queries, items, known if variant.cross_camera else without_cameras(known))
