"""The application: every route, behind one door.

python -m uvicorn --factory api.app:create_app
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from api import auth, dashboard, openapi, problems, reference
from api.catalog import idempotency
from api.deps import Platform
from api.door import Door
from api.metrics import Metrics
from api.ranks import Ranks
from api.recent import Recent
from api.replicas import Replicas
from api.routes import (
    answers,
    datasets,
    deployments,
    job_history,
    jobs,
    keys,
    mixtures,
    models,
    openai,
    published,
    render,
    reports,
    session,
    status,
    tasks,
    template_sets,
)
from api.settings import Settings
from flan.store import Store
from workers.doorbell import Doorbell
from workers.ledger.session import check_revision, engine_of, open_ledger

log = logging.getLogger(__name__)
ROUTERS = (
    # The router looks through them in order: first what is asked most.
    answers.router,
    openai.router,
    template_sets.router,
    datasets.router,
    render.router,
    mixtures.router,
    tasks.router,
    jobs.router,
    job_history.router,
    reports.router,
    models.router,
    deployments.router,
    published.router,
    keys.router,
    session.router,
    status.router,
)


class Application(FastAPI):
    """FastAPI with the OpenAPI document of api/openapi.py."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return openapi.document(self)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API on `settings` (None = the environment). Raises UndeclaredScope; UnknownRevision when it starts."""
    settings = settings or Settings()
    metrics = Metrics()
    here = Platform(
        settings=settings,
        sessions=open_ledger(settings.require_database(), pool_size=settings.pool_size),
        store=Store(settings.store_folder),
        doorbell=Doorbell(settings.redis_url),
        metrics=metrics,
        ranks=Ranks(settings.answer_timeout_s),
        replicas=Replicas(),
        recent=Recent(),
    )
    app = Application(
        title="FLAN",
        version=version("flan-platform"),
        description="Instruction-tune language models, prove what they do zero-shot, and serve them.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
    )
    app.state.platform = here
    problems.install(app)
    dashboard.install(app)
    reference.install(app)
    for router in ROUTERS:
        app.include_router(router)
    for _ in auth.declared_scopes(app):  # raises for a route that declares none
        pass
    app.add_middleware(Door, here=here)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    here: Platform = app.state.platform
    check_revision(engine_of(here.sessions))
    with here.sessions.begin() as session:
        idempotency.forget_old(session)
    yield
    await here.ranks.close()
    engine_of(here.sessions).dispose()
