"""Numpy arrays and torch tensors in pickles and in files of torch.save, read as data.

Neither numpy's nor torch's functions are called: they believe a pickle about the memory it
describes. What a pickle says of an array becomes one of the inert objects below, checked.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from methods.grounding.restricted import Budget, Machine, Name, shown
from protocols.errors import DataError

Values = np.ndarray[Any, Any]

ZIP = b"PK\x03\x04"
# the first two pickles in a file of torch.save that is no zip archive
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
FLOATS = ("f2", "f4", "f8")
# bfloat16 is the upper half of a float32, and numpy has no type for it
BFLOAT16 = "<u2"
STORAGES = {
    "torch.HalfStorage": "<f2",
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.BFloat16Storage": BFLOAT16,
}
NAMES = {
    "collections.OrderedDict",
    "_codecs.encode",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.numeric._frombuffer",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.storage._load_from_bytes",
    *STORAGES,
}
MOST_DIMENSIONS = 8


@dataclass(slots=True, eq=False)
class Dtype:
    """numpy's name of a data type, and the byte order."""

    name: str
    order: str = "<"


@dataclass(slots=True, eq=False)
class Array:
    """A numpy array: None until its description arrives."""

    value: Values | None = None


@dataclass(slots=True, eq=False)
class Storage:
    """The memory of tensors, `numel` elements of a numpy type; `raw` may come after the tensors."""

    dtype: str
    numel: int
    raw: bytes = b""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numel * np.dtype(self.dtype).itemsize


@dataclass(slots=True, eq=False)
class Tensor:
    """A view of a storage, all in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def value(self) -> Values:
        """The elements, still in place; bfloat16 ones as floats of their own."""
        flat = np.frombuffer(self.storage.raw, self.storage.dtype, self.storage.numel)
        steps = [step * flat.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.shape, steps, writeable=False
        )
        if self.storage.dtype == BFLOAT16:
            return (view.astype("<u4") << 16).view("<f4")
        return view


@dataclass
class Arrays:
    """The `World` of pickled arrays.

    nested: reads the files of torch.save that tensors in plain pickles are; None in those files.
    storages: under their keys, the ones that the pickle asked for and that are yet to be filled.
    """

    budget: Budget
    nested: Callable[[bytes], Any] | None = None
    storages: dict[str, Storage] = field(default_factory=dict)

    def known(self, text: str) -> Name:
        """The name, if pickled arrays need it."""
        text = text.replace("numpy.core.", "numpy._core.", 1)
        if text in NAMES:
            return Name(text)
        if text.startswith("torch.") and text.endswith("Storage") and text.count(".") == 1:
            kind = shown(text.removeprefix("torch.").removesuffix("Storage"))
            raise DataError(f"it holds values of type {kind}; expected floats.")
        raise DataError(
            f"it asks for {shown(text)}, which no file of arrays needs. It was not opened further "
            "and nothing in it was executed. Do not open it with other programs unless you trust "
            "whoever made it."
        )

    def call(self, called: Any, arguments: Any) -> Any:
        """What stands for the result: bytes, or an object of the kinds above."""
        match called.text if isinstance(called, Name) else None, arguments:
            case "collections.OrderedDict", ():
                return {}
            case "_codecs.encode", (str() as text, "latin1"):
                self.budget.spend(len(text))
                return text.encode("latin-1")
            case "numpy.dtype", (str() as name, *_):
                return Dtype(name)
            case "numpy._core.multiarray._reconstruct", _:
                return Array()
            case "numpy._core.numeric._frombuffer", (raw, dtype, shape, order):
                return Array(_array(raw, dtype, shape, order))
            case "torch._utils._rebuild_parameter", (Tensor() as tensor, *_):
                return tensor
            case "torch.storage._load_from_bytes", (bytes() as raw,) if self.nested:
                self.budget.spend(len(raw))
                return self.nested(raw)
            case "torch._utils._rebuild_tensor_v2", (Storage() as storage, at, shape, stride, *_):
                return self._tensor(storage, at, shape, stride)
        raise DataError("it makes an array in a way that is not known here.")

    def describe(self, target: Any, state: Any) -> None:
        """Numpy's order of bytes and its description of an array."""
        match target, state:
            case Dtype(), (_, str() as order, *_):
                target.order = order
            case Array(), (_, shape, dtype, fortran, raw):
                target.value = _array(raw, dtype, shape, "F" if fortran is True else "C")
            case _:
                raise DataError("it describes an array in a way that is not known here.")

    def served(self, identity: Any) -> Storage:
        """The storage of a persistent id of torch.save; its bytes come later."""
        match identity:
            case ("storage", Name(kind), str() as key, str(), int() as numel, *view) if (
                kind in STORAGES and view in ([], [None])
            ):
                _counts((numel,))
                storage = self.storages.setdefault(key, Storage(STORAGES[kind], numel))
                if (storage.dtype, storage.numel) == (STORAGES[kind], numel):
                    return storage
        raise DataError("it keeps a tensor in a way that is not known here.")

    def _tensor(self, storage: Storage, offset: Any, shape: Any, stride: Any) -> Tensor:
        (offset,), shape, stride = _counts((offset,)), _counts(shape), _counts(stride)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if math.prod(shape) > 0 and last >= storage.numel:
            raise DataError("it holds a tensor that reaches outside its memory.")
        # a step of 0 repeats elements
        if math.prod(shape) > self.budget.size:
            raise DataError("it holds a tensor that unfolds into more than the file.")
        return Tensor(storage, offset, shape, stride)


