"""Frozen dataclasses with slots, made in a third of the time.

The standard library writes and compiles six methods for each such class, which takes 0.5 ms; a command that only reads
needs forty of the classes, and was busy with that for a quarter of its time, the daemon with ninety (measured). Here
only `__init__` is written, when the first object is made; what else they do is written once, for all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")


class _Missing:
    """Stands for an argument that was not given, where what it is then is made anew each time."""


def _made(cls: type[T]) -> type[T]:
    """The class with slots and methods in place of its annotations."""
    cls.__doc__ = cls.__doc__ or cls.__name__  # else it is made up, in milliseconds (measured)
    dataclasses.dataclass(init=False, repr=False, eq=False)(cls)  # finds the fields, and does nothing else
    fields = dataclasses.fields(cls)  # type: ignore[arg-type] # mypy does not see what the line above has made of it
    names = [field.name for field in fields]
    inherited = {name for base in cls.__mro__[1:] for name in getattr(base, "__slots__", ())}
    left_out = {*names, "__dict__", "__weakref__"}
    namespace = {name: value for name, value in vars(cls).items() if name not in left_out}
    namespace |= {
        "__slots__": tuple(name for name in names if name not in inherited),
        "__repr__": _repr,
        "__eq__": _eq,
        "__hash__": _hash,
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        "__getstate__": _getstate,
        "__setstate__": _setstate,
        "_compared": staticmethod(_getter([field.name for field in fields if field.compare])),
    }
    made: type[T] = type(cls)(cls.__name__, cls.__bases__, namespace)  # type: ignore[misc] # as `class` does it
    _init_when_called(made, fields)
    return made


def _init_when_called(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> None:
    """Gives the class an `__init__` that puts the true one in its place: many a program makes no object of it."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init = _init(cls, fields)
        type.__setattr__(cls, "__init__", init)
        init(self, *args, **kwargs)

    type.__setattr__(cls, "__init__", __init__)


def _init(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    known: dict[str, Any] = {"_set": object.__setattr__, "_Missing": _Missing}
    arguments, lines = [], []
    for field in fields:
        name, value = field.name, field.name
        if field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            arguments.append(f"{name}=_default_{name}")
        elif field.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = field.default_factory
            arguments.append(f"{name}=_Missing")
            value = f"_make_{name}() if {name} is _Missing else {name}"
        else:
            arguments.append(name)
        lines.append(f" _set(self, {name!r}, {value})\n")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()\n")
    source = f"def __init__({', '.join(['self', *arguments])}):\n{''.join(lines) or ' pass'}"
    made: dict[str, Any] = {}
    exec(source, known, made)  # noqa: S102 - as dataclasses does it: from names that are identifiers, of ours
    init: Callable[..., None] = made["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What gets these attributes of an object, as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type[T]], type[T]]:
        """`dataclasses.dataclass(frozen=True, slots=True)`, and nothing else of what that can."""
        if not (frozen and slots):
            raise TypeError("only frozen dataclasses with slots are made here: take those of the standard library")
        return _made
