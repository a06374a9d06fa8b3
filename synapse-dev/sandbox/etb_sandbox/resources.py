"""ETB's habits of field names, once for every resource (docs/etb-contract.md section 1.5).

A resource is a small class with a model and the names of its filters; what stands here turns it into a Django REST
Framework serializer and view set. Nothing here knows a single resource.
"""

import functools

from django.db import models, transaction
from rest_framework import serializers, viewsets
from rest_framework.mixins import CreateModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.response import Response

from etb_sandbox.models import Incident, User


class Companion(serializers.ReadOnlyField):
    """`<name>_username`, `<name>_title`, `<name>_name`: null when the relation is empty."""

    def __init__(self, source: str) -> None:
        super().__init__(source=source, default=None)


class HabitSerializer(serializers.ModelSerializer):
    """Relations as section 1.5 has them: read as `<name>` with a flat companion, written as `<name>_id(s)`."""

    def get_fields(self):
        fields = super().get_fields()
        for relation in self.Meta.model._meta.get_fields():  # noqa: SLF001
            name = relation.name
            if name not in fields or not relation.is_relation:
                continue
            rows = relation.related_model.objects.all()
            many = relation.many_to_many
            fields[name] = serializers.PrimaryKeyRelatedField(read_only=True, many=many)
            write = f"{name.removesuffix('s')}_ids" if many else f"{name}_id"
            # Whether a relation may be missing is the database's word, unless the server fills it in itself.
            needed = not (many or relation.null or name in self.Meta.server_fills)
            more = {} if many else {"allow_null": relation.null}
            fields[write] = serializers.PrimaryKeyRelatedField(
                queryset=rows, source=name, write_only=True, many=many, required=needed, **more
            )
            if many:
                continue
            companion = {User: "username", Incident: "title"}.get(relation.related_model, "name")
            if hasattr(relation.related_model, companion) or relation.related_model in (User, Incident):
                fields[f"{name}_{companion}"] = Companion(f"{name}.{companion}")
        return fields


class HabitViewSet(ListModelMixin, RetrieveModelMixin, viewsets.GenericViewSet):
    """List and detail of a model. Writing is added by `Creates` and `Patches`; nothing is ever deleted (405)."""

    model: type[models.Model]
    filters: tuple[str, ...] = ()
    search_fields: tuple[str, ...] = ()
    ordering_fields = "__all__"
    hidden: tuple[str, ...] = ()
    list_hides: tuple[str, ...] = ()  # fields of the detail only
    read_only: tuple[str, ...] = ()
    server_fills: tuple[str, ...] = ()
    serializer_base: type[HabitSerializer] = HabitSerializer

    def dispatch(self, request, *args, **kwargs):
        """A write is one transaction, committed before the answer leaves; a refused one leaves nothing behind."""
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return super().dispatch(request, *args, **kwargs)
        with transaction.atomic():
            response = super().dispatch(request, *args, **kwargs)
            if response.status_code >= 400:  # noqa: PLR2004
                transaction.set_rollback(True)
        return response

    def get_queryset(self):
        forward = [f.name for f in self.model._meta.concrete_fields if f.is_relation]  # noqa: SLF001
        many = [f.name for f in self.model._meta.many_to_many]  # noqa: SLF001
        return self.model.objects.select_related(*forward).prefetch_related(*many)

    @classmethod
    @functools.cache
    def serializer(cls, hides: tuple[str, ...] = ()):
        meta = type(
            "Meta",
            (),
            {
                "model": cls.model,
                "exclude": cls.hidden + hides,
                "read_only_fields": cls.read_only,
                "server_fills": cls.server_fills,
            },
        )
        if not meta.exclude:
            del meta.exclude
            meta.fields = "__all__"
        return type(f"{cls.model.__name__}Serializer", (cls.serializer_base,), {"Meta": meta})

    def get_serializer_class(self):
        return self.serializer(self.list_hides if self.action == "list" else ())

    def render(self, row) -> dict:
        return self.serializer()(row, context=self.get_serializer_context()).data

    def paged(self, rows) -> Response:
        """A list action answers in pages too."""
        page = self.paginate_queryset(rows)
        return self.get_paginated_response([self.render(row) for row in page])


class Creates(CreateModelMixin):
    pass


class Patches:
    def partial_update(self, request, *args, **kwargs):
        row = self.get_object()
        serializer = self.get_serializer(row, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        self.perform_update(serializer)
        row.refresh_from_db()
        return Response(self.render(row))

    def perform_update(self, serializer) -> None:
        serializer.save().touch()


def resource(model, filters: str = "", search: str = "", *mixins, **more) -> type[HabitViewSet]:
    """A view set that needs nothing but its names."""
    names = {"model": model, "filters": tuple(filters.split()), "search_fields": tuple(search.split()), **more}
    return type(f"{model.__name__}Views", (*mixins, HabitViewSet), names)
