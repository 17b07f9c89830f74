"""Where the image encoders are tapped, against open_clip's own forward passes."""

import open_clip
import pytest
import torch
from clip_reid_small import assert_close, tiny
from torch.nn.functional import avg_pool2d, interpolate

from harness.testing import check_method
from methods.clip_reid import method as clip_reid
from methods.clip_reid.config import ClipReidConfig
from methods.clip_reid.encoder import TappedResNet, TappedViT
from methods.clip_reid.method import ClipReid
from methods.interface import Batch, SourceInfo
from methods.parts.clip import load_clip
from protocols.errors import ReIDError


@torch.no_grad()
def test_taps_of_a_vit():
    method, images = tiny().eval(), torch.randn(3, 3, 36, 24, dtype=torch.float64)
    visual = method.encoder.visual
    told = visual.forward_intermediates(images, indices=2, output_extra_tokens=True)
    before, after = (x[:, 0] for x in told["image_intermediates_prefix"])
    taps = method.encoder(images)
    assert_close(taps.f_a, before)
    assert_close(taps.f_b, visual.ln_post(after))
    assert_close(taps.f_p, visual(images))
    found = method.encode(Batch(images))["features"]
    plain = torch.cat([visual.ln_post(after), visual(images)], dim=1)
    assert_close(found, plain / plain.norm(dim=1, keepdim=True))


@pytest.fixture
def resnet(small_resnet):
    """A ResNet none of whose weights is special, and the CLIP that it was."""
    config = ClipReidConfig(**small_resnet)
    torch.manual_seed(0)
    clip = load_clip(config).double()
    with torch.no_grad():
        for name, parameter in clip.visual.named_parameters():
            if "bn" in name or "downsample.1" in name:
                parameter.uniform_(0.5, 1.5)
        for name, buffer in clip.visual.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return clip, TappedResNet(clip, (64, 32))


@torch.no_grad()
def test_taps_of_a_resnet(resnet):
    """layer4 without its stride, and open_clip's attention pool over all tokens."""
    clip, encoder = resnet
    images, visual = torch.randn(2, 3, 64, 32, dtype=torch.float64), clip.visual
    encoder.eval()
    taps = encoder(images)
    third, fourth = visual.forward_intermediates(images, indices=2)["image_intermediates"]
    assert third.shape[2:] == fourth.shape[2:] == (4, 2)
    assert_close(taps.f_a, third.mean((2, 3)))
    assert_close(taps.f_b, fourth.mean((2, 3)))
    assert_close(taps.f_p, visual.attnpool(fourth))
    assert encoder.widths == (taps.f_a.shape[1], taps.f_b.shape[1], taps.f_p.shape[1])


@torch.no_grad()
def test_the_last_stage_of_a_resnet_keeps_its_convolutions(resnet, small_resnet):
    """Its first block at stride 1, averaged by hand, is the one at stride 2, but for the ReLU."""
    changed = resnet[0].visual.layer4[0].eval()
    block = load_clip(ClipReidConfig(**small_resnet)).visual.layer4[0].double().eval()
    assert isinstance(block.avgpool, torch.nn.AvgPool2d)
    block.load_state_dict(changed.state_dict())
    block.act3 = changed.act3 = torch.nn.Identity()
    x = torch.randn(2, block.conv1.in_channels, 4, 6, dtype=torch.float64)
    assert_close(avg_pool2d(changed(x), 2), block(x))


def test_positions_of_the_attention_pool_are_resized(small_resnet):
    torch.manual_seed(0)
    before = load_clip(ClipReidConfig(**small_resnet)).visual.attnpool.positional_embedding
    torch.manual_seed(0)
    clip = load_clip(ClipReidConfig(**small_resnet))
    after = TappedResNet(clip, (64, 32)).visual.attnpool.positional_embedding
    assert before.shape[0] == 1 + 2 * 2
    assert after.shape[0] == 1 + 4 * 2
    assert torch.equal(before[0], after[0])
    # bilinear without aligned corners: rows of twice the height keep the columns' ends
    assert torch.allclose(after[1:3], before[1:3])
    assert torch.allclose(after[3:5], 0.75 * before[1:3] + 0.25 * before[3:5], atol=1e-6)


