"""MUVA's speed against the plain forms: `python tests/benchmarks/bench_muva.py --help`.

What is compared, and how: README.md in this folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from methods.interface import Batch, SourceInfo, Stage, TrainBatch
from methods.muva.config import MuvaConfig
from methods.muva.method import Muva
from methods.muva.stages import EncoderStage, PromptStage
from methods.parts.clip import image_encoder, load_clip

IDENTITIES, COPIES, CONTEXT = 751, 4, 77
Work = Callable[[], object]


@dataclass
class Noise:
    """`SourceData` of one batch of noise, P identities x 4 images."""

    size: int

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        people = torch.randperm(IDENTITIES, generator=generator)[: max(1, self.size // COPIES)]
        self.labels = people.repeat_interleave(COPIES)[: self.size]
        self.images = torch.randn(self.size, 3, 256, 128, generator=generator)
        self.masks = torch.rand(self.size, 3, 16, 8, generator=generator) > 0.6
        self.domains = torch.zeros_like(self.labels)
        self.num_classes, self.device = IDENTITIES, torch.device("cpu")

    def __len__(self) -> int:
        return self.size

    def batch(self) -> TrainBatch:
        rows = torch.arange(self.size)
        none = self.domains
        return TrainBatch(self.images, self.labels, none, none, rows, self.masks)

    def in_order(self, batch_size: int = 128) -> Iterator[TrainBatch]:
        yield self.batch()

    def summed(self, values: Tensor) -> Tensor:
        return values


def losses_of(stage: Stage, batch: TrainBatch) -> dict[str, Tensor]:
    return stage.losses(stage.forward(batch), batch.known())


def muva(**changes: object) -> Muva:
    torch.manual_seed(0)
    return Muva(MuvaConfig(weights="random", **changes), SourceInfo(IDENTITIES, ("MA",)))


def unit_rows(width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(IDENTITIES, width, generator=generator), dim=1)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


# ----------------------------------------------------------------------------- what is timed


def prompt_steps(size: int) -> tuple[Work, Work]:
    """A step of stage 1: as it is, and from whole sentences for every image."""
    method, data = muva(), Noise(size)
    stage, batch = PromptStage(method.train()), data.batch()
    stage.memory = unit_rows(method.encoder.output_dim, 1)
    optimizer, text = stage.optimizer(), method.text
    assert text is not None
    # what comes after a sentence's end does not matter to its feature; it only costs time
    grains, length, width = text.fixed.shape[1:]
    whole = torch.zeros(grains, CONTEXT, width)
    whole[:, :length] = text.fixed[0]
    ends = text.ends[0].repeat(size)
    places = slice(text.start, text.start + text.prompts.shape[2])

    def plain_loss() -> Tensor:
        tokens = whole.repeat(size, 1, 1, 1)
        tokens[:, :, places] = text.prompts[batch.labels]
        features = text.encoder(tokens.flatten(0, 1), ends).view(size, -1)
        return cross_entropy(normalize(features, dim=1) @ stage.memory.T, batch.labels)

    with torch.no_grad():
        ours = losses_of(stage, batch)["cmp"]
        assert torch.allclose(ours, plain_loss(), rtol=1e-4), "the two sides differ"
    return lambda: step(optimizer, losses_of(stage, batch)["cmp"]), lambda: step(
        optimizer, plain_loss()
    )


def plain_encoder() -> torch.nn.Module:
    """open_clip's image encoder with 129 tokens."""
    config = MuvaConfig(weights="random")
    return image_encoder(load_clip(config), config.image_size).eval()


def inference(size: int) -> tuple[Work, Work]:
    """`encode`, and open_clip's forward pass."""
    method, plain, images = muva().eval(), plain_encoder(), Noise(size).images

    @torch.inference_mode()
    def ours() -> Tensor:
        return method.encode(Batch(images))["features"]

    return ours, torch.inference_mode()(lambda: plain(images))


