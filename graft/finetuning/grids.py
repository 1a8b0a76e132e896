"""Grids: which values of a method are tried, before cross-validation chooses among them."""

import math
from itertools import product
from typing import Any, ClassVar, Self

from pydantic import ValidationError, model_validator

from graft.core.settings import Settings, expected, fault

Values = dict[str, Any]

_MOST = 1000

# The parts of a method that have hyper-parameters of their own.
_PARTS = ("strategy", "penalty")


class Tunable(Settings):
    """Something whose hyper-parameters may have a grid of values to choose from.

    Attributes
    ----------
    grid
        Values to try, by the name of the hyper-parameter: one of this object's own, or one of
        a part of it, such as the penalty's `strength`. Should two parts share a name, the part
        stands before it: ``penalty.strength``. Each value is held to what the hyper-parameter
        itself may be. Where nothing is chosen, the object's own values stand.
    """

    fixed: ClassVar[frozenset[str]] = frozenset()
    """Fields of its own that no grid may name."""

    grid: dict[str, tuple[Any, ...]] | None = None

    @property
    def combinations(self) -> tuple[Values, ...]:
        """Every combination of the grid's values, the last name's varying fastest."""
        if self.grid is None:
            return ()
        names, values = self.grid.keys(), product(*self.grid.values())
        return tuple(dict(zip(names, each, strict=True)) for each in values)

    @property
    def own_values(self) -> Values:
        """What stands where nothing is chosen: this object's own values of what the grid names."""
        return {name: self._value(name) for name in self.grid or {}}

    def with_values(self, values: Values) -> Self:
        """Return a copy that has `values`, by the names of a grid, and no grid."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        for name, value in values.items():
            part, field = self._places[name]
            if part:
                fields[part] = {**dict(fields[part]), field: value}
            else:
                fields[field] = value
        return type(self).model_validate({**fields, "grid": None})

    def _value(self, name: str) -> Any:
        part, field = self._places[name]
        return getattr(getattr(self, part) if part else self, field)

    @property
    def _places(self) -> dict[str, tuple[str, str]]:
        """What a grid may name, and where that is: the part, empty for this object, the field."""
        parts = {"": type(self).model_fields.keys() - {"grid", *_PARTS} - self.fixed}
        for part in _PARTS:
            value = getattr(self, part, None)
            if value is not None:
                parts[part] = type(value).model_fields.keys() - {"name"}
        found = [(part, field) for part, fields in parts.items() for field in sorted(fields)]
        fields = [field for _, field in found]
        return {
            field if fields.count(field) == 1 or not part else f"{part}.{field}": (part, field)
            for part, field in found
        }

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        if self.grid is None:
            return self
        if not self.grid:
            raise fault("grid: received {}; name at least one hyper-parameter", "grid")
        count = math.prod(map(len, self.grid.values()))
        if count > _MOST:
            message = f"grid: received {count:,} combinations; expected at most {_MOST:,}"
            raise fault(message, "grid")
        for name, values in self.grid.items():
            self._check_values(name, values)
        return self

    def _check_values(self, name: str, values: tuple[Any, ...]) -> None:
        places = self._places
        at = ("grid", name)
        if name not in places:
            raise fault(f"grid: unknown name {name!r}; {expected(name, places)}", *at)
        if not values:
            raise fault(f"grid.{name}: received []; list at least one value", *at)
        for index, value in enumerate(values):
            try:
                self.with_values({name: value})
            except ValidationError as error:
                raise fault(f"grid.{name}: {_reason(error)}; received {value!r}", *at) from None
            if value in values[:index]:
                raise fault(f"grid.{name}: received {value!r} twice; list each value once", *at)


def _reason(error: ValidationError) -> str:
    messages = dict.fromkeys(detail["msg"] for detail in error.errors(include_url=False))
    return " or ".join(f"{message[0].lower()}{message[1:]}" for message in messages)
