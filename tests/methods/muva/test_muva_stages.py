"""Both stages as they run, against the reference: memories, every loss, what reaches what."""

import muva_reference as reference
import muva_reference_losses as losses
import open_clip
import pytest
import torch
from muva_small import assert_same, gradients, reference_encode, trained
from muva_source import SmallSource, losses_of, tiny_muva

from methods.interface import PARTS
from methods.muva.stages import EncoderStage, PromptStage

OF = [0, 0, 1, 2, 2, 2, 3, 3]
BATCH = [0, 1, 3, 4, 5, 6]
ROUNDED = 1.2e-7  # memories are computed in float64 here and kept in float32
HEADS = 4  # of the tiny CLIP, on both sides
SENTENCES = [
    "A photo of a X X X X person",
    "A photo of a X X X X head of a person",
    "A photo of a X X X X upper body of a person",
    "A photo of a X X X X legs of a person",
]


def ready(dtype=torch.float64, **changes):
    """A method whose weights are far from special values, and its data."""
    method = tiny_muva(seed=1, **changes).to(dtype)
    torch.manual_seed(1)
    neck = method.bn_neck
    neck.weight.data.uniform_(0.5, 1.5)
    neck.running_mean.uniform_(-0.2, 0.2)
    neck.running_var.uniform_(0.5, 1.5)
    if method.text is not None:
        method.text.prompts.data.normal_(std=0.05)
    # logits far from each other, and the loss far from ln C
    method.classifier.weight.data.normal_(std=0.5)
    return method, SmallSource(OF, dtype=dtype)


def encode(method, images, masks=None):
    return reference_encode(
        method.encoder,
        images,
        masks,
        rmp_heads=2,
        activation=reference.quick_gelu,
        padding=method.encoder.padding,
    )


def texts(method):
    from methods.parts import tiny_clip

    state = {k: v.detach().double() for k, v in method.text.encoder.named_parameters()}
    state["token_embedding.weight"] = tiny_clip.load().token_embedding.weight.detach().double()
    ids = open_clip.get_tokenizer("ViT-B-16")(SENTENCES)
    return reference.encode_prompts(
        method.text.prompts.double(),
        ids.expand(len(method.text.prompts), -1, -1),
        state,
        first=5,
        heads=HEADS,
        layers=3,
        activation=reference.quick_gelu,
    )


def masks_of(data):
    return data.masks.flatten(2)


@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 2], [2]], ids=str)
@torch.no_grad()
def test_vpm_1_is_made_of_f_with_the_true_masks(rows):
    """Of some parts only, their own masks."""
    method, data = ready(parts=tuple(PARTS[row] for row in rows))
    stage = PromptStage(method)
    stage.prepare(data)
    f = encode(method, data.images, masks_of(data)[:, rows]).features
    assert_same(stage.memory.double(), losses.centroids(f, OF, 4), "VPM-1", ROUNDED)


@torch.no_grad()
def test_vpm_2_is_made_of_unit_b_in_eval_mode_with_the_true_masks():
    method, data = ready()
    stage = EncoderStage(method.train())
    stage.begin_epoch(1, data)
    f, neck = encode(method, data.images, masks_of(data)).features, method.bn_neck
    b = losses.batch_norm(f, neck.weight, neck.running_mean, neck.running_var)
    expected = losses.centroids(losses.unit(b), OF, 4)
    assert_same(stage.memory.double(), expected, "VPM-2", ROUNDED)


@torch.no_grad()
def test_tpm_is_the_texts_of_all_identities():
    method, data = ready()
    stage = EncoderStage(method)
    stage.prepare(data)
    assert_same(stage.text_memory.double(), texts(method), "TPM", ROUNDED)


