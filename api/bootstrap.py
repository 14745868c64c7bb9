"""The first key: whoever holds FLAN_HOME and the database may make one.

    python -m api.bootstrap

makes an administrator's key and prints it, unless FLAN_HOME/key holds one that is still good. The printed
key is also kept in that file (mode 0600), where the command line looks for it.
"""

import sys
from pathlib import Path

from sqlalchemy.orm import Session

from api.auth import key_id_of, new_key
from api.catalog import keys
from api.settings import Settings
from flan.errors import FlanError
from flan.store import write_atomically
from workers.ledger.session import check_revision, engine_of, open_ledger

KEY_FILE = "key"


def first_key(session: Session, home: Path) -> str | None:
    """A new administrator's key, kept in `home` too; None when the one that is kept there is still good."""
    path = home / KEY_FILE
    kept = path.read_text().strip() if path.is_file() else ""
    if kept and keys.usable(session, key_id_of(kept)) is not None:
        return None
    made = new_key()
    keys.add(session, key_id=made.id, secret_sha256=made.secret_sha256, name="first", scopes=["admin"])
    write_atomically(path, (made.text + "\n").encode(), mode=0o600)
    return made.text


def main() -> None:
    """Make the first key."""
    settings = Settings()
    sessions = open_ledger(settings.require_database())
    check_revision(engine_of(sessions))
    with sessions.begin() as session:
        key = first_key(session, settings.home)
    if key is not None:
        print(key)


if __name__ == "__main__":
    try:
        main()
    except FlanError as error:
        sys.exit(f"{error.message}\n{error.hint or ''}")
