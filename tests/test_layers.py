"""Who may import whom (harness.cli is the only door to all)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("protocols", "methods", "harness", "results")
MAY_IMPORT = {
    "protocols": set(),
    "methods": {"protocols"},
    "harness": {"protocols", "methods"},
    "results": {"protocols", "harness"},
}
ONLY_IN = {"mlflow": "harness/mlflow_store.py", "ray": "harness/launch.py"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files():
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_the_layers(path):
    here = path.relative_to(ROOT)
    package = here.parts[0]
    door = here.parts[:2] in {
        ("harness", "cli.py"),
        ("harness", "commands"),
        ("harness", "screen.py"),
    }
    for name in imports(path):
        top = name.split(".")[0]
        if top in PACKAGES and top != package:
            allowed = set(PACKAGES) if door else MAY_IMPORT[package]
            assert top in allowed, f"{here} imports {name}"
        if package == "results" and top == "harness":
            assert name == "harness.record", f"{here} imports {name}: results reads records only"
        if top in ONLY_IN:
            assert str(here) in ONLY_IN[top].split(), f"{here} imports {name}"


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((ROOT / "methods").glob("*.py")) if p.stem not in
     ("__init__", "interface", "registry", "cards")],
    ids=lambda p: p.stem,
)  # fmt: skip
def test_no_method_imports_another(path):
    others = {p.stem for p in (ROOT / "methods").glob("*.py")} - {"interface", "registry", "cards"}
    for name in imports(path):
        parts = name.split(".")
        assert not (parts[0] == "methods" and len(parts) > 1 and parts[1] in others - {path.stem})
