"""Experts of `harness ground` that are models: asked about every image, or about what is left."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.catalog import DataCatalog
from harness.commands.grounding.progress import GroundProgress
from harness.commands.grounding.settings import (
    GroundRequest,
    parse_calibration,
    parse_settings,
    rule,
    without,
)
from harness.grounding.answers import Head
from harness.grounding.model import (
    Identity,
    Lazy,
    choose_device,
    choose_precision,
    identify,
    short_of_memory,
)
from harness.grounding.outcome import Grounded, from_answers
from harness.grounding.record import answers_folder
from harness.grounding.walk import Shard, Walk, WalkOptions
from harness.progress import duration
from harness.screen import many, say
from methods.grounding.expert import Wording
from methods.grounding.experts import EXPERTS
from protocols.types import Image

BATCH = 8
"""Images asked about between two times that answers go to the disk."""


@dataclass(frozen=True)
class Asked:
    """What came of one data set: what is known of its images, and how many have yet to be asked.

    `grounded` is of all images, or of those that have been asked about if some are left.
    """

    grounded: Grounded
    left: int
    worked: bool
    folder: str
    device: str
    precision: str


class ModelExpert:
    """The expert that was asked for; loaded when there is something to ask."""

    def __init__(self, request: GroundRequest, catalog: DataCatalog, console: Console) -> None:
        self.request, self.catalog, self.console = request, catalog, console
        self.wording = parse_settings("--wording", request.wording, Wording, words=True)
        self.calibration = parse_calibration(request)
        self.device = choose_device(request.device)
        self.precision = choose_precision(request.precision, self.device)
        self.options = WalkOptions(
            batch=request.batch_size or BATCH,
            shard=Shard.parse(request.shard or "1/1"),
            limit=request.limit,
            workers=request.loader_workers or 0,
            double_check=request.double_check,
            single_person=request.single_person,
        )
        self.rule = rule(request)
        self._told_pace = False
        self._at_most: int | None = None

    @cached_property
    def identity(self) -> Identity:
        """Which model it is."""
        request = self.request
        return identify(
            request.expert, request.model, request.revision, request.trust_remote_code, self._say
        )

    @property
    def tag(self) -> str:
        """Of model, revision and wording."""
        return self.identity.tag(self.wording)

    @cached_property
    def _lazy(self) -> Lazy:
        return Lazy(
            self.identity,
            self.wording,
            self.device,
            self.precision,
            self.request.trust_remote_code,
            self._say,
        )

    def ask(self, key: str, images: Sequence[Image]) -> Asked:
        """Go on with a data set. Raises ReIDError, what was answered before is kept."""
        contents = self.catalog.contents.digests(image.path for image in images)
        folder = answers_folder(self.request.out, key, self.request.expert, self.tag)
        with GroundProgress(self.console, key) as progress:
            walk = Walk(
                key=key,
                root=self.catalog.root,
                contents=contents,
                folder=folder,
                head=self._head,
                wording=self.wording,
                open_expert=self._lazy,
                options=self.options,
                watch=progress,
                expert=self._lazy.expert,
                at_most=self._at_most,
            )
            before = walk.left
            if walk.waits:
                self._tell_pace(len(walk.waits))
            walk.run()
            self._at_most = walk.at_most
        left = set(walk.left)
        done = [image for image in images if image.path not in left]
        heads = walk.answers.heads
        return Asked(
            self._grounded(done, walk),
            len(left),
            len(left) < len(before),
            str(folder),
            ", ".join(sorted({head.device for head in heads})),
            ", ".join(sorted({head.precision for head in heads})),
        )

    def _grounded(self, images: Sequence[Image], walk: Walk) -> Grounded:
        identity = self.identity
        return from_answers(
            images,
            walk.known,
            made=f"asked of {identity.expert}, {Path(identity.model).name} {identity.revision}",
            calibration=self.calibration,
            rule=self.rule,
            double_check=self.request.double_check,
            single_person=self.request.single_person,
        )

    @property
    def _head(self) -> Head:
        identity = self.identity
        return Head(
            expert=identity.expert,
            model=identity.model,
            revision=identity.revision,
            wording=self.wording.model_dump(),
            precision=self.precision,
            device=_named(self.device),
        )

    def _tell_pace(self, images: int) -> None:
        """What a source says of the expert's speed and memory, once, before it is loaded."""
        kind = EXPERTS[self.request.expert]
        if self._told_pace:
            return
        self._told_pace = True
        if self.identity.model == kind.model:
            self._say(f"{kind.title}: {kind.summary}. Licence: {kind.licence}.")
        if kind.pace is not None:
            self._say(
                f"{kind.pace.source}: {kind.pace.seconds:.1f} s an image, one at a time, and "
                f"{kind.pace.gigabytes:.0f} GB of GPU memory; {many(images, 'image')} take "
                f"{duration(kind.pace.seconds * images)} at that pace."
            )
        lacking = short_of_memory(kind, self.device)
        if lacking:
            self._say(lacking)

    def record(self, asked: Asked) -> Mapping[str, Any]:
        """The fields of the record that are of a model."""
        return {
            "model": self.identity.model,
            "revision": self.identity.revision,
            "wording": self.wording.model_dump(),
            "device": asked.device,
            "precision": asked.precision,
        }

    def rest(self, key: str, asked: Asked, total: int) -> str:
        """What to do about images that are left, in words."""
        command = shlex.join(without(("--limit", "--shard")))
        who = " (the shard that ends last writes them)" if self.options.shard.count > 1 else ""
        return (
            f"{key}: {asked.left:,} of {total:,} images are left, so no labels are written yet"
            f"{who}. `{command}` asks about them, and about nothing twice."
        )

    def _say(self, text: str) -> None:
        say(self.console, text)


def _named(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
