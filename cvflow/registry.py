"""Named components and the check of their options against the builder's typed signature.

A builder is a callable whose positional parameters are given by cvflow (``in_channels``, ``info``)
and whose keyword-only parameters are the recipe's options, each with a type and a default:

    @register("backbone", "lenet")
    def lenet(in_channels: int, *, width: int = 6) -> Backbone: ...
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from cvflow.errors import Fault, RequestError, did_you_mean, one_of

PACKAGES = {
    "task": "cvflow.tasks",
    "format": "cvflow.formats",
    "transform": "cvflow.loading.transforms",
    "sampler": "cvflow.loading.samplers",
    "mix": "cvflow.loading.mixing",
    "pair_loss": "cvflow.losses",
    "model": "cvflow.models",
    "backbone": "cvflow.models.backbones",
    "init": "cvflow.models.initialisation",
    "optimizer": "cvflow.engine.optimizers",
    "schedule": "cvflow.engine.schedules",
    "phase": "cvflow.engine.phases",
    "searcher": "cvflow.engine.search",
    "scheduler": "cvflow.runtime.schedulers",
    "view": "cvflow.engine.views",
    "starter": "cvflow.verbs.starters",
}
"""Where the builders of each kind live; every module found there is imported on first use."""
RECIPE_KINDS = tuple(kind for kind in PACKAGES if kind != "starter")
"""The kinds that a recipe names; a starter is looked up by the name of its task."""

_builders: dict[str, dict[str, Callable[..., Any]]] = {kind: {} for kind in PACKAGES}
B = TypeVar("B", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kind:
    """Marks a field or option as a component of this kind: ``Annotated[Component, Kind("backbone")]``."""

    kind: str


class Component(BaseModel):
    """A named builder and its options: ``{name: sgd, lr: 0.1}``, or just ``sgd``."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = Field(description="The registered name.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The builder's keyword arguments: everything but the name and declared fields."""
        return dict(self.model_extra or {})


def register(kind: str, name: str) -> Callable[[B], B]:
    """Make a builder known under ``name``; a second builder of the same name is an error."""

    def keep(builder: B) -> B:
        old = _builders[kind].get(name)
        if old is not None and (old.__module__, old.__qualname__) != (
            builder.__module__,
            builder.__qualname__,
        ):
            raise ValueError(f"{kind} '{name}' is already registered by {old.__module__}.{old.__qualname__}")
        _builders[kind][name] = builder
        return builder

    return keep


def forget(module: str) -> None:
    """Drop what a module registered."""
    for builders in _builders.values():
        for name in [name for name, builder in builders.items() if builder.__module__ == module]:
            del builders[name]


@cache
def _import_all(package: str) -> None:
    module = importlib.import_module(package)
    for module_info in pkgutil.walk_packages(getattr(module, "__path__", []), package + "."):
        importlib.import_module(module_info.name)


def names(kind: str) -> list[str]:
    """Every registered name of a kind, sorted."""
    _import_all(PACKAGES[kind])
    return sorted(_builders[kind])


def get(kind: str, name: str, where: str = "") -> Callable[..., Any]:
    """The builder; raises RequestError with a suggestion when there is none of that name."""
    choices = names(kind)
    if name not in choices:
        expected = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}: {one_of(choices, len(choices))}"
        raise RequestError(Fault(where or kind, f"'{name}'", expected, did_you_mean(name, choices)))
    return _builders[kind][name]


@cache
def options_model(builder: Callable[..., Any]) -> type[BaseModel]:
    """The typed options of a builder: its keyword-only parameters, unknown ones refused."""
    function = builder.__init__ if inspect.isclass(builder) else builder
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    config = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        validate_default=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )
    return cast(type[BaseModel], create_model(f"{builder.__name__}_options", __config__=config, **fields))


def kind_of(metadata: Iterable[Any]) -> str | None:
    """The component kind that a field's metadata names, if any."""
    return next((m.kind for m in metadata if isinstance(m, Kind)), None)


def components_in(model: BaseModel) -> Iterator[tuple[str, str, Component]]:
    """Yield (path, kind, component) for each component below a model: in its fields, in lists, in
    models inside of it.

    The options of a component are not entered: ``check`` does that with what its builder says of them.
    """
    for name, info in type(model).model_fields.items():
        kind = kind_of(info.metadata) or _item_kind(info.annotation)
        yield from _components_below(info.alias or name, getattr(model, name), kind)


