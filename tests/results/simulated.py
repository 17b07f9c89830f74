"""Queries of two methods drawn from a model whose true mAP and Rank-1 are known.

An image is as easy for a method as the person is, plus what the method makes of the person, plus
the luck of a training as a whole, plus noise of the query that both share, plus noise that is the
run's own. AP is the logistic function of this; a query hits at rank 1 where it is above zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from results.query_sums import QuerySums


@dataclass(frozen=True)
class World:
    """Standard deviations of what makes a query easy; `seeds` of a and b; `gain` of b over a.

    `sizes`: queries of a person are 1 .. `sizes`, each as likely; where `tied`, easy people have
    more of them. `seed_b` is the luck of b's trainings where it is not a's.
    """

    identities: int = 40
    sizes: int = 6
    tied: bool = False
    seeds: tuple[int, int] = (1, 1)
    person: float = 1.0
    taste: float = 0.5
    seed: float = 0.0
    seed_b: float | None = None
    query: float = 0.7
    own: float = 0.5
    gain: float = 0.0
    level: float = 0.0
    folds: int = 1
    targets: int = 1

    @property
    def luck_of_b(self) -> float:
        """Standard deviation of the luck of b's trainings."""
        return self.seed if self.seed_b is None else self.seed_b


def draw(world: World, generator: np.random.Generator) -> list[tuple[QuerySums, QuerySums]]:
    """What a and b answer to the same queries of new people after new trainings.

    A pair a protocol: each of the `folds` tested on each of the `targets`.
    """
    people = [_People(world, f"target {i}", generator) for i in range(world.targets)]
    luck = [
        sd * generator.standard_normal((world.folds, runs))
        for sd, runs in zip((world.seed, world.luck_of_b), world.seeds, strict=True)
    ]
    return [
        (
            one.answers("a", fold, luck[0][fold], 0.0, generator),
            one.answers("b", fold, luck[1][fold], world.gain, generator),
        )
        for one in people
        for fold in range(world.folds)
    ]


class _People:
    """The people of a target and their queries, drawn once for all that is tested on them."""

    def __init__(self, world: World, target: str, generator: np.random.Generator) -> None:
        self.world, self.target = world, target
        person = world.person * generator.standard_normal(world.identities)
        self.sizes = _sizes(world, person, generator)
        self.of = np.repeat(np.arange(world.identities), self.sizes)
        tastes = world.taste * generator.standard_normal((2, world.identities))
        shared = person[self.of] + world.query * generator.standard_normal(len(self.of))
        self.easy = dict(zip("ab", shared + tastes[:, self.of], strict=True))

    def answers(
        self, name: str, fold: int, luck: np.ndarray, gain: float, generator: np.random.Generator
    ) -> QuerySums:
        """Of one method; `luck` [R] is its trainings'."""
        own = self.world.own * generator.standard_normal((len(luck), len(self.of)))
        easy = self.world.level + gain + self.easy[name] + luck[:, None] + own
        values = np.stack([expit(easy), easy > 0])
        sums = np.add.reduceat(values, np.cumsum(self.sizes) - self.sizes, axis=2)
        return QuerySums(
            protocol=f"fold {fold}->{self.target}",
            people=self.target,
            fold=f"fold {fold}",
            runs=tuple(f"{name}{fold}{i}" for i in range(len(luck))),
            trained=True,
            digest="",
            pids=np.arange(self.world.identities),
            counts=self.sizes[:, None],
            sums=sums[..., None],
        )


def truth(world: World) -> np.ndarray:
    """[2 methods, 2 metrics]: what infinitely many people and trainings would give."""
    generator = np.random.default_rng(1)
    person = world.person * generator.standard_normal(1_000_000)
    sizes = _sizes(world, person, generator)
    noise = generator.standard_normal(len(person))
    found = []
    for gain, luck in ((0.0, world.seed), (world.gain, world.luck_of_b)):
        rest = np.sqrt(world.taste**2 + luck**2 + world.query**2 + world.own**2)
        easy = world.level + gain + person + rest * noise
        found.append([np.average(one, weights=sizes) for one in (expit(easy), easy > 0)])
    return np.array(found)


def _sizes(world: World, person: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if not world.tied:
        return generator.integers(1, world.sizes + 1, len(person))
    return 1 + np.floor(world.sizes * expit(2 * person)).astype(int)
