"""The authors' pickled masks: every way to write one is read, and nothing in it is executed."""

import builtins
import functools
import io
import operator
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from methods.grounding.pickled import _Reader, read_masks
from protocols.errors import DataError

GRID = (4, 2)
NAMES = ("0002_c1.jpg", "0007_c3.jpg")
INSIDE = np.random.default_rng(0).random((2, 3, *GRID)) < 0.5
ADDED = np.where(INSIDE, 0.0, -np.inf).reshape(2, 3, -1)

WRAPS = {
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a,
    "fortran": np.asfortranarray,
    "tensor": lambda a: torch.from_numpy(a).float(),
    "strided": lambda a: torch.from_numpy(a.T.copy()).T,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "masks.pkl"


def written(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", WRAPS)
def test_pickles_of_every_protocol(path, wrap, protocol):
    value = {name: WRAPS[wrap](a) for name, a in zip(NAMES, ADDED, strict=True)}
    labels = read_masks(written(path, value, protocol), GRID)
    assert labels.images == NAMES
    assert (labels.masks == INSIDE).all()


def test_pickles_of_older_numpy(path):
    content = pickle.dumps(dict(zip(NAMES, ADDED, strict=True)), protocol=2)
    assert b"numpy._core" in content
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    assert (read_masks(path, GRID).masks == INSIDE).all()


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save(path, zipped):
    value = OrderedDict(zip(NAMES, torch.from_numpy(ADDED).unbind(), strict=True))
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    assert (read_masks(path, GRID).masks == INSIDE).all()


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(target):
    return f"touch {target}"


def saved_by_torch(value):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


HOSTILE = {
    "os.system": lambda t: Calls(os.system, touch(t)),
    "eval": lambda t: Calls(builtins.eval, f"open({str(t)!r}, 'w').close()"),
    "exec": lambda t: Calls(builtins.exec, f"open({str(t)!r}, 'w').close()"),
    "getattr chain": lambda t: Calls(
        operator.call, Calls(getattr, Calls(__import__, "os"), "system"), touch(t)
    ),
    "partial": lambda t: Calls(functools.partial(os.system, touch(t))),
    "methodcaller": lambda t: Calls(operator.methodcaller("touch"), t),
    "a path's method": lambda t: Calls(t.touch),
    "a pickle in a pickle": lambda t: Calls(pickle.loads, pickle.dumps(Calls(t.touch))),
    "in an array": lambda t: np.array([Calls(os.system, touch(t))], dtype=object),
    "as a file name": lambda t: (Calls(os.system, touch(t)),),
    # torch's own way to pickle a tensor's memory unpickles whatever it is given
    "in a storage": lambda t: Calls(
        torch.storage._load_from_bytes, saved_by_torch(Calls(os.system, touch(t)))
    ),
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_in_a_pickle_is_executed(path, tmp_path, kind, protocol):
    target = tmp_path / "executed"
    value = {NAMES[0]: ADDED[0], NAMES[1]: HOSTILE[kind](target)}
    written(path, value, protocol)
    with pytest.raises(DataError, match=r"masks\.pkl: .* executed"):
        read_masks(path, GRID)
    assert not target.exists()
    # and it would have been
    pickle.loads(path.read_bytes())
    assert target.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_of_torch_save_is_executed(path, tmp_path, zipped):
    target = tmp_path / "executed"
    value = {NAMES[0]: Calls(os.system, touch(target))}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match="executed"):
        read_masks(path, GRID)
    assert not target.exists()


def test_what_a_pickle_asks_for_is_named(path):
    written(path, {"a.jpg": Calls(os.system, "true")})
    with pytest.raises(DataError, match=r"it asks for posix\.system"):
        read_masks(path, GRID)


def test_opcodes_that_reach_past_names_are_stopped(path, tmp_path):
    target = tmp_path / "executed"
    by_hand = {
        "INST": f"(S'touch {target}'\nios\nsystem\n.",
        "GLOBAL": f"cos\nsystem\n(S'touch {target}'\ntR.",
        "dotted": f"cnumpy\nndarray.__class__\n(S'touch {target}'\ntR.",
        "PERSID": "Pos\n.",
    }
    for text in by_hand.values():
        path.write_bytes(text.encode())
        with pytest.raises(DataError):
            read_masks(path, GRID)
    assert not target.exists()


def test_what_one_pickle_changes_the_next_does_not_see():
    # BUILD with a pair as state sets attributes of what it is given, here of a function
    evil = b"\x80\x02c_codecs\nencode\nN}X\x06\x00\x00\x00markedK\x01s\x86b."
    assert _Reader(io.BytesIO(evil)).load().marked == 1
    known = _Reader(io.BytesIO(evil)).known
    assert not hasattr(known["_codecs", "encode"], "marked")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"a.jpg": INSIDE[0].reshape(3, -1) * 1.0}, r"holds 1; .*1 inside and 0 outside.*inverted"),
        ({"a.jpg": np.where(ADDED[0] == 0, 0, -1e9)}, r"holds -1e\+09; expected exactly 0"),
        ({"a.jpg": np.where(ADDED[0] == 0, 0, np.nan)}, "holds nan"),
        ({"a.jpg": -ADDED[0]}, "holds inf"),
        ({"a.jpg": INSIDE[0].reshape(3, -1)}, "type b1; expected floats"),
        ({"a.jpg": np.zeros((3, 8), dtype=np.int64)}, "type i8"),
        ({"a.jpg": np.array([[0.0] * 8] * 3, dtype=object)}, "type O8"),
        ({"a.jpg": torch.from_numpy(INSIDE[0].reshape(3, -1)).int()}, "holds 1"),
        ({"a.jpg": np.zeros((3, 128))}, r"\[3, 128\]; expected \[3, 8\] for 4x2 patches"),
        ({"a.jpg": np.zeros((4, 8))}, r"\[4, 8\]"),
        ({"a.jpg": [0.0] * 8}, "no array but list"),
        ({3: ADDED[0]}, "expected file names as keys; one is int"),
        ([ADDED[0]], "expected a dict"),
        ({}, "expected a dict"),
    ],
)
def test_what_is_no_additive_mask_is_refused(path, value, complaint):
    with pytest.raises(DataError, match=complaint):
        read_masks(written(path, value), GRID)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 torn", b"\x80\x05."])
def test_what_is_no_pickle_is_named(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"masks\.pkl: not a pickle of part masks"):
        read_masks(path, GRID)


def test_a_torn_file_is_named(path):
    content = written(path, dict(zip(NAMES, ADDED, strict=True))).read_bytes()
    for end in range(1, len(content), 17):
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match=r"masks\.pkl"):
            read_masks(path, GRID)


def test_a_file_that_is_not_there(path):
    with pytest.raises(DataError, match="can not be read: No such file"):
        read_masks(path, GRID)
