"""Both stages as they run, against the reference: every loss, what trains, at which rate."""

import clip_reid_reference as reference
import open_clip
import pytest
import torch
from clip_reid_small import OF, Source, assert_close, tiny

from methods.clip_reid.config import ClipReidConfig
from methods.clip_reid.method import ClipReid
from methods.clip_reid.stages import EncoderStage, PromptStage
from methods.interface import SourceInfo


def features(method, images):
    with torch.no_grad():
        return {k: v.detach() for k, v in method.encoder(images)._asdict().items()}


def whole_sentences(method):
    """Texts of all identities from sentences of 77 tokens and open_clip's own text transformer."""
    from methods.parts import tiny_clip

    clip = tiny_clip.load().double()
    ids = open_clip.get_tokenizer("ViT-B-16")(["A photo of a X X X X person."])
    assert ids.argmax(1).item() == 11
    x = clip.token_embedding(ids).repeat(len(method.text.prompts), 1, 1)
    x[:, 5:9] = method.text.prompts[:, 0]
    x = clip.transformer(x + clip.positional_embedding, attn_mask=clip.attn_mask)
    return clip.ln_final(x)[:, 11] @ clip.text_projection


def test_texts_are_those_of_whole_sentences():
    method = tiny()
    assert_close(method.texts(torch.arange(4)), whole_sentences(method))


def test_prompts_are_four_vectors_an_identity_from_a_narrow_normal():
    config = ClipReidConfig(**ClipReid.presets["tiny"])
    torch.manual_seed(0)
    prompts = ClipReid(config, SourceInfo(100, ("MA",))).text.prompts.detach()
    assert prompts.shape == (100, 1, 4, 128)
    assert prompts.std().item() == pytest.approx(0.02, rel=0.02)
    assert abs(prompts.mean().item()) < 5e-4


def test_stage_1_on_a_batch_that_repeats_identities():
    """On features of the evaluation transform; every image's text in the reference's batch."""
    method, data, rows = tiny(), Source(OF), [9, 0, 1, 3, 4, 5, 2]
    stage, batch = PromptStage(method.train()), data.batch(rows)
    stage.prepare(data)
    assert not method.training
    expected = features(method, data.images)["f_p"]
    assert_close(stage.features, expected)
    method.train()
    found = stage.losses(stage.forward(batch), batch.known())
    labels, texts = batch.labels.tolist(), whole_sentences(method)
    images, every = expected[rows], texts[labels]
    plain = {
        "i2t": reference.loss_i2t(images, every, labels),
        "t2i": reference.loss_t2i(images, every, labels),
    }
    assert set(found) == set(plain)
    for name, loss in plain.items():
        assert_close(found[name], loss)
        one, other = (torch.autograd.grad(x, method.text.prompts, retain_graph=True)[0]
                      for x in (found[name], loss))  # fmt: skip
        assert_close(one, other, 1e-8)


def test_stage_1_sees_every_image_once_an_epoch_in_a_new_order():
    data = Source(OF)
    stage = PromptStage(tiny(stage1_batch=4))
    torch.manual_seed(1)
    batches = [[b.indices.tolist() for b in stage.batches(epoch, data)] for epoch in (1, 2)]
    assert [len(rows) for rows in batches[0]] == [4, 4, 2]
    for epoch in batches:
        assert sorted(row for rows in epoch for row in rows) == list(range(len(OF)))
    assert batches[0] != batches[1]
    batch = next(iter(stage.batches(1, data)))
    assert batch.images.shape == (4, 0)
    assert torch.equal(batch.labels, data.labels[batch.indices])


