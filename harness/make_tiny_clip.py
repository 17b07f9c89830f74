"""Make the weights of the tiny CLIP: `python -m harness.make_tiny_clip [--steps N] [--out FILE]`.

Rendered studio people with captions, the contrastive loss of CLIP, some minutes on two cores. The
studio's identities and its plain style are in no stand-in data set, so every target stays unseen.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from methods.parts import tiny_clip
from protocols.standin.captions import TEMPLATES, caption, part_captions
from protocols.standin.render import render, stream
from protocols.standin.studio import STUDIO

HELD_OUT = 1_000_000
"""Studio identities from this number on are never trained on."""
CAPTION_WORDS = 7  # the stream for the wording of captions
PART_SHARE = 0.35  # of a batch's sentences are about one part only
PART_WEIGHTS = (0.6, 0.2, 0.2)  # head, upper body, legs: a head is small and slow to be learnt


@dataclass(frozen=True)
class Pictures:
    """N rendered people, `views` pictures of each: pixels uint8 [N, V, 3, H, W], tokens [N, V, L].

    `part_tokens` [N, 3, L] are sentences on head, upper body and legs.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    part_tokens: torch.Tensor


def draw(first: int, count: int, views: int, seed: int) -> Pictures:
    """Render `count` studio identities from number `first` on."""
    height, width = tiny_clip.CONFIG["vision_cfg"]["image_size"]
    pixels = np.empty((count, views, height, width, 3), np.uint8)
    sentences: list[str] = []
    part_sentences: list[str] = []
    for i in range(count):
        for v in range(views):
            rng = stream(seed, STUDIO.number, CAPTION_WORDS, first + i, v)
            drawn = render(STUDIO, first + i, int(rng.integers(STUDIO.cameras)), v, seed=seed)
            small = drawn.picture.resize((width, height), Image.Resampling.BILINEAR)
            pixels[i, v] = np.asarray(small)
            sentences.append(caption(drawn.person, drawn.view, rng))
        part_sentences += part_captions(drawn.person).values()
    tokenize = open_clip.get_tokenizer("ViT-B-16")
    return Pictures(
        torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).contiguous(),
        tokenize(sentences).view(count, views, -1),
        tokenize(part_sentences).view(count, 3, -1),
    )


def known_tokens(pictures: Pictures) -> torch.Tensor:
    """Sorted ids of the tokens of all sentences and of the prompts: [K]."""
    prompts = open_clip.get_tokenizer("ViT-B-16")([t.replace("{}", "X X X X") for t in TEMPLATES])
    return torch.unique(
        torch.cat([pictures.tokens.flatten(), pictures.part_tokens.flatten(), prompts.flatten()])
    )


def scale(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [B, 3, H, W] to the float input of the model, mean and deviation 0.5."""
    return pixels.float() / 127.5 - 1


def encode_text(model: CLIP, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Text features [B, D] from token embeddings `rows` [B, L, W] of `tokens` [B, L].

    What `CLIP.encode_text` computes, without the padding: the mask is causal, so nothing after the
    end of a sentence matters.
    """
    length = tokens.shape[1]
    x = rows + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), tokens.argmax(1)] @ model.text_projection


def contrastive(
    image: torch.Tensor, text: torch.Tensor, tokens: torch.Tensor, temperature: torch.Tensor
) -> torch.Tensor:
    """CLIP's symmetric loss; pairs off the diagonal with equal sentences count neither way."""
    logits = temperature * functional.normalize(image, dim=1) @ functional.normalize(text, dim=1).T
    same = (tokens[:, None] == tokens[None]).all(2)
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(len(logits))
    return (
        functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    ) / 2


