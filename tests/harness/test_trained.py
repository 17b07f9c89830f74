"""Trained methods come back as they were, and what does not fit is named."""

import json
import shutil

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from harness import checkpoint
from harness.commands.run import RunRequest, run_command
from harness.config import RunSpec
from harness.record import RunFolder
from harness.trained import load, load_checkpoint, load_run, read_recipe, without_weights
from methods.interface import Batch, SourceInfo
from methods.vision_only import VisionOnly, VisionOnlyConfig
from protocols.errors import ReIDError, UnknownName


def run(out, method, overrides=()):
    """One `harness run`; its run folder."""
    before = set(out.glob("*/run.json"))
    request = RunRequest((method,), "MA+C3->D", None, None, (0,), overrides, out, False, "off",
                         None, "cpu", 0)  # fmt: skip
    assert run_command(request, Console(quiet=True)) == 0
    (made,) = set(out.glob("*/run.json")) - before
    return made.parent


@pytest.fixture(scope="module")
def out(standins, tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "runs"


@pytest.fixture(scope="module")
def trained(out):
    return run(out, "vision-only", ("epochs=1",))


@pytest.fixture(scope="module")
def untrained(out):
    return run(out, "clip-zero-shot")


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "runs" / trained.name)


def features(method, size=(96, 48)):
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return method.encode(Batch(images))["features"]


def tiny(classes=3, seed=0, **changes):
    torch.manual_seed(seed)
    config = VisionOnlyConfig(**{**VisionOnly.presets["tiny"], **changes})
    return VisionOnly(config, SourceInfo(classes, ())).eval()


def test_a_run_comes_back_whole(out, trained):
    record, method = load_run(out, trained.name)
    assert record.run_id == trained.name
    assert not method.training
    assert method.sources.domains == ("MA", "C3")
    people = {k: v["identities"] for k, v in record.source_counts.items()}
    assert method.sources.num_classes == sum(people.values())
    saved, loaded = load_file(trained / "model.safetensors"), method.state_dict()
    assert set(saved) == set(loaded)
    assert all(torch.equal(saved[k], loaded[k]) for k in saved)


def test_part_of_a_run_id_is_enough_if_no_other_begins_like_it(out, trained, untrained, tmp_path):
    assert load_run(out, trained.name[:8])[0].run_id == trained.name
    for name in ("abc1", "abc2"):
        shutil.copytree(trained, tmp_path / name)
    with pytest.raises(ReIDError, match="abc1, abc2"):
        load_run(tmp_path, "abc")
    wrong = trained.name[:-1] + ("0" if trained.name[-1] != "0" else "1")
    with pytest.raises(UnknownName, match=f"Did you mean .*{trained.name}"):
        load_run(out, wrong)
    with pytest.raises(UnknownName):
        load_run(out, "")
    with pytest.raises(ReIDError, match="no runs below"):
        load_run(tmp_path / "none", "abc")


def test_an_unfinished_and_a_damaged_run_are_told(copied):
    model = copied / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-5] ^= 1
    model.write_bytes(content)
    with pytest.raises(ReIDError, match="is not what was saved"):
        load_run(copied.parent, copied.name)
    with pytest.raises(ReIDError, match="is not what was saved"):
        load_checkpoint("vision-only", None, {}, copied)
    (copied / "run.json").unlink()
    with pytest.raises(ReIDError, match="not finished"):
        load_run(copied.parent, copied.name)
    with pytest.raises(ReIDError, match="not finished"):
        load_checkpoint("vision-only", None, {}, copied)


def test_a_run_of_another_version_is_refused(copied):
    path = copied / "run.json"
    record = json.loads(path.read_text())
    record["spec"]["method_version"] = "0"
    path.write_text(json.dumps(record))
    with pytest.raises(ReIDError, match="version 0 of vision-only"):
        load_run(copied.parent, copied.name)


def test_a_method_that_trains_nothing_has_its_initial_weights(out, untrained):
    _, method = load_run(out, untrained.name)
    shipped = load_checkpoint("clip-zero-shot", None, {}, untrained)
    assert torch.equal(features(method), features(shipped))


def test_initial_weights_known_by_hash_alone_are_told(untrained, tmp_path):
    copied = shutil.copytree(untrained, tmp_path / untrained.name)
    path = copied / "run.json"
    record = json.loads(path.read_text())
    record["spec"]["config"] |= {"backbone": "ViT-B-16", "weights": "sha256:0123"}
    record["spec"]["weights"] = ["sha256:0123"]
    path.write_text(json.dumps(record))
    with pytest.raises(ReIDError, match=r"sha256:0123.*--set weights=FILE"):
        load_run(tmp_path, untrained.name)
    record["spec"]["config"] |= {"backbone": "tiny", "weights": "shipped"}
    path.write_text(json.dumps(record))
    with pytest.raises(ReIDError, match=r"weights=shipped: here that is sha256:.* had sha256:0123"):
        load_run(tmp_path, untrained.name)


