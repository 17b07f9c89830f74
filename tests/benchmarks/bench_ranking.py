"""The ranking engine against the bare product it uses: `python tests/benchmarks/bench_ranking.py`.

What is compared, and how: README.md in this folder.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from bench_muva import machine, status

from harness.ranking import Ranking, rank, rank_features

CAMERAS = 15
Labels = dict[str, np.ndarray]


def made_up(rows: int, width: int, pids: np.ndarray, noise: float, seed: int, into=None):
    """Features around a centre a person, [rows, width] float32 (or `into`), made in parts."""
    out = np.empty((rows, width), np.float32) if into is None else into
    people, start = int(pids.max()) + 1, 0
    common = np.random.default_rng(1).standard_normal(width, np.float32)  # all are people
    while start < rows:
        stop = min(start + 8192, rows)
        part = noise * np.random.default_rng([seed, start]).standard_normal(
            (stop - start, width), np.float32
        )
        centres = np.random.default_rng(2).standard_normal((people, 64), np.float32)
        spread = np.random.default_rng(3).standard_normal((64, width), np.float32) / 8
        out[start:stop] = part + centres[pids[start:stop]] @ spread + common
        start = stop
    return out


def problem(queries: int, items: int, people: int) -> Labels:
    """Labels of MSMT17's kind: every person in several cameras."""
    draw = np.random.default_rng(0)
    return {
        "query_pids": draw.integers(1, people + 1, queries),
        "query_camids": draw.integers(0, CAMERAS, queries),
        "gallery_pids": draw.integers(1, people + 1, items),
        "gallery_camids": draw.integers(0, CAMERAS, items),
    }


