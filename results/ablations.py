"""The rows of the MUVA paper's tables 5-12, as settings of `muva`; literal data.

Every row differs from the full model in its `overrides` alone; a row without any is the full model,
in whichever table it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A row: its `name` as `published/ablations.csv` has it, its `label` as it is printed.

    `cells` stand in the table's further columns; `overrides` are config keys of `muva`.
    """

    name: str
    label: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ablation:
    """A table: `columns` are the headers of label and further cells; `notes` say what rows mean."""

    number: int
    title: str
    columns: tuple[str, ...]
    variants: tuple[Variant, ...]
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """As it is asked for."""
        return f"table{self.number}"

    @property
    def varied(self) -> set[str]:
        """The config keys in which its rows differ."""
        return {key for variant in self.variants for key in variant.overrides}


def _muva(name: str, *cells: str, **overrides: Any) -> Variant:
    return Variant(name, f"MUVA ({name})", overrides, cells)


def _grains(name: str, *parts: str) -> Variant:
    marks = tuple("✓" if part in parts else "" for part in ("head", "upper", "legs"))
    # all three are the full model
    overrides = {} if len(parts) == 3 else {"parts": list(parts)}
    return Variant(name, f"MUVA ({name})", overrides, ("✓", *marks))


def _modality(language: bool, grains: str, **overrides: Any) -> Variant:
    kind = "vision-language" if language else "vision-only"
    off = {} if language else {"language": False}
    cells = (grains.capitalize(),)
    return Variant(f"{kind}, {grains}", f"MUVA ({kind})", {**off, **overrides}, cells)


ABLATIONS = {
    one.key: one
    for one in (
        Ablation(
            5,
            "Table 5. Granularities",
            ("Model", "G", "H", "U", "L"),
            (
                _grains("w/ G"),
                _grains("w/ G+H", "head"),
                _grains("w/ G+U", "upper"),
                _grains("w/ G+L", "legs"),
                _grains("w/ G+H+U", "head", "upper"),
                _grains("w/ G+H+L", "head", "legs"),
                _grains("w/ G+U+L", "upper", "legs"),
                _grains("w/ G+H+U+L", "head", "upper", "legs"),
            ),
            ("G: global, H: head, U: upper body, L: legs (parts=...).",),
        ),
        Ablation(
            6,
            "Table 6. Language",
            ("Model", "Granularity"),
            (
                _modality(False, "single-grained", parts=[]),
                _modality(True, "single-grained", parts=[]),
                _modality(False, "multi-grained"),
                _modality(True, "multi-grained"),
            ),
            (
                "Vision-only: language=off, neither stage 1 nor a loss that looks at text. "
                "Single-grained: parts=, the global token alone. All four rows are muva, so that "
                "they share every other setting; the method vision-only, which has the losses of "
                "the first, has a preset of its own.",
            ),
        ),
        Ablation(
            7,
            "Table 7. Prompts",
            ("Model",),
            (
                _muva("w/ PAP", prompt="part-agnostic"),
                _muva("w/ DSP", prompt="domain-specific"),
                _muva("original"),
            ),
            (
                "PAP: prompts that name neither part nor person. DSP: prompts that end in the "
                "style of the data set; the paper does not say in which words, so they are this "
                "project's (methods/muva/prompts.py).",
            ),
        ),
        Ablation(
            8,
            "Table 8. Partition",
            ("Model",),
            (_muva("stripe-like", partition="stripes"), _muva("AM-MSA")),
        ),
        Ablation(
            9,
            "Table 9. Calibration of part labels",
            ("Model",),
            (_muva("w/o calibration", calibration=False), _muva("w/ calibration")),
        ),
        Ablation(
            10,
            "Table 10. Inside the RMP",
            ("Model", "LN", "RC"),
            (
                _muva("RMP w/o LN+RC", "", "", rmp_layer_norm=False, rmp_residual=False),
                _muva("RMP w/ LN", "✓", "", rmp_residual=False),
                _muva("RMP w/ RC", "", "✓", rmp_layer_norm=False),
                _muva("RMP w/ LN+RC", "✓", "✓"),
            ),
            (
                "LN: layer norms (rmp_layer_norm), RC: the residual around the cross-attention "
                "(rmp_residual).",
            ),
        ),
        Ablation(
            11,
            "Table 11. Random cropping and erasing",
            ("Model",),
            (_muva("w/ RCRE", random_crop_erase=True), _muva("w/o RCRE")),
            ("RCRE: padded by 10, cropped and erased at random; part masks move with the crop.",),
        ),
        Ablation(
            12,
            "Table 12. Heads of the RMP",
            ("Number of heads",),
            tuple(Variant(str(n), str(n), {"rmp_heads": n}) for n in (1, 2, 4, 8, 16)),
        ),
    )
}
"""Key, as it is asked for -> table."""
