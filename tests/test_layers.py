"""Who may import whom (harness.cli is the only door to all)."""

import ast
from collections.abc import Iterable
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
ONLY_IN = {
    "mlflow": "harness/mlflow_store.py",
    "ray": "harness/ray_shards.py harness/ray_trials.py",
}
SHARED = {"interface", "cards", "parts", "grounding"}
"""What every method may import from `methods` besides itself."""


def imports(path: Path, root: Path = ROOT) -> set[str]:
    """Dotted names of the modules that a file imports; relative ones are resolved."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = path.relative_to(root).parts[: -node.level] if node.level else ()
            module = ".".join([*here, *([node.module] if node.module else [])])
            found.add(module)
            if module in PACKAGES:  # `from methods import registry` names a module, too
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def files():
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def unit_of(path: Path, root: Path = ROOT) -> str:
    """The module or package right under `methods` that a file is, or is part of."""
    return path.relative_to(root / "methods").parts[0].removesuffix(".py")


def foreign(unit: str, names: Iterable[str]) -> list[str]:
    """The imports among `names` that a unit of `methods` may not have."""
    allowed = SHARED | {unit} if unit not in SHARED else SHARED
    inner = [n for n in names if n.startswith("methods.")]
    return sorted(n for n in inner if n.split(".")[1] not in allowed)


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_the_layers(path):
    here = path.relative_to(ROOT)
    package = here.parts[0]
    door = here.parts[:2] in {
        ("harness", "cli.py"),
        ("harness", "commands"),
    }
    for name in imports(path):
        top = name.split(".")[0]
        if top in PACKAGES and top != package:
            allowed = set(PACKAGES) if door else MAY_IMPORT[package]
            assert top in allowed, f"{here} imports {name}"
        if package == "results" and top == "harness":
            assert name in ("harness", "harness.record"), (
                f"{here} imports {name}: results reads records only"
            )
        if top in ONLY_IN:
            assert str(here) in ONLY_IN[top].split(), f"{here} imports {name}"


@pytest.mark.parametrize(
    "path",
    [p for p in files() if p.is_relative_to(ROOT / "methods")
     and unit_of(p) not in ("__init__", "registry")],
    ids=lambda p: str(p.relative_to(ROOT / "methods")),
)  # fmt: skip
def test_no_method_imports_another(path):
    """A method is a file or a package of `methods`; what is shared imports no method either."""
    assert not foreign(unit_of(path), imports(path)), path.relative_to(ROOT)


def test_an_import_of_another_method_would_be_seen(tmp_path):
    package = tmp_path / "methods" / "mine"
    package.mkdir(parents=True)
    path = package / "encoder.py"
    path.write_text(
        "import methods.parts.clip\nfrom methods.mine.losses import x\nfrom . import gating\n"
        "from methods import other\nfrom ..third import y\nfrom methods.fourth.config import z\n"
    )
    assert unit_of(path, tmp_path) == "mine"
    found = foreign("mine", imports(path, tmp_path))
    assert found == ["methods.fourth.config", "methods.other", "methods.third"]
    assert foreign("parts", {"methods.mine.losses", "methods.interface"}) == ["methods.mine.losses"]