@pytest.mark.parametrize("language", [True, False])
def test_the_losses_of_stage_2(language):
    method, data = tiny(language=language), Source(OF)
    stage, batch = method.stages()[-1], data.batch(range(len(OF)))
    stage.prepare(data)
    method.train()
    found = stage.losses(stage.forward(batch), batch.known())
    texts = whole_sentences(method).detach() if language else None
    if language:
        assert_close(stage.texts, texts)
    expected = reference.stage_2(
        method.encoder(batch.images)._asdict(),
        (method.bn_neck.weight, method.bn_neck_p.weight),
        (method.classifier.weight, method.classifier_p.weight),
        texts,
        OF,
        0.25 if language else 1.0,
    )
    assert set(found) == set(expected)
    for name, loss in expected.items():
        assert_close(found[name], loss)
    total, plain = sum(found.values()), sum(expected.values())
    trained = {n: p for n, p in method.named_parameters()
               if p.requires_grad and not n.startswith("text.")}  # fmt: skip
    one = torch.autograd.grad(total, trained.values(), retain_graph=True)
    other = torch.autograd.grad(plain, trained.values())
    largest = max(float(g.abs().max()) for g in other)
    for name, a, b in zip(trained, one, other, strict=True):
        assert float((a - b).abs().max()) < 1e-9 * largest, name


def groups(stage):
    names = {id(p): name for name, p in stage.method.named_parameters()}
    for group in stage.optimizer().param_groups:
        yield group["lr"], group["weight_decay"], {names[id(p)] for p in group["params"]}


def test_stage_1_trains_prompts_alone():
    (group,) = groups(PromptStage(tiny()))
    assert group == (3.5e-3, 1e-4, {"text.prompts"})


def test_stage_2_trains_the_image_side_and_biases_at_twice_the_rate():
    method = tiny()
    (lr, decay, weights), (faster, same, biases) = groups(EncoderStage(method))
    assert (lr, faster, decay, same) == (3e-4, 6e-4, 1e-4, 1e-4)
    assert all(name.endswith("bias") for name in biases)
    assert not any(name.endswith("bias") for name in weights)
    assert "encoder.visual.transformer.resblocks.0.attn.in_proj_bias" in biases
    encoder = {f"encoder.{name}" for name, _ in method.encoder.named_parameters()}
    heads = {f"{n}{p}.weight" for n in ("bn_neck", "classifier") for p in ("", "_p")}
    assert weights | biases == encoder | heads


def test_the_text_encoder_and_the_biases_of_the_necks_are_frozen():
    method = tiny()
    frozen = {n for n, p in method.named_parameters() if not p.requires_grad}
    text = {f"text.encoder.{n}" for n, _ in method.text.encoder.named_parameters()}
    assert frozen == text | {"bn_neck.bias", "bn_neck_p.bias"}
    assert not method.bn_neck.bias.any()


def factors(config, epochs):
    stage = EncoderStage.__new__(EncoderStage)
    stage.config = config
    return [stage.lr_factor(epoch) for epoch in epochs]


def test_schedules_of_stage_2():
    vit, resnet = ClipReidConfig(), ClipReidConfig(backbone="RN50")
    # 0.1 + 0.09 e, then steps at 30 and 50
    expected = [0.19, 0.55, 0.91, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert factors(vit, [1, 5, 9, 10, 29, 30, 49, 50, 60]) == pytest.approx(expected)
    # 0.01 + 0.099 e, then steps at 40 and 70
    expected = [0.109, 0.505, 0.901, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert factors(resnet, [1, 5, 9, 10, 39, 40, 69, 70, 120]) == pytest.approx(expected)


@pytest.mark.parametrize(("backbone", "epochs"), [("ViT-B-16", 120), ("RN50", 60)])
def test_the_schedule_of_stage_1(backbone, epochs):
    stage = PromptStage.__new__(PromptStage)
    stage.config = ClipReidConfig(backbone=backbone)
    stage.epochs = stage.config.chosen("stage1_epochs")
    assert stage.epochs == epochs
    for epoch in (1, 4, 5, 30, epochs):
        rate = stage.lr_factor(epoch) * stage.config.stage1_lr
        assert rate == pytest.approx(reference.stage_1_rate(epoch, epochs))


def test_the_baseline_has_one_stage_and_no_text():
    method = tiny(language=False)
    (stage,) = method.stages()
    assert isinstance(stage, EncoderStage)
    assert not any(name.startswith("text.") for name in method.state_dict())