def train(pictures: Pictures, steps: int, batch: int, seed: int, lr: float) -> CLIP:
    """Train from scratch; the returned model's token embedding has all the vocabulary's rows."""
    torch.manual_seed(seed)
    model = tiny_clip.build().train()
    ids = known_tokens(pictures)
    rows = torch.nn.Embedding(len(ids), model.token_embedding.embedding_dim)
    torch.nn.init.normal_(rows.weight, std=tiny_clip.UNSEEN_STD)
    trained = [p for n, p in model.named_parameters() if n != tiny_clip.TOKENS]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim <= 1] + [rows.weight], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * s / steps))),
    )
    generator = torch.Generator().manual_seed(seed)
    start, shown = time.monotonic(), 0.0
    for step in range(steps):
        pixels, tokens = sample(pictures, batch, generator)
        at = torch.searchsorted(ids, tokens.contiguous())
        image = model.encode_image(scale(pixels))
        text = encode_text(model, rows(at), tokens)
        loss = contrastive(image, text, tokens, model.logit_scale.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        spent = time.monotonic() - start
        if spent - shown > 10 or step + 1 == steps:
            shown = spent
            left = spent / (step + 1) * (steps - step - 1)
            print(f"step {step + 1}/{steps}  loss {loss.item():.3f}  {left:.0f} s left", flush=True)
    with torch.no_grad():
        model.token_embedding.weight.copy_(tiny_clip.unseen_rows())
        model.token_embedding.weight[ids] = rows.weight
    return model.eval()


def sample(
    pictures: Pictures, batch: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One picture of each of `batch` different people, half of them mirrored, and a sentence each.

    The tokens [B, L] end with the longest sentence of the batch.
    """
    count, views = pictures.tokens.shape[:2]
    who = torch.randperm(count, generator=generator)[:batch]
    view = torch.randint(views, (batch,), generator=generator)
    pixels, tokens = pictures.pixels[who, view], pictures.tokens[who, view]
    mirrored = torch.rand(batch, generator=generator) < 0.5
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    weights = torch.tensor(PART_WEIGHTS)
    part = torch.multinomial(weights, batch, replacement=True, generator=generator)
    about_part = torch.rand(batch, generator=generator) < PART_SHARE
    tokens = torch.where(about_part[:, None], pictures.part_tokens[who, part], tokens)
    return pixels, tokens[:, : int(tokens.argmax(1).max()) + 1]


@torch.no_grad()
def retrieval(model: CLIP, pictures: Pictures) -> tuple[float, float]:
    """Share of pictures whose own sentence is nearest of all, and of sentences likewise.

    One picture of each person is used.
    """
    image = model.encode_image(scale(pictures.pixels[:, 0]), normalize=True)
    text = model.encode_text(pictures.tokens[:, 0], normalize=True)
    similar, own = image @ text.T, torch.arange(len(image))
    to_text, to_image = similar.argmax(1) == own, similar.argmax(0) == own
    return to_text.float().mean().item(), to_image.float().mean().item()


def save(model: CLIP, ids: torch.Tensor, path: Path) -> None:
    """Write the weights in half precision, with the token embeddings of `ids` only, atomically."""
    state = dict(model.state_dict())
    rows = state.pop(tiny_clip.TOKENS)[ids]
    state = {name: value.half().contiguous() for name, value in state.items()}
    state |= {tiny_clip.TOKEN_IDS: ids.int(), tiny_clip.TOKEN_ROWS: rows.half()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(state, partial)
    partial.chmod(0o644)  # safetensors writes for the owner alone
    partial.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m harness.make_tiny_clip", description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", type=Path, default=tiny_clip.WEIGHTS)
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    start = time.monotonic()
    pictures = draw(0, options.people, options.views, options.seed)
    print(
        f"{options.people * options.views} pictures, {time.monotonic() - start:.0f} s", flush=True
    )
    model = train(pictures, options.steps, options.batch, options.seed, options.lr)
    save(model, known_tokens(pictures), options.out)
    held_out = draw(HELD_OUT, 200, 1, options.seed)
    to_text, to_image = retrieval(tiny_clip.load(options.out), held_out)
    print(f"200 held-out people, Rank-1 image to text {to_text:.1%}, text to image {to_image:.1%}")
    print(f"wrote {options.out} ({options.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
