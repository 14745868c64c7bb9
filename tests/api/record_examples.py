"""`python -m tests.api.record_examples`: carry out every example and keep what came back."""

import json
from pathlib import Path

from fastapi.testclient import TestClient

import api.examples
from api.app import create_app
from api.auth import SCOPES
from api.settings import Settings
from tests.api.carrying_out import carry_out, operations, with_shown_ids
from tests.api.conftest import make_key
from tests.api.world import settled
from tests.kit.servers import running_servers
from workers.ledger.session import engine_of, open_ledger


def main() -> None:
    """Write api/example_answers.json anew."""
    path = Path(api.examples.__file__).with_name(api.examples.ANSWERS_FILE)
    path.write_text("{}")
    answers = {}
    with running_servers() as servers, servers.fresh_database() as url:
        sessions = open_ledger(url)
        folder = servers.home / "examples"
        settings = Settings(home=folder, database_url=url, allowed_hosts=("testserver",))
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {make_key(sessions, SCOPES)}"
            declared = operations(client.get("/openapi.json").json())
            with settled(client, sessions, folder) as world:
                for operation_id in api.examples.EXAMPLES:
                    method, place, operation = declared[operation_id]
                    answer = carry_out(client, world, method, place, operation)
                    print(answer.status_code, method, place)
                    if answer.headers.get("content-type") == "application/json":
                        answers[operation_id] = with_shown_ids(answer.json())
        engine_of(sessions).dispose()
    path.write_text(json.dumps(answers, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
