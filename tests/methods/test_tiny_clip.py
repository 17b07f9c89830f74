"""The shipped tiny CLIP: that it loads, knows what it was taught, and saw no split."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors import safe_open

from harness import make_tiny_clip
from methods.parts import tiny_clip
from methods.parts.tiny_clip import load  # what tests share for it is put in place later
from protocols.standin.captions import TEMPLATES
from protocols.standin.domains import DOMAINS
from protocols.standin.studio import STUDIO


@pytest.fixture(scope="module")
def model() -> CLIP:
    return load()


@pytest.fixture(scope="module")
def held_out() -> make_tiny_clip.Pictures:
    """100 people it was not trained on."""
    return make_tiny_clip.draw(make_tiny_clip.HELD_OUT + 5000, 100, 2, seed=0)


def test_it_is_small_enough_to_ship() -> None:
    assert tiny_clip.WEIGHTS.stat().st_size < 8e6


def test_both_sides_are_finite(model: CLIP, held_out: make_tiny_clip.Pictures) -> None:
    image, text, scale = model(make_tiny_clip.scale(held_out.pixels[:4, 0]), held_out.tokens[:4, 0])
    assert image.shape == text.shape == (4, 128)
    assert all(torch.isfinite(t).all() for t in (image, text, scale))
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_sentences_find_their_pictures(model: CLIP, held_out: make_tiny_clip.Pictures) -> None:
    """Chance is 1 of 100."""
    to_text, to_image = make_tiny_clip.retrieval(model, held_out)
    assert to_text > 0.2
    assert to_image > 0.2


@torch.no_grad()
def test_part_sentences_are_nearer_their_own_people(
    model: CLIP, held_out: make_tiny_clip.Pictures
) -> None:
    image = model.encode_image(make_tiny_clip.scale(held_out.pixels[:, 0]), normalize=True)
    for part, least in enumerate((0.57, 0.85, 0.8)):  # chance is one half
        tokens = held_out.part_tokens[:, part]
        similar = image @ model.encode_text(tokens, normalize=True).T
        other = (tokens[:, None] != tokens[None]).any(2)
        nearer = similar.diagonal()[:, None] > similar
        assert nearer[other].float().mean() > least


@torch.no_grad()
def test_pictures_of_one_person_are_alike(model: CLIP, held_out: make_tiny_clip.Pictures) -> None:
    first, second = (
        model.encode_image(make_tiny_clip.scale(held_out.pixels[:, v]), normalize=True)
        for v in (0, 1)
    )
    hits = (first @ second.T).argmax(1) == torch.arange(len(first))
    assert hits.float().mean() > 0.2


def test_loading_is_repeatable_and_leaves_randomness_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = load(), load()
    assert torch.equal(torch.rand(3), expected)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_prompts_words_are_stored() -> None:
    with safe_open(tiny_clip.WEIGHTS, "pt") as file:
        stored = set(file.get_tensor(tiny_clip.TOKEN_IDS).tolist())
    prompts = [template.replace("{}", "X X X X") for template in TEMPLATES]
    tokens = open_clip.get_tokenizer("ViT-B-16")(prompts)
    assert set(tokens.flatten().tolist()) <= stored


def test_short_text_is_the_whole_texts_encoding(
    model: CLIP, held_out: make_tiny_clip.Pictures
) -> None:
    """The savings of training change nothing: padding is after the end."""
    tokens = held_out.tokens[:8, 0]
    short = tokens[:, : int(tokens.argmax(1).max()) + 1]
    with torch.no_grad():
        saved = make_tiny_clip.encode_text(model, model.token_embedding(short), short)
        whole = model.encode_text(tokens)
    torch.testing.assert_close(saved, whole, rtol=1e-4, atol=1e-4)


def test_training_draws_the_studio_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No style and no identity of any split; the held-out people are others than the trained."""
    drawn = []
    real = make_tiny_clip.render

    def recording(domain: object, *args: object, **kwargs: object) -> object:
        drawn.append(domain)
        return real(domain, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(make_tiny_clip, "render", recording)
    make_tiny_clip.draw(0, 2, 2, seed=0)
    assert set(drawn) == {STUDIO}
    assert STUDIO not in DOMAINS.values()
    assert STUDIO.number not in {domain.number for domain in DOMAINS.values()}


def test_a_few_steps_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command runs, twice the same, and writes what `load` reads."""
    for name in ("a", "b"):
        make_tiny_clip.main(
            [
                "--steps",
                "2",
                "--people",
                "8",
                "--views",
                "1",
                "--batch",
                "4",
                "--threads",
                "1",
                "--out",
                str(tmp_path / name),
            ]
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert isinstance(load(tmp_path / "a"), CLIP)
    assert "step 2/2" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
