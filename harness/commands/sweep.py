"""`harness sweep`: a grid of settings tested as an ablation, or a search that sees no target."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from harness.commands import sweep_tables as tables
from harness.commands.launching import Launching, RunRequest
from harness.commands.sweep_files import Made
from harness.commands.sweep_settings import Accept, find_methods
from harness.config import parse_overrides
from harness.pending import is_finished
from harness.plan import PlannedRun
from harness.ray_engine import kept_session
from harness.screen import many, say
from harness.search import KINDS, Result, Trial, make_search, require_objective, result_of
from harness.space import Setting, as_override, grid, make_space, parse_space
from harness.stopping import EarlyStopping
from harness.tracking import EXPERIMENT, safe
from protocols.errors import ReIDError, UnknownName

TRIALS, HOLDOUT, OBJECTIVE, GRACE = 20, 0.2, "source-mAP", 3


@dataclass(frozen=True)
class SweepRequest:
    """The options of `harness sweep`, as typed; None for one that was not given."""

    run: RunRequest
    axes: tuple[str, ...]
    kind: str = "grid"
    trials: int | None = None
    seed: int | None = None
    holdout: float | None = None
    objective: str | None = None
    asha: bool = False
    grace: int | None = None


def sweep_command(request: SweepRequest, console: Console) -> int:
    """Do what is asked; returns the exit status: 0, or 1 if a run failed."""
    sweep = _Sweep(request, console)
    if request.kind == "grid":
        return sweep.grid()
    with kept_session():  # a search launches round after round
        return sweep.search()


class _Sweep(Launching):
    """One call of the command: what is asked for, and what has been computed."""

    def __init__(self, request: SweepRequest, console: Console) -> None:
        super().__init__(request.run, console)
        if request.kind not in KINDS:
            raise UnknownName("--search", request.kind, KINDS)
        self.request = request
        self.texts = parse_space(request.axes)
        self.names = find_methods(self.run.methods, self.texts)
        overrides = parse_overrides(self.run.overrides)
        self.accepts = [Accept(name, self.preset, overrides) for name in self.names]
        self.spaces = [
            make_space(self.texts, a.name, a.method, self.preset, overrides) for a in self.accepts
        ]

    def grid(self) -> int:
        """Every setting, tested on the targets."""
        _refuse_options_of_a_search(self.request)
        accepted = [
            (accept, [setting for setting in grid(space) if accept(setting)])
            for accept, space in zip(self.accepts, self.spaces, strict=True)
        ]
        choices = [accept.choice(setting) for accept, found in accepted for setting in found]
        said = [text for accept in self.accepts for text in accept.left_out]
        if not choices:
            raise ReIDError("\n".join(["No setting of the grid is left.", *said]))
        for text in said:
            self.say(text)
        self.open()
        planned = self.plan(choices)
        if self.run.dry_run:
            return self.forecast(planned)
        made = Made(self, planned, "sweep", self.names)
        self.compute(planned)
        problems = tables.show_grid(self, planned, list(self.texts), said, made)
        made.close()
        return self.close(problems)

    def search(self) -> int:
        """Settings that are chosen on held-out source identities; no target is opened."""
        self.open()
        aim = _aim(self.request, self.names, self.catalog.own_keys)
        self.settings = replace(self.settings, early_stopping=aim.rule)
        (accept,), (space,) = self.accepts, self.spaces
        search = make_search(aim.kind, space, aim.trials, aim.seed, accept)
        trials: list[Trial] = []
        planned: list[PlannedRun] = []
        while settings := search.ask():
            found = self.plan([accept.choice(setting) for setting in settings], aim.holdout)
            through = len(trials) + len(settings)
            if not self.run.dry_run:
                self.say(f"Trials {len(trials) + 1} to {through} of {aim.trials}.")
                self.round(aim, found, planned)
            elif self.run.force or not all(map(self.is_finished, found)):
                self.forecast([*planned, *found])
                if through < aim.trials and aim.kind != "random":
                    self.say(f"What is tried after trial {through} depends on what these reach.")
                return 0
            results = self.results(aim, found, len(settings))
            search.tell(results)
            for setting, result in zip(settings, results, strict=True):
                trials.append(Trial(len(trials) + 1, setting, result))
            planned += found
        if not trials:
            raise ReIDError("\n".join(["No setting of the space is left.", *accept.left_out[:1]]))
        if self.run.dry_run:
            return self.forecast(planned)
        self.mirror.sync([one.spec.id for one in planned])
        said = [*aim.said(), _counted(len(trials), aim.trials, len(set(accept.left_out)))]
        self.say("")
        tables.show_search(self, trials, planned, aim.metric, said)
        best = tables.ranked(trials)[0]
        if best.result.metrics:
            self.say("The best, trained on every source identity and tested on the targets:")
            self.say(f"  {self.run_command(best.setting)}")
        return self.close()

    def is_finished(self, one: PlannedRun) -> bool:
        """Whether nothing is left to do of a run, and be it that it was given up."""
        return is_finished(one, self.catalog, self.run.out, self.settings.early_stopping)

    def round(self, aim: _Aim, planned: Sequence[PlannedRun], before: Sequence[PlannedRun]) -> None:
        """Compute the runs of some settings; `before` are those of earlier ones."""
        run = self.run
        axes = " ".join(f"{key}={text}" for key, text in self.texts.items())
        what = (self.names, self.preset, str(run.data), run.seeds, run.precision, run.overrides)
        # more trials of a search are the same search
        text = f"{axes} {what} {replace(aim, trials=0)}"
        self.remember(planned, "sweep", self.names, text)
        self.compute(planned, before)

    def results(self, aim: _Aim, planned: Sequence[PlannedRun], settings: int) -> list[Result]:
        """What became of some `settings`, of which each has as many of the runs."""
        ids = [one.spec.id for one in planned]
        runs = len(ids) // settings
        trials = [ids[i : i + runs] for i in range(0, len(ids), runs)]
        return [result_of(self.run.out, mine, aim.metric, aim.rule) for mine in trials]

    def say(self, text: str) -> None:
        """A line that can be copied whole."""
        say(self.console, text)

    def run_command(self, setting: Setting) -> str:
        """What trains and tests a setting."""
        run = self.run
        given = [
            ("--data", run.data),
            ("--preset", run.preset),
            ("--seeds", ",".join(map(str, run.seeds))),
            ("--out", run.out),
            ("--precision", run.precision),
            ("--tracking", safe(run.tracking) if run.tracking else None),
            ("--experiment", None if run.experiment == EXPERIMENT else run.experiment),
        ]
        words = ["harness", "run", "--method", self.names[0], "--protocol", run.protocol]
        words += [str(word) for name, value in given if value is not None for word in (name, value)]
        values = [*run.overrides, *(as_override(key, value) for key, value in setting.items())]
        return shlex.join([*words, *(word for text in values for word in ("--set", text))])


@dataclass(frozen=True)
class _Aim:
    """What a search looks for, and how."""

    kind: str
    trials: int
    seed: int
    holdout: float
    objective: str
    metric: str
    rule: EarlyStopping | None

    def said(self) -> list[str]:
        """For a reader of the table."""
        share = f"{100 * self.holdout:g} % of each source's identities"
        stopping = "; what fell behind was given up (ASHA)" if self.rule else ""
        return [
            f"Objective: {self.objective} on {share}, held out of training; mean over sources, "
            "folds and seeds. No target was looked at.",
            f"--search {self.kind}, seed {self.seed}{stopping}.",
        ]


def _aim(request: SweepRequest, names: Sequence[str], own_keys: Iterable[str]) -> _Aim:
    """The options of a search. Raises ReIDError for those that make no sense."""
    if len(names) > 1:
        raise ReIDError(f"--search {request.kind} takes one method, not {', '.join(names)}.")
    if request.grace is not None and not request.asha:
        raise ReIDError("--grace says when --asha may give up a run; give both.")
    if request.asha and request.run.how.workers == 0:
        raise ReIDError(
            "--asha gives up runs that fall behind those beside them, and --workers 0 computes one "
            "after the other; leave one of them out."
        )
    objective = OBJECTIVE if request.objective is None else request.objective
    metric = require_objective(objective, own_keys)
    grace = GRACE if request.grace is None else request.grace
    return _Aim(
        kind=request.kind,
        trials=TRIALS if request.trials is None else request.trials,
        seed=request.seed or 0,
        holdout=HOLDOUT if request.holdout is None else request.holdout,
        objective=objective,
        metric=metric,
        rule=EarlyStopping(metric, grace) if request.asha else None,
    )


def _counted(tried: int, wanted: int, refused: int) -> str:
    """How many trials there were, and why not more."""
    passed = f"; {many(refused, 'setting')} that made no config passed over" if refused else ""
    short = "" if tried == wanted else f" of {wanted}: no further setting was found"
    return f"{many(tried, 'trial')}{short}{passed}."


def _refuse_options_of_a_search(request: SweepRequest) -> None:
    options = {
        "--trials": request.trials,
        "--search-seed": request.seed,
        "--holdout": request.holdout,
        "--objective": request.objective,
        "--grace": request.grace,
        "--asha": request.asha or None,
    }
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ReIDError(
            f"{', '.join(given)}: for --search random or optuna. A grid computes every setting and "
            "tests it on the targets, as an ablation; nothing is chosen."
        )
