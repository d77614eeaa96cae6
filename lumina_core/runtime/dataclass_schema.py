"""Builds dataclasses from parsed YAML or JSON, and checks every field's name and type."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from ..errors import LuminaError


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=_Dataclass)
# Metadata of a field whose name in the file differs: ``field(metadata={KEY: "name in the file"})``.
KEY = "key"
# What a message asks for, by type.
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def build(kind: type[T], values: Any, where: str, field: str | None = None) -> T:
    """A dataclass from a mapping.

    Fields may be bool, int, float, str, Path, another dataclass, tuple[...] of those, dict[str, ...] of those, and any
    of them or None. In a dict of dataclasses with a field ``name``, that field is the dict's key.

    Args:
        kind: the dataclass.
        values: field values by name; the values of nested dataclasses are mappings.
        where: describes the mapping in messages, such as ``the recipe``.
        field: name of the mapping for the error; None for the outermost one.

    Raises:
        LuminaError: a field is missing or unknown, or its value has another type.
    """
    if not isinstance(values, Mapping):
        raise LuminaError(f"{where} is {values!r}; write fields with values.", field=field, kind="value")
    known = field_keys(kind)
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            fix = f"did you mean {near[0]}?" if near else f"known fields are {', '.join(known)}."
            raise LuminaError(f"{where} has an unknown field '{name}'; {fix}", field=str(name), kind="value")
    for name, each in known.items():
        if name not in values and _required(each):
            raise LuminaError(f"{where} lacks the field '{name}'; add it.", field=name, kind="value")
    hints = typing.get_type_hints(kind)
    found = {}
    for name, value in values.items():
        attribute = known[name].name
        found[attribute] = _value(hints[attribute], value, f"{where}, {name},", name)
    return kind(**found)


def field_keys(kind: type[_Dataclass]) -> dict[str, dataclasses.Field]:
    """The fields of a dataclass by their names in the file."""
    return {each.metadata.get(KEY, each.name): each for each in dataclasses.fields(kind)}


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any, where: str, field: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return _value(next(kind for kind in inner if kind is not type(None)), value, where, field)
    if origin is tuple:
        return _sequence(inner, value, where, field)
    if origin is dict:
        return _table(inner[1], value, where, field)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, where.rstrip(","), field)
    return _plain(hint, value, where, field)


def _sequence(inner: tuple, value: Any, where: str, field: str) -> tuple:
    if not isinstance(value, (list, tuple)):
        raise LuminaError(f"{where} is {value!r}; write a list.", field=field, kind="value")
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
    if len(kinds) != len(value):
        raise LuminaError(f"{where} has {len(value)} values; write {len(kinds)}.", field=field, kind="value")
    return tuple(_value(kind, item, where, field) for kind, item in zip(kinds, value, strict=True))


def _table(kind: Any, value: Any, where: str, field: str) -> dict:
    if not isinstance(value, Mapping):
        raise LuminaError(f"{where} is {value!r}; write names with fields below them.", field=field, kind="value")
    named = dataclasses.is_dataclass(kind) and "name" in {field.name for field in dataclasses.fields(kind)}
    found = {}
    for name, item in value.items():
        if named and isinstance(item, Mapping):
            item = {**item, "name": str(name)}
        found[str(name)] = _value(kind, item, f"{where.rstrip(',')}, {name},", str(name))
    return found


def _plain(kind: type, value: Any, where: str, field: str) -> Any:
    if kind is typing.Any:
        return value
    if kind is float and isinstance(value, str):
        # YAML reads 2e-4 as text, because its numbers need a point: 2.0e-4.
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if not right:
        raise LuminaError(f"{where} is {value!r}; write {_KINDS.get(kind, kind.__name__)}.", field=field, kind="value")
    return value
