"""What is rare must not hurt: empty masks, lonely identities, one identity, three sources."""

import pytest
import torch
from muva_small import small_encoder, small_images, trained, weigh
from muva_source import GRID, SmallSource, losses_of, tiny_muva

from harness.progress import Progress
from harness.train import make_accelerator, train
from methods.interface import Batch
from methods.muva.stages import EncoderStage


def run(method, data, folder):
    """Both stages through the real training loop; every weight stays finite."""
    history = train(method, data, make_accelerator("fp32", "cpu"), folder, Progress())
    assert [e["stage"] for e in history] == [s.name for s in method.stages()]
    for name, value in method.state_dict().items():
        assert torch.isfinite(value).all(), name
    with torch.no_grad():
        features = method.eval().encode(Batch(data.images))["features"]
    assert torch.isfinite(features).all()
    return history


def no_part(part=slice(None)):
    masks = torch.ones(6, 3, *GRID, dtype=torch.bool)
    masks[:, part] = False
    return masks


@pytest.mark.parametrize("fidelity", ["released", "paper"])
@pytest.mark.parametrize("part", [0, slice(None)])
def test_a_part_that_is_in_no_image(tmp_path, fidelity, part):
    data = SmallSource([0, 0, 1, 1, 2, 2], masks=no_part(part))
    run(tiny_muva(3, fidelity=fidelity), data, tmp_path)


@pytest.mark.parametrize("fidelity", ["released", "paper"])
def test_no_patch_predicted_in_any_layer(tmp_path, fidelity):
    """P is 0 everywhere, in floating point too; Eq. 8's ratio is then 0 / 0 on background."""
    method = tiny_muva(3, fidelity=fidelity)
    for block in method.encoder.mask_predictor:
        block.mlp[2].bias.data.fill_(-1e3)
    data = SmallSource([0, 0, 1, 1, 2, 2])
    assert not (method.encoder(data.images).mask_logits > 0).any()
    run(method, data, tmp_path)


@pytest.mark.parametrize("padding", ["full", "local-rows"])
@pytest.mark.parametrize("empty", [[True, False, False], [True, True, True]])
def test_an_empty_mask_gives_finite_gradients(padding, empty):
    encoder = small_encoder(padding=padding)
    masks = torch.ones(2, 3, 8, dtype=torch.bool)
    masks[:, torch.tensor(empty)] = False
    features = encoder(small_images(encoder), masks).features
    loss = weigh([features])
    loss.backward()
    assert torch.isfinite(features).all()
    given = [p.grad for p in trained(encoder).values() if p.grad is not None]
    assert given
    assert all(torch.isfinite(g).all() for g in given)


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 1]])
def test_an_identity_once_in_the_batch(labels):
    """Neither its losses nor the memory it moves are NaN."""
    method, data = tiny_muva(2), SmallSource(labels)
    for stage in method.stages():
        stage.prepare(data)
        stage.begin_epoch(1, data)
        method.train()
        batch = data.batch(range(len(labels)))
        losses = losses_of(stage, batch)
        torch.stack(list(losses.values())).sum().backward()
        stage.after_step(batch)
        assert all(torch.isfinite(v) for v in losses.values()), losses
        assert torch.isfinite(stage.memory).all()
    for name, parameter in method.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("of", [[0, 0, 0, 1, 2, 2], [0, 0, 0], [0]], ids=str)
def test_few_images_and_few_identities(tmp_path, of):
    """An identity with one image; one identity in all; one image in all."""
    run(tiny_muva(max(of) + 1), SmallSource(of), tmp_path)


@pytest.mark.parametrize("prompt", ["original", "domain-specific"])
def test_three_sources(tmp_path, prompt):
    data = SmallSource([0, 0, 1, 1, 2, 2], domain_of=[0, 0, 1, 1, 2, 2])
    method = tiny_muva(3, domains=("MA", "D", "MS"), prompt=prompt)
    assert method.encoder.mask_predictor[0].cross_attn.heads == 8
    run(method, data, tmp_path)
    if prompt == "domain-specific":
        assert method.text.domains.tolist() == [0, 1, 2]


@pytest.mark.parametrize("changes", [{}, {"parts": ()}, {"partition": "stripes"}], ids=str)
@torch.no_grad()
def test_features_do_not_depend_on_batch_mates(changes):
    method = tiny_muva(**changes).double().eval()
    images = SmallSource([0] * 5, dtype=torch.float64).images
    whole = method.encode(Batch(images))["features"]
    for i in range(5):
        alone = method.encode(Batch(images[i : i + 1]))["features"]
        assert torch.allclose(alone[0], whole[i], rtol=0, atol=1e-13)
    assert torch.allclose(method.encode(Batch(images.flip(0)))["features"], whole.flip(0))
    assert torch.allclose(whole.norm(dim=1), torch.ones(5, dtype=torch.float64))


@torch.no_grad()
def test_evaluation_needs_no_part_masks_and_no_memory():
    method = tiny_muva()
    data = SmallSource([0, 1, 2, 3])
    features = method.eval().encode(Batch(data.images))["features"]
    stage = EncoderStage(method)
    stage.prepare(data)
    stage.begin_epoch(1, data)
    assert torch.equal(features, method.eval().encode(Batch(data.images))["features"])
