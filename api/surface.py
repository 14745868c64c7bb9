"""What the routes say of themselves: their query parameters, and the methods of a path."""

from fastapi import FastAPI
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import compile_path


def methods_at(app: FastAPI, path: str) -> list[str]:
    """The methods that are allowed at `path`."""
    found: set[str] = set()
    for context in iter_route_contexts(app.routes):
        if context.path is not None and compile_path(context.path)[0].match(path):
            found |= context.methods or set()
    return sorted(found)


def query_parameters(route: APIRoute) -> frozenset[str]:
    """The names of the query parameters that a route reads."""
    return frozenset(
        field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query)
    )
