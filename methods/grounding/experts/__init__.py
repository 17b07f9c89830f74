"""The expert models that can be asked where parts are, by name; nothing heavy is imported here.

    open_expert("florence-2", device="cuda", dtype=torch.bfloat16, wording=Wording())

Any of them is fetched from the Hugging Face hub, or read from a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from methods.grounding.expert import Expert, Wording
from protocols.errors import ReIDError, UnknownName

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Pace:
    """What a source measured: seconds an image at batch 1, GB of GPU memory."""

    seconds: float
    gigabytes: float
    source: str


@dataclass(frozen=True)
class ExpertKind:
    """Who an expert is.

    model: its default name on the hub. families: what its config.json may call itself
    (`model_type`, or one of `architectures`). remote_code: its code is not in transformers, but
    lies beside its weights. pace: None where no source says. code: "module:class".
    """

    name: str
    title: str
    model: str
    summary: str
    licence: str
    families: tuple[str, ...]
    code: str
    remote_code: bool = False
    pace: Pace | None = None


EXPERTS = {
    kind.name: kind
    for kind in (
        ExpertKind(
            name="cogvlm",
            title="CogVLM grounding generalist",
            model="THUDM/cogvlm-grounding-generalist-hf",
            summary="17 B parameters; the paper's (v1.1, commit f3440bb2344c and later)",
            licence="CogVLM Model License",
            families=("CogVLMForCausalLM",),
            code="cogvlm:CogVLM",
            remote_code=True,
            pace=Pace(7.2436, 34.3, "MUVA, table 13"),
        ),
        ExpertKind(
            name="grounding-dino",
            title="Grounding DINO base",
            model="IDEA-Research/grounding-dino-base",
            summary="a detector told by phrases what to find; boxes with scores",
            licence="Apache-2.0",
            families=("grounding-dino",),
            code="grounding_dino:GroundingDino",
        ),
        ExpertKind(
            name="florence-2",
            title="Florence-2 large",
            model="florence-community/Florence-2-large",
            summary="0.77 B parameters; as converted for transformers (microsoft/Florence-2-* "
            "needs code of its own)",
            licence="MIT",
            families=("florence2",),
            code="florence2:Florence2",
        ),
        ExpertKind(
            name="qwen-vl",
            title="Qwen2.5-VL 7B",
            model="Qwen/Qwen2.5-VL-7B-Instruct",
            summary="a general vision-language model that gives boxes as text; also Qwen2-VL "
            "and Qwen3-VL",
            licence="Apache-2.0",
            families=("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"),
            code="qwen_vl:QwenVL",
        ),
    )
}


def open_expert(
    name: str,
    model: str | None = None,
    revision: str | None = None,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    wording: Wording,
    trust_remote_code: bool = False,
) -> Expert:
    """The expert `name`, loaded and ready to be asked.

    model: a hub name or a folder; its default on the hub if None. revision: a branch, tag or
    commit of the hub; of a folder the digest it must have. Raises UnknownName, and ReIDError
    where the model can not be had, is another kind of model or is incomplete, and where its own
    code would have to be run and nobody allowed that.
    """
    if name not in EXPERTS:
        raise UnknownName("expert", name, EXPERTS)
    kind = EXPERTS[name]
    try:
        from methods.grounding.experts.loading import find

        found = find(
            name,
            model or kind.model,
            revision,
            families=kind.families,
            needs_code=kind.remote_code,
            trust_remote_code=trust_remote_code,
        )
        module, _, expert = kind.code.partition(":")
        opener = getattr(import_module(f"{__name__}.{module}"), expert)
        opened = opener(found, device=device, dtype=dtype, wording=wording)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("transformers", "huggingface_hub"):
            raise
        raise ReIDError(
            f"--expert {name} needs the package {error.name}, which is not installed. "
            "`pip install transformers` brings it."
        ) from error
    assert isinstance(opened, Expert)
    return opened