def _components_below(path: str, value: Any, kind: str | None) -> Iterator[tuple[str, str, Component]]:
    if isinstance(value, Component):
        if kind:
            yield path, kind, value
    elif isinstance(value, BaseModel):
        for inner_path, inner_kind, component in components_in(value):
            yield f"{path}.{inner_path}", inner_kind, component
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _components_below(f"{path}.{index}", item, kind)


def _item_kind(annotation: Any) -> str | None:
    for argument in typing.get_args(annotation):
        if typing.get_origin(argument) is Annotated:
            return kind_of(list(typing.get_args(argument)[1:]))
    return None


def check(kind: str, component: Component, where: str) -> tuple[dict[str, Any], list[Fault]]:
    """The component as plain data with defaults filled in, and every fault of its options.

    where: the field's path in the recipe; faults name ``where.option``.
    """
    declared = component.model_dump(mode="json", include=set(type(component).model_fields))
    try:
        model = options_model(get(kind, component.name, f"{where}.name"))
    except RequestError as error:
        return {**declared, **component.options}, list(error.faults)
    try:
        options = model.model_validate(component.options)
    except ValidationError as error:
        return {**declared, **component.options}, [
            _elsewhere(kind, fault, where) for fault in faults_of(error, model, where)
        ]
    filled, faults = {**declared, **options.model_dump(mode="json")}, []
    for path, inner_kind, inner in (*components_in(component), *components_in(options)):
        data, inner_faults = check(inner_kind, inner, f"{where}.{path}")
        assign(filled, path.split("."), data)
        faults += inner_faults
    return filled, faults


def _elsewhere(kind: str, fault: Fault, where: str) -> Fault:
    """An unknown option that is no slip of the pen, with a component of the kind that has it."""
    option = fault.where.removeprefix(f"{where}.")
    if fault.fix or not fault.got.startswith("the unknown key"):
        return fault
    having = [name for name in names(kind) if option in options_model(get(kind, name)).model_fields]
    return replace(
        fault, fix=f"Leave it out, or type {where}.name={having[0]}, which has it." if having else ""
    )


def assign(target: Any, path: Sequence[str], value: Any) -> None:
    """Put a value into plain data, down a path of keys and of places in lists."""
    *holders, last = path
    for key in holders:
        target = target[_place(target, key)]
    target[_place(target, last)] = value


def _place(holder: Any, key: str) -> int | str:
    return int(key) if isinstance(holder, list) else key


def build(kind: str, component: Component, *given: Any) -> Any:
    """Call the component's builder with cvflow's arguments and the component's checked options.

    Options of a Component type reach the builder as Component, for it to build with what it knows.
    RequestError where options are wrong.
    """
    builder = get(kind, component.name)
    model = options_model(builder)
    try:
        options = model.model_validate(component.options)
    except ValidationError as error:  # of one that was not checked before
        raise RequestError(*faults_of(error, model, kind)) from error
    return builder(*given, **{k: getattr(options, k) for k in type(options).model_fields})


def faults_of(error: ValidationError, model: type[BaseModel], where: str = "") -> list[Fault]:
    """A pydantic error as faults: the full field path, what was got, what was expected, a suggestion."""
    faults = []
    for item in error.errors(include_url=False):
        parts = [
            str(p) for p in item["loc"] if not str(p).startswith(("function-", "constrained-", "union-"))
        ]
        path = ".".join(filter(None, [where, *parts]))
        if item["type"] == "extra_forbidden":
            choices = _fields_at(model, item["loc"][:-1])
            word = parts[-1]
            fault = Fault(
                path,
                f"the unknown key '{word}'",
                one_of(choices) if choices else "no options here",
                did_you_mean(word, choices),
            )
        elif item["type"] == "missing":
            fault = Fault(path, "nothing", "a value", f"Add '{path}: ...'.")
        else:
            fault = Fault(path, repr(item["input"]), _expectation(item["msg"]))
        faults.append(fault)
    return faults


def _expectation(message: str) -> str:
    for prefix in ("Input should be ", "Value error, "):
        message = message.removeprefix(prefix)
    return "a list, as in [a, b]" if message in ("a valid tuple", "a valid list") else message


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> Mapping[str, Any]:
    current: Any = model
    for part in loc:
        if isinstance(part, int):
            continue
        info = _keys_of(current).get(str(part))
        # else the tag of a union
        current = _model_in(info.annotation) if info else current
    return _keys_of(current)


def _keys_of(model: Any) -> Mapping[str, Any]:
    """The fields by the names that a recipe gives them."""
    return {info.alias or name: info for name, info in getattr(model, "model_fields", {}).items()}


def _model_in(annotation: Any) -> Any:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
