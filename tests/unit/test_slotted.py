"""Our dataclasses do what those of the standard library do."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field

import pytest

from pixstored.model import Stamp
from pixstored.slotted import dataclass as ours


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """A value."""

    name: str
    secret: str = field(repr=False)
    size: int = 3
    parts: list[str] = field(default_factory=list)
    why: str | None = field(default=None, compare=False)

    @property
    def doubled(self) -> int:
        return self.size * 2


@ours(frozen=True, slots=True)
class Ours:
    """A value."""

    name: str
    secret: str = field(repr=False)
    size: int = 3
    parts: list[str] = field(default_factory=list)
    why: str | None = field(default=None, compare=False)

    @property
    def doubled(self) -> int:
        return self.size * 2


@ours(frozen=True, slots=True)
class Below(Ours):
    """One that has more."""

    more: int = 1

    def __post_init__(self) -> None:
        if self.more < 0:
            raise ValueError("less than nothing")


@ours(frozen=True, slots=True)
class Empty:
    """Nothing."""


@ours(slots=True)
class Changing:
    """One whose fields may be set."""

    name: str
    parts: list[str] = field(default_factory=list)


@ours(slots=True, eq=False)
class Itself:
    """One that is equal to itself alone."""

    number: int


def test_they_are_made_shown_and_compared_alike() -> None:
    for arguments in (("a", "s"), ("a", "s", 4), ("a", "s", 4, ["x"], "because")):
        mine, theirs = Ours(*arguments), Theirs(*arguments)
        assert repr(mine) == repr(theirs).replace("Theirs", "Ours")
        assert (mine == Ours(*arguments), theirs == Theirs(*arguments)) == (True, True)
        assert mine.doubled == theirs.doubled
        assert dataclasses.asdict(mine) == dataclasses.asdict(theirs)
    assert Ours("a", "s", why="x") == Ours("a", "s", why="y")
    assert Ours("a", "s") != Ours("b", "s")
    another: object = Theirs("a", "s")
    assert Ours("a", "s") != another
    assert Ours("a", "s").parts is not Ours("a", "s").parts
    assert Ours.__match_args__ == Theirs.__match_args__
    assert Empty() == Empty()


def test_the_first_of_them_are_like_those_that_follow() -> None:
    for number in range(100):
        assert repr(Below("a", "s", more=number)) == f"Below(name='a', size=3, parts=[], why=None, more={number})"
        with pytest.raises(ValueError, match="less than nothing"):
            Below("a", "s", more=-1)


def test_wrong_arguments_are_refused_in_the_words_of_python() -> None:
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("missing 1 required positional argument: 'secret'", lambda: Fresh("a")),  # type: ignore[call-arg]
        ("got an unexpected keyword argument 'other'", lambda: Fresh("a", "s", other=1)),  # type: ignore[call-arg]
        ("got multiple values for argument 'name'", lambda: Fresh("a", name="s")),  # type: ignore[call-arg,misc]
        ("takes 3 positional arguments but 4 were given", lambda: Fresh("a", "s", "t")),  # type: ignore[call-arg]
    ]
    for words, make in wrong:

        @ours(frozen=True, slots=True)
        class Fresh:
            name: str
            secret: str

        with pytest.raises(TypeError, match=words):
            make()


def test_nothing_of_them_can_be_changed() -> None:
    value = Ours("a", "s")
    with pytest.raises(FrozenInstanceError):
        value.size = 4  # type: ignore[misc] # that is the point
    with pytest.raises(FrozenInstanceError):
        del value.size
    with pytest.raises(FrozenInstanceError):
        value.other = 1  # type: ignore[attr-defined] # that is the point
    assert not hasattr(value, "__dict__")


def test_they_are_copied_replaced_hashed_and_inherited_from() -> None:
    value = Below("a", "s", more=2)
    assert isinstance(value, Ours)
    assert copy.deepcopy(value) == copy.copy(value) == value
    assert dataclasses.replace(value, size=9) == Below("a", "s", 9, more=2)
    with pytest.raises(ValueError, match="less than nothing"):
        dataclasses.replace(value, more=-1)
    stamp = Stamp(1, 2, 3, 4, 5)
    assert {stamp: 1}[Stamp(1, 2, 3, 4, 5)] == 1
    match stamp:
        case Stamp(size, inode=inode):
            assert (size, inode) == (1, 4)


def test_those_that_may_be_changed_are_equal_if_their_fields_are_and_no_keys() -> None:
    value = Changing("a")
    value.parts.append("x")
    assert (value == Changing("a", ["x"]), value != Changing("a")) == (True, True)
    value.name = "b"
    assert repr(value) == "Changing(name='b', parts=['x'])"
    assert copy.deepcopy(value) == dataclasses.replace(value) == value
    assert Changing.__hash__ is None
    with pytest.raises(AttributeError):
        value.other = 1


def test_those_that_are_not_compared_are_equal_to_nothing_else() -> None:
    assert Itself(1) != Itself(1)
    assert len({Itself(1), Itself(1)}) == 2


def test_the_library_knows_their_fields_and_those_they_inherit() -> None:
    assert [field.name for field in dataclasses.fields(Below)] == ["name", "secret", "size", "parts", "why", "more"]
    assert [field.compare for field in dataclasses.fields(Ours)] == [True, True, True, True, False]
    assert [field.type for field in dataclasses.fields(Changing("a"))] == ["str", "list[str]"]


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(TypeError, match="those of the standard library"):
        ours(slots=False)
