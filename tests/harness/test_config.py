"""RunSpec: what is in a run's name and what is not; overrides and their messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import make_config, make_spec, parse_overrides
from methods.vision_only import VisionOnly, VisionOnlyConfig
from protocols.errors import ReIDError, UnknownName
from protocols.types import Fold


def spec(config=None, *, seed=0, sources=("MA",), prints=None, preset="tiny", precision="fp32"):
    config = config or make_config("vision-only", VisionOnly, "tiny", {})
    fold = Fold(sources, "train", ("D",))
    prints = prints or {s: f"print-of-{s}" for s in sources}
    return make_spec(
        "vision-only",
        VisionOnly,
        config,
        preset=preset,
        fold=fold,
        fingerprints=prints,
        seed=seed,
        precision=precision,
    )


def test_the_id_is_of_the_content():
    assert spec().id == spec().id
    other = make_config("vision-only", VisionOnly, "tiny", {"epochs": 3})
    ids = {
        spec().id,
        spec(other).id,
        spec(seed=1).id,
        spec(sources=("D",)).id,
        spec(prints={"MA": "changed"}).id,
        spec(precision="bf16").id,
        spec(sources=("MA", "D")).id,
        spec(sources=("D", "MA")).id,
    }
    assert len(ids) == 8


def test_a_weights_file_is_told_by_its_content_not_its_path(tmp_path):
    paths = [tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt"]
    for path, content in zip(paths, (b"same", b"same", b"other"), strict=True):
        path.write_bytes(content)
    specs = [spec(VisionOnlyConfig(weights=str(path)), preset="paper") for path in paths]
    assert specs[0].id == specs[1].id != specs[2].id
    assert str(tmp_path) not in specs[0].model_dump_json()


def test_a_weights_file_is_the_same_however_it_is_spelt(tmp_path, monkeypatch):
    (tmp_path / "w.pt").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spellings = ("w.pt", "./w.pt", str(tmp_path / "w.pt"), f"{tmp_path}//w.pt", "~/w.pt")
    ids = {spec(VisionOnlyConfig(weights=text), preset="paper").id for text in spellings}
    assert len(ids) == 1


def test_a_spec_survives_json():
    one = spec(sources=("MA", "D", "C3"))
    again = type(one).model_validate_json(one.model_dump_json())
    assert again == one
    assert again.id == one.id


def test_overrides_are_read_as_json_or_as_text():
    texts = ["epochs=3", "lr=1e-4", "fidelity=paper", "random_crop_erase=true", "a=[1, 2]", "b=x=y"]
    assert parse_overrides(texts) == {
        "epochs": 3,
        "lr": 1e-4,
        "fidelity": "paper",
        "random_crop_erase": True,
        "a": [1, 2],
        "b": "x=y",
    }


@given(st.text(alphabet=st.characters(blacklist_characters="=", codec="utf-8"), max_size=20))
def test_an_override_without_a_value_is_refused(text):
    with pytest.raises(ReIDError, match="expected key=value"):
        parse_overrides([text])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs='many': input should be a valid integer"),
        ({"epochs": 0}, "epochs=0: input should be greater than or equal to 1"),
        ({"fidelity": "papers"}, "fidelity='papers': input should be 'released' or 'paper'"),
        ({"image_size": [96]}, "image_size"),
    ],
)
def test_messages_of_bad_overrides(override, message):
    with pytest.raises(ReIDError, match=message):
        make_config("vision-only", VisionOnly, "tiny", override)


def test_an_unknown_preset():
    with pytest.raises(UnknownName, match="Did you mean 'tiny'"):
        make_config("vision-only", VisionOnly, "tini", {})


def test_the_paper_preset_is_the_papers():
    config = make_config("vision-only", VisionOnly, "paper", {})
    assert config.model_dump(include={"backbone", "weights", "image_size", "epochs", "lr"}) == {
        "backbone": "ViT-B-16",
        "weights": "openai",
        "image_size": (256, 128),
        "epochs": 60,
        "lr": 5e-6,
    }
