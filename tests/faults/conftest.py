"""Modules of tests in this folder may be imported by their names, by workers too."""

import os
import sys
from pathlib import Path

import pytest

from harness.lease import hold

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def undisturbed(standin_cache, tmp_path_factory):
    """The records of the matrix, computed by one process that nobody disturbs.

    Once for all processes that share the tests.
    """
    from matrix import MATRIX, PAUSE, Started

    out = standin_cache / "undisturbed"
    with hold(out / ".lease"):
        if not (out / "tables").exists():
            arguments = (*MATRIX, "--out", out, "--tracking", "off", "--workers", 0)
            with Started(*arguments, **{PAUSE: "0"}) as run:
                status, printed = run.end()
            assert status == 0, printed
    return out
