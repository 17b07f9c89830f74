"""Multi-grained prompts (section 3.1.1): learnable vectors for each grain of each identity.

    global  "A photo of a [X]x4 person"          upper  "A photo of a [U]x4 upper body of a person"
    head    "A photo of a [H]x4 head of a person"  legs  "A photo of a [L]x4 legs of a person"

Two exact savings: the text transformer is causal, so nothing after the last end-of-text token is
computed; and an identity that is in a batch several times is encoded once.

Shape letters: C identities, G grains (global and the parts), N vectors a grain, W text width,
E joint space, V domains, n tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from methods.parts.losses import full_precision
from protocols.errors import ReIDError

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

PREFIX = "A photo of a"
ENDINGS = {
    "global": "person",
    "head": "head of a person",
    "upper": "upper body of a person",
    "legs": "legs of a person",
}
STYLES = {
    "MA": "bright outdoor campus in low resolution",
    "D": "outdoor campus in winter in clear resolution",
    "MS": "indoor and outdoor campus in changing light",
    "C3": "indoor corridor in artificial light in low resolution",
    "C3-labeled": "indoor corridor in artificial light in low resolution",
    "C2": "outdoor campus in low resolution",
    "CS": "street and film in clear resolution",
}
"""The look of a data set, for table 7's domain-specific prompts; the paper gives no words.

A source without a line here, one's own for example, gets `OTHER_STYLE`.
"""
OTHER_STYLE = "surveillance camera"
INIT_STD = 0.002


def endings(grains: Sequence[str], prompt: str, domains: Sequence[str]) -> list[list[str]]:
    """What follows the learnable vectors, by domain and grain: V lists of G texts.

    `prompt` is one of table 7: `original`; `part-agnostic` names neither part nor person;
    `domain-specific` appends the style of the data set. Only the last depends on the domain.
    """
    if prompt == "part-agnostic":
        return [["" for _ in grains]]
    plain = [ENDINGS[grain] for grain in grains]
    if prompt == "domain-specific":
        styles = [STYLES.get(domain, OTHER_STYLE) for domain in domains] or [OTHER_STYLE]
        return [[f"{text}, {style}" for text in plain] for style in styles]
    return [plain]


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


class PromptedText(nn.Module):
    """One text per identity and grain, whose learnable vectors are all that trains in stage 1.

    `texts` are the endings by domain and grain. Texts of several domains need to know the domain
    of every identity: `set_domains`.
    Raises ReIDError for a text side that is not CLIP's, or a text longer than its context.
    """

    def __init__(
        self, clip: CLIP, num_classes: int, texts: Sequence[Sequence[str]], vectors: int = 4
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
        nn.init.normal_(self.prompts, std=INIT_STD)

    @property
    def domain_specific(self) -> bool:
        """Whether an identity's texts depend on its data set."""
        return len(self.fixed) > 1

    def set_domains(self, domains: Tensor) -> None:
        """domains: [C], the source each identity is from."""
        self.domains.copy_(domains)

    def forward(self, labels: Tensor) -> Tensor:
        """labels: [U] identities. Returns t: [U, G E], L2-normalised as a whole (not per grain)."""
        domains = self.domains[labels]
        tokens = self.fixed[domains].clone()
        vectors = self.prompts.shape[2]
        tokens[:, :, self.start : self.start + vectors] = self.prompts[labels].to(tokens.dtype)
        features = self.encoder(tokens.flatten(0, 1), self.ends[domains].flatten())
        return normalize(full_precision(features).view(len(labels), -1), dim=1)


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
