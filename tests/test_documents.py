"""What the documents say is so: their commands exist, their code runs, their files are there."""

import re
import sys
from pathlib import Path

import pytest

from harness import cli

ROOT = Path(__file__).resolve().parent.parent


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_has_the_two_commands_that_do_everything():
    commands = [line for block in blocks(ROOT / "README.md", "") for line in block.splitlines()]
    assert commands[0].startswith("pip install -c constraints.txt -e . && harness run --method ")
    assert commands[1] == "pip install -c constraints.txt -e '.[test]' && pytest"


def test_every_option_in_the_readme_exists(monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"`(--[a-z-]+)", text)) | set(re.findall(r"\| `(--[a-z-]+)", text))
    for command in (
        *("run", "sweep", "reproduce", "ground", "encode", "cost"),
        *("table", "compare", "merge", "export", "report", "show ranking", "eval", "import"),
    ):
        monkeypatch.setattr(sys, "argv", ["harness", *command.split(), "--help"])
        with pytest.raises(SystemExit):
            cli.main()
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert used
    assert used <= offered


def test_the_example_method_runs_and_conforms():
    code = "\n".join(blocks(ROOT / "methods" / "README.md", "python"))
    assert "check_method(MeanColour)" in code
    example = blocks(ROOT / "methods" / "README.md", "python")[0]
    assert len(example.splitlines()) <= 40
    exec(compile(code, "methods/README.md", "exec"), {})


@pytest.mark.parametrize("folder", ["protocols", "methods", "harness", "results"])
def test_the_folders_readme_lists_its_files(folder):
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / folder).glob("*.py"):
        if path.name != "__init__.py":
            assert f"`{path.name}`" in text, f"{folder}/README.md does not say what {path.name} is"
    listed = "\n".join(re.findall(r"^\|.*", text, re.MULTILINE))
    for name in re.findall(r"`([\w/]+\.py)`", listed):
        found = [ROOT / folder / sub / name for sub in (".", "datasets", "parts")]
        assert any(p.exists() for p in found), f"{folder}: {name} is not there"


def test_versions_are_pinned():
    """Every dependency has a lower bound here and an exact version in constraints.txt."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in pins if "==" in line}
    for requirement in wanted:
        name, bound = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?(>=[\d.]+)", requirement).groups()
        assert bound
        assert re.sub(r"[-_.]+", "-", name).lower() in pinned, name
