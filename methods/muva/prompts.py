"""Multi-grained prompts (section 3.1.1): learnable vectors for each grain of each identity.

    global  "A photo of a [X]x4 person"          upper  "A photo of a [U]x4 upper body of a person"
    head    "A photo of a [H]x4 head of a person"  legs  "A photo of a [L]x4 legs of a person"

Shape letters: U identities, G grains (global and the parts), E joint space, V domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import normalize

from methods.parts.prompts import LearnedTexts

if TYPE_CHECKING:
    from open_clip.model import CLIP

ENDINGS = {
    "global": "person",
    "head": "head of a person",
    "upper": "upper body of a person",
    "legs": "legs of a person",
}
STYLES = {
    "MA": "bright outdoor campus in low resolution",
    "D": "outdoor campus in winter in clear resolution",
    "MS": "indoor and outdoor campus in changing light",
    "C3": "indoor corridor in artificial light in low resolution",
    "C3-labeled": "indoor corridor in artificial light in low resolution",
    "C2": "outdoor campus in low resolution",
    "CS": "street and film in clear resolution",
}
"""The look of a data set, for table 7's domain-specific prompts; the paper gives no words.

A source without a line here, one's own for example, gets `OTHER_STYLE`.
"""
OTHER_STYLE = "surveillance camera"
INIT_STD = 0.002


def endings(grains: Sequence[str], prompt: str, domains: Sequence[str]) -> list[list[str]]:
    """What follows the learnable vectors, by domain and grain: V lists of G texts.

    `prompt` is one of table 7: `original`; `part-agnostic` names neither part nor person;
    `domain-specific` appends the style of the data set. Only the last depends on the domain.
    """
    if prompt == "part-agnostic":
        return [["" for _ in grains]]
    plain = [ENDINGS[grain] for grain in grains]
    if prompt == "domain-specific":
        styles = [STYLES.get(domain, OTHER_STYLE) for domain in domains] or [OTHER_STYLE]
        return [[f"{text}, {style}" for text in plain] for style in styles]
    return [plain]


class PromptedText(LearnedTexts):
    """One text per identity and grain, whose learnable vectors are all that trains in stage 1."""

    def __init__(
        self, clip: CLIP, num_classes: int, texts: Sequence[Sequence[str]], vectors: int = 4
    ) -> None:
        super().__init__(clip, num_classes, texts, vectors, INIT_STD)

    def forward(self, labels: Tensor) -> Tensor:
        """labels: [U] identities. Returns t: [U, G E], L2-normalised as a whole (not per grain)."""
        return normalize(super().forward(labels).flatten(1), dim=1)
