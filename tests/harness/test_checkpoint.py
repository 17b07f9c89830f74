"""Checkpoints: whole, verified, the newest two."""

import pytest
import torch

from harness.checkpoint import Checkpoint, load_newest, save


def checkpoint(epochs):
    return Checkpoint(
        stage=0,
        epoch=epochs,
        history=[{"epoch": e} for e in range(1, epochs + 1)],
        model={"weight": torch.full((3,), float(epochs))},
        training={"optimizer": {"state": {0: {"step": torch.tensor(5.0)}}}, "stage": {}},
    )


def test_the_newest_comes_back_and_two_are_kept(tmp_path):
    for epochs in (1, 2, 3, 11):
        save(tmp_path, checkpoint(epochs))
    found, warnings = load_newest(tmp_path)
    assert not warnings
    assert found.epoch == 11
    assert torch.equal(found.model["weight"], torch.full((3,), 11.0))
    assert found.training == checkpoint(11).training
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-00003", "epoch-00011"]


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_one_is_named_and_the_one_before_taken(tmp_path, name, damage):
    for epochs in (1, 2):
        save(tmp_path, checkpoint(epochs))
    path = tmp_path / "epoch-00002" / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-2] ^= 0xFF
        path.write_bytes(content)
    found, warnings = load_newest(tmp_path)
    assert found.epoch == 1
    assert len(warnings) == 1
    assert "epoch-00002" in warnings[0]


def test_nothing_there(tmp_path):
    assert load_newest(tmp_path / "none") == (None, [])


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_training_state_that_carries_code_is_not_run(tmp_path):
    save(tmp_path, checkpoint(1))
    bad = checkpoint(2)
    bad.training = {"optimizer": Evil()}
    save(tmp_path, bad)
    found, warnings = load_newest(tmp_path)
    assert found.epoch == 1
    assert warnings
