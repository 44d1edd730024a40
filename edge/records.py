"""Dataclasses whose methods are not compiled when their module is imported; for the modules that `classify` loads.

`dataclasses.dataclass` writes and compiles up to six methods for each class, which takes a millisecond on a PC and
several on a Raspberry Pi. Here all classes share the same functions. A type checker sees those of `dataclasses`, and
what is here does the same: classes are compared, hashed and printed by their fields, and `dataclasses.fields`, `asdict`
and `replace` take their instances. But fields are not inherited, and there is no `__post_init__`.
"""

from typing import TYPE_CHECKING

__all__ = ["dataclass", "field", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    from collections.abc import Callable
    from operator import attrgetter
    from typing import Any

    def dataclass(*, frozen: bool = False) -> Callable[[type], type]:
        """Decorator: makes of a class what `dataclasses.dataclass(frozen=...)` makes of it."""

        def decorated(cls: type) -> type:
            fields = _Fields(cls)
            cls.__match_args__ = fields.names
            cls.__init__ = _initialiser(fields)
            cls.__eq__, cls.__hash__ = _comparison(fields.names, frozen=frozen)
            cls.__repr__ = _printer(fields)
            if frozen:
                cls.__setattr__ = cls.__delattr__ = _refuse
            for name in _OF_DATACLASS:
                setattr(cls, name, _OnDemand(name, fields))
            return cls

        return decorated

    def field(*, default_factory: Callable[[], Any] | None = None, repr: bool = True) -> Any:
        """A field whose default is made for each instance, or that is not printed; see `dataclasses.field`."""
        return _Setting(default_factory, repr)

    def replace(instance: Any, /, **changes: Any) -> Any:
        """A copy with other values of some fields; see `dataclasses.replace`."""
        return type(instance)(**{name: getattr(instance, name) for name in instance.__match_args__} | changes)

    class _Setting:
        def __init__(self, default_factory: Callable[[], Any] | None, is_printed: bool) -> None:
            self.default_factory, self.is_printed = default_factory, is_printed

    class _Fields:
        """The fields of a class. What `field` returned is removed from the class; plain defaults stay there.

        Attributes:
            owner: the name of the class.
            printed: the names of the fields that are printed.
            factories: what makes a default, by name.
        """

        def __init__(self, cls: type) -> None:
            self.owner, self.types = cls.__qualname__, dict(cls.__annotations__)
            self.names = tuple(self.types)
            found = {name: vars(cls)[name] for name in self.names if name in vars(cls)}
            settings = {name: value for name, value in found.items() if isinstance(value, _Setting)}
            self.printed = [name for name in self.names if name not in settings or settings[name].is_printed]
            self.defaults = {name: value for name, value in found.items() if name not in settings}
            self.factories = {name: one.default_factory for name, one in settings.items() if one.default_factory}
            for name in settings:
                delattr(cls, name)

    def _initialiser(fields: _Fields) -> Callable[..., None]:
        names, defaults, factories = fields.names, fields.defaults, fields.factories
        known, count = frozenset(names), len(names)

        def initialise(self: Any, /, *values: Any, **named: Any) -> None:
            if values:
                placed = dict(zip(names, values, strict=False))
                if len(values) > count or not placed.keys().isdisjoint(named):
                    raise TypeError(f"{fields.owner}() got more than one value for a field, or too many values")
                named = placed | named
            if len(named) < count:
                named = defaults | {name: make() for name, make in factories.items() if name not in named} | named
            if named.keys() != known:
                wrong = ", ".join(sorted(known ^ named.keys()))
                raise TypeError(f"{fields.owner}() got no value for a field, or has no such field: {wrong}")
            vars(self).update(named)

        return initialise

    def _comparison(names: tuple[str, ...], *, frozen: bool) -> tuple[Callable[..., Any], Callable[[Any], int] | None]:
        """`__eq__` and `__hash__`; instances that may change have no hash."""
        values = attrgetter(*names)

        def equals(self: Any, other: object) -> Any:
            return values(self) == values(other) if type(other) is type(self) else NotImplemented

        def hashed(self: Any) -> int:
            return hash(values(self))

        return equals, hashed if frozen else None

    def _printer(fields: _Fields) -> Callable[[Any], str]:
        def printed(self: Any) -> str:
            return f"{fields.owner}({', '.join(f'{name}={getattr(self, name)!r}' for name in fields.printed)})"

        return printed

    def _refuse(self: Any, name: str, *_: Any) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot change field {name!r} of {type(self).__qualname__}")

    _OF_DATACLASS = ("__dataclass_fields__", "__signature__")

    class _OnDemand:
        """An attribute that `dataclasses` or `inspect` asks for, taken from a real dataclass with the same fields."""

        def __init__(self, name: str, fields: _Fields) -> None:
            self._name, self._fields = name, fields

        def __get__(self, instance: object, owner: type) -> Any:
            import dataclasses
            import inspect

            of = self._fields
            settings = {name: dataclasses.field(default=value) for name, value in of.defaults.items()}
            settings |= {name: dataclasses.field(default_factory=make) for name, make in of.factories.items()}
            all_ = [(name, kind, settings.get(name, dataclasses.field())) for name, kind in of.types.items()]
            real = dataclasses.make_dataclass(owner.__name__, all_)
            values = vars(real)["__dataclass_fields__"], inspect.signature(real)
            for name, value in zip(_OF_DATACLASS, values, strict=True):
                setattr(owner, name, value)
            return getattr(owner, self._name)
