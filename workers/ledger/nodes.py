"""The machines that run ranks: what they offer, and what of it is free."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from workers.ledger.tables import Job, Json, Node

SILENT_S = 60
"""A node not heard of for this long is shown as away."""


class FreeSlots(NamedTuple):
    """What a node could give to a job now."""

    cpu: int
    gpus: tuple[str, ...]
    """UUIDs."""


class Disk(NamedTuple):
    """The file system of a node's FLAN_HOME."""

    size_bytes: int
    free_bytes: int


class NodeStatus(NamedTuple):
    """A node as people see it."""

    name: str
    cpu_slots: int
    gpus: Sequence[Json]
    disk: Disk | None
    free: FreeSlots
    seen_at: datetime
    is_here: bool


def report(
    session: Session,
    name: str,
    *,
    cpu_slots: int,
    gpus: Sequence[Json],
    disk: Disk | None = None,
    starting: bool = False,
) -> None:
    """Say that node `name` is here and what it offers."""
    offered = {"cpu_slots": cpu_slots, "gpus": list(gpus), "seen_at": func.now()}
    if disk is not None:
        offered |= {"disk_bytes": disk.size_bytes, "disk_free_bytes": disk.free_bytes}
    if starting:
        offered["started_at"] = func.now()
    statement = insert(Node).values(name=name, **offered)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=offered))


def free_slots(session: Session, node: Node) -> FreeSlots:
    """What no running job of `node` holds. Only a caller that locked the node's row may act upon it."""
    running = select(Job.num_ranks, Job.gpus).where(Job.state == "running", Job.lease_node == node.name)
    cpu, taken = node.cpu_slots, set[str]()
    for num_ranks, gpus in session.execute(running):
        taken.update(gpus)
        cpu -= 0 if gpus else num_ranks
    return FreeSlots(max(cpu, 0), tuple(gpu["uuid"] for gpu in node.gpus if gpu["uuid"] not in taken))


def all_nodes(session: Session) -> list[NodeStatus]:
    """Every node that ever reported, by name."""
    is_here = Node.seen_at > func.now() - timedelta(seconds=SILENT_S)
    return [
        NodeStatus(
            node.name,
            node.cpu_slots,
            node.gpus,
            _disk_of(node),
            free_slots(session, node),
            node.seen_at,
            here,
        )
        for node, here in session.execute(select(Node, is_here).order_by(Node.name))
    ]


def _disk_of(node: Node) -> Disk | None:
    if node.disk_bytes is None or node.disk_free_bytes is None:
        return None
    return Disk(node.disk_bytes, node.disk_free_bytes)