def test_every_way_to_name_a_runs_weights_gives_the_same_method(trained, tmp_path):
    run_folder = load_checkpoint("vision-only", None, {}, trained)
    by_file = load_checkpoint("vision-only", "tiny", {}, trained / "model.safetensors")
    alone = tmp_path / "mine.safetensors"
    shutil.copy(trained / "model.safetensors", alone)
    by_preset = load_checkpoint("methods.vision_only:VisionOnly", "tiny", {}, alone)
    torch_file = tmp_path / "mine.pth"
    state = load_file(alone)
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, torch_file)
    by_torch = load_checkpoint("vision-only", "tiny", {}, torch_file)
    expected = features(run_folder)
    assert not torch.equal(expected, features(tiny()))
    for method in (by_file, by_preset, by_torch):
        assert not method.training
        assert torch.equal(features(method), expected)


def test_a_runs_own_config_counts_and_set_goes_on_top(trained):
    assert read_recipe("vision-only", None, {}, trained).config.epochs == 1
    assert read_recipe("vision-only", None, {"epochs": 7}, trained).config.epochs == 7
    with pytest.raises(ReIDError, match="Give --method vision-only"):
        read_recipe("clip-zero-shot", None, {}, trained)
    with pytest.raises(ReIDError, match="trained with the preset tiny"):
        read_recipe("vision-only", "paper", {}, trained)


@pytest.mark.parametrize("with_spec", [True, False])
def test_a_checkpoint_folder_of_the_harness(trained, tmp_path, with_spec):
    method = tiny(image_size=(48, 48), seed=3)
    state = {k: v.clone() for k, v in method.state_dict().items()}
    folder = tmp_path / "run" / "checkpoint"
    checkpoint.save(folder, checkpoint.Checkpoint(0, 1, [{}], state, {}))
    if with_spec:
        spec = RunFolder(trained.parent, trained.name).read_run().spec
        config = {**spec.config, "image_size": [48, 48]}
        changed = RunSpec(**{**spec.model_dump(), "config": config})
        (tmp_path / "run" / "spec.json").write_text(changed.model_dump_json())
    given = (None, {}) if with_spec else ("tiny", {"image_size": (48, 48)})
    loaded = load_checkpoint("vision-only", *given, folder / "epoch-00001")
    assert torch.equal(features(loaded, (48, 48)), features(method, (48, 48)))
    if with_spec:
        with pytest.raises(ReIDError, match="epoch-00001"):
            load_checkpoint("vision-only", None, {}, tmp_path / "run")
    (folder / "epoch-00001" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ReIDError, match="is damaged"):
        load_checkpoint("vision-only", *given, folder / "epoch-00001")


def test_what_encode_needs_must_be_there_and_nothing_else(tmp_path):
    method = tiny(classes=5)
    state = {k: v.clone() for k, v in method.state_dict().items()}
    expected = features(method)

    def filled(changed):
        save_file(changed, tmp_path / "x.safetensors")
        return load_checkpoint("vision-only", "tiny", {}, tmp_path / "x.safetensors")

    # a classifier of any size, or none: encode needs none
    assert torch.equal(features(filled(state)), expected)
    without = {k: v for k, v in state.items() if k != "classifier.weight"}
    assert torch.equal(features(filled(without)), expected)
    with pytest.raises(ReIDError, match=r"missing: bn_neck\.weight\."):
        filled({k: v for k, v in state.items() if k != "bn_neck.weight"})
    with pytest.raises(ReIDError, match=r"bn_neck\.weight is 7, expected 128"):
        filled({**state, "bn_neck.weight": torch.zeros(7)})
    with pytest.raises(ReIDError, match=r"unknown: extra\."):
        filled({**state, "extra": torch.zeros(7)})


def test_the_authors_names_are_translated(tmp_path, monkeypatch):
    method = tiny()
    state = {f"theirs.{k}": v.clone() for k, v in method.state_dict().items()}
    save_file(state, tmp_path / "x.safetensors")

    def translate(found):
        return {k.removeprefix("theirs."): v for k, v in found.items()}

    monkeypatch.setattr(VisionOnly, "translate", staticmethod(translate))
    loaded = load_checkpoint("vision-only", "tiny", {}, tmp_path / "x.safetensors")
    assert torch.equal(features(loaded), features(method))


def test_the_initial_weights_need_not_be_here():
    """A method with trained weights is rebuilt without fetching the ones it began with."""
    config = VisionOnlyConfig()
    assert (config.weights, without_weights(config).weights) == ("openai", "random")
    small = VisionOnlyConfig(**VisionOnly.presets["tiny"])
    assert without_weights(small) == small


class Leaves(dict):
    def __reduce__(self):
        return (print, ("executed",))


def test_what_is_no_checkpoint_is_told_and_runs_nothing(tmp_path, capsys):
    def refused(path, message):
        with pytest.raises(ReIDError, match=message):
            load_checkpoint("vision-only", "tiny", {}, path)

    refused(tmp_path / "none.pth", "no such file or folder")
    refused(tmp_path, "neither a run's")
    (tmp_path / "text.pth").write_text("hello")
    refused(tmp_path / "text.pth", "could not be read as weights")
    torch.save(Leaves(), tmp_path / "evil.pth")
    refused(tmp_path / "evil.pth", "holds more than tensors")
    assert "executed" not in capsys.readouterr().out
    with pytest.raises(ReIDError, match="give --checkpoint"):
        load(read_recipe("vision-only", "tiny", {}, None))
