"""The authors' pickled masks: every way to write one is read, and nothing in it is executed."""

import builtins
import functools
import io
import operator
import os
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from methods.grounding.pickled import read_masks
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
    "float16 tensor": lambda a: torch.from_numpy(a).half(),
    "bfloat16 tensor": lambda a: torch.from_numpy(a).bfloat16(),
    "requires_grad": lambda a: torch.from_numpy(a).requires_grad_(),
    "parameter": lambda a: torch.nn.Parameter(torch.from_numpy(a)),
    "view": lambda a: torch.from_numpy(np.stack([a + 7, a]))[1],
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


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", WRAPS)
def test_files_of_torch_save(path, wrap, zipped, protocol):
    value = OrderedDict((name, WRAPS[wrap](a)) for name, a in zip(NAMES, ADDED, strict=True))
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert (read_masks(path, GRID).masks == INSIDE).all()


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_share_memory(path, zipped):
    value = dict(zip(NAMES, torch.from_numpy(ADDED).unbind(), strict=True))
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


# pickles by hand: what comes between is the value of "a.jpg"
def entry(value):
    return b"\x80\x04}X\x05\x00\x00\x00a.jpg" + value + b"s."


def sized(code, content):
    return code + len(content).to_bytes(4, "little") + content


def inner(value):
    """`value` without what a pickle begins and ends with."""
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(stored, offset, size, stride):
    described = b"".join(map(inner, (offset, size, stride, False, OrderedDict())))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + described + b"tR"


def storage(value):
    return b"ctorch.storage\n_load_from_bytes\n" + sized(b"B", saved_by_torch(value)) + b"\x85R"


def memory(count):
    return storage(torch.zeros(count).storage())


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    ("count", "offset", "size", "stride", "complaint"),
    [
        (24, 0, (3, 8), (8, 1), None),
        (25, 1, (3, 8), (8, 1), None),
        (1, 0, (3, 8), (0, 0), None),
        (23, 0, (3, 8), (8, 1), "outside its memory"),
        (24, 1, (3, 8), (8, 1), "outside its memory"),
        (24, 0, (3, 8), (1 << 28, 1), "outside its memory"),
        (24, 1 << 31, (3, 8), (8, 1), "outside its memory"),
        (24, 0, (1 << 40, 8), (0, 0), "unfolds into more than the file"),
        (24, 0, (3,) * 40, (0,) * 40, "whose shape is none"),
        (24, -5, (3, 8), (8, 1), "whose shape is none"),
        (24, 0, (3, 8), (-8, 1), "whose shape is none"),
        (24, 0, (3, -8), (8, 1), "whose shape is none"),
        (24, 0, (3, 8.0), (8, 1), "whose shape is none"),
        (24, 0, (3, 8), (1,), "not a pickle of part masks"),
    ],
)
def test_tensors_stay_inside_their_memory(path, count, offset, size, stride, complaint):
    path.write_bytes(entry(tensor(memory(count), offset, size, stride)))
    if complaint is None:
        assert read_masks(path, GRID).masks.all()
    else:
        with pytest.raises(DataError, match=complaint):
            read_masks(path, GRID)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("stored", [torch.FloatStorage, torch.zeros(3, 8)])
def test_what_is_no_storage_holds_no_tensor(path, stored):
    path.write_bytes(entry(tensor(storage(stored), 0, (3, 8), (8, 1))))
    with pytest.raises(DataError, match="not known here"):
        read_masks(path, GRID)


def test_nothing_outside_is_changed(path):
    # BUILD with a pair as state sets attributes of what it is given
    marked = b"N}X\x06\x00\x00\x00markedK\x01s\x86b"
    given = {
        np.ndarray: b"cnumpy\nndarray\n",
        OrderedDict: b"ccollections\nOrderedDict\n",
        torch.FloatStorage: storage(torch.FloatStorage),
        torch._utils._rebuild_tensor_v2: storage(torch._utils._rebuild_tensor_v2),
    }
    for thing, value in given.items():
        path.write_bytes(entry(value + marked))
        with pytest.raises(DataError, match="not known here"):
            read_masks(path, GRID)
        assert not hasattr(thing, "marked")


