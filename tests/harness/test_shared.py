"""Stages and features that runs have in common are computed once, and change no number."""

import json
import os

import pytest
import torch

from harness.config import make_config
from harness.lease import LeaseLost, hold
from harness.progress import Progress
from harness.record import RunFolder
from harness.shared import FOLDER, SharedStage, StageStore
from harness.testing import build, make_images
from harness.train import cpu_state, make_accelerator, train
from methods.muva.method import Muva
from methods.muva.stages import PromptStage

SHORT = {"stage1_epochs": 2, "epochs": 1}
OTHERS = {
    "epochs": 2, "lr": 1e-3, "warmup_epochs": 0, "lr_milestones": [1], "label_smoothing": 0.3,
    "bn_momentum": 0.5, "temperature": 0.5, "memory_momentum": 0.9, "flip": 0.0,
    "random_crop_erase": True, "train_interpolation": "bilinear", "i2t_similarity": "cosine",
    "i2t_smoothing": 0.4, "dice": "per-patch", "mask_threshold": 0.3, "rmp_heads": 4,
    "rmp_layer_norm": False, "rmp_residual": False, "rmp_lr_scale": 2.0, "rmp_weight_decay": 0.1,
    "rmp_init_std": 0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"))


def prompts_after_stage_1(data, folder, **changes):
    """The prompts that stage 1 alone leaves."""
    config = make_config("muva", Muva, "tiny", {**SHORT, **changes})
    method = build(Muva, config, data)
    stages = method.stages
    method.stages = lambda: stages()[:1]
    train(method, data, make_accelerator("fp32", "cpu"), folder, Progress())
    return method.text.prompts.detach().clone()


@pytest.fixture(scope="module")
def prompts(data, tmp_path_factory):
    return prompts_after_stage_1(data, tmp_path_factory.mktemp("prompts"))


def test_every_key_that_is_said_to_be_free_is_tried_here():
    assert set(PromptStage.unaffected_by) == set(OTHERS)


@pytest.mark.parametrize("key", OTHERS)
def test_a_key_that_is_said_to_be_free_changes_nothing_of_stage_1(data, prompts, tmp_path, key):
    assert torch.equal(prompts, prompts_after_stage_1(data, tmp_path, **{key: OTHERS[key]}))


@pytest.mark.parametrize("change", [{"stage1_lr": 1e-2}, {"weight_decay": 0.1}, {"instances": 2}])
def test_other_keys_do_change_it(data, prompts, tmp_path, change):
    assert not torch.equal(prompts, prompts_after_stage_1(data, tmp_path, **change))


SWEPT = ("sweep", "rmp_init_std=0.05,0.2", "--protocol", "MA->D", "--set", "epochs=1",
         "--set", "stage1_epochs=2", "--set", "image_size=[24,12]",
         "--tracking", "off")  # fmt: skip


def numbers(out):
    records = sorted(out.glob("*/run.json"))
    return {p.parent.name: json.loads(p.read_text())["model_sha256"] for p in records}


def test_runs_that_share_a_stage_train_it_once_and_end_as_alone(harness, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    status, printed = harness(*SWEPT, "--out", together)
    assert status == 0, printed
    records = [RunFolder(together, run_id).read_run() for run_id in numbers(together)]
    assert sorted(len(record.shared) for record in records) == [0, 1]
    assert [[e["stage"] for e in r.history] for r in records] == [["prompts"] * 2 + ["encoder"]] * 2
    (folder,) = (together / FOLDER).glob("prompts-*")
    assert not list(folder.glob("checkpoint*"))
    # forced, each run trains everything itself
    status, printed = harness(*SWEPT, "--out", alone, "--force")
    assert status == 0, printed
    assert not (alone / FOLDER).exists()
    assert numbers(alone) == numbers(together)


def test_a_shared_stage_that_was_stopped_goes_on(data, tmp_path):
    config = make_config("muva", Muva, "tiny", SHORT)
    spec = _spec(config)
    straight = build(Muva, config, data)
    accelerator = make_accelerator("fp32", "cpu")
    train(straight, data, accelerator, tmp_path / "a", Progress())

    class Stopped(Exception):
        pass

    def stop(method, entry):
        raise Stopped

    store = StageStore(tmp_path / "out", spec)
    with pytest.raises(Stopped):
        folder = tmp_path / "b"
        train(build(Muva, config, data), data, accelerator, folder, Progress(), stop, store=store)
    (left,) = (tmp_path / "out" / FOLDER).glob("prompts-*/checkpoint-*")
    assert [p.name for p in left.iterdir()] == ["epoch-00001"]
    again = build(Muva, config, data)
    train(again, data, accelerator, tmp_path / "b", Progress(), store=store)
    one, other = cpu_state(straight), cpu_state(again)
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_a_damaged_shared_stage_is_trained_again(harness, tmp_path):
    once = (*SWEPT[:1], "rmp_init_std=0.05", *SWEPT[2:])
    other = (*SWEPT[:1], "rmp_init_std=0.2", *SWEPT[2:])
    harness(*once, "--out", tmp_path)
    (file,) = (tmp_path / FOLDER).glob("prompts-*/changed.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    status, printed = harness(*other, "--out", tmp_path)
    assert status == 0, printed
    assert file.read_bytes() == whole


def test_one_bit_is_enough_to_have_it_computed_again(tmp_path):
    with hold(tmp_path / "lease") as lease:
        stage = SharedStage(tmp_path, "run", lease)
        before, after = {"weight": torch.zeros(4)}, {"weight": torch.ones(4)}
        stage.save(before, after, [{"epoch": 1}])
        changed, history = stage.load()
        assert torch.equal(changed["weight"], after["weight"]) and history == [{"epoch": 1}]
        file = tmp_path / "changed.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"!")
        os.utime(file, (1, 1))  # a file of one size and time is read once a process
        assert stage.load() is None


def test_who_has_lost_a_shared_stage_leaves_it_to_who_took_over(tmp_path):
    with hold(tmp_path / "lease") as lease:
        stage = SharedStage(tmp_path, "run", lease)
        (tmp_path / "lease" / "000002").touch()
        with pytest.raises(LeaseLost):
            stage.save({}, {}, [])


def _spec(config):
    from harness.config import make_spec
    from protocols.types import Fold

    fold = Fold(("A", "B"), "train", ())
    prints = {"A": "a", "B": "b"}
    return make_spec("muva", Muva, config, preset="tiny", fold=fold, fingerprints=prints,
                     seed=0, precision="fp32")  # fmt: skip


def test_an_untrained_methods_features_are_computed_once_for_all_folds(harness, tmp_path):
    run = ("run", "--method", "clip-zero-shot", "--protocol", "MA->D,C3->D,MS->D", "--tracking",
           "off", "--out")  # fmt: skip
    status, printed = harness(*run, tmp_path / "shared", "--seeds", "0,1")
    assert status == 0, printed
    assert (
        len(list((tmp_path / "shared" / FOLDER / "features").glob("untrained-*/*.safetensors")))
        == 1
    )
    harness(*run, tmp_path / "alone", "--force")

    def queries(out):
        found = (json.loads(p.read_text()) for p in (tmp_path / out).glob("*/targets/D.json"))
        return {record["queries_sha256"] for record in found}

    assert len(queries("shared")) == 1
    assert queries("shared") == queries("alone")
