"""How fast image files become tensors and features. Run by hand:

    python tests/benchmarks/bench_images.py decoders [--images DIR]
    python tests/benchmarks/bench_images.py workers [--images DIR] [--method clip-zero-shot]

`decoders`: Pillow, torchvision, OpenCV and simplejpeg, each with one thread: images per second of
the processor, decoding alone and with our evaluation transform behind it; how far their pixels are
from Pillow's, and how far those of their own resizing. What is not installed is left out.
`workers`: images per second of the clock with 0, 1 and 2 loader workers, decoded and transformed,
and encoded by a method of the tiny preset in float32 and bfloat16; nothing else should be running.
On a busy machine go by the milliseconds of the processor, all processes together.

Without --images, stand-ins enlarged to 256 x 128 and saved as JPEGs of quality 90.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage

from harness.augment import RESAMPLING, Move, moved, normalised
from harness.config import make_config
from harness.data import ImageFiles, image_batches, in_order
from harness.decoding import decode
from harness.extract import BATCH_SIZE, Extractor
from methods import registry
from methods.interface import SourceInfo, Transform
from protocols import standin
from protocols.variants import Reading

HALF = (0.5, 0.5, 0.5)
SIZE, RESIZED = (256, 128), (224, 100)
"""Height and width: of the images and the transform; of what is resized: no simple ratio."""
ROUNDS = 5
OURS = "ours"

Decoder = Callable[[Path], np.ndarray]
Resize = Callable[[np.ndarray, str], np.ndarray]


def pillow(path: Path) -> np.ndarray:
    """Decoded by Pillow alone."""
    with PillowImage.open(path) as image:
        return np.array(image)


def pillow_resize(pixels: np.ndarray, how: str) -> np.ndarray:
    """Resized by Pillow, as our transform does it."""
    return np.asarray(PillowImage.fromarray(pixels).resize(RESIZED[::-1], RESAMPLING[how]))


def libraries() -> dict[str, tuple[Decoder, Resize | None]]:
    """Decoder and resizing of every library that is installed, Pillow first."""
    found: dict[str, tuple[Decoder, Resize | None]] = {"Pillow": (pillow, pillow_resize)}
    with suppress(ImportError):
        from torchvision import io
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2.functional import resize

        def torchvision(path: Path) -> np.ndarray:
            pixels = io.decode_jpeg(io.read_file(str(path)), io.ImageReadMode.RGB)
            return pixels.permute(1, 2, 0).numpy()

        def torchvision_resize(pixels: np.ndarray, how: str) -> np.ndarray:
            first = torch.from_numpy(pixels).permute(2, 0, 1)
            resized = resize(first, list(RESIZED), InterpolationMode(how), antialias=True)
            return resized.permute(1, 2, 0).numpy()

        found["torchvision"] = (torchvision, torchvision_resize)
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
        filters = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}

        def opencv(path: Path) -> np.ndarray:
            return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)

        def opencv_resize(pixels: np.ndarray, how: str) -> np.ndarray:
            return cv2.resize(pixels, RESIZED[::-1], interpolation=filters[how])

        found["OpenCV"] = (opencv, opencv_resize)
    with suppress(ImportError):
        import simplejpeg

        found["simplejpeg"] = (lambda path: simplejpeg.decode_jpeg(path.read_bytes()), None)
    for name in {"torchvision", "OpenCV", "simplejpeg"} - set(found):
        print(f"{name} is not installed and left out.")
    return found


def per_second(
    calls: Mapping[str, Callable[[Path], object]], paths: Sequence[Path]
) -> dict[str, float]:
    """Images per second of the processor for each call: they take turns, and the best counts."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begun = time.process_time()
            for path in paths:
                call(path)
            best[name] = min(best[name], time.process_time() - begun)
    return {name: len(paths) / seconds for name, seconds in best.items()}


def unlike(one: Iterable[np.ndarray], other: Iterable[np.ndarray]) -> str:
    """How far pixels are from each other, in words."""
    apart = [np.abs(a.astype(int) - b) for a, b in zip(one, other, strict=True)]
    most, mean = max(a.max() for a in apart), np.mean([a.mean() for a in apart])
    return f"differs by {mean:.3f} of 255, {most} at most" if most else "equal to Pillow's"


