"""Dataclasses with slots, made in a tenth of the time.

The standard library writes and compiles up to six methods for each such class, which takes 0.5 ms; a command that only
reads needs forty of the classes, the daemon a hundred (measured). Here only `__init__` is written, and only for classes
of which many objects are made; what else they do is written once, for all; and what the library itself wants to know of
a class (`fields`, `replace`, `asdict`) it finds out when it is asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

_OF_OTHERS = frozenset({"__dict__", "__weakref__"})
"""What Python gives to each class without slots."""


_FEW = 20
"""Objects of a class that are made before its true `__init__` is written."""


class _Missing:
    """Stands for an argument that was not given, where what it is then is made anew each time."""


class _Library:
    """An attribute that `dataclasses` gives to a class, made by it when something asks for it."""

    def __init__(self, cls: type, name: str) -> None:
        self._cls = cls
        self._name = name

    def __get__(self, value: object, owner: type) -> Any:
        if self._name not in vars(self._cls):
            dataclasses.dataclass(init=False, repr=False, eq=False)(self._cls)
        return vars(self._cls)[self._name]


def _made(cls: type[T], methods: dict[str, Any]) -> type[T]:
    """The class with slots and methods in place of its annotations."""
    inherited: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited |= vars(base).get("_declared", {})
    before = dict(vars(cls))
    own = {name: before.pop(name, MISSING) for name in before.get("__annotations__", ())}
    declared = inherited | own
    namespace = {name: value for name, value in before.items() if name not in _OF_OTHERS} | methods
    namespace |= {
        "__doc__": cls.__doc__ or cls.__name__,
        "__slots__": tuple(name for name in own if name not in inherited),
        "__match_args__": tuple(declared),
        "_declared": declared,
        "_compared": staticmethod(_getter([name for name, value in declared.items() if _asked(value, "compare")])),
        "__dataclass_fields__": _Library(cls, "__dataclass_fields__"),
        "__dataclass_params__": _Library(cls, "__dataclass_params__"),
    }
    cls.__doc__ = namespace["__doc__"]  # else the library makes it up, in milliseconds (measured)
    made: type[T] = type(cls)(cls.__name__, cls.__bases__, namespace)  # type: ignore[misc] # as `class` does it
    _init_when_needed(made)
    return made


def _asked(declared: Any, what: str) -> bool:
    """Whether a field is to be compared, or shown: each is, unless it says otherwise."""
    return not isinstance(declared, Field) or bool(getattr(declared, what))


def _init_when_needed(cls: Any) -> None:
    """Gives the class an `__init__` for its first objects, which puts the true one in its place after them: that takes
    0.1 ms to write, and makes an object 1 us sooner (measured). Many a program makes but a few."""
    made = count()

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if next(made) >= _FEW or not _fill(self, cls._declared, args, kwargs):
            init = _init(cls)
            type.__setattr__(cls, "__init__", init)
            init(self, *args, **kwargs)

    type.__setattr__(cls, "__init__", __init__)


def _fill(self: Any, declared: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Sets the fields to the arguments; False if those are not the right ones, which the true `__init__` can tell."""
    given = dict(zip(declared, args, strict=False)) | kwargs
    if len(given) != len(args) + len(kwargs) or not given.keys() <= declared.keys():
        return False
    for name, default in declared.items():
        value = given[name] if name in given else _default(default)
        if value is MISSING:
            return False
        object.__setattr__(self, name, value)
    if hasattr(self, "__post_init__"):
        self.__post_init__()
    return True


def _default(declared: Any) -> Any:
    """What a field is that was not given; MISSING if it must be."""
    if not isinstance(declared, Field):
        return declared
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


def _init(cls: Any) -> Callable[..., None]:
    """An `__init__` as one would write it, with the names of the fields."""
    known: dict[str, Any] = {"_Missing": _Missing}
    is_frozen = cls.__setattr__ is _refuse_to_set
    arguments, lines = [], []
    for name, declared in cls._declared.items():
        value = name
        default = declared.default if isinstance(declared, Field) else declared
        if default is not MISSING:
            known[f"_default_{name}"] = default
            arguments.append(f"{name}=_default_{name}")
        elif isinstance(declared, Field) and declared.default_factory is not MISSING:
            known[f"_make_{name}"] = declared.default_factory
            arguments.append(f"{name}=_Missing")
            value = f"_make_{name}() if {name} is _Missing else {name}"
        else:
            arguments.append(name)
        known[f"_set_{name}"] = getattr(cls, name).__set__  # two thirds of object.__setattr__'s time (measured)
        lines.append(f" _set_{name}(self, {value})\n" if is_frozen else f" self.{name} = {value}\n")
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
    shown = (f"{name}={getattr(self, name)!r}" for name, value in self._declared.items() if _asked(value, "repr"))
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
    return [getattr(self, name) for name in self._declared]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self._declared, state, strict=True):
        object.__setattr__(self, name, value)


_ALL = {"__repr__": _repr, "__getstate__": _getstate, "__setstate__": _setstate}
_EQUAL = {"__eq__": _eq, "__hash__": None}
_FROZEN = {"__eq__": _eq, "__hash__": _hash, "__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, slots: bool, frozen: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]:
        """`dataclasses.dataclass` with slots, and nothing else of what that can."""
        if not slots or (frozen and not eq):
            raise TypeError("only dataclasses with slots are made here: take those of the standard library")
        methods = _ALL | (_FROZEN if frozen else _EQUAL if eq else {})
        return lambda cls: _made(cls, methods)
