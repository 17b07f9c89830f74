"""MUVA's config: the paper's settings, one switch for every ablation, and the fidelity table.

Fidelity (where the paper and the released code differ; each key also settable alone):

    key                 paper         released
    i2t_similarity      cosine        dot         both sides normalised in Eq. 4, or the text only
    label_smoothing     0             0.1         of L_id (Eq. 2 is plain)
    dice                per-patch     soft        Eq. 8's ratio per patch, or soft dice per mask
    rmp_weight_decay    1e-4          0           of the mask predictors
    local_positions     shared        separate    with CLS, or copied from it and then trained
    stage1_batches      identities    pk          each identity once an epoch, or P x K images
    attention_padding   local-rows    full        Pad(A) of Eq. 7, or the table in `gating`
    bn_momentum         0.1           0.19        the released code runs the BN neck twice a step
                                                  on one batch: one update of 1 - 0.9 * 0.9

The paper does not say how images are resized in training; `train_interpolation` is the released
code's in both. CUHK03-NP is the detected one. Calibration, stripes and the vision-only and
global-only rows are described in the paper and missing from the released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from methods.interface import PARTS
from methods.parts.identity import IdentityConfig

PartName = Literal["head", "upper", "legs"]


class MuvaConfig(IdentityConfig):
    """MUVA's settings. Defaults: section 4.2 of the paper and the released code.

    The first group holds the switches of tables 5-12 (random_crop_erase is inherited), the second
    those of the fidelity table; a key of the second that is None follows `fidelity`. Read those
    through `chosen`.
    """

    differences: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **IdentityConfig.differences,
        "i2t_similarity": {"paper": "cosine", "released": "dot"},
        "dice": {"paper": "per-patch", "released": "soft"},
        "rmp_weight_decay": {"paper": 1e-4, "released": 0.0},
        "local_positions": {"paper": "shared", "released": "separate"},
        "stage1_batches": {"paper": "identities", "released": "pk"},
        "attention_padding": {"paper": "local-rows", "released": "full"},
    }

    parts: tuple[PartName, ...] = Field(
        default=("head", "upper", "legs"), description="table 5; empty: global only"
    )
    language: bool = Field(default=True, description="table 6; off: no stage 1, no L_i2tce")
    prompt: Literal["original", "part-agnostic", "domain-specific"] = Field(
        default="original", description="table 7"
    )
    partition: Literal["am-msa", "stripes"] = Field(default="am-msa", description="table 8")
    calibration: bool = Field(
        default=True, description="table 9; of boxes from an expert or a file"
    )
    rmp_layer_norm: bool = Field(default=True, description="table 10")
    rmp_residual: bool = Field(default=True, description="table 10; around the cross-attention")
    rmp_heads: int | None = Field(
        default=None, ge=1, description="table 12; None: 8 for MS and several sources, else 2"
    )
    part_labels: str | None = Field(
        default=None, description="file of part labels; None: those that belong to the data"
    )

    i2t_similarity: Literal["dot", "cosine"] | None = None
    dice: Literal["soft", "per-patch"] | None = None
    rmp_weight_decay: float | None = Field(default=None, ge=0)
    local_positions: Literal["separate", "shared"] | None = None
    stage1_batches: Literal["pk", "identities"] | None = None
    attention_padding: Literal["full", "local-rows"] | None = None

    stage1_epochs: int = Field(default=120, ge=1)
    stage1_lr: float = Field(default=3.5e-4, gt=0)
    stage1_warmup_epochs: int = Field(default=5, ge=0)
    stage1_warmup_lr: float = Field(default=1e-5, ge=0)
    stage1_min_lr: float = Field(default=1e-6, ge=0)
    stage1_temperature: float = Field(default=1.0, gt=0, description="Eq. 1 has none")
    prompt_tokens: int = Field(default=4, ge=1, description="N, learnable vectors a template")

    rmp_lr_scale: float = Field(default=10.0, gt=0)
    rmp_init_std: float = Field(
        default=0.02, gt=0, description="of the truncated normal the RMP's weights are drawn from"
    )
    i2t_smoothing: float = Field(default=0.1, ge=0, lt=1, description="q_c of Eq. 4")
    mask_threshold: float = Field(default=0.5, gt=0, lt=1, description="t of Eq. 6")
    train_interpolation: Literal["bicubic", "bilinear"] = "bicubic"

    @field_validator("parts", mode="before")
    @classmethod
    def _comma_list(cls, value: Any) -> Any:
        """`head,upper` as typed; always in the order of PARTS, each once."""
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple) and all(part in PARTS for part in value):
            return tuple(part for part in PARTS if part in value)
        return value

    @model_validator(mode="after")
    def _nothing_in_vain(self) -> MuvaConfig:
        """A switch that another makes meaningless would train the same model under another name."""
        if not self.language and self.prompt != "original":
            raise ValueError(f"prompt={self.prompt} does nothing with language=off: leave one out")
        if not self.predicts_masks():
            why = "partition=stripes" if self.parts else "parts="
            for key in ("rmp_heads", "rmp_layer_norm", "rmp_residual", "part_labels"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} does nothing with {why}, where no mask is predicted")
        return self

    def predicts_masks(self) -> bool:
        """Whether there are mask predictors at all: some part, and no fixed stripes."""
        return bool(self.parts) and self.partition == "am-msa"

    def heads_for(self, domains: tuple[str, ...]) -> int:
        """Heads of the RMP's cross-attention for these sources (section 4.2)."""
        if self.rmp_heads is not None:
            return self.rmp_heads
        return 8 if len(domains) > 1 or "MS" in domains else 2
