"""What the models look like from outside: which section stands where, which kind of value a key takes."""

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from etb_appservice.config.sections.section import Section
from etb_appservice.config.settings import Settings


def sections(model: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """The sections of a model, in order."""
    for name, info in model.model_fields.items():
        inner = section_in(info.annotation)
        if inner is not None:
            yield name, inner


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a key holds, or that the values of its mapping are."""
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) is dict:
        return section_in(get_args(annotation)[1])
    return None


def field_at(path: tuple[str | int, ...]) -> FieldInfo | None:
    """The key at a path such as `("etb", "token")`, or None."""
    model = model_at(path[:-1])
    return model.model_fields.get(str(path[-1])) if model and path else None


def model_at(path: tuple[str | int, ...]) -> type[Section] | None:
    """The section at a path, or None. Below a mapping of sections, its keys are passed over."""
    model: type[Section] = Settings
    parts = iter(path)
    for part in parts:
        info = model.model_fields.get(str(part))
        inner = section_in(info.annotation) if info else None
        if info is None or inner is None:
            return None
        if get_origin(info.annotation) is dict and next(parts, None) is None:
            return None
        model = inner
    return model


def is_many(info: FieldInfo) -> bool:
    """Whether a key takes a list, a mapping or a section rather than one plain value."""
    kinds = (
        get_args(info.annotation)
        if get_origin(info.annotation) in {Union, types.UnionType}
        else (info.annotation,)
    )
    return any(get_origin(kind) in {dict, tuple} or section_in(kind) for kind in kinds)