DEEP = b")" + b"\x85" * 200_000
# a tuple with 2^60 leaves
WIDE = b")\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(60))
COPY = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
# each kills the process, or makes it take gigabytes, when python's own reader is given it
EXPLOSIVE = {
    "a deep key": (b"}" + DEEP + b"K\x01s", "one is tuple"),
    "a deep value": (DEEP, "no array but tuple"),
    "a deep name": (DEEP + DEEP + b"\x93", "no name"),
    "a deep set": (b"\x8f(" + DEEP + b"\x90", "opcode EMPTY_SET"),
    "a wide name": (WIDE + b"h\x3c\x93", "no name"),
    "a wide key": (WIDE + b"}h\x3cK\x01s", "one is tuple"),
    "POP": (b"K\x010", "opcode POP"),
    "a far memo": (b"]r\xff\xff\xff\x7f", "no array but list"),
    "a long array": (b"\x96" + (11 << 30).to_bytes(8, "little"), "not a pickle"),
    "long bytes": (b"\x8e" + (1 << 40).to_bytes(8, "little"), "not a pickle"),
    "a long number": (b"I" + b"9" * 1_000_000 + b"\n", "not a pickle"),
    "an extension": (b"\x82\x01", "opcode EXT1"),
    "text id": (b"Pos\n", "opcode PERSID"),
    "an id": (b"K\x01Q", "not known here"),
    "no opcode": (b"\xff", "not a pickle"),
    # 1 MB of text, made bytes a thousand times
    "copies": (
        b"]" + sized(b"X", b"a" * 1_000_000) + b"\x94a" + (COPY + b"a") * 1000,
        "far more than it holds",
    ),
}


@pytest.mark.parametrize("kind", EXPLOSIVE)
def test_small_files_stay_small(path, kind):
    value, complaint = EXPLOSIVE[kind]
    path.write_bytes(entry(value))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=complaint):
            read_masks(path, GRID)
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


def test_every_shape_is_checked_before_memory_is_taken(path):
    with pytest.raises(DataError, match="for 1000000x1000000 patches"):
        read_masks(written(path, dict(zip(NAMES, ADDED, strict=True))), (1000000, 1000000))


def rezipped(path, change, compression=zipfile.ZIP_STORED):
    """The zip file of torch.save at `path` with its members' content changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


@pytest.mark.parametrize(
    ("end", "content", "complaint"),
    [
        ("/byteorder", lambda _: b"big", "big-endian machine"),
        ("/data/0", lambda raw: raw[:-1], "it is torn: .* 191 of 192 bytes"),
        ("/data/0", lambda raw: raw + raw, "it is torn"),
        ("/data.pkl", lambda raw: raw.replace(b"FloatStorage", b"IntStorage"), "type Int"),
        ("/data.pkl", lambda raw: raw.replace(b"storage", b"parcels"), "not known here"),
        ("/data.pkl", lambda raw: raw[:-9], "not a pickle"),
    ],
)
def test_changed_files_of_torch_save(path, end, content, complaint):
    value = dict(zip(NAMES, torch.from_numpy(ADDED).float().unbind(), strict=True))
    torch.save(value, path)
    rezipped(path, lambda name, raw: content(raw) if name.endswith(end) else raw)
    with pytest.raises(DataError, match=complaint):
        read_masks(path, GRID)


def test_compressed_archives_and_others(path):
    torch.save({"a.jpg": torch.zeros(3, 8)}, path)
    rezipped(path, lambda name, raw: raw)
    assert read_masks(path, GRID).masks.all()
    rezipped(path, lambda name, raw: raw, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="it is compressed"):
        read_masks(path, GRID)
    with path.open("wb") as file:
        np.savez(file, ADDED[0])
    with pytest.raises(DataError, match=r"zip archive, but not one of torch\.save"):
        read_masks(path, GRID)


def test_deep_keys_in_older_files_of_torch_save(path):
    content = saved_by_torch({"a.jpg": torch.zeros(3, 8)})
    keys = content.rindex(b"\x80\x02]")
    path.write_bytes(content[:keys] + b"\x80\x02]" + DEEP + b"a.")
    with pytest.raises(DataError, match="not known here"):
        read_masks(path, GRID)


def test_what_a_file_says_is_made_harmless_in_messages(path):
    path.write_bytes(b"cos\x1b[31m\nsystem\n.")
    with pytest.raises(DataError, match=r"asks for 'os\\x1b\[31m\.system'"):
        read_masks(path, GRID)
    with pytest.raises(DataError, match=r"the mask of 'a\\x1b\[31m' is no array"):
        read_masks(written(path, {"a\x1b[31m": 1}), GRID)


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
        ({"a.jpg": ADDED[0].astype(">f4")}, "big-endian floats; expected little-endian"),
        ({"a.jpg": torch.zeros(3, 8, dtype=torch.int64)}, "type Long; expected floats"),
        ({"a.jpg": torch.zeros(3, 8, dtype=torch.bool)}, "type Bool; expected floats"),
        ({b"a.jpg": ADDED[0]}, "expected file names as keys; one is bytes"),
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
