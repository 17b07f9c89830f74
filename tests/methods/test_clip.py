"""Loading CLIP: where weights come from, what is refused, and how."""

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from methods.parts.clip import ClipConfig, image_encoder, load_clip, read_state_dict, weights_files
from protocols.errors import ReIDError

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def small(monkeypatch):
    """A small model known to open_clip by name, as a stand-in for ViT-B-16."""
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**SMALL, quick_gelu=True)
    monkeypatch.setattr(open_clip, "list_models", lambda: ["small", "ViT-B-16"])

    def create(name, **kwargs):
        torch.manual_seed(1)
        return open_clip.model.CLIP(**SMALL, quick_gelu=kwargs["force_quick_gelu"])

    monkeypatch.setattr(open_clip, "create_model", create)
    return model


def test_weights_from_every_kind_of_file(small, tmp_path):
    state = {k: v.contiguous() for k, v in small.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pt", "c.pt"):
        loaded = load_clip(ClipConfig(backbone="small", weights=str(tmp_path / name)))
        for key, value in state.items():
            assert torch.equal(loaded.state_dict()[key], value), (name, key)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_torchscript_archive_is_read(tmp_path):
    module = torch.jit.script(torch.nn.Linear(2, 3).half())
    module.save(str(tmp_path / "archive.pt"))
    state = read_state_dict(tmp_path / "archive.pt")
    assert state["weight"].dtype == torch.float32
    assert state["weight"].shape == (3, 2)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_a_pickle_that_carries_code_is_refused_and_not_run(tmp_path):
    torch.save({"weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ReIDError, match=r"evil\.pt holds more than tensors"):
        read_state_dict(tmp_path / "evil.pt")


def test_messages_of_wrong_weights(small, tmp_path):
    save_file({"visual.proj": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(ReIDError, match=r"visual\.proj is \[3, 3\], expected \[32, 16\]"):
        load_clip(ClipConfig(backbone="small", weights=str(tmp_path / "other.safetensors")))
    with pytest.raises(ReIDError, match="no such file"):
        load_clip(ClipConfig(backbone="small", weights=str(tmp_path / "absent.pt")))
    with pytest.raises(ReIDError, match="Did you mean 'small'"):
        load_clip(ClipConfig(backbone="smal", weights="random"))


def test_weights_that_can_not_be_fetched_say_how_to_get_them(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", offline)
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: torch.nn.Identity())
    with pytest.raises(ReIDError, match="--set weights=/path/to/ViT-B-16"):
        load_clip(ClipConfig(backbone="ViT-B-16", weights="openai"))


@pytest.mark.parametrize("size", [(64, 32), (16, 48), (32, 32)])
def test_any_input_size_and_grid(small, size):
    encoder = image_encoder(small, size)
    assert encoder(torch.zeros(2, 3, *size)).shape == (2, 16)
    assert encoder.positional_embedding.shape[0] == 1 + size[0] * size[1] // 64
    assert not encoder.conv1.weight.requires_grad


def test_a_size_that_is_no_multiple_of_the_patch(small):
    with pytest.raises(ReIDError, match="multiple of the patch 8x8"):
        image_encoder(small, (60, 32))


def test_which_files_hold_the_weights(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.touch()
    assert weights_files(ClipConfig(weights=str(path))) == [path]
    assert weights_files(ClipConfig(weights="random")) == []
    assert weights_files(ClipConfig(backbone="tiny", weights="shipped"))[0].suffix == ".safetensors"
    asked = []

    def fetch(config):
        asked.append(config)
        return str(path)

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", fetch)
    for _ in range(3):
        assert weights_files(ClipConfig(weights="laion2b_s34b_b88k")) == [path]
    assert len(asked) == 1
    with pytest.raises(ReIDError, match="Did you mean 'openai'"):
        weights_files(ClipConfig(weights="openay"))
