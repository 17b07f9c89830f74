"""A pickle read as data: a machine of our own runs it, and calls nothing that it names.

A pickle is a program for a stack machine that calls what it names. This one knows the opcodes that
numbers, text, bytes, tuples, lists and dicts need. A name stays text, and what stands for the call
of a name is for a `World` to say; all else stops the reading.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from protocols.errors import DataError

# what these opcodes put on the stack, pickletools reads
LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
SHOWN = 100
# protocols 0 to 2 hold bytes as text, and tensors hold files of torch.save as bytes
COPIES = 4


@dataclass(frozen=True, slots=True)
class Name:
    """A function or class that a pickle names: the text, never the thing."""

    text: str


class World(Protocol):
    """What there is besides plain data. Every method raises DataError for what it does not know."""

    def known(self, text: str) -> Name:
        """`module.name`, if a pickle may name it."""

    def call(self, called: Any, arguments: Any) -> Any:
        """What stands for the result of a call."""

    def describe(self, target: Any, state: Any) -> None:
        """Gives what an earlier call made its state."""

    def served(self, identity: Any) -> Any:
        """What is kept outside of the pickle under this persistent id."""


class Budget:
    """How many bytes a file may make, which bounds time and memory by its size in bytes."""

    def __init__(self, size: int) -> None:
        self.size, self.left = size, COPIES * size

    def spend(self, count: int) -> None:
        """Raises DataError when a file makes much more than it holds."""
        self.left -= count
        if self.left < 0:
            raise DataError("it unfolds into far more than it holds.")


def shown(text: str) -> str:
    """`text` from a file, fit for a message: short, on one line, without control characters."""
    return text if text.isprintable() and len(text) <= SHOWN else ascii(text[:SHOWN])


class Machine:
    """Reads one pickle from where `file` stands."""

    def __init__(self, file: io.BytesIO, world: World) -> None:
        self.file, self.world = file, world
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The value. Raises DataError for what no array needs, anything for a torn pickle."""
        for opcode, argument, _ in pickletools.genops(self.file):
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        return self.stack.pop()

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in LITERALS:
            stack.append(argument)
            return
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(self.world.known(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                names = self._top(2)
                if not all(isinstance(name, str) for name in names):
                    raise DataError("it names what is no name.")
                stack.append(self.world.known(".".join(names)))
            case "REDUCE":
                called, arguments = self._top(2)
                stack.append(self.world.call(called, arguments))
            case "BUILD":
                (state,) = self._top(1)
                self.world.describe(stack[-1], state)
            case "BINPERSID":
                stack.append(self.world.served(stack.pop()))
            case _:
                self._contain(opcode)

    def _contain(self, opcode: str) -> None:
        """The opcodes of tuples, lists and dicts."""
        stack = self.stack
        match opcode:
            case "MARK":
                self.marks.append(len(stack))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "LIST":
                stack.append(self._marked())
            case "DICT":
                stack.append(_fill({}, self._marked()))
            case "APPEND" | "APPENDS":
                items = self._marked() if opcode == "APPENDS" else self._top(1)
                if type(stack[-1]) is not list:
                    raise DataError("it appends to what is no list.")
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._marked() if opcode == "SETITEMS" else self._top(2)
                _fill(stack[-1], items)
            case _ if opcode in CONSTANTS:
                stack.append(CONSTANTS[opcode])
            case _ if opcode in TUPLES:
                stack.append(tuple(self._top(TUPLES[opcode])))
            case _:
                raise DataError(f"it uses the opcode {opcode}, which no file of arrays needs.")

    def _top(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def _marked(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items


def _fill(target: Any, items: Sequence[Any]) -> Any:
    if type(target) is not dict:
        raise DataError("it sets items of what is no dict.")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # also: the hash of a deep nest of tuples overruns the interpreter's stack
        if not isinstance(key, str):
            raise DataError(f"expected file names as keys; one is {type(key).__name__}.")
        target[key] = value
    return target
