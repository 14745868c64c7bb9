"""Query parameters that a route does not have are refused: a misspelt one must not be passed over."""

import difflib

from fastapi import Request
from fastapi.routing import APIRoute

from api.problems import InvalidParameter
from api.surface import query_parameters


def refuse_unknown(request: Request) -> None:
    """Raise InvalidParameter, with did-you-mean.

    `?dryrun=true`, passed over in silence, would start the job that was only to be planned.
    """
    route = request.scope["route"]
    known = query_parameters(route) if isinstance(route, APIRoute) else frozenset[str]()
    for name in request.query_params:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
            )
            raise InvalidParameter(f"unknown parameter {name!r}", hint=hint, parameter=name)
