"""The reference page: the OpenAPI document in Swagger UI, whose files come with the package fastapi-offline.

Everything is loaded from here, so that the page opens on a machine that reaches nothing else; addresses are
relative, so that it also does behind a proxy that puts a path before them.
"""

from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException

PATH = "/docs"
FILES_PATH = "/docs/{name}"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What the page may load: Swagger UI writes styles into its elements, and nothing comes from elsewhere."""

_START = "start.js"
_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
_MAX_AGE_S = 3_600
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="reference"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_SCRIPT = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  validatorUrl: null,
});
"""


def install(app: FastAPI) -> None:
    """Serve the page at /docs to anyone."""
    app.add_route(PATH, _page, include_in_schema=False)
    app.add_route(FILES_PATH, _file, include_in_schema=False)


def _page(request: Request) -> Response:
    return HTMLResponse(_PAGE.format(title=f"{request.app.title} API"))


def _file(request: Request) -> Response:
    name = request.path_params["name"]
    headers = {"Cache-Control": f"public, max-age={_MAX_AGE_S}"}
    if name == _START:
        return Response(_SCRIPT, media_type="text/javascript", headers=headers)
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(_folder() / name, headers=headers)


def _folder() -> Path:
    return Path(str(resources.files("fastapi_offline"))) / "static"