def timed(work: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds on the clock, seconds of the processor, and what came of it."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - clock, time.process_time() - processor, result


def bare_product(query: np.ndarray, gallery: np.ndarray) -> None:
    """Every product the engine makes, of factors made beforehand, and nothing else."""
    from harness.cosine import Features
    from harness.counting import QUERY_ROWS, Product, tile_rows

    product, tile = Product(torch.device("cpu")), tile_rows(Features("gallery", gallery))
    starts = range(0, len(query), QUERY_ROWS)
    blocks = [product.factor(query[at : at + QUERY_ROWS]) for at in starts]
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(number) as pool:
            for start in range(0, len(gallery), tile):
                factor = product.factor(gallery[start : start + tile])
                list(pool.map(lambda block, factor=factor: product(block, factor), blocks))
    finally:
        torch.set_num_threads(number)


class Own:
    """The peak of this process's own (anonymous) memory in MB above where it began."""

    def __enter__(self) -> Own:
        self.before = self.peak = status("RssAnon")
        self.done = threading.Event()
        self.watch = threading.Thread(target=self._look)
        self.watch.start()
        return self

    def _look(self) -> None:
        while not self.done.wait(0.02):
            self.peak = max(self.peak, status("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.watch.join()

    @property
    def above(self) -> float:
        return self.peak - self.before


def told(name: str, ranking: Ranking) -> None:
    print(f"{name}: mAP {ranking.mAP:.6f}, Rank-1 {ranking.rank1:.6f}, mINP {ranking.mINP:.6f}")


def in_memory(queries: int, items: int, width: int, noise: float, repeats: int) -> None:
    """Product and total in turns, and the memory above the features."""
    labels = problem(queries, items, max(2, items // 27))
    query = made_up(queries, width, labels["query_pids"], noise, 4)
    gallery = made_up(items, width, labels["gallery_pids"], noise, 5)
    with Own() as own:
        *_, ranking = timed(lambda: rank_features(query, gallery, **labels))
    print(f"memory above the features, compiled code included: {own.above:.0f} MB, wanted 220")
    took: dict[str, list[tuple[float, float]]] = {"product": [], "total": []}
    for _ in range(repeats):
        for name, work in (
            ("product", lambda: bare_product(query, gallery)),
            ("total", lambda: rank_features(query, gallery, **labels)),
        ):
            clock, cpu, _ = timed(work)
            took[name].append((clock, cpu))
            print(f"  {name} {clock:.2f} s, {cpu:.2f} s of CPU", flush=True)
    (clock, cpu), (whole, cpu_whole) = (np.min(v, axis=0) for v in took.values())
    print(f"product {clock:.2f} s, total {whole:.2f} s: ratio {whole / clock:.3f}, wanted 1.10")
    print(f"of CPU: {cpu:.2f} s, {cpu_whole:.2f} s: ratio {cpu_whole / cpu:.3f}")
    told("features", ranking)


def shared_scores(queries: int, items: int) -> None:
    """Largest difference from a reference that sorts, on the same float32 scores."""
    labels = problem(queries, items, max(2, items // 27))
    pids = labels["query_pids"][:, None] == labels["gallery_pids"]
    scores = torch.randn(*pids.shape, generator=torch.Generator().manual_seed(0))
    scores += 2 * torch.from_numpy(pids)
    ranking = rank(lambda start, stop: scores[start:stop], **labels)
    worst = np.zeros(3)
    means = np.zeros(3)
    for q, row in enumerate(scores.numpy()):
        kept = ~(pids[q] & (labels["gallery_camids"] == labels["query_camids"][q]))
        hits = pids[q][kept][np.argsort(-row[kept], kind="stable")]
        if not hits.any():
            continue
        ranks = np.flatnonzero(hits) + 1
        ap, inp = (np.arange(1, len(ranks) + 1) / ranks).mean(), len(ranks) / ranks[-1]
        want, got = (ap, ranks[0], inp), (ranking.ap[q], ranking.first_hit[q], ranking.inp[q])
        worst = np.maximum(worst, np.abs(np.subtract(want, got)))
        means += (ap, ranks[0] == 1, inp)
    off = np.abs(means / ranking.valid_queries - (ranking.mAP, ranking.rank1, ranking.mINP))
    print(f"{queries} x {items} shared scores: largest difference of a query {worst.max():.1e},")
    print(f"of mAP, Rank-1 and mINP {off.max():.1e}, wanted 1e-12")


def on_disk(
    queries: int, items: int, width: int, noise: float, folder: Path | None, dtype: str
) -> None:
    """A memory-mapped gallery: time, and this process's own memory."""
    labels = problem(queries, items, max(2, items // 100))
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "gallery"
        gallery = np.memmap(path, dtype=dtype, mode="w+", shape=(items, width))
        made_up(items, width, labels["gallery_pids"], noise, 5, into=gallery)
        gallery.flush()
        del gallery
        gallery = np.memmap(path, dtype=dtype, mode="r", shape=(items, width))
        query = made_up(queries, width, labels["query_pids"], noise, 4)
        with Own() as own:
            clock, cpu, ranking = timed(lambda: rank_features(query, gallery, **labels))
        print(f"{queries} x {items} x {width}, {dtype} on disk: {clock:.1f} s, {cpu:.1f} s of CPU")
        print(f"own memory above the queries' features: {own.above:.0f} MB, wanted 512")
        told("features", ranking)


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", nargs="?", default="all", choices=("all", "memory", "scores", "disk")
    )
    parser.add_argument("--queries", type=int, help="default: 11,659, on disk 10,000")
    parser.add_argument("--gallery", type=int, help="default: 82,161, on disk 1,000,000")
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--noise", type=float, default=2.5, help="larger: harder, slower to decide")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of product and total")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the gallery on disk is made")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16"))
    at = parser.parse_args()
    torch.set_num_threads(at.threads)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba"))
    print(f"{machine().rsplit(',', 1)[0]}, {libraries}; {at.threads} threads", flush=True)
    if at.what in ("all", "memory"):
        in_memory(at.queries or 11_659, at.gallery or 82_161, at.width, at.noise, at.repeats)
    if at.what in ("all", "scores"):
        shared_scores((at.queries or 11_659) // 8, at.gallery or 82_161)
    if at.what in ("all", "disk"):
        Q, G = at.queries or 10_000, at.gallery or 1_000_000
        on_disk(Q, G, at.width, at.noise, at.folder, at.dtype)


if __name__ == "__main__":
    main()
