"""Dataclasses that are not compiled at import behave as those of `dataclasses`."""

import dataclasses
import inspect
import pickle
from typing import Any

import pytest

from edge import records


@records.dataclass(frozen=True)
class Ours:
    """A point."""

    left: int
    top: int = 2
    names: list[str] = records.field(default_factory=list)
    content: bytes = records.field(default_factory=bytes, repr=False)


@dataclasses.dataclass(frozen=True)
class Theirs:
    """A point."""

    left: int
    top: int = 2
    names: list[str] = dataclasses.field(default_factory=list)
    content: bytes = dataclasses.field(default_factory=bytes, repr=False)


@records.dataclass()
class Changing:
    """It can change."""

    left: int = 0


@records.dataclass(frozen=True)
class Hashed:
    """It has a hash."""

    left: int
    top: int


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_fields_come_by_place_by_name_and_by_default(kind: Any) -> None:
    one = kind(1, content=b"x")
    assert (one.left, one.top, one.names, one.content) == (1, 2, [], b"x")
    assert kind(1).names is not kind(1).names
    assert kind(top=3, left=1) == kind(1, 3)
    assert kind(1) != kind(2)
    assert kind(1) != (1, 2, [], b"")


@pytest.mark.parametrize("kind", [Ours, Theirs])
@pytest.mark.parametrize("arguments", [((), {}), ((1,), {"left": 1}), ((1,), {"depth": 2}), ((1, 2, [], b"", 5), {})])
def test_wrong_fields_are_a_type_error(kind: Any, arguments: Any) -> None:
    values, named = arguments
    with pytest.raises(TypeError, match=kind.__name__):
        kind(*values, **named)


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_frozen_fields_cannot_change(kind: Any) -> None:
    one = kind(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.left = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.left
    assert one.left == 1


def test_fields_that_are_not_frozen_change_and_give_no_hash() -> None:
    one = Changing()
    one.left = 5
    assert one == Changing(5)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_equal_instances_have_one_hash() -> None:
    assert len({Hashed(1, 2), Hashed(top=2, left=1), Hashed(2, 1)}) == 2


def test_text_and_signature_are_those_of_a_dataclass() -> None:
    one = Ours(1, names=["a"], content=b"secret")
    assert repr(one) == repr(Theirs(1, names=["a"], content=b"secret")).replace("Theirs", "Ours")
    assert inspect.signature(Ours) == inspect.signature(Theirs)
    match one:
        case Ours(left, top):
            assert (left, top) == (1, 2)
        case _:
            pytest.fail("the fields do not match by place")


def test_functions_of_dataclasses_take_them() -> None:
    one = Ours(1, names=["a"])
    assert dataclasses.is_dataclass(Ours)
    assert [field.name for field in dataclasses.fields(Ours)] == [field.name for field in dataclasses.fields(Theirs)]
    assert dataclasses.asdict(one) == {"left": 1, "top": 2, "names": ["a"], "content": b""}
    assert dataclasses.replace(one, top=7) == records.replace(one, top=7) == Ours(1, 7, ["a"])
    with pytest.raises(TypeError, match="depth"):
        records.replace(one, depth=1)  # type: ignore[call-arg]
    assert pickle.loads(pickle.dumps(one)) == one
