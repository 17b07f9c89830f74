"""Opening an expert: its revision, what is refused, and that nothing foreign is run."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from methods.grounding.expert import Expert, Wording
from methods.grounding.experts import EXPERTS, open_expert
from methods.grounding.experts.loading import find, folder_digest
from protocols.errors import ReIDError, UnknownName
from tests.methods.grounding.tiny_experts import make_florence2, make_grounding_dino, picture

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def opened(name: str, model: Path | str, revision: str | None = None, **options: Any) -> Expert:
    settings: dict[str, Any] = {"device": "cpu", "dtype": torch.float32, "wording": Wording()}
    return open_expert(name, str(model), revision, **settings | options)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_grounding_dino(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.fixture
def cached(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The model in the hub's cache, as "who/what" at COMMIT."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models--who--what"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return "who/what"


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_names_are_known_without_transformers() -> None:
    code = (
        "import sys; from methods.grounding.experts import EXPERTS; "
        "print(*EXPERTS, 'transformers' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [*EXPERTS, "False"]
    assert {kind.name: kind.remote_code for kind in EXPERTS.values() if kind.remote_code} == {
        "cogvlm": True
    }


def test_an_unknown_expert_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="'grounding-dino'"):
        opened("groundingdino", "anything")


def test_without_transformers_its_name_is_told(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ReIDError, match="grounding-dino needs the package transformers"):
        opened("grounding-dino", made)


def test_the_revision_of_a_folder_is_its_content(folder: Path, made: Path) -> None:
    first = opened("grounding-dino", folder)
    assert (first.name, first.model) == ("grounding-dino", str(folder))
    assert re.fullmatch("[0-9a-f]{16}", first.revision)
    assert first.revision == opened("grounding-dino", made).revision
    assert opened("grounding-dino", folder, first.revision).revision == first.revision
    with pytest.raises(ReIDError, match=f"--revision main: the files in .* are {first.revision}"):
        opened("grounding-dino", folder, "main")


def test_a_digest_changes_with_every_file(folder: Path) -> None:
    (folder / "shards").mkdir()
    (folder / "shards" / "more.safetensors").write_bytes(b"0")
    (folder / "code.py").write_text("")
    seen = {folder_digest(folder)}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        seen.add(folder_digest(folder))
        path.write_bytes(before)
        path.rename(path.with_name(f"x{path.name}"))
        seen.add(folder_digest(folder))
        path.with_name(f"x{path.name}").rename(path)
    assert len(seen) == 1 + 2 * len(files)
    (folder / "README.md").write_text("for readers")
    (folder / ".cache").write_text("")
    assert folder_digest(folder) in seen


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./nowhere", "nowhere is not a folder. Expected is the folder of a grounding-dino model"),
        ("~/no/such", "is not a folder"),
        ("~nobody-of-that-name/such", "is not a folder"),
        (__file__, "is not a folder"),
        ("a/b/c", "neither a folder nor a name on the Hugging Face hub"),
        ("who/unknown", "who/unknown is not in the cache .* --local-dir FOLDER` gets it"),
    ],
)
def test_a_model_that_is_nowhere(model: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ReIDError, match=message):
        opened("grounding-dino", model)


def test_the_default_is_fetched_from_the_hub(cached: str) -> None:
    with pytest.raises(ReIDError, match=r"IDEA-Research/grounding-dino-base at v1 is not in.*v1 "):
        open_expert(
            "grounding-dino",
            None,
            "v1",
            device="cpu",
            dtype=torch.float32,
            wording=Wording(),
        )


def test_a_folder_that_is_no_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ReIDError, match="has no weights"):
        opened("grounding-dino", folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ReIDError, match=r"config.json: expected an object, found list"):
        opened("grounding-dino", folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ReIDError, match=r"config.json can't be read"):
        opened("grounding-dino", folder)
    (folder / "config.json").unlink()
    with pytest.raises(ReIDError, match=r"has no config.json"):
        opened("grounding-dino", folder)


def test_another_kind_of_model(made: Path) -> None:
    with pytest.raises(ReIDError, match=r"says grounding-dino / .*, expected florence2"):
        opened("florence-2", made)


def test_weights_of_another_model(folder: Path) -> None:
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    gone = next(name for name in tensors if name.endswith("fc1.weight"))
    left = {name: tensor for name, tensor in tensors.items() if name != gone}
    save_file(left, weights, metadata={"format": "pt"})
    with pytest.raises(ReIDError, match=f"1 tensors of the model are not among.*{gone}"):
        opened("grounding-dino", folder)
    save_file(left | {gone: torch.zeros(3, 3)}, weights, metadata={"format": "pt"})
    with pytest.raises(ReIDError, match=r"the model in .* can't be loaded"):
        opened("grounding-dino", folder)


@pytest.mark.parametrize(
    ("name", "what"), [("model.safetensors", "the model"), ("tokenizer.json", "the tokenizer")]
)
def test_a_file_cut_short(folder: Path, name: str, what: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:1000])
    with pytest.raises(ReIDError, match=f"{what} .*in .* can't be loaded"):
        opened("grounding-dino", folder)


def test_pickled_weights_are_read_as_weights(folder: Path, made: Path) -> None:
    torch.save(load_file(made / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    asked = [picture()], ["head"]
    same = opened("grounding-dino", made).locate(*asked)
    assert opened("grounding-dino", folder).locate(*asked) == same


class Harmful:
    """Pickled, it is a call that leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize(
    "write", [torch.save, lambda what, path: path.write_bytes(pickle.dumps(what))]
)
def test_a_pickle_runs_nothing(
    folder: Path, tmp_path: Path, write: Callable[[object, Path], object]
) -> None:
    (folder / "model.safetensors").unlink()
    write({"weight": Harmful(tmp_path / "trace")}, folder / "pytorch_model.bin")
    with pytest.raises(ReIDError, match="a pickle of more than weights, which is not read"):
        opened("grounding-dino", folder)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("trust", [False, True])
