"""Reads ``model_args.pth`` without running code in it.

The released file is a pickled ``argparse.Namespace``. This reader interprets the pickle opcodes itself and keeps plain
values. A file that would import or call anything else is refused.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import Any

from ..errors import LuminaError

# Settings take a few KiB.
MAX_BYTES = 1 << 20
# Stand on the stack for the class argparse.Namespace and for the pickle machine's mark.
_NAMESPACE = object()
_MARK = object()
# Opcodes by what they push.
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE",
}  # fmt: skip
_IGNORED = {"PROTO", "FRAME"}


def read_model_args(path: str | Path) -> dict[str, Any]:
    """The fields of the Namespace in a file, as plain values.

    Raises:
        LuminaError: the file cannot be read, holds no Namespace, or would import or call something.
    """
    path = Path(path)
    try:
        stream = io.BytesIO(_pickle_bytes(path))
        # A file in torch's old format has a magic number, a version and system information before the object.
        for _ in range(4):
            found = _read_object(stream)
            if isinstance(found, _Fields):
                return dict(found)
    except _Refused as error:
        raise LuminaError(
            f"{path.name} contains {error}, which settings never need, and was not loaded; delete "
            "it or download it again from the model's own page.",
            field="model_args",
            kind="file",
        ) from None
    except LuminaError:
        raise
    except Exception as error:
        raise LuminaError(
            f"{path.name} cannot be read ({type(error).__name__}); expected the settings that the official trainer "
            "saves, so download it again or delete it to use the released values.",
            field="model_args",
            kind="file",
        ) from None
    raise LuminaError(
        f"{path.name} holds no argparse.Namespace; download it again from the model's own page.",
        field="model_args",
        kind="file",
    )


class _Refused(Exception):
    """Its message names what the file would import or call."""


class _Fields(dict):
    """The attributes of a Namespace."""


def _pickle_bytes(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(names) != 1 or archive.getinfo(names[0]).file_size > MAX_BYTES:
            raise LuminaError(
                f"{path.name} is not a settings file; expected one data.pkl of at most 1 MiB in it.",
                field="model_args",
                kind="file",
            )
        return archive.read(names[0])


def _slot(argument: Any) -> int:
    """Index in the memo, which text opcodes write as digits."""
    return int(argument)


def _read_object(stream: io.BytesIO) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _VALUES:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[_slot(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[_slot(argument)])
        elif name not in _IGNORED:
            _apply(name, argument, stack)
    raise ValueError("no end")


def _apply(name: str, argument: Any, stack: list[Any]) -> None:
    """Run an opcode that combines values of the stack. Raises _Refused for any other opcode."""
    if name in ("APPENDS", "SETITEMS", "TUPLE"):
        items = _pop_to_mark(stack)
        _combine(name, items, stack)
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
    elif name == "APPEND":
        _combine("APPENDS", [stack.pop()], stack)
    elif name == "SETITEM":
        items = [stack.pop(-2), stack.pop()]
        _combine("SETITEMS", items, stack)
    elif name == "GLOBAL":
        stack.append(_namespace(argument))
    elif name == "STACK_GLOBAL":
        stack[-2:] = [_namespace(f"{stack[-2]} {stack[-1]}")]
    elif name in ("NEWOBJ", "REDUCE") and stack[-2] is _NAMESPACE and stack[-1] == ():
        stack[-2:] = [_Fields()]
    elif name == "BUILD" and isinstance(stack[-2], _Fields) and isinstance(stack[-1], dict):
        stack[-2].update(stack.pop())
    else:
        raise _Refused(f"the pickle opcode {name}")


def _combine(name: str, items: list[Any], stack: list[Any]) -> None:
    if name == "TUPLE":
        stack.append(tuple(items))
    elif name == "APPENDS":
        stack[-1].extend(items)
    else:
        stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _namespace(name: str) -> object:
    if name != "argparse Namespace":
        raise _Refused(f"a pickled call to '{name.replace(' ', '.')}'")
    return _NAMESPACE