def _counts(values: Any) -> tuple[int, ...]:
    if (
        not isinstance(values, tuple)
        or len(values) > MOST_DIMENSIONS
        or not all(type(n) is int and 0 <= n < 2**48 for n in values)
    ):
        raise DataError("it holds an array whose shape is none.")
    return values


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> Values:
    if not isinstance(dtype, Dtype) or dtype.name not in FLOATS:
        kind = shown(dtype.name) if isinstance(dtype, Dtype) else "?"
        raise DataError(f"it holds values of type {kind}; expected floats.")
    if dtype.order != "<":
        raise DataError(
            "it holds big-endian floats; expected little-endian ones: write it again with "
            "array.astype('<f4')."
        )
    if not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise DataError("it holds an array in a form that is not known here.")
    return np.frombuffer(raw, f"<{dtype.name}").reshape(_counts(shape), order=order)


def load_arrays(content: bytes) -> Any:
    """The value in a pickle or a file of torch.save, with `Array` and `Tensor` for its arrays.

    Raises DataError for what is known and refused, and any other error for a torn file.
    """
    budget = Budget(len(content))
    if content.startswith(ZIP):
        return _archive(content, budget)
    return _pickles(content, budget, lambda raw: _pickles(raw, budget, None))


def _archive(content: bytes, budget: Budget) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = set(archive.namelist())
        roots = [n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise DataError("it is a zip archive, but not one of torch.save.")

        def member(name: str) -> bytes:
            info = archive.getinfo(roots[0] + name)
            if info.compress_type != zipfile.ZIP_STORED:
                raise DataError("it is compressed; files of torch.save are not.")
            budget.spend(info.file_size)
            return archive.read(info)

        if f"{roots[0]}byteorder" in names:
            _little(member("byteorder") == b"little")
        world = Arrays(budget)
        value = Machine(io.BytesIO(member("data.pkl")), world).read()
        for key, storage in world.storages.items():
            _keep(storage, member(f"data/{key}"))
        return value


def _pickles(content: bytes, budget: Budget, nested: Callable[[bytes], Any] | None) -> Any:
    """A plain pickle; or torch.save's older files: pickles, one after another, and storages."""
    file = io.BytesIO(content)
    value = Machine(file, Arrays(budget, nested)).read()
    if type(value) is not int or value != MAGIC:
        return value
    world = Arrays(budget)
    version, about = Machine(file, world).read(), Machine(file, world).read()
    if version != VERSION or not isinstance(about, dict):
        raise DataError("it is a file of torch.save in a form that is not known here.")
    _little(about.get("little_endian") is True)
    value, keys = Machine(file, world).read(), Machine(file, world).read()
    for key in keys:
        if not isinstance(key, str):
            raise DataError("it keeps a tensor in a way that is not known here.")
        storage = world.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.numel:
            raise DataError("it describes a tensor's memory in two ways.")
        _keep(storage, file.read(storage.size))
    return value


def _little(little: bool) -> None:
    if not little:
        raise DataError("it was written on a big-endian machine; expected little-endian values.")


def _keep(storage: Storage, raw: bytes) -> None:
    if len(raw) != storage.size:
        raise DataError(f"it is torn: a tensor's memory has {len(raw)} of {storage.size} bytes.")
    storage.raw = raw
