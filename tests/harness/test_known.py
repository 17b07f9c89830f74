"""What commands know of methods besides records, and how entries are picked by name."""

import subprocess
import sys

import pytest
from records import write_run

from harness.commands import presets
from harness.commands.known import pick, protocols_of, read_entries
from harness.config import make_config
from methods import registry
from protocols.errors import ReIDError, UnknownName

TINY = {
    name: presets.preset_configs(name, registry.load(name))["tiny"] for name in registry.BUILT_IN
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def test_entries_know_their_methods(tmp_path):
    out = tmp_path / "runs"
    write_run(out, "vision-only", config=TINY["vision-only"])
    write_run(out, "colour-histogram", config=TINY["colour-histogram"])
    write_run(out, "muva", config={**TINY["muva"], "parts": ["head"]})
    write_run(out, "not.installed:Method", config={"lr": 1})
    write_run(out, "muva", config=TINY["muva"], preset="of another version")
    found = read_entries(out)
    assert [entry.name for entry in found.entries] == [
        "colour-histogram", "vision-only", "muva (preset=of another vers)",
        "muva (parts=[head])", "not.installed:Method",
    ]  # fmt: skip
    assert [e.known and e.known.type for e in found.entries] == [
        "Floor", "Vision-only", "VLM-based", "VLM-based", None,
    ]  # fmt: skip
    (problem,) = found.problems
    assert problem.startswith("not.installed:Method is not a method that is registered here")


def test_an_empty_folder_and_none_are_told(tmp_path):
    with pytest.raises(ReIDError, match="There is no folder"):
        read_entries(tmp_path / "nothing")
    with pytest.raises(ReIDError, match="holds no finished run"):
        read_entries(tmp_path)


def test_protocols_of_data_sets_that_records_name(tmp_path):
    write_run(tmp_path, sources=("Mine",), targets=("D",))
    found = read_entries(tmp_path).entries
    names = [protocol.name for protocol in protocols_of(found, "Mine->D, MA->D")]
    assert names == ["Mine->D", "MA->D"]
    with pytest.raises(UnknownName, match="Yours"):
        protocols_of(found, "Yours->D")


def test_a_comma_list_of_names_with_commas_in_them(tmp_path):
    write_run(tmp_path, "muva", config=TINY["muva"])
    write_run(tmp_path, "muva", config={**TINY["muva"], "parts": ["head", "legs"], "epochs": 1})
    write_run(tmp_path, "vision-only", config=TINY["vision-only"])
    found = read_entries(tmp_path).entries
    names = "vision-only,muva (epochs=1, parts=[head,legs]) , muva,vision-only"
    assert [entry.name for entry in pick(found, names)] == [
        "vision-only", "muva (epochs=1, parts=[head,legs])", "muva",
    ]  # fmt: skip
    with pytest.raises(UnknownName, match="vision-only"):
        pick(found, "muva,vision-onyl")
    with pytest.raises(ReIDError, match="names no method"):
        pick(found, " , ")


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_presets_config_is_as_records_have_it(name):
    for preset, config in presets.built_in_presets(name).items():
        made = make_config(name, registry.load(name), preset, {}).model_dump(mode="json")
        assert config == made | ({"part_labels": None} if "part_labels" in made else {})


def test_presets_are_remembered_until_a_file_of_the_methods_changes(monkeypatch, tmp_path):
    first = presets.built_in_presets("muva")
    monkeypatch.setattr(registry, "load", None)
    assert presets.built_in_presets("muva") == first
    monkeypatch.setattr(presets, "_state", lambda: "another")
    with pytest.raises(TypeError):
        presets.built_in_presets("muva")


@pytest.mark.parametrize("content", ["{", ""])
def test_what_is_remembered_may_be_damaged_or_not_writable(content, monkeypatch, tmp_path):
    first = presets.built_in_presets("bot-vit")
    (kept,) = (tmp_path / "cache" / "presets").iterdir()
    kept.write_text(content)
    assert presets.built_in_presets("bot-vit") == first
    monkeypatch.setenv("HARNESS_CACHE", str(kept / "no folder"))
    assert presets.built_in_presets("bot-vit") == first


def test_a_table_is_read_without_loading_torch():
    code = "import sys, harness.commands.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
