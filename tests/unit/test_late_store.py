"""The client of the store is made when it is needed, and not before."""

from __future__ import annotations

import pytest

from pixstored.errors import ConfigError, StoreDown
from pixstored.model import Receipt, StoreState
from pixstored.service.late_store import LateStore
from pixstored.store.base import Store, Upload

RECEIPT = Receipt("https://media.example/a.jpg", "a.jpg")


class Written:
    """A store that writes down what it is asked for."""

    def __init__(self, told: list[str]) -> None:
        self._told = told
        told.append("made")

    def send(self, upload: Upload) -> Receipt:
        self._told.append("send")
        return RECEIPT

    def drop(self) -> None:
        self._told.append("drop")

    def cut(self) -> None:
        self._told.append("cut")

    def close(self) -> None:
        self._told.append("close")


class Nothing:
    """An upload of which nothing is wanted."""

    size = 1
    filename = "a.jpg"
    comment: str | None = None

    def read(self, limit: int) -> memoryview:
        raise AssertionError

    def before_release(self) -> None: ...

    def take_back(self) -> None: ...

    def progress(self, sent: int) -> None: ...


def test_nothing_is_made_for_ending_what_has_not_begun() -> None:
    told: list[str] = []
    store = LateStore(lambda: Written(told))
    store.drop()
    store.cut()
    store.close()
    assert told == []


def test_it_is_made_once_by_the_first_upload_and_asked_from_then_on() -> None:
    told: list[str] = []
    store = LateStore(lambda: Written(told))
    assert [store.send(Nothing()), store.send(Nothing())] == [RECEIPT, RECEIPT]
    store.drop()
    store.cut()
    store.close()
    assert told == ["made", "send", "send", "drop", "cut", "close"]


def test_what_cannot_be_made_is_a_misconfigured_store() -> None:
    def refuse() -> Store:
        raise ConfigError("store.url: no")

    with pytest.raises(StoreDown, match=r"store\.url: no") as caught:
        LateStore(refuse).send(Nothing())
    assert caught.value.state is StoreState.MISCONFIGURED
