"""Draw the committed splits. Run once; running it again writes the same bytes.

    python -m protocols.splits.draw

VIPeR: 316 of the 632 pairs are test. PRID: 100 of the 200 people seen by both cameras.
i-LIDS: 60 of the 119 people, and of each one query and one gallery image.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from protocols.splits import FOLDER, digest

SPLITS = 10
SEED = 20110707
DRAWS = 840
"""The least common multiple of 1..8: `draw % n` is uniform for every n an i-LIDS person has."""


def contents() -> dict[str, dict[str, Any]]:
    """File name -> what is written in it."""
    viper = _random("viper")
    prid = _random("prid")
    ilids = _random("ilids")
    return {
        "viper.json": _content(
            "Test identities of VIPeR, as places (from 0) in the sorted list of the 632 "
            "identities: VIPeR's own numbers have gaps.",
            [_sample(viper, range(632), 316) for _ in range(SPLITS)],
        ),
        "prid.json": _content(
            "Test identities of PRID 2011 single-shot, of the 200 people (1-200) both cameras saw.",
            [_sample(prid, range(1, 201), 100) for _ in range(SPLITS)],
        ),
        "ilids.json": _content(
            "Test identities of QMUL i-LIDS as [place, a, b]: place (from 0) in the sorted list "
            "of the 119 identities; of its n images sorted by name, number a mod n is the query, "
            "and of the n-1 others number b mod (n-1) is the gallery image.",
            [_ilids_split(ilids) for _ in range(SPLITS)],
        ),
    }


def write(folder: Path = FOLDER) -> list[Path]:
    """Write the three files into `folder`; returns their paths."""
    paths = []
    for name, content in contents().items():
        head = {k: v for k, v in content.items() if k != "splits"}
        rows = ",\n  ".join(json.dumps(split) for split in content["splits"])
        text = json.dumps(head, indent=1)[:-2] + f',\n "splits": [\n  {rows}\n ]\n}}\n'
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="\n")
        paths.append(path)
    return paths


def _content(what: str, splits: list[Any]) -> dict[str, Any]:
    return {"what": what, "seed": SEED, "sha256": digest(splits), "splits": splits}


def _random(name: str) -> random.Random:
    return random.Random(f"{SEED}/{name}")


def _sample(rng: random.Random, population: range, count: int) -> list[int]:
    """`count` of the population, sorted.

    By sorting on random(): Python promises that random() stays the same from version to version
    for a seed, and does not promise it for sample() and shuffle().
    """
    drawn = sorted((rng.random(), item) for item in population)
    return sorted(item for _, item in drawn[:count])


def _ilids_split(rng: random.Random) -> list[list[int]]:
    places = _sample(rng, range(119), 60)
    return [[p, int(rng.random() * DRAWS), int(rng.random() * DRAWS)] for p in places]


if __name__ == "__main__":
    for written in write():
        print(written)
