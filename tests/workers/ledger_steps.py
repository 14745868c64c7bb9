"""Steps that tests of the ledger take: a job handed in, a job claimed."""

from sqlalchemy.orm import Session, sessionmaker

from flan.spec import TuneSpec, parse
from workers.ledger import jobs, leases, nodes
from workers.ledger.leases import Lease

NODE = "node-a"


def spec(name: str = "job", ranks: int = 1, **fields: object) -> TuneSpec:
    """A small tune job."""
    resources = {"ranks": ranks, "device": fields.pop("device", "auto")}
    return parse(
        TuneSpec, {"kind": "tune", "name": name, "base": "preset:nano", "resources": resources} | fields
    )


def queued(sessions: sessionmaker[Session], **fields: object) -> str:
    """Id of a job that waits, on a ledger with one node of four CPU slots."""
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
        return jobs.submit(session, spec(**fields)).id  # type: ignore[arg-type]


def claimed(sessions: sessionmaker[Session], owner: str = "owner") -> Lease:
    """The lease of the oldest job that waits."""
    with sessions.begin() as session:
        lease = leases.claim(session, NODE, owner, lease_s=30)
    assert lease is not None
    return lease
