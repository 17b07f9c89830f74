"""Searches for settings, by the objective on held-out source identities and nothing else.

A search asks for trials in rounds. What it asks for depends on its seed and on the results it has
been told, never on how many runs are computed at a time; so the same command, after a kill, asks
for the same trials, finds the finished ones in their records and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from harness.record import RunFolder
from harness.space import Choices, Setting, Space, draws
from harness.stopping import EarlyStopping, Stopped, read_stopped
from protocols import registry as protocols
from protocols.datasets import CARDS
from protocols.errors import ReIDError, UnknownName

if TYPE_CHECKING:
    import optuna

Kind = Literal["grid", "random", "optuna"]
KINDS: tuple[str, ...] = get_args(Kind)
OBJECTIVES = {"source-mAP": "mAP", "source-rank1": "rank1"}
"""What a search may maximise: its name -> the metric on held-out source identities."""
ROUND = 4
"""Trials that optuna is asked for at once; fixed, so that no number depends on who computes."""
ATTEMPTS = 200
"""Proposals in a row that are refused or known already, before a space counts as used up."""

_TARGET_WORDS = {"target", "test", "oracle", "query", "gallery"}
_REASON = (
    "A search may look at held-out identities of its sources only: a method whose settings were "
    "chosen on a target is no domain generalisation."
)


def require_objective(text: str, own_keys: Iterable[str] = ()) -> str:
    """The metric of an objective. Raises ReIDError, with the reason, for one that is a target's."""
    if text in OBJECTIVES:
        return OBJECTIVES[text]
    allowed = " or ".join(OBJECTIVES)
    words = {text.lower(), *re.split(r"[^\w]+|_", text.lower())}
    known = {key.lower() for key in (*CARDS, *own_keys, *protocols.groups())} | _TARGET_WORDS
    if words & known or re.search("->|\N{RIGHTWARDS ARROW}|[:@]", text):
        raise ReIDError(f"--objective {text}: this looks at a target. {_REASON} Take {allowed}.")
    raise UnknownName("--objective", text, OBJECTIVES, _REASON)


@dataclass(frozen=True)
class Result:
    """What became of a trial, over its folds and seeds: means in 0..1, none where some are missing.

    `stopped` is the first epoch after which one of its runs was given up, with `objective` as it
    was then.
    """

    objective: float | None = None
    metrics: dict[str, float] | None = None
    stopped: int | None = None


@dataclass(frozen=True)
class Trial:
    """One setting that was computed; `number` counts from 1, in the order of proposal."""

    number: int
    setting: Setting
    result: Result


def result_of(
    out: Path, run_ids: Sequence[str], metric: str, rule: EarlyStopping | None = None
) -> Result:
    """A trial's result from the records of its runs; without objective if one has none."""
    found: list[dict[str, Any]] = []
    stops: list[Stopped] = []
    for run_id in run_ids:
        folder = RunFolder(out, run_id)
        try:
            record = folder.read_run()
        except ReIDError:
            record = None  # the run itself has said so
        if record is not None and record.validation is not None:
            found.append(record.validation)
        elif stopped := read_stopped(folder.stopped, rule):
            stops.append(stopped)
    if len(found) == len(run_ids):
        metrics = {name: fmean(one[name] for one in found) for name in OBJECTIVES.values()}
        return Result(metrics[metric], metrics)
    if stops:
        return Result(fmean(s.objective for s in stops), None, min(s.epoch for s in stops))
    return Result()


Accept = Callable[[Setting], bool]
"""Whether a setting makes a config, and one that was not proposed before; remembers it."""


class Search(Protocol):
    """Proposes settings in rounds: `ask`, compute them, `tell`; an empty round is the end."""

    def ask(self) -> list[Setting]:
        """The next settings to be computed."""
        ...

    def tell(self, results: Sequence[Result]) -> None:
        """What became of them, in their order."""
        ...


class RandomSearch:
    """All settings drawn up front, independent of each other; more trials keep the first ones."""

    def __init__(self, space: Space, trials: int, seed: int, accept: Accept) -> None:
        self.left = list(_take(draws(space, seed), trials, accept))

    def ask(self) -> list[Setting]:
        """Everything, once."""
        settings, self.left = self.left, []
        return settings

    def tell(self, results: Sequence[Result]) -> None:
        """Nothing depends on it."""


def _take(settings: Iterator[Setting], count: int, accept: Accept) -> Iterator[Setting]:
    misses = 0
    while count > 0 and misses < ATTEMPTS:
        setting = next(settings)
        if accept(setting):
            count, misses = count - 1, 0
            yield setting
        else:
            misses += 1


class OptunaSearch:
    """Optuna's TPE sampler, in rounds of `ROUND`; nothing of it is stored, it is told again."""

    def __init__(self, space: Space, trials: int, seed: int, accept: Accept) -> None:
        self.space, self.left, self.accept = space, trials, accept
        self.optuna = _optuna()
        sampler = self.optuna.samplers.TPESampler(seed=seed)
        self.study = self.optuna.create_study(direction="maximize", sampler=sampler)
        self.asked: list[optuna.Trial] = []

    def ask(self) -> list[Setting]:
        """The next round, or what is left of the trials."""
        self.asked = []
        settings = list(_take(self._proposals(), min(ROUND, self.left), self._accept))
        self.left = self.left - len(settings) if settings else 0
        return settings

    def _proposals(self) -> Iterator[Setting]:
        spread = {key: self._distribution(axis) for key, axis in self.space.items()}
        while True:
            self.asked.append(self.study.ask(spread))
            params = self.asked[-1].params
            yield {
                key: axis.values[params[key]] if isinstance(axis, Choices) else params[key]
                for key, axis in self.space.items()
            }

    def _accept(self, setting: Setting) -> bool:
        accepted = self.accept(setting)
        if not accepted:
            self.study.tell(self.asked.pop(), state=self.optuna.trial.TrialState.FAIL)
        return accepted

    def _distribution(self, axis: Any) -> optuna.distributions.BaseDistribution:
        kinds = self.optuna.distributions
        if isinstance(axis, Choices):
            return kinds.CategoricalDistribution(range(len(axis.values)))
        if axis.whole:
            return kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        return kinds.FloatDistribution(axis.low, axis.high, log=axis.log)

    def tell(self, results: Sequence[Result]) -> None:
        """What became of the last round."""
        states = self.optuna.trial.TrialState
        for trial, result in zip(self.asked, results, strict=True):
            if result.objective is None:
                self.study.tell(trial, state=states.FAIL)
            elif result.stopped is not None:
                trial.report(result.objective, result.stopped)
                self.study.tell(trial, state=states.PRUNED)
            else:
                self.study.tell(trial, result.objective)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ReIDError(
            f"--search optuna: optuna can't be imported ({error}). pip install optuna, or take "
            "--search random."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def make_search(kind: str, space: Space, trials: int, seed: int, accept: Accept) -> Search:
    """A search of that kind, random or optuna. Raises UnknownName for another."""
    if kind == "random":
        return RandomSearch(space, trials, seed, accept)
    if kind == "optuna":
        return OptunaSearch(space, trials, seed, accept)
    raise UnknownName("--search", kind, KINDS)
