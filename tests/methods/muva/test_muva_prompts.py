"""Prompts: whole 77-token sentences in the reference, cut ones in the implementation."""

import muva_reference as reference
import open_clip
import pytest
import torch
from muva_small import (
    assert_same,
    assert_same_gradients,
    gradients,
    normal,
    scatter,
    weigh,
)
from open_clip.model import CLIP

from methods.muva.losses import prompt_loss
from methods.muva.prompts import STYLES, PromptedText, endings

WIDTH, LAYERS, HEADS, CONTEXT, CLASSES = 16, 2, 2, 77, 3
GRAINS = ("global", "head", "upper", "legs")
ORIGINAL = [
    "A photo of a X X X X person",
    "A photo of a X X X X head of a person",
    "A photo of a X X X X upper body of a person",
    "A photo of a X X X X legs of a person",
]


def small_clip(quick_gelu=True, dtype=torch.float64):
    text = {"context_length": CONTEXT, "vocab_size": 49408, "width": WIDTH, "heads": HEADS}
    vision = {"image_size": 8, "patch_size": 4, "width": 16, "head_width": 8, "layers": 1}
    torch.manual_seed(0)
    clip = CLIP(6, vision, {**text, "layers": LAYERS}, quick_gelu=quick_gelu)
    return scatter(clip.to(dtype), std=0.2)


def text_weights(clip):
    return {k: v.detach() for k, v in clip.named_parameters() if not k.startswith("visual.")}


def tokenized(sentences):
    """[G, 77] ids of sentences in which X X X X holds the place of the vectors."""
    return open_clip.get_tokenizer("ViT-B-16")(sentences)


def prompted(clip, prompt="original", domains=("MA",), grains=GRAINS, classes=CLASSES):
    """A PromptedText whose vectors are large enough to matter."""
    made = PromptedText(clip, classes, endings(grains, prompt, domains)).to(clip.logit_scale.dtype)
    made.prompts.data.copy_(normal(*made.prompts.shape, seed=4))
    return made


def expected_texts(clip, prompts, sentences, quick_gelu=True):
    """sentences: per identity its G sentences."""
    return reference.encode_prompts(
        prompts,
        torch.stack([tokenized(s) for s in sentences]),
        text_weights(clip),
        first=5,
        heads=HEADS,
        layers=LAYERS,
        activation=reference.quick_gelu if quick_gelu else reference.gelu,
    )


def sentences_of(prompt):
    if prompt == "part-agnostic":
        return [["A photo of a X X X X"] * 4] * CLASSES
    if prompt == "original":
        return [ORIGINAL] * CLASSES
    return [[f"{s}, {STYLES[d]}" for s in ORIGINAL] for d in ("D", "MS", "D")]


@pytest.mark.parametrize("prompt", ["original", "part-agnostic", "domain-specific"])
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_cut_sentences_equal_whole_ones(prompt, quick_gelu):
    clip = small_clip(quick_gelu)
    text = prompted(clip, prompt, domains=("D", "MS"))
    if prompt == "domain-specific":
        text.set_domains(torch.tensor([0, 1, 0]))
    expected = expected_texts(clip, text.prompts, sentences_of(prompt), quick_gelu)
    found = text(torch.arange(CLASSES))
    assert_same(found, expected, "t")
    assert_same_gradients(weigh([found]), weigh([expected]), {"prompts": text.prompts})


def test_some_parts_only_and_labels_in_any_order():
    clip = small_clip()
    text = prompted(clip, grains=("global", "legs"))
    sentences = [[ORIGINAL[0], ORIGINAL[3]]] * CLASSES
    expected = expected_texts(clip, text.prompts, sentences)
    assert_same(text(torch.tensor([2, 0])), expected[[2, 0]], "t")


def test_where_things_are_in_a_sentence():
    text = prompted(small_clip())
    assert text.fixed.shape[-2] == 15
    assert text.ends.tolist() == [[10, 13, 14, 13]]
    ids = tokenized(ORIGINAL)
    assert ids.argmax(1).tolist() == [10, 13, 14, 13]
    x = tokenized(["X"])[0, 1]
    assert [(row == x).nonzero().flatten().tolist() for row in ids] == [[5, 6, 7, 8]] * 4


def test_texts_have_unit_length_as_a_whole_and_not_per_grain():
    text = prompted(small_clip())
    t = text(torch.arange(CLASSES)).detach()
    assert torch.allclose(t.norm(dim=1), torch.ones(CLASSES, dtype=t.dtype))
    per_grain = t.view(CLASSES, 4, -1).norm(dim=2)
    assert (per_grain - per_grain.mean()).abs().max() > 0.01


def plain_texts(clip, prompts, labels, sentences):
    """77 tokens, one text for every label however often: open_clip's own text pass, float32."""
    ids = tokenized(sentences)
    x = clip.token_embedding(ids).repeat(len(labels), 1, 1)
    x[:, 5:9] = prompts[labels].flatten(0, 1)
    x = clip.transformer(x + clip.positional_embedding, attn_mask=clip.attn_mask)
    at = ids.argmax(1).repeat(len(labels))
    x = clip.ln_final(x)[torch.arange(len(x)), at] @ clip.text_projection
    return torch.nn.functional.normalize(x.view(len(labels), -1), dim=1)


def test_the_fast_stage_1_loss_equals_the_plain_one():
    """15 tokens and one text an identity against 77 tokens and 64 texts x 4 grains, float32."""
    classes = 20
    clip = small_clip(dtype=torch.float32)
    text = prompted(clip, classes=classes)
    drawn = normal(classes).argsort()[:16]
    labels = drawn.repeat_interleave(4)
    memory = torch.nn.functional.normalize(normal(classes, 24, seed=8).float(), dim=1)
    plain = plain_texts(clip, text.prompts, labels, ORIGINAL)
    expected = torch.nn.functional.cross_entropy(plain @ memory.T, labels)
    unique, counts = labels.unique(return_counts=True)
    found = prompt_loss(text(unique), memory, unique, counts)
    assert_same(found, expected, "loss", 1e-5)
    one, other = (gradients(x, [text.prompts])[0] for x in (found, expected))
    assert_same(one, other, "prompts", 1e-5)
    absent = [c for c in range(classes) if c not in drawn]
    assert not one[absent].any()
