"""The ranking engine with numpy alone and with compiled code, whatever a problem's size."""

import contextlib
from collections.abc import Iterator

import pytest

from harness import ranking

both = pytest.mark.parametrize("path", ["plain", "compiled"])


@contextlib.contextmanager
def counted(path: str) -> Iterator[pytest.MonkeyPatch]:
    """Count one way or the other, whatever the size."""
    most = 0 if path == "compiled" else 2**60
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "COMPILED_PAIRS", most)
        patch.setattr(ranking, "COMPILED_TERMS", most)
        yield patch
