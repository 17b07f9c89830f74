"""timm's backbones: weights from files and from the hub, image sizes, the last stride."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from harness.config import Contents, make_config
from methods.bot import BotResNet50
from methods.parts import imagenet
from methods.parts.clip import resize_positions
from methods.parts.imagenet import (
    ImageNetConfig,
    feature_width,
    load_backbone,
    normalises_batches,
    pixel_statistics,
    undo_last_stride,
    weights_files,
)
from protocols.errors import ReIDError, UnknownName

MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def bare(name, size=(256, 128)):
    """A backbone whose tensors have shapes and nothing in them."""
    with torch.device("meta"):
        return load_backbone(ImageNetConfig(backbone=name, weights="random", image_size=size))


def shape_of_map(backbone, size=(256, 128)):
    with torch.no_grad():
        return tuple(backbone.forward_features(torch.empty(1, 3, *size, device="meta")).shape)


@pytest.mark.parametrize("name", ["resnet50", "resnet18", "resnet50d", "seresnet50"])
def test_last_stride_one_doubles_the_map(name):
    backbone = bare(name)
    width = 512 if name == "resnet18" else 2048
    assert shape_of_map(backbone) == (1, width, 8, 4)
    undo_last_stride(backbone, name)
    assert shape_of_map(backbone) == (1, width, 16, 8)
    assert feature_width(backbone) == width


@pytest.mark.parametrize("name", ["resnetblur50", "convnext_tiny", "vit_base_patch16_224"])
def test_last_stride_of_others_is_refused(name):
    with pytest.raises(ReIDError, match=rf"backbone={name}.*last_stride=2"):
        undo_last_stride(bare(name), name)


def reference_resnet50():
    """torchvision's ResNet-50 with random weights and statistics, and its state as a file has it.

    A dictionary from before batches were counted, with the classifier of 1000 classes.
    """
    torch.manual_seed(0)
    reference = torchvision.models.resnet50()
    for name, value in reference.state_dict().items():
        if "running" in name or (value.ndim == 1 and "bn" in name):
            value.uniform_(0.5, 1.5)
    state = reference.state_dict()
    return reference, {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def test_torchvisions_file_gives_torchvisions_features(tmp_path):
    reference, state = reference_resnet50()
    torch.save(state, tmp_path / "resnet50-19c8e357.pth")
    config = ImageNetConfig(weights=str(tmp_path / "resnet50-19c8e357.pth"))
    backbone = load_backbone(config)
    undo_last_stride(backbone, "resnet50")
    first = reference.layer4[0]
    first.conv2.stride = first.downsample[0].stride = (1, 1)
    reference.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        expected, found = reference.eval()(images), backbone.eval()(images)
    assert found.shape == (2, 2048)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def vit_file(path, size=160, **changes):
    """A vision transformer's weights for square images, as a file; returns its state."""
    torch.manual_seed(1)
    state = timm.create_model("test_vit", img_size=size).state_dict()
    state = {k: v.contiguous() for k, v in {**state, **changes}.items() if v is not None}
    save_file(state, path)
    return state


def vit(path, size=(96, 48)):
    return ImageNetConfig(backbone="test_vit", weights=str(path), image_size=size)


def test_positions_are_resampled_and_all_else_is_as_it_was(tmp_path):
    state = vit_file(tmp_path / "vit.safetensors")
    backbone = load_backbone(vit(tmp_path / "vit.safetensors"))
    found = backbone.state_dict()
    assert found["pos_embed"].shape == (1, 1 + 6 * 3, 64)
    expected = resize_positions(state["pos_embed"][0], (10, 10), (6, 3))
    assert torch.equal(found["pos_embed"][0], expected)
    others = [name for name in found if name != "pos_embed"]
    assert all(torch.equal(found[name], state[name]) for name in others)
    assert set(state) - set(found) == {"head.weight", "head.bias"}


def test_a_ramp_of_positions_stays_a_ramp(tmp_path):
    """Rows of the 10 x 10 grid count 0..9: of 16 rows the centre of row i lies at (i + 0.5) 10 / 16
    - 0.5, away from the border."""
    rows = torch.arange(10.0).repeat_interleave(10)[None, :, None].expand(1, 100, 64)
    ramp = torch.cat([torch.full((1, 1, 64), 99.0), rows], 1)
    vit_file(tmp_path / "vit.safetensors", pos_embed=ramp)
    found = load_backbone(vit(tmp_path / "vit.safetensors", (256, 128))).pos_embed.detach()[0]
    assert torch.equal(found[0], torch.full((64,), 99.0))
    expected = (torch.arange(16) + 0.5) * 10 / 16 - 0.5
    inner = found[1:, 0].reshape(16, 8)[1:-1]
    assert torch.allclose(inner, expected[1:-1, None].expand(14, 8), atol=1e-5)