def decoders(paths: Sequence[Path]) -> None:
    """Compare the libraries, decoding and resizing."""
    transform = Transform(SIZE, HALF, HALF, "bicubic")

    def whole(image: PillowImage.Image) -> torch.Tensor:
        return normalised(transform, torch.from_numpy(moved(transform, image, Move())))

    def pillow_alone(path: Path) -> torch.Tensor:
        with PillowImage.open(path) as image:
            return whole(image)

    found = libraries()
    truth = {path: pillow(path) for path in paths}
    alone = per_second({name: read for name, (read, _) in found.items()}, paths)
    behind: dict[str, Callable[[Path], object]] = {
        name: lambda path, read=read: whole(PillowImage.fromarray(read(path)))
        for name, (read, _) in found.items()
    }
    both = per_second({**behind, "Pillow": pillow_alone, OURS: lambda p: whole(decode(p))}, paths)
    for name, (read, _) in found.items():
        print(
            f"{name:12} decodes {alone[name]:6.0f} a second, with the transform {both[name]:6.0f}; "
            f"{unlike(map(read, paths), truth.values())}"
        )
    print(f"{OURS:12} with the transform {both[OURS]:6.0f}")
    for how in RESAMPLING:
        resizes = {
            name: lambda path, resize=resize, how=how: resize(truth[path], how)
            for name, (_, resize) in found.items()
            if resize
        }
        expected = list(map(resizes["Pillow"], paths))
        for name, pace in per_second(resizes, paths).items():
            said = unlike(map(resizes[name], paths), expected)
            print(f"{name:12} resizes ({how}) {pace:6.0f} a second; {said}")


def workers(root: Path, paths: Sequence[Path], name: str) -> None:
    """Images a second of the clock by the number of loader workers."""
    names = [path.relative_to(root).as_posix() for path in paths]
    kind = registry.load(name)
    method = kind(make_config(name, kind, "tiny", {}), SourceInfo(8, ("A", "B")))
    cpu = torch.device("cpu")

    def read(transform: Transform, count: int) -> None:
        for _ in image_batches(
            ImageFiles(root, names, transform), in_order(len(names), BATCH_SIZE), count
        ):
            pass

    for count in (0, 1, 2):
        jobs = {
            "256 x 128": lambda count=count: read(Transform(SIZE, HALF, HALF, "bicubic"), count),
            f"{name}, float32": lambda count=count: Extractor(method, root, cpu, count)(names),
            f"{name}, bfloat16": lambda count=count: Extractor(method, root, cpu, count)(
                names, how=Reading(bf16=True)
            ),
        }
        for what, job in jobs.items():
            clock, processor = time.perf_counter(), seconds_of_processor()
            job()
            pace = len(names) / (time.perf_counter() - clock)
            each = 1000 * (seconds_of_processor() - processor) / len(names)
            print(
                f"{count} workers, {what}: {pace:6.0f} images a second, "
                f"{each:.2f} ms of the processor each"
            )


def seconds_of_processor() -> float:
    """What this process has used and the workers that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def write_images(folder: Path) -> None:
    """Stand-ins as JPEGs of 256 x 128 pixels."""
    found = sorted(standin.data_root(keys=("MA",)).rglob("*.jpg"))
    for i, path in enumerate(found):
        enlarged = decode(path).resize(SIZE[::-1], PillowImage.Resampling.BICUBIC)
        enlarged.save(folder / f"{i:05d}.jpg", quality=90)


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("decoders", "workers"))
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="images at most")
    parser.add_argument("--method", default="clip-zero-shot")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DeprecationWarning)  # torchvision's decoders will be removed
    with tempfile.TemporaryDirectory() as temporary:
        root = chosen.images or Path(temporary)
        if not chosen.images:
            write_images(root)
        paths = sorted(root.rglob("*.jpg"))[: chosen.count]
        print(f"{len(paths)} images")
        if chosen.what == "decoders":
            decoders(paths)
        else:
            workers(root, paths, chosen.method)


if __name__ == "__main__":
    main()
