"""Learnable prompts and CLIP's frozen text encoder, for methods that give an identity its own text.

Two exact savings: the text transformer is causal, so nothing after the last end-of-text token is
computed; and an identity that is in a batch several times is encoded once (`distinct`).

Shape letters: C identities, G texts an identity (grains), N vectors a text, W text width,
E joint space, V domains, n tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from methods.parts.losses import full_precision
from protocols.errors import ReIDError

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

PREFIX = "A photo of a"
TEXTS_AT_ONCE = 64


class FrozenText(nn.Module):
    """CLIP's text transformer without its token embedding; nothing in it trains."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        causal = getattr(clip, "attn_mask", None)
        plain = isinstance(getattr(clip, "text_projection", None), nn.Parameter)
        if causal is None or not plain or clip.text_pool_type != "argmax":
            raise ReIDError(
                "Prompts need CLIP's causal text transformer with the end-of-text feature, such as "
                "ViT-B-16's; this backbone has another. --set language=off runs without."
            )
        self.transformer = clip.transformer
        self.positional_embedding = clip.positional_embedding
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection
        self.register_buffer("causal", causal.detach().clone(), persistent=False)
        self.causal: Tensor
        self.requires_grad_(False)

    def forward(self, tokens: Tensor, ends: Tensor) -> Tensor:
        """tokens: [S, n, W] embeddings; ends: [S] positions of end-of-text. Returns [S, E]."""
        n = tokens.shape[1]
        x = tokens + self.positional_embedding[:n]
        x = self.transformer(x, attn_mask=self.causal[:n, :n])
        x = x[torch.arange(len(x), device=x.device), ends]
        return self.ln_final(x) @ self.text_projection


class LearnedTexts(nn.Module):
    """G texts per identity, "A photo of a", N learnable vectors and an ending; the vectors train.

    `texts` are the endings by domain and grain, `init_std` that of the normal the vectors are
    drawn from. Texts of several domains need to know the domain of every identity: `set_domains`.
    Raises ReIDError for a text side that is not CLIP's, or a text longer than its context.
    """

    def __init__(
        self,
        clip: CLIP,
        num_classes: int,
        texts: Sequence[Sequence[str]],
        vectors: int = 4,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.encoder = FrozenText(clip)
        ids, ends, self.start = _tokenize(texts, vectors)
        if clip.vocab_size != _tokenizer().vocab_size:
            raise ReIDError("This backbone's text side has a vocabulary that is not CLIP's.")
        if ids.shape[-1] > clip.context_length:
            raise ReIDError(
                f"prompt_tokens={vectors}: a text would have {ids.shape[-1]} tokens, more than the "
                f"{clip.context_length} of this text encoder."
            )
        fixed = clip.token_embedding.weight.detach()[ids]
        # what the texts are made of follows from the backbone, so it needs no place in checkpoints
        self.register_buffer("fixed", fixed.clone(), persistent=False)
        self.register_buffer("ends", ends, persistent=False)
        self.register_buffer(
            "domains", torch.zeros(num_classes, dtype=torch.long), persistent=len(texts) > 1
        )
        self.fixed: Tensor
        self.ends: Tensor
        self.domains: Tensor
        width = fixed.shape[-1]
        self.prompts = nn.Parameter(torch.empty(num_classes, len(texts[0]), vectors, width))
        nn.init.normal_(self.prompts, std=init_std)

    @property
    def domain_specific(self) -> bool:
        """Whether an identity's texts depend on its data set."""
        return len(self.fixed) > 1

    def set_domains(self, domains: Tensor) -> None:
        """domains: [C], the source each identity is from."""
        self.domains.copy_(domains)

    def forward(self, labels: Tensor) -> Tensor:
        """labels: [U] identities. Returns [U, G, E], not normalised."""
        domains = self.domains[labels]
        tokens = self.fixed[domains].clone()
        vectors = self.prompts.shape[2]
        tokens[:, :, self.start : self.start + vectors] = self.prompts[labels].to(tokens.dtype)
        features = self.encoder(tokens.flatten(0, 1), self.ends[domains].flatten())
        return full_precision(features).view(*tokens.shape[:2], -1)


def encode_all(text: Callable[[Tensor], Tensor], count: int, device: torch.device) -> Tensor:
    """`text` of the identities 0..count-1, some at a time: [C, ...]."""
    labels = torch.arange(count, device=device)
    return torch.cat([text(chunk) for chunk in labels.split(TEXTS_AT_ONCE)])


def distinct(labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The U identities among labels [B], in order, and where they are.

    Returns the identities [U], the place of each row's among them [B], how often each is there
    [U], and the first row of each [U].
    """
    found, places, counts = labels.unique(return_inverse=True, return_counts=True)
    rows = torch.arange(len(places), device=places.device)
    first = torch.full_like(found, len(rows)).scatter_reduce(0, places, rows, "amin")
    return found, places, counts, first


@cache
def _tokenizer() -> SimpleTokenizer:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def _tokenize(texts: Sequence[Sequence[str]], vectors: int) -> tuple[Tensor, Tensor, int]:
    """Token ids [V, G, n] cut after the last end-of-text, its positions [V, G], the vectors' start.

    The places of the learnable vectors hold an arbitrary token.
    """
    tokenizer = _tokenizer()
    before = [tokenizer.sot_token_id, *tokenizer.encode(PREFIX)]
    rows = [
        [[*before, *[0] * vectors, *tokenizer.encode(text), tokenizer.eot_token_id] for text in row]
        for row in texts
    ]
    length = max(len(ids) for row in rows for ids in row)
    padded = torch.tensor([[ids + [0] * (length - len(ids)) for ids in row] for row in rows])
    ends = torch.tensor([[len(ids) - 1 for ids in row] for row in rows])
    return padded, ends, len(before)
