"""The pictures that were drawn of runs, in the page or beside it; figures as addresses."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from results import overview
from results.entries import Entry
from results.figures import save
from results.page.data import Picture

FOLDER = "figures"
"""Where pictures lie, in the folder of a run and beside a page that is too small for them."""
MOST_INSIDE = 8_000_000
"""Bytes of pictures that stand in the page itself; of more, none does."""
MEDIA = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Pictures:
    """Those of each run; `copies` are files that must lie beside the page, by their path there."""

    of: dict[str, list[Picture]] = field(default_factory=dict)
    copies: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def pictures(folders: Iterable[Path]) -> Pictures:
    """The pictures in the `figures/` of some runs' folders; a damaged one is named and left out.

    One that is there as PNG and as SVG is shown once, as PNG: most hold photographs.
    """
    found = Pictures()
    whole: list[Path] = []
    for folder in sorted(folders):
        for path in sorted((folder / FOLDER).glob("*")):
            if path.suffix in MEDIA and path.is_file():
                problem = _problem(path)
                if problem:
                    found.problems.append(problem)
                elif not whole or whole[-1] != path.with_suffix(".png"):
                    whole.append(path)
    inside = sum(path.stat().st_size for path in whole) <= MOST_INSIDE
    for path in whole:
        run_id = path.parent.parent.name
        place = f"{FOLDER}/{run_id}/{path.name}"
        if not inside:
            found.copies[place] = path
        source = address(path.read_bytes(), path.suffix) if inside else quote(place)
        found.of.setdefault(run_id, []).append(Picture(path.stem, source))
    return found


def address(content: bytes, suffix: str) -> str:
    """A picture as an address that holds it."""
    return f"data:{MEDIA[suffix]};base64,{b64encode(content).decode()}"


def drawn(
    kinds: Iterable[str],
    entries: Sequence[Entry],
    protocols: Sequence[str] | None = None,
    left_out: list[str] | None = None,
) -> list[tuple[str, str]]:
    """The figures of some kinds (`results.overview.KINDS`) as (title, address).

    Of one that can't be drawn of what there is, the reason is added to `left_out`.
    """
    return [
        (title, address(save(figure, "svg"), ".svg"))
        for kind in kinds
        for _, title, figure in overview.drawn(kind, entries, protocols, left_out)
    ]


def _problem(path: Path) -> str:
    """What is wrong with a file that should be a picture, in words; or nothing."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path} can't be read ({error.strerror}); it is left out."
    if path.suffix == ".png":
        whole = content.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in content[-12:]
    else:
        whole = b"<svg" in content and content.rstrip().endswith(b"</svg>")
    return "" if whole else f"{path} is not a whole picture; it is left out."
