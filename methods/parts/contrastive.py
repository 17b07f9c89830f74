"""CLIP's loss in both directions where several images of a batch share one text (CLIP-ReID).

Shape letters: B images of a batch, U identities in it, n_u images of identity u, E joint space.

Written out, the text of every image stands in the batch, so identity u's n_u times. With
s[i, u] = image i . text u / temperature, the mean over all same-identity positives of

    image i to texts   -log(exp s[i, y_i] / sum over images k of exp s[i, y_k])
    text i to images   -log(exp s[k, y_i] / sum over images j of exp s[j, y_i]), all k of y_k = y_i

needs each text once. In the first all positives of i are equal, and the denominator is
sum_u n_u exp s[i, u] = sum_u exp(s[i, u] + log n_u). In the second n_u rows are equal, and a row
takes 1 / n_u of each positive: every image counts once. So U texts do for B.
"""

from __future__ import annotations

from torch import Tensor

from methods.parts.losses import similarities


def image_text_contrast(
    images: Tensor, texts: Tensor, places: Tensor, counts: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """L_i2t and L_t2i of a batch, means over its images (CLIP-ReID, stage 1).

    images: [B, E]; texts: [U, E], one an identity, neither normalised; places: [B], the row of
    `texts` that is an image's; counts: [U], images of each.
    """
    scores = similarities(images, texts) / temperature
    own = scores.gather(1, places[:, None]).squeeze(1)
    of_all_texts = (scores + counts.to(scores.dtype).log()).logsumexp(1)
    of_all_images = scores.logsumexp(0)[places]
    return (of_all_texts - own).mean(), (of_all_images - own).mean()
