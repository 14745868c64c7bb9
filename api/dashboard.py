"""The dashboard: the files that the build of web/ leaves in api/dist, served to anyone.

The page itself knows nothing: what it shows it asks of the API, with the session of whoever signed in. It is one page,
and what is shown stands behind the # of its address, so no path of it is ever one of the API's.
"""

import mimetypes
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from api import reference

PATHS = ("/", "/assets/{name}")
DIST = Path(__file__).parent / "dist"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""What the page may load. Its components write styles into their elements; no script but those of the build runs."""

_FOREVER = "public, max-age=31536000, immutable"
"""Every asset has the digest of its content in its name."""


def install(app: FastAPI) -> None:
    """Serve the page and its assets."""
    page, assets = PATHS
    app.add_route(page, _page, include_in_schema=False)
    app.add_route(assets, _asset, include_in_schema=False)


def is_built() -> bool:
    """Whether the dashboard has been built."""
    return (DIST / "index.html").is_file()


def _page(_request: Request) -> Response:
    if not is_built():
        return RedirectResponse(reference.PATH.removeprefix("/"))
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return FileResponse(DIST / "index.html", headers=headers)


def _asset(request: Request) -> Response:
    """A file of the build; packed, as it lies there, for who can unpack it."""
    name = request.path_params["name"]
    folder = DIST / "assets"
    if not folder.is_dir() or name not in {path.name for path in folder.iterdir()}:
        raise HTTPException(404)
    headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
    media_type = mimetypes.guess_type(name)[0]
    packed = folder / f"{name}.gz"
    if "gzip" in request.headers.get("accept-encoding", "") and packed.is_file():
        headers["Content-Encoding"] = "gzip"
        return FileResponse(packed, media_type=media_type, headers=headers)
    return FileResponse(folder / name, media_type=media_type, headers=headers)