def test_a_resnet_on_images_of_another_size_is_refused(small_resnet):
    with pytest.raises(ReIDError, match="no multiple of 16"):
        TappedResNet(load_clip(ClipReidConfig(**small_resnet)), (60, 32))
    with pytest.raises(ReIDError, match="CLIP-ReID needs a vision transformer"):
        TappedViT(load_clip(ClipReidConfig(**small_resnet)), (64, 32))


def test_statistics_of_a_frozen_resnet_stay(resnet):
    clip, _ = resnet
    images = torch.randn(4, 3, 64, 32, dtype=torch.float64)
    encoder = TappedResNet.__new__(TappedResNet)
    torch.nn.Module.__init__(encoder)
    encoder.visual, encoder.frozen = clip.visual, True
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    assert torch.equal(encoder.train()(images).f_p, encoder.eval()(images).f_p)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    encoder.frozen = False
    assert not torch.allclose(encoder.train()(images).f_p, encoder.eval()(images).f_p)


@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_a_resnet_conforms(small_resnet, batch_norm):
    few = {"batch_norm": batch_norm, "identities": 2, "instances": 2}
    check_method("clip-reid", {**small_resnet, **few})


@pytest.mark.parametrize("backbone", ["ViT-B-16", "RN50"])
def test_widths_of_the_real_architectures(backbone, monkeypatch):
    """f_a, f_b, f_p as the paper has them; 129 tokens, or a map of 16 x 8. Shapes, no numbers."""
    real = {**open_clip.get_model_config(backbone), "quick_gelu": True}
    monkeypatch.setattr(clip_reid, "load_clip", lambda _: open_clip.model.CLIP(**real))
    config = ClipReidConfig(backbone=backbone, language=False)
    with torch.device("meta"), torch.no_grad():
        method = ClipReid(config, SourceInfo(2, ("MA",))).eval()
        images = torch.empty(1, 3, 256, 128)
        widths = tuple(f.shape[1] for f in method.encoder(images))
        features = method.encode(Batch(images))["features"]
    resnet = backbone == "RN50"
    assert widths == method.encoder.widths == ((1024, 2048, 1024) if resnet else (768, 768, 512))
    assert features.shape == (1, 3072 if resnet else 1280)
    visual = method.encoder.visual
    positions = visual.attnpool if resnet else visual
    assert len(positions.positional_embedding) == 1 + 16 * 8


def test_overlapping_patches_are_211_tokens():
    vision = {"image_size": 224, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 10, "width": 8, "heads": 1, "layers": 1}
    clip = open_clip.model.CLIP(8, vision, text)
    before = clip.visual.positional_embedding.detach()
    encoder = TappedViT(clip, (256, 128), overlap=True)
    assert encoder.visual.conv1.stride == (12, 12)
    assert encoder.visual.conv1(torch.zeros(1, 3, 256, 128)).shape[2:] == (21, 10)
    after = encoder.visual.positional_embedding
    assert len(after) == 211
    # straight from the pretrained grid, not by way of 16 x 8
    image = before[1:].T.reshape(1, 16, 14, 14)
    grid = interpolate(image, size=(21, 10), mode="bilinear", align_corners=False)
    assert torch.equal(after[0], before[0])
    assert torch.allclose(after[1:], grid.flatten(2)[0].T, atol=1e-6)
    assert encoder(torch.randn(2, 3, 256, 128)).f_b.shape == (2, 16)


def test_overlap_conforms():
    method = tiny(olp=True)
    # patches of 12 pixels every 9: (36 - 12) / 9 + 1 rows, (24 - 12) / 9 + 1 columns
    assert method.encoder.visual.grid_size == (3, 2)
    found = method.encode(Batch(torch.randn(2, 3, 36, 24, dtype=torch.float64)))["features"]
    assert found.shape == (2, 256)
