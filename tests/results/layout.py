"""Whether a figure can be read: what it has for texts, and where they lie.

tests/conftest.py has put this folder where tests can import from it.
"""

from __future__ import annotations

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Text

from results.figures import save

STRANGE = (
    "my.package.module.with_a_long_name:ReallyLongMethodClass_v2_of_60",
    r"$\alpha$_net {a} \textbf{b} & 50% #1",
    "m\u00e9thode-\u00e9t\u00e9 \u0394\u03a9_\u0436",
    "muva (epochs=1, image_size=[48,24], rmp_heads=16, stage1_epochs=1)",
    "\u65e5\u672c-net",
)
"""Names as nobody would choose them: long, of LaTeX, of other scripts, of many settings."""
PLAIN = ("bot-resnet50", "bot-vit", "clip-reid", "colour-histogram", "muva", "vision-only", "pat")
TWELVE = STRANGE + PLAIN


def texts(figure: Figure) -> list[Text]:
    """Every text that is drawn."""
    found = [*figure.texts]
    for legend in figure.legends:
        found += legend.get_texts()
    for axes in figure.axes:
        found += [*axes.texts, axes.title]
        if not axes.axison:
            continue
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [axis.label, *(tick.label1 for tick in ticks if tick.label1.get_visible())]
    return [text for text in found if text.get_text()]


def words(figure: Figure) -> str:
    """All that is written, without the breaks of lines."""
    return " ".join(text.get_text() for text in texts(figure)).replace("\n", " ")


def require_readable(figure: Figure) -> None:
    """No text is smaller than 6 points, outside the figure, or on another text."""
    save(figure)  # lays it out
    width, height = figure.bbox.width, figure.bbox.height
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    assert all(text.get_fontsize() >= 6 for text in texts(figure))
    for text, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1, f"{text} leaves the figure"
        assert box.x1 <= width + 1 and box.y1 <= height + 1, f"{text} leaves the figure"
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        # an extent is a little larger than the letters
        apart = a.x1 < b.x0 + 3 or b.x1 < a.x0 + 3 or a.y1 < b.y0 + 3 or b.y1 < a.y0 + 3
        assert apart, f"{one!r} lies on {other!r}"