@pytest.mark.parametrize("fidelity", ["released", "paper"])
def test_the_losses_of_stage_2(fidelity):
    """The classifier sees b, L_imp unit b, L_i2tce f; values and gradients of the whole."""
    method, data = ready(fidelity=fidelity)
    stage, batch = EncoderStage(method), data.batch(BATCH)
    stage.prepare(data)
    stage.begin_epoch(1, data)
    method.train()
    found = losses_of(stage, batch)
    encoded = encode(method, batch.images)
    b = losses.batch_norm(encoded.features, method.bn_neck.weight, None, None)
    labels, truth = batch.labels.tolist(), batch.part_masks.flatten(2).double()
    memory, text = stage.memory.double(), stage.text_memory.double()
    paper = fidelity == "paper"
    expected = {
        "id": losses.loss_id(b, method.classifier.weight, labels, 0.0 if paper else 0.1),
        "imp": losses.loss_imp(b, memory, labels, 0.01),
        "i2t": losses.loss_i2tce(encoded.features, text, labels, "cosine" if paper else "dot", 0.1),
        "bce": losses.loss_bce(encoded.mask_logits, truth),
        "dice": losses.loss_dice(encoded.mask_logits, truth, "per-patch" if paper else "soft"),
    }
    assert set(found) == set(expected)
    for name, loss in expected.items():
        # the stage computes its losses in float32
        assert_same(found[name].double(), loss, name, 1e-5)
    parameters = trained(method.encoder) | {"neck": method.bn_neck.weight}
    parameters["classifier"] = method.classifier.weight
    one = gradients(sum(found.values()), parameters.values())
    other = gradients(sum(expected.values()), parameters.values())
    for name, a, e in zip(parameters, one, other, strict=True):
        assert_same(a, e, name, 1e-4)


def test_the_memory_moves_after_the_step():
    method, data = ready()
    stage, batch = EncoderStage(method), data.batch(BATCH)
    stage.prepare(data)
    stage.begin_epoch(1, data)
    method.train()
    losses_of(stage, batch)
    before = stage.memory.clone()
    with torch.no_grad():
        f = encode(method, batch.images).features
        b = losses.unit(losses.batch_norm(f, method.bn_neck.weight, None, None))
    stage.after_step(batch)
    expected = losses.update_memory(before.double(), b, batch.labels.tolist(), 0.2)
    assert_same(stage.memory.double(), expected, "VPM-2", 1e-5)
    assert torch.equal(stage.memory[1], before[1])  # identity 1 is not in the batch
    assert not torch.equal(stage.memory[0], before[0])


def test_the_loss_of_stage_1():
    """Mean over the images of a batch, an identity counted as often as it is in it."""
    method, data = ready(torch.float32)
    stage, batch = PromptStage(method), data.batch(BATCH, decode=False)
    stage.prepare(data)
    (found,) = losses_of(stage, batch).values()
    labels = batch.labels.tolist()
    expected = losses.loss_cmp(texts(method)[labels], stage.memory.double(), labels)
    assert_same(found.double(), expected, "cmp", 1e-5)
    one, other = (gradients(x, [method.text.prompts])[0] for x in (found, expected))
    assert_same(one, other, "prompts", 1e-4)


def test_batches_of_stage_1():
    method, data = ready()
    batches = list(PromptStage(method).batches(1, data))
    assert [b.images.shape for b in batches] == [(6, 0), (2, 0)]  # 3 identities x 2, then the rest
    method, data = ready(fidelity="paper")
    seen = torch.cat([b.labels for b in PromptStage(method).batches(1, data)])
    assert sorted(seen.tolist()) == [0, 1, 2, 3]


def test_language_off_has_one_stage_and_no_text_loss():
    method, data = ready(language=False)
    (stage,) = method.stages()
    stage.prepare(data)
    stage.begin_epoch(1, data)
    assert set(losses_of(stage, data.batch(BATCH))) == {"id", "imp", "bce", "dice"}


def test_no_part_and_stripes_have_no_mask_loss():
    for changes in ({"parts": ()}, {"partition": "stripes"}):
        method, data = ready(**changes)
        data.told = False
        stage = method.stages()[-1]
        stage.prepare(data)
        stage.begin_epoch(1, data)
        assert set(losses_of(stage, data.batch(BATCH))) == {"id", "imp", "i2t"}