def encoder_steps(size: int) -> tuple[Work, Work]:
    """A step of stage 2 with parts and masks, and of the same method with `parts=`."""

    def side(**changes: object) -> Work:
        method, data = muva(**changes).train(), Noise(size)
        stage, batch = EncoderStage(method), data.batch()
        stage.memory = unit_rows(method.encoder.output_dim, 2)
        stage.text_memory = unit_rows(method.encoder.output_dim, 3)
        optimizer = stage.optimizer()

        def work() -> None:
            step(optimizer, torch.stack(list(losses_of(stage, batch).values())).sum())
            stage.after_step(batch)

        return work

    return side(), side(parts=())


def memory_passes(size: int) -> tuple[Work, Work]:
    """VPM-2 from a batch of images with their masks, and open_clip's forward pass over them."""
    stage, data, plain = EncoderStage(muva()), Noise(size), plain_encoder()
    return lambda: stage.begin_epoch(1, data), torch.inference_mode()(lambda: plain(data.images))


# ------------------------------------------------------------------------------ how it is timed


def seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name: str, ours: Work, plain: Work, repeats: int, inverse: bool, wanted: str) -> None:
    """Print medians over `repeats` interleaved pairs, and the ratio; each side warms up once."""
    ours(), plain()
    pairs = []
    for i in range(repeats):
        if i % 2:  # who goes first takes turns, too
            p, o = seconds(plain), seconds(ours)
        else:
            o, p = seconds(ours), seconds(plain)
        pairs.append((o, p))
    ratios = [p / o if inverse else o / p for o, p in pairs]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{name:<16} {mine:8.3f} s  plain {other:8.3f} s  "
        f"{'plain/ours' if inverse else 'ours/plain'} {statistics.median(ratios):6.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}, {repeats} pairs)  wanted {wanted}",
        flush=True,
    )


def status(key: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def peak_of_step(side: int, size: int) -> float:
    """MB that one step of stage 1 needs above the model; for a process of its own."""
    prompt_steps(COPIES)[0]()  # libraries' own buffers
    work = prompt_steps(size)
    work[0]()  # the optimiser's moments
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    work[side]()
    return status("VmHWM") - before


def compare_peaks(size: int) -> None:
    """Print the peak memory of both sides of stage 1."""
    if not Path("/proc/self/clear_refs").exists():
        print("stage 1 memory: measured on Linux only")
        return
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    peaks = []
    for side in ("0", "1"):
        command = [sys.executable, __file__, "--peak", side, "--batch", str(size)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peaks.append(json.loads(done.stdout.splitlines()[-1]))
    ours, plain = peaks
    print(
        f"stage 1 memory   {ours:8.0f} MB plain {plain:8.0f} MB  "
        f"ours/plain {ours / plain:6.3f}  wanted at most 0.1",
        flush=True,
    )


def machine() -> str:
    """CPU and versions, for the line above the numbers."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    libraries = ", ".join(f"{n} {version(n)}" for n in ("torch", "open_clip_torch"))
    return f"{cpu}; Python {platform.python_version()}, {libraries}; float32, 1 thread"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("stage1", "infer", "stage2", "memory"):
        parser.add_argument(f"--{name}", action="store_true", help="only what is named")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved pairs")
    parser.add_argument("--batch", type=int, default=64, help="images a batch, a multiple of 4")
    parser.add_argument("--peak", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch < COPIES or options.batch % COPIES:
        parser.error(f"--batch {options.batch}: expected a multiple of {COPIES}")
    torch.set_num_threads(1)
    if options.peak is not None:
        print(json.dumps(peak_of_step(options.peak, options.batch)))
        return
    named = [n for n in ("stage1", "infer", "stage2", "memory") if getattr(options, n)]
    size, repeats = options.batch, options.repeats
    print(f"{machine()}\nbatch {size}, ViT-B-16, 256 x 128", flush=True)
    if not named or "stage1" in named:
        compare("stage 1 step", *prompt_steps(size), repeats, True, "at least 15")
        compare_peaks(size)
    if not named or "infer" in named:
        compare("inference", *inference(size), repeats, False, "at most 1.10")
    if not named or "stage2" in named:
        compare("stage 2 step", *encoder_steps(size), repeats, False, "at most 1.3")
    if not named or "memory" in named:
        compare("memory rebuild", *memory_passes(size), repeats, False, "at most 1.0")


if __name__ == "__main__":
    main()
