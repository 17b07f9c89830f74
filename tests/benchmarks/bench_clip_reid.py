"""CLIP-ReID's speed against the plain forms: `python tests/benchmarks/bench_clip_reid.py --help`.

What is compared, and how: README.md in this folder.
"""

from __future__ import annotations

import argparse

import torch
from bench_muva import CONTEXT, COPIES, IDENTITIES, Noise, Work, compare, losses_of, machine, step
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from methods.clip_reid.config import ClipReidConfig
from methods.clip_reid.method import ClipReid
from methods.clip_reid.stages import PromptStage
from methods.interface import Batch, SourceInfo
from methods.parts.metric import batch_hard_triplet


def clip_reid(**changes: object) -> ClipReid:
    torch.manual_seed(0)
    return ClipReid(ClipReidConfig(weights="random", **changes), SourceInfo(IDENTITIES, ("MA",)))


def prompt_steps(size: int) -> tuple[Work, Work]:
    """A step of stage 1: as it is, and from whole sentences, one an image.

    Stage 1 has no PK sampler, so few identities are in a batch twice.
    """
    data = Noise(size)
    data.labels = torch.randint(IDENTITIES, (size,), generator=torch.Generator().manual_seed(2))
    method, batch = clip_reid().train(), data.batch()
    stage, text = PromptStage(method), method.text
    assert text is not None
    width = method.encoder.widths[-1]
    stage.features = torch.randn(size, width, generator=torch.Generator().manual_seed(1))
    optimizer = stage.optimizer()
    # what comes after a sentence's end does not matter to its feature; it only costs time
    length, joint = text.fixed.shape[2:]
    whole = torch.zeros(CONTEXT, joint)
    whole[:length] = text.fixed[0, 0]
    ends = text.ends[0].repeat(size)
    places = slice(text.start, text.start + text.prompts.shape[2])
    same = (batch.labels[:, None] == batch.labels).float()
    positives = same / same.sum(1, keepdim=True)

    def plain_loss() -> Tensor:
        tokens = whole.repeat(size, 1, 1)
        tokens[:, places] = text.prompts[batch.labels, 0]
        scores = stage.features @ text.encoder(tokens, ends).T
        return cross_entropy(scores, positives) + cross_entropy(scores.T, positives)

    def our_loss() -> Tensor:
        return torch.stack(list(losses_of(stage, batch).values())).sum()

    with torch.no_grad():
        assert torch.allclose(our_loss(), plain_loss(), rtol=1e-4), "the two sides differ"
    return lambda: step(optimizer, our_loss()), lambda: step(optimizer, plain_loss())


def plain_taps(method: ClipReid, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """f_a, f_b and f_p from open_clip's own forward passes, every token to the end."""
    visual = method.encoder.visual
    if method.config.resnet:
        told = visual.forward_intermediates(images, indices=2)
        x3, x4 = told["image_intermediates"]
        return x3.mean((2, 3)), x4.mean((2, 3)), told["image_features"]
    told = visual.forward_intermediates(images, indices=2, output_extra_tokens=True)
    before, after = (x[:, 0] for x in told["image_intermediates_prefix"])
    return before, visual.ln_post(after), told["image_features"]


def encoder_steps(size: int, backbone: str) -> tuple[Work, Work]:
    """A step of stage 2, and the same losses on open_clip's own forward passes."""
    method, batch = clip_reid(backbone=backbone).train(), Noise(size).batch()
    stage, labels, margin = method.stages()[-1], batch.labels, method.config.margin
    stage.texts = torch.randn(IDENTITIES, method.encoder.widths[-1])
    optimizer, weight = stage.optimizer(), method.config.chosen("id_weight")

    def our_loss() -> Tensor:
        return torch.stack(list(losses_of(stage, batch).values())).sum()

    def plain_loss() -> Tensor:
        f_a, f_b, f_p = plain_taps(method, batch.images)
        triplets = [batch_hard_triplet(f, labels, margin) for f in (f_a, f_b, f_p)]
        logits = (
            method.classifier(method.bn_neck(f_b)),
            method.classifier_p(method.bn_neck_p(f_p)),
        )
        first, second, text = (
            cross_entropy(x, labels, label_smoothing=0.1) for x in (*logits, f_p @ stage.texts.T)
        )
        return weight * (first + second) + torch.stack(triplets).sum() + text

    with torch.no_grad():
        assert torch.allclose(our_loss(), plain_loss(), rtol=1e-4), "the two sides differ"
    return lambda: step(optimizer, our_loss()), lambda: step(optimizer, plain_loss())


def inference(size: int, backbone: str) -> tuple[Work, Work]:
    """`encode`, and the same features from open_clip's own forward passes."""
    method, images = clip_reid(backbone=backbone, language=False).eval(), Noise(size).images

    @torch.inference_mode()
    def ours() -> Tensor:
        return method.encode(Batch(images))["features"]

    @torch.inference_mode()
    def plain() -> Tensor:
        return normalize(torch.cat(plain_taps(method, images)[1:], dim=1), dim=1)

    return ours, plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("stage1", "infer", "stage2"):
        parser.add_argument(f"--{name}", action="store_true", help="only what is named")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved pairs")
    parser.add_argument("--batch", type=int, default=64, help="images a batch, a multiple of 4")
    parser.add_argument("--backbone", default="ViT-B-16", help="ViT-B-16 or RN50")
    options = parser.parse_args()
    if options.batch < COPIES or options.batch % COPIES:
        parser.error(f"--batch {options.batch}: expected a multiple of {COPIES}")
    torch.set_num_threads(1)
    named = [n for n in ("stage1", "infer", "stage2") if getattr(options, n)]
    size, repeats, backbone = options.batch, options.repeats, options.backbone
    print(f"{machine()}\nbatch {size}, {backbone}, 256 x 128", flush=True)
    if not named or "stage1" in named:
        compare("stage 1 step", *prompt_steps(size), repeats, True, "at least 6")
    if not named or "infer" in named:
        compare("inference", *inference(size, backbone), repeats, False, "at most 1.0")
    if not named or "stage2" in named:
        compare("stage 2 step", *encoder_steps(size, backbone), repeats, False, "at most 1.0")


if __name__ == "__main__":
    main()