def test_code_beside_the_weights_is_not_run_where_none_is_needed(
    folder: Path, tmp_path: Path, trust: bool
) -> None:
    (folder / "harm.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\n")
    classes = ("Config", "Model", "ModelForZeroShotObjectDetection", "Processor", "ImageProcessor")
    code = {f"Auto{name}": "harm.Harm" for name in classes}
    code |= {"AutoTokenizer": ["harm.Harm", "harm.Harm"]}  # type: ignore[dict-item]
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        rewrite(folder / name, lambda content: content.update(auto_map=code))
    assert opened("grounding-dino", folder, trust_remote_code=trust).locate([picture()], ["head"])
    assert not (tmp_path / "trace").exists()


def test_code_of_the_model_needs_leave_and_a_commit(tmp_path: Path) -> None:
    with pytest.raises(ReIDError, match="--trust-remote-code"):
        opened("cogvlm", "who/what", COMMIT)
    with pytest.raises(ReIDError, match="--trust-remote-code"):
        opened("cogvlm", tmp_path)
    for revision in (None, "main", COMMIT[:12]):
        with pytest.raises(ReIDError, match=r"40 hex digits .* with --revision"):
            opened("cogvlm", "who/what", revision, trust_remote_code=True)
    with pytest.raises(ReIDError, match=r"has no config.json"):
        opened("cogvlm", tmp_path, trust_remote_code=True)


def test_code_of_another_repository_is_not_run(folder: Path) -> None:
    config = {"architectures": ["CogVLMForCausalLM"]}
    code = {"AutoConfig": "config.Config", "AutoModel": "who/else--model.Model"}
    (folder / "config.json").write_text(
        json.dumps(config | {"auto_map": code}).replace("--", r"\u002d-")
    )
    with pytest.raises(ReIDError, match=r"config.json takes code from another repository"):
        opened("cogvlm", folder, trust_remote_code=True)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_the_revision_of_a_hub_name_is_its_commit(cached: str, revision: str | None) -> None:
    assert find("grounding-dino", cached, revision).revision == COMMIT


def test_a_model_of_the_hub_is_opened(cached: str, made: Path) -> None:
    expert = opened("grounding-dino", cached)
    assert (expert.model, expert.revision) == (cached, COMMIT)
    asked = [picture()], ["head"]
    assert expert.locate(*asked) == opened("grounding-dino", made).locate(*asked)


def test_a_commit_that_is_not_here(cached: str) -> None:
    with pytest.raises(ReIDError, match=f"{cached} at {'f' * 40} is not in the cache"):
        find("grounding-dino", cached, "f" * 40)


@pytest.mark.parametrize(
    ("name", "make"), [("grounding-dino", make_grounding_dino), ("florence-2", make_florence2)]
)
def test_nothing_is_written_to_the_screen(
    name: str, make: Callable[[Path], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expert = opened(name, make(tmp_path / "model"))
    expert.locate([picture()], ["head"])
    assert capfd.readouterr() == ("", "")
