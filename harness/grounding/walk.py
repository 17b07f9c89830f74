"""Asks an expert about every image of a data set; killed at any moment, it goes on where it was.

Images are walked in their order, a batch at a time: decoded (in `workers` processes), asked about,
and what was said is on the disk before the next batch begins. Which images are asked together is a
matter of their order and the batch size alone, so a walk that was interrupted, or shared by several
processes, gets the same answers as one that was not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL.Image import Image
from torch.utils.data import DataLoader, Dataset

from harness.data import in_order
from harness.decoding import decode
from harness.grounding.answers import Answers, Head, Line, Writer
from harness.grounding.questions import Checks, Pair, Parts, People, Question
from harness.step import is_shortage
from methods.grounding.expert import Answer, Expert, Verdict, Wording
from protocols.errors import DataError, ReIDError

DAMAGED = 100
"""Of so many images of a data set one may be damaged, and one in any case, before a walk stops."""
SHOWN = 10
LONGEST = 100
"""A picture more times as long as it is wide, or wide as it is long, shows nobody; models that
scale it to their size are left with nothing, and fail."""


@dataclass(frozen=True)
class Shard:
    """Part `index`, from 1, of `count`: every `count`-th batch."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/4`, the second of four. Raises ReIDError for anything else."""
        match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text.strip())
        index, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= index <= count:
            raise ReIDError(
                f"--shard {text!r}: expected I/N, I from 1 to N, such as 1/2 and 2/2 for two "
                "processes."
            )
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


@dataclass(frozen=True)
class WalkOptions:
    """Which images are asked about, what, and how many at a time."""

    batch: int
    shard: Shard = Shard()
    limit: int | None = None
    workers: int = 0
    double_check: bool = False
    single_person: bool = False


class Watch:
    """Told how a walk goes; this one keeps quiet."""

    def begin(self, doing: str, images: int, left: int) -> None:
        """A pass over `images` images begins, of which `left` have not been asked about."""

    def advance(self, images: int, seconds: float) -> None:
        """The answers about `images` more are on the disk, `seconds` after they were asked."""

    def say(self, text: str) -> None:
        """A line that must be seen."""


