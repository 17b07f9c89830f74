"""What a reader of a reproduced table must know: how it differs from the published one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.commands.launching import Launching
from harness.grounding.record import OWN, GroundRecord, ground_folder, record_file
from harness.part_labels import list_files
from harness.plan import PlannedRun
from harness.reproduce import make
from methods.grounding.calibration import Calibration
from methods.muva.config import MuvaConfig
from protocols.check import count_differences
from protocols.types import Protocol
from results.ablations import Ablation
from results.reproduction import BEST, Published

HARMLESS = ("part_labels", "fidelity", *MuvaConfig.differences)
"""Keys that leave a run comparable with published numbers; the table says what they are set to."""


def unlike(call: Launching, published: Published, given: Mapping[str, Any]) -> list[str]:
    """Why published numbers would not be comparable, in words; nothing where they are."""
    if call.catalog.kind == "stand-in":
        return ["the data are embedded stand-ins (rendered people)"]
    reported = {protocol for _, protocol in published}
    asked = [protocol for protocol in call.selected if protocol.name in reported]
    keys = dict.fromkeys(key for one in asked for key in (*one.sources, one.target))
    said = []
    for key in keys:
        dataset = call.catalog.dataset(key)
        differences = count_differences(dataset)
        if differences:
            said.append(f"{key} is not the official {dataset.card.name} ({differences[0]})")
    if call.preset != "paper":
        said.append(f"the preset is {call.preset}")
    changed = [key for key in given if key not in HARMLESS and not _is_file(key, given[key])]
    if changed:
        said.append(f"{', '.join(changed)} changed with --set")
    return said


def _is_file(key: str, value: Any) -> bool:
    """Whether CLIP's weights come from a local file, which is what says where they are."""
    return key == "weights" and Path(str(value)).expanduser().is_file()


def notes(
    call: Launching,
    ablation: Ablation,
    runs: Sequence[PlannedRun],
    given: Mapping[str, Any],
    simulated: str,
) -> list[str]:
    """What a table's rows were computed with: heads, stripes, part labels.

    `simulated` says which labels were made for this table, where some were.
    """
    said = [BEST]
    config = make(call.preset, given)
    if ablation.number == 8:
        said.append(stripes_note(config))
    if not any(run.part_masks is not None for run in runs):
        return said
    said += heads_note(ablation, config, call.selected)
    if simulated:
        said.append(simulated)
    elif call.catalog.kind == "stand-in" and "part_labels" not in given:
        said.append(
            "Part labels: the stand-ins' true boxes, where nothing is to be calibrated; the "
            "paper's are CogVLM's answers, calibrated."
        )
    else:
        said.append(_experts(call, given))
    return said


def heads_note(ablation: Ablation, config: MuvaConfig, selected: Sequence[Protocol]) -> list[str]:
    """How many heads the full model has, where it is left to the sources."""
    if config.rmp_heads is not None:
        return []
    sources = dict.fromkeys(protocol.sources for protocol in selected)
    words = ", ".join(
        f"{config.heads_for(keys)} where {'+'.join(keys)} is trained on" for keys in sources
    )
    same = "; those rows are the full model's runs" if "rmp_heads" in ablation.varied else ""
    return [f"Heads of the RMP in the full model (section 4.2): {words}{same}."]


def stripes_note(config: MuvaConfig) -> str:
    """How rows of patches that are no multiple of the parts are divided among the stripes."""
    from methods.interface import PARTS
    from methods.muva.gating import stripes
    from methods.parts.clip import patch_grid

    rows, columns = patch_grid(config)
    masks = stripes(len(PARTS), tuple(range(len(PARTS))), (rows, columns))
    bands = [band.view(rows, columns)[:, 0].nonzero().flatten().tolist() for band in masks]
    words = ", ".join(
        f"rows {band[0]}-{band[-1]}" if len(band) > 1 else f"row {band[0]}"
        for band in bands
        if band
    )
    return (
        f"Stripe-like: the {rows} rows of patches are cut into {len(PARTS)} equal bands, and a row "
        f"belongs to the one its centre is in: {words}, counted from the top. No mask is predicted."
    )


def left_out(rows: Mapping[str, Sequence[str]]) -> list[str]:
    """What `--set` does not do in some rows; label of a row -> keys."""
    by_keys: dict[tuple[str, ...], list[str]] = {}
    for label, keys in rows.items():
        if keys:
            by_keys.setdefault(tuple(keys), []).append(label)
    return [
        f"{', '.join(keys)}: not set in {', '.join(labels)}, where no mask is predicted."
        for keys, labels in by_keys.items()
    ]


def _experts(call: Launching, given: Mapping[str, Any]) -> str:
    """Who said where the parts of the sources are, as far as it was recorded."""
    named = given.get("part_labels")
    folder = ground_folder(call.run.out)
    files = list_files(str(named)) if named else sorted(folder.glob(f"*{OWN}"))
    words = []
    for key, which in _sources(call.selected):
        name = f"{key}-{call.catalog.source_fingerprint(key, which)}"
        found = dict.fromkeys(map(_expert, (file for file in files if file.name.startswith(name))))
        words.append(f"{key} by {' and '.join(found) if found else named or 'its own file'}")
    return f"Part labels: {', '.join(words)}; the paper's are CogVLM's, calibrated."


def _sources(selected: Iterable[Protocol]) -> list[tuple[str, Any]]:
    return list(dict.fromkeys((key, one.source_images) for one in selected for key in one.sources))


def _expert(labels: Path) -> str:
    path = record_file(labels)
    if not path.exists():
        return str(labels)
    record = GroundRecord.read(path)
    usual = Calibration().model_dump(mode="json")
    asked = record.options.get("calibration") or {}
    changed = [f"{key}={value}" for key, value in asked.items() if usual.get(key) != value]
    how = [*([record.model] if record.model else []), *changed]
    return f"{record.expert} ({', '.join(how)})" if how else record.expert
