"""Features of some images as points of the plane, near each other if the model finds them alike.

Shape letters: N images, D feature size.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.evaluate import score_of
from harness.seeds import derive, generator
from methods.interface import Method
from protocols.errors import ReIDError, UnknownName
from protocols.types import DISTRACTOR_PID, JUNK_PID, Image

METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
OF_A_PERSON = 12
"""Images of one person at most, so that a map holds more than a few people."""
PERPLEXITY, NEIGHBOURS, LEAST = 30, 15, 5
"""Of t-SNE and of UMAP, where there are images enough; a map of fewer than the last is none."""


def require_method(name: str) -> None:
    """Raise UnknownName for a method that is none, ReIDError for one that is not installed."""
    if name not in METHODS:
        raise UnknownName("--method", name, METHODS)
    if name == "umap" and find_spec("umap") is None:
        raise ReIDError(
            "--method umap: umap-learn is not installed. `pip install umap-learn` installs it; "
            "--method tsne needs nothing more."
        )


def sample(splits: Sequence[Sequence[Image]], count: int, seed: int) -> list[list[Image]]:
    """`count` images of some splits together, as evenly as they have them; each sorted by path.

    People are drawn, and as many images of each as a map shows. Junk and distractors are nobody.
    """
    drawn = [_people(split, generator(seed, "map", i)) for i, split in enumerate(splits)]
    shares, left = [0] * len(drawn), count
    for n, i in enumerate(sorted(range(len(drawn)), key=lambda i: len(drawn[i]))):
        shares[i] = min(len(drawn[i]), left // (len(drawn) - n))
        left -= shares[i]
    return [sorted(images[:share]) for images, share in zip(drawn, shares, strict=True)]


def _people(split: Sequence[Image], rng: np.random.Generator) -> list[Image]:
    """Images of one person after the other, people and their images in random order."""
    of: dict[int, list[Image]] = {}
    for image in sorted({image.path: image for image in split}.values()):
        of.setdefault(image.pid, []).append(image)
    pids = sorted(of.keys() - {JUNK_PID, DISTRACTOR_PID})
    people = [of[pids[i]] for i in rng.permutation(len(pids))]
    return [images[i] for images in people for i in rng.permutation(len(images))[:OF_A_PERSON]]


def place(
    method: Method, encoded: Mapping[str, Tensor], how: str, seed: int
) -> tuple[np.ndarray, str]:
    """What `encode` returned of N images as points [N, 2] float64, and in words how.

    Alike is what the method's score says: for the cosine, features at unit length; for a score of
    its own, its distance from the highest. The same input gives the same points on one machine.
    Raises ReIDError for fewer than 5 images, and where all are the same to the method.
    """
    require_method(how)
    N = len(next(iter(encoded.values())))
    if N < LEAST:
        raise ReIDError(f"{N} images are too few for a map; it takes {LEAST}.")
    own = type(method).score is not Method.score
    rows = _distances(method, encoded) if own else _unit(encoded["features"])
    if not np.ptp(rows, axis=0).any() if not own else not rows.any():
        raise ReIDError(f"All {N} images have the same features: there is nothing to map.")
    draw = _tsne if how == "tsne" else _umap
    points, words = draw(rows, own, derive(seed, "map") % 2**31)
    return points.astype(np.float64), words + ("; distances of the method's own score" * own)


def _unit(features: Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features.float(), dim=-1).numpy()


def _distances(method: Method, encoded: Mapping[str, Tensor]) -> np.ndarray:
    """[N, N], symmetric, 0 on the diagonal."""
    everything = dict(encoded)
    N = len(next(iter(everything.values())))
    scores = score_of(method, everything, everything)(0, N).double().numpy()
    distances = scores.max() - (scores + scores.T) / 2
    np.fill_diagonal(distances, 0.0)
    return distances


def _tsne(rows: np.ndarray, own: bool, seed: int) -> tuple[np.ndarray, str]:
    """van der Maaten and Hinton, JMLR 2008; begun at the principal components."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    kind: dict[str, Any] = {"metric": "precomputed", "init": "random"} if own else {"init": "pca"}
    # several threads add up in an order of their own
    with threadpool_limits(1):
        points = TSNE(perplexity=perplexity, random_state=seed, **kind).fit_transform(rows)
    return points, f"t-SNE, perplexity {perplexity:.3g}"


def _umap(rows: np.ndarray, own: bool, seed: int) -> tuple[np.ndarray, str]:
    """McInnes, Healy and Melville, 2018."""
    from umap import UMAP

    neighbours = min(NEIGHBOURS, len(rows) - 1)
    metric = "precomputed" if own else "cosine"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = UMAP(
            n_neighbors=neighbours, metric=metric, random_state=seed, n_jobs=1
        ).fit_transform(rows)
    return points, f"UMAP, {neighbours} neighbours"