@dataclass
class Walk:
    """One data set's images and what an expert says of them.

    contents: path below `root` -> SHA-256; answers of other contents do not count.
    open_expert: called before the first question, if there is one. `at_most`: pairs of an image and
    a phrase that are asked at a time, None for as many as a batch has.
    """

    key: str
    root: Path
    contents: Mapping[str, str]
    folder: Path
    head: Head
    wording: Wording
    open_expert: Callable[[], Expert]
    options: WalkOptions
    watch: Watch = field(default_factory=Watch)
    expert: Expert | None = None
    at_most: int | None = None

    def __post_init__(self) -> None:
        self.contents = dict(sorted(self.contents.items()))
        self.answers = Answers(self.folder)
        self.damaged: dict[str, str] = {}
        self.known = self.answers.read(self.contents)
        questions: list[Question] = [Parts(self.wording)]
        if self.options.single_person:
            questions.append(People(self.wording))
        if self.options.double_check:
            questions.append(Checks(self.wording))
        self.questions = questions

    @property
    def batches(self) -> list[list[str]]:
        """The images of this shard, within the limit."""
        images = list(self.contents)[: self.options.limit]
        shard = self.options.shard
        rows = in_order(len(images), self.options.batch)[shard.index - 1 :: shard.count]
        return [[images[row] for row in batch] for batch in rows]

    @property
    def left(self) -> list[str]:
        """Images, of all shards, that something has yet to be asked of."""
        return [image for image in self.contents if self._open(image)]

    @property
    def waits(self) -> list[str]:
        """Those of them that this shard asks about, within its limit."""
        return [image for batch in self.batches for image in batch if self._open(image)]

    def run(self) -> None:
        """Ask what has not been answered. Raises DataError where too many images are damaged."""
        damaged = any(self.known[image].damaged for batch in self.batches for image in batch)
        if damaged or self.waits:
            shard = self.options.shard
            with self.answers.writing(self.head, str(shard), self._waiting) as writer:
                # whoever had it may have done everything meanwhile
                self.known = self.answers.read(self.contents)
                for question in self.questions:
                    self._pass(question, writer)
            self.known = self.answers.read(self.contents)
        # other shards have damaged images of their own
        self.damaged = {image: one.damaged for image, one in self.known.items() if one.damaged}
        self._refuse_many_damaged()

    def _waiting(self, holder: str) -> None:
        share = f", shard {self.options.shard}" if self.options.shard.count > 1 else ""
        self.watch.say(f"{self.key}: {holder} is asking about it{share}; waiting for it to finish.")

    def _open(self, image: str) -> bool:
        known = self.known[image]
        return not known.damaged and any(question.lacks(known) for question in self.questions)

    def _pass(self, question: Question, writer: Writer) -> None:
        """Ask one question of all images of the shard that lack its answer."""
        lacking = [[i for i in b if question.lacks(self.known[i])] for b in self.batches]
        batches = [batch for batch in lacking if batch]
        if not batches:
            return
        if isinstance(question, Parts):
            # those that could not be decoded before: if they still can't be, it is known at once
            batches.sort(key=lambda batch: not any(self.known[i].damaged for i in batch))
            mine = {image for batch in batches for image in batch}
            self.damaged = {
                image: known.damaged
                for image, known in self.known.items()
                if known.damaged and image not in mine
            }
        self.watch.begin(question.doing, sum(map(len, self.batches)), sum(map(len, batches)))
        for loaded in self._loaded(batches):
            lines = self._batch(question, loaded)
            if lines:
                writer.add(lines)
            for line in lines:
                self.known[line.image].take(line)
            self._refuse_many_damaged()
            self.watch.advance(len(loaded), sum(line.seconds for line in lines))

    def _loaded(self, batches: list[list[str]]) -> Iterator[list[tuple[str, Image | str]]]:
        """Every batch: path, and the image or why it is none."""
        loader: DataLoader = DataLoader(
            _Pictures(self.root),
            batch_sampler=batches,
            num_workers=self.options.workers,
            collate_fn=list,
        )
        yield from loader

    def _batch(self, question: Question, loaded: Sequence[tuple[str, Image | str]]) -> list[Line]:
        """The lines of a batch; what was said of a damaged image before is not said again."""
        pairs: dict[str, list[Pair]] = {}
        lines = []
        for path, image in loaded:
            if not isinstance(image, str):
                pairs[path] = question.pairs(image, self.known[path])
                continue
            if not isinstance(question, Parts):
                raise DataError(f"{self.root / path} can not be decoded any more ({image}).")
            self.damaged[path] = image
            if self.known[path].damaged != image:
                lines.append(self._line(path, damaged=image))
        if pairs and self.expert is None:
            self.expert = self.open_expert()
        began = time.monotonic()
        try:
            found = self._replies(question, [pair for mine in pairs.values() for pair in mine])
        except ReIDError:
            raise
        except Exception as error:  # whatever a model's code raises that nobody has foreseen
            raise self._failed(list(pairs), error) from error
        replies = iter(found)
        each = (time.monotonic() - began) / max(len(pairs), 1)
        for path, mine in pairs.items():
            line = self._line(path, seconds=each)
            lines.append(question.line(line, mine, [next(replies) for _ in mine]))
        return lines

    def _line(self, path: str, damaged: str | None = None, seconds: float = 0.0) -> Line:
        content = self.contents[path]
        return Line(image=path, content=content, damaged=damaged, seconds=round(seconds, 4))

    def _replies(self, question: Question, pairs: list[Pair]) -> list[Answer | Verdict]:
        """One for every pair; asked in parts where memory is short, from then on."""
        replies: list[Answer | Verdict] = []
        before = self.at_most
        while len(replies) < len(pairs):
            size = min(self.at_most or len(pairs), len(pairs))
            some = pairs[len(replies) : len(replies) + size]
            found = self._attempt(question, some)
            if found is not None:
                replies += found
                continue
            if len(some) == 1:
                raise ReIDError(
                    f"Out of memory with one image and one phrase at a time, by {self.head.expert} "
                    f"on {self.head.device}. A smaller --model, --precision bf16 or a device with "
                    "more memory may help. What was answered is kept."
                )
            self.at_most = len(some) // 2
        if self.at_most != before:
            self.watch.say(
                f"Out of memory with {before or len(pairs)} questions at a time (an image and a "
                f"phrase each); it goes on with {self.at_most}."
            )
        return replies

    def _attempt(self, question: Question, pairs: list[Pair]) -> Sequence[Answer | Verdict] | None:
        """None where memory was short."""
        assert self.expert is not None
        try:
            with torch.inference_mode():
                replies = question.ask(self.expert, pairs)
        except Exception as error:
            if not is_shortage(error):
                raise
        else:
            if len(replies) != len(pairs):
                raise ReIDError(
                    f"{self.head.expert} gave {len(replies)} answers to {len(pairs)} questions."
                )
            return replies
        # outside of the handler, which would hold on to every tensor
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return None

    def _failed(self, images: Sequence[str], error: Exception) -> ReIDError:
        more = f" and {len(images) - 1} more" if len(images) > 1 else ""
        what = (str(error).strip().splitlines() or [""])[0][:300]
        return ReIDError(
            f"{self.head.expert} failed when it was asked about {self.root / images[0]}{more}: "
            f"{type(error).__name__}: {what}\nWhat was answered is kept, and the same command "
            "goes on from there. --batch-size 1 tells which image it is, if it is one."
        )

    def _refuse_many_damaged(self) -> None:
        most = max(1, len(self.contents) // DAMAGED)
        if len(self.damaged) <= most:
            return
        named = "".join(f"\n  {path}: {why}" for path, why in list(self.damaged.items())[:SHOWN])
        more = len(self.damaged) - SHOWN
        raise DataError(
            f"{len(self.damaged)} images of {self.key} can not be used, of "
            f"{len(self.contents)}; at most {most} are left out:{named}"
            + (f"\n  and {more} more" if more > 0 else "")
            + "\nReplace them from the data set's archive (`harness check --data DIR` lists every "
            "file that does not decode) and start the same command again; answers are kept."
        )


class _Pictures(Dataset):
    """Image files by their paths: (path, image in RGB, or why it can't be decoded)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, path: str) -> tuple[str, Image | str]:
        try:
            image = decode(self.root / path)
        except DataError as error:
            return path, f"{error.__cause__ or error}".replace(f"{self.root}/", "")
        if max(image.size) > LONGEST * min(image.size):
            return path, "{} x {} pixels show nobody".format(*image.size)
        return path, image
