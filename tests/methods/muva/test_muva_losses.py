"""Every loss, memory and learning rate against the slow reference, float64."""

import muva_reference_losses as reference
import pytest
import torch
from muva_small import assert_same, assert_same_gradients, gradients, normal, trained
from muva_source import tiny_muva

from methods.muva.losses import image_to_text_loss, mask_bce, mask_dice, prompt_loss
from methods.muva.stages import EncoderStage, PromptStage
from methods.parts.losses import identity_loss, prototypical_loss
from methods.parts.memory import update_with_hardest

CLASSES, SIZE = 5, 7
LABELS = [3, 0, 3, 1, 0, 3]


def leaf(*shape, seed=0):
    return normal(*shape, seed=seed).requires_grad_()


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_prompt_loss_with_repeated_identities(tau):
    """Eq. 1 over every image of a batch, from one text an identity."""
    x, memory = leaf(CLASSES, SIZE), reference.unit(normal(CLASSES, SIZE, seed=1))
    expected = reference.loss_cmp(reference.unit(x)[LABELS], memory, LABELS, tau)
    unique, counts = torch.tensor(LABELS).unique(return_counts=True)
    found = prompt_loss(reference.unit(x)[unique], memory, unique, counts, tau)
    assert_same_gradients(found, expected, {"text": x})


def test_prompt_loss_starts_near_ln_c():
    """No temperature: cosines of 0 give ln C, and of 1 on the own row little less."""
    eye = torch.eye(CLASSES, dtype=torch.float64)
    labels, counts = torch.arange(CLASSES), torch.ones(CLASSES, dtype=torch.long)
    nowhere = prompt_loss(torch.zeros_like(eye), eye, labels, counts)
    there = prompt_loss(eye, eye, labels, counts)
    assert float(nowhere) == pytest.approx(torch.tensor(float(CLASSES)).log().item(), rel=1e-6)
    e = torch.tensor(1.0, dtype=torch.float64).exp()
    assert float(there) == pytest.approx(float((e + CLASSES - 1).log() - 1), abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_identity_loss(smoothing):
    b, weight = leaf(6, SIZE), leaf(CLASSES, SIZE, seed=1)
    expected = reference.loss_id(b, weight, LABELS, smoothing)
    found = identity_loss(b @ weight.T, torch.tensor(LABELS), smoothing)
    assert_same_gradients(found, expected, {"b": b, "weight": weight})


def test_prototypical_loss():
    b, memory = leaf(6, SIZE), reference.unit(normal(CLASSES, SIZE, seed=1))
    expected = reference.loss_imp(b, memory, LABELS, 0.01)
    found = prototypical_loss(reference.unit(b), memory, torch.tensor(LABELS), 0.01)
    assert_same_gradients(found, expected, {"b": b})


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_image_to_text_loss(similarity, smoothing):
    f, memory = leaf(6, SIZE), reference.unit(normal(CLASSES, SIZE, seed=1))
    expected = reference.loss_i2tce(f, memory, LABELS, similarity, smoothing)
    found = image_to_text_loss(f, memory, torch.tensor(LABELS), similarity, smoothing)
    assert_same_gradients(found, expected, {"f": f})


@pytest.mark.parametrize("kind", ["bce", "soft", "per-patch"])
def test_mask_losses(kind):
    """Layers 3, images 2, parts 3, patches 5; one true mask is empty, one is full."""
    logits = leaf(3, 2, 3, 5)
    truth = normal(2, 3, 5, seed=1) > 0
    truth[0, 0], truth[1, 2] = False, True
    if kind == "bce":
        found, expected = mask_bce(logits, truth), reference.loss_bce(logits, truth.double())
    else:
        found = mask_dice(logits, truth, kind)
        expected = reference.loss_dice(logits, truth.double(), kind)
    assert_same_gradients(found, expected, {"logits": logits})


def test_dice_by_hand():
    """P = 1/2 on two patches, G = (1, 0)."""
    logits, truth = torch.zeros(1, 1, 1, 2).double(), torch.tensor([[[1, 0]]]).bool()
    soft = 1 - (2 * 0.5 + 1e-3) / (1 + 1 + 1e-3)
    assert float(mask_dice(logits, truth, "soft")) == pytest.approx(soft, abs=1e-12)
    # 1 - 2 * 0.5 / 1.5 on the part, 1 on the background
    patches = ((1 - 1 / 1.5) + 1) / 2
    assert float(mask_dice(logits, truth, "per-patch")) == pytest.approx(patches, abs=1e-12)
    assert float(mask_bce(logits, truth)) == pytest.approx(0.6931471805599453, abs=1e-12)


@pytest.mark.parametrize("kind", ["soft", "per-patch"])
def test_mask_losses_of_certain_predictions_are_finite(kind):
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4]).view(1, 1, 1, 4).requires_grad_()
    truth = torch.tensor([[[False, True, True, False]]])
    for loss in (mask_bce(logits, truth), mask_dice(logits, truth, kind)):
        assert torch.isfinite(loss)
        assert torch.isfinite(gradients(loss, [logits])[0]).all()


