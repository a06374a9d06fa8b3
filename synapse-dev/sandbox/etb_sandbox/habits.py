"""How ETB lets callers in, pages and filters: the habits that docs/etb-contract.md section 1 shows.

Apart from resources.py because Django REST Framework imports these by name while it is itself being imported.
"""

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import models
from django.db.models.functions import Cast
from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.pagination import PageNumberPagination

from etb_sandbox.state import STATE


class SandboxTokenAuthentication(TokenAuthentication):
    """DRF's own, but the scheme's word can be switched to `Bearer` (section 1.2)."""

    @property
    def keyword(self) -> str:
        return STATE.options["auth_scheme"]


class Pages(PageNumberPagination):
    page_size_query_param = "page_size"
    max_page_size = 100


class HabitFilter(BaseFilterBackend):
    """`?name=value` for the names in `view.filters`, `?x_after=` / `?x_before=` for its time fields.

    A filter is `name` or `name=lookup`; a JSON list column matches when it contains the value. Unknown parameters
    are ignored, values that cannot be read are answered with 400, as django-filter does.
    """

    def filter_queryset(self, request, queryset, view):
        for declared in view.filters:
            name, _, lookup = declared.partition("=")
            if request.query_params.get(name):
                queryset = self.narrow(queryset, name, lookup or name, request.query_params[name])
        for field in view.model._meta.concrete_fields:  # noqa: SLF001  # Django's documented model API
            if isinstance(field, models.DateField):  # DateTimeField is one too
                stem = field.name.removesuffix("_at") if isinstance(field, models.DateTimeField) else field.name
                for end, operator in (("after", "gte"), ("before", "lte")):
                    if value := request.query_params.get(f"{stem}_{end}"):
                        queryset = self.narrow(queryset, f"{stem}_{end}", f"{field.name}__{operator}", value)
        return queryset

    @staticmethod
    def narrow(queryset, name: str, lookup: str, value):
        field = next((f for f in queryset.model._meta.get_fields() if f.name == lookup), None)  # noqa: SLF001
        if isinstance(field, models.BooleanField):
            value = {"true": True, "false": False}.get(value.lower(), value)
        elif isinstance(field, models.JSONField):
            as_text = {f"{lookup}_text": Cast(lookup, models.TextField())}
            return queryset.annotate(**as_text).filter(**{f"{lookup}_text__icontains": f'"{value}"'})
        try:
            return queryset.filter(**{lookup: value})
        except (DjangoValidationError, ValueError):
            raise ValidationError({name: ["Enter a valid value."]}) from None