def test_positions_that_fit_are_kept(tmp_path):
    state = vit_file(tmp_path / "vit.safetensors", size=(96, 48))
    found = load_backbone(vit(tmp_path / "vit.safetensors"))
    assert torch.equal(found.pos_embed, state["pos_embed"])


def test_a_vision_transformer_gives_its_class_token():
    config = ImageNetConfig(backbone="test_vit", weights="random", image_size=(96, 48))
    backbone, images = load_backbone(config).eval(), torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        tokens, found = backbone.forward_features(images), backbone(images)
    assert tokens.shape == (2, 19, 64)
    assert torch.equal(found, tokens[:, 0])


def test_files_that_do_not_fit_say_where(tmp_path):
    path = tmp_path / "vit.safetensors"
    cases = [
        ({"norm.weight": None}, r"norm\.weight is missing \(1 of"),
        ({"norm.weight": torch.ones(5)}, r"norm\.weight is \[5\], expected \[64\]"),
        ({"pos_embed": torch.ones(1, 6, 64)}, r"pos_embed is \[1, 6, 64\], expected \[1, 19, 64\]"),
    ]
    for changes, message in cases:
        vit_file(path, **changes)
        with pytest.raises(ReIDError, match=f"do not fit backbone=test_vit: {message}"):
            load_backbone(vit(path))
    with pytest.raises(ReIDError, match=r"conv1\.0\.weight is missing"):
        load_backbone(ImageNetConfig(backbone="test_resnet", weights=str(path)))
    with pytest.raises(ReIDError, match="there is no such file"):
        weights_files(vit(tmp_path / "none.pth"))


def test_a_size_without_whole_patches_is_refused():
    with pytest.raises(ReIDError, match="100x48 is no multiple of the patch 16x16"):
        bare("test_vit", (100, 48))


@pytest.fixture
def hub(monkeypatch):
    """Which files are asked for from the hub, and what it answers."""

    class Hub:
        asked: list = []  # noqa: RUF012
        answer: object = OSError("no route to host")

        def download(self, repo, name):
            self.asked = [*self.asked, (repo, name)]
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    hub = Hub()
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub.download)
    imagenet._download.cache_clear()
    yield hub
    imagenet._download.cache_clear()


@pytest.mark.parametrize(
    ("changes", "repository"),
    [
        ({}, "timm/resnet50.tv_in1k"),
        ({"backbone": "vit_base_patch16_224"}, "timm/vit_base_patch16_224.orig_in21k_ft_in1k"),
        ({"weights": "a1_in1k"}, "timm/resnet50.a1_in1k"),
    ],
)
def test_weights_come_from_the_hub(hub, changes, repository):
    hub.answer = "/cache/model.safetensors"
    config = ImageNetConfig(**changes)
    assert [str(path) for path in weights_files(config)] == [hub.answer]
    weights_files(config)
    assert hub.asked == [(repository, "model.safetensors")]


def test_weights_that_can_not_be_had_say_where_they_are(hub):
    with pytest.raises(ReIDError) as error:
        weights_files(ImageNetConfig())
    message = str(error.value)
    for said in ("no route to host", "https://huggingface.co/timm/resnet50.tv_in1k",
                 "--set weights=/path/to/resnet50.safetensors", "--preset tiny"):  # fmt: skip
        assert said in message


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'resnet50'"):
        weights_files(ImageNetConfig(backbone="resnet5O"))
    with pytest.raises(UnknownName, match="Did you mean 'tv_in1k'"):
        weights_files(ImageNetConfig(weights="tv_in1K"))


def test_scratch_is_another_word_for_random():
    config = ImageNetConfig(weights="scratch")
    assert config == ImageNetConfig(weights="random")
    assert weights_files(config) == []


def test_a_file_counts_by_its_content(tmp_path):
    state = {"conv1.weight": torch.ones(3)}
    save_file(state, tmp_path / "one.safetensors")
    save_file(state, tmp_path / "other.safetensors")
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "third.safetensors")

    def contents(name):
        path = str(tmp_path / f"{name}.safetensors")
        config = make_config("bot-resnet50", BotResNet50, "tiny", {"weights": path})
        return Contents.of(BotResNet50, config)

    assert contents("one") == contents("other") != contents("third")
    assert contents("one").weights


def test_pixels_are_normalised_as_the_weights_expect():
    assert pixel_statistics(ImageNetConfig()) == MEAN_STD
    assert pixel_statistics(ImageNetConfig(weights="random")) == MEAN_STD
    halves = ((0.5,) * 3,) * 2
    assert pixel_statistics(ImageNetConfig(backbone="vit_base_patch16_224")) == halves


def test_who_normalises_batches():
    assert normalises_batches(bare("test_resnet"))
    assert not normalises_batches(bare("test_vit"))
    assert not normalises_batches(bare("test_convnext"))