def test_memory_update():
    memory, features = (reference.unit(normal(n, SIZE, seed=n)) for n in (CLASSES, 6))
    expected = reference.update_memory(memory, features, LABELS, 0.2)
    found = memory.clone()
    update_with_hardest(found, features, torch.tensor(LABELS), 0.2)
    assert_same(found, expected, "memory")
    assert torch.equal(found[[2, 4]], memory[[2, 4]])


# ------------------------------------------------------------------- learning rates, by hand


PROMPT_LR = {
    1: 7.8e-5,
    4: 2.82e-4,
    # 1e-6 + 1.745e-4 (1 + cos(pi / 24)), cos 7.5 degrees = 0.9914448613738104
    5: 3.4850712830972994e-4,
    60: 1.755e-4,
    120: 1e-6,
}
ENCODER_FACTOR = {1: 0.19, 9: 0.91, 10: 1, 29: 1, 30: 0.1, 49: 0.1, 50: 0.01, 60: 0.01}


@pytest.fixture(scope="module")
def paper_epochs():
    """A method with the paper's schedule on the tiny backbone."""
    return tiny_muva(
        stage1_epochs=120,
        stage1_lr=3.5e-4,
        epochs=60,
        lr=5e-6,
        warmup_epochs=10,
        lr_milestones=(30, 50),
    )


def test_the_rates_of_stage_1(paper_epochs):
    stage = PromptStage(paper_epochs)
    (group,) = stage.optimizer().param_groups
    assert (stage.epochs, group["weight_decay"]) == (120, 1e-4)
    for epoch, lr in PROMPT_LR.items():
        assert group["lr"] * stage.lr_factor(epoch) == pytest.approx(lr, rel=1e-9)
    for epoch in range(1, 121):
        found = group["lr"] * stage.lr_factor(epoch)
        assert found == pytest.approx(reference.prompt_lr(epoch), rel=1e-9)


def test_the_rates_of_stage_2(paper_epochs):
    stage = EncoderStage(paper_epochs)
    rest, rmp = stage.optimizer().param_groups
    assert stage.epochs == 60
    assert (rest["lr"], rest["weight_decay"]) == pytest.approx((5e-6, 1e-4))
    assert (rmp["lr"], rmp["weight_decay"]) == pytest.approx((5e-5, 0))
    predictors = {id(p) for p in paper_epochs.encoder.mask_predictor.parameters()}
    assert {id(p) for p in rmp["params"]} == predictors
    assert not predictors & {id(p) for p in rest["params"]}
    for epoch, factor in ENCODER_FACTOR.items():
        assert stage.lr_factor(epoch) == pytest.approx(factor, rel=1e-12)
    for epoch in range(1, 61):
        assert stage.lr_factor(epoch) == pytest.approx(reference.encoder_factor(epoch), rel=1e-12)


def test_what_each_stage_trains():
    method = tiny_muva()
    names = {id(p): n for n, p in method.named_parameters()}
    one, two = (
        {names[id(p)] for g in stage.optimizer().param_groups for p in g["params"]}
        for stage in method.stages()
    )
    assert one == {"text.prompts"}
    frozen = {"text.prompts", "bn_neck.bias", "encoder.visual.conv1.weight"}
    image_side = {n for n in names.values() if not n.startswith("text.encoder.")}
    assert two == image_side - frozen
    assert set(trained(method)) == two | one
