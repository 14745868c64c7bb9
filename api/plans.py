"""What a job would do, and whether a machine is here that could do it."""

from collections.abc import Iterator, Mapping, Sequence

from api.job_shapes import EstimateShape, PlanShape
from flan.data.resolve import Resolved
from flan.data.sweep_plan import SweepPlan
from flan.spec import Resources
from flan.sweep_spec import SweepSpec
from workers.ledger.nodes import NodeStatus


def plan_of(
    resolved: Resolved, nodes: Sequence[NodeStatus], estimate: EstimateShape | None = None
) -> PlanShape:
    """The answer of a dry run on a platform that has `nodes`."""
    plan = resolved.plan
    wanting = _wanting(resolved.spec.resources, [node for node in nodes if node.is_here])
    return PlanShape(
        spec=resolved.spec.model_dump(mode="json"),
        spec_digest=resolved.spec.digest(),
        plan=plan.model_copy(update={"warnings": (*plan.warnings, *wanting)}),
        estimate=estimate,
    )


def plan_of_sweep(sweep: SweepSpec, plan: SweepPlan, reused: Mapping[str, str]) -> PlanShape:
    """The answer of a dry run of a sweep; `reused` is child → the job that does the same already."""
    children = tuple(child.model_copy(update={"reuses": reused.get(child.name)}) for child in plan.children)
    return PlanShape(
        spec=sweep.model_dump(mode="json"),
        spec_digest=sweep.digest(),
        plan=plan.model_copy(update={"children": children}),
    )


def _wanting(asked: Resources, nodes: Sequence[NodeStatus]) -> Iterator[str]:
    """Why the job would wait however long the others take; the ranks of a job run on one node."""
    most = max((_slots(node, asked) for node in nodes), default=0)
    if not nodes:
        yield "no node is here: the job would wait for one"
    elif asked.device == "cuda" and most == 0:
        yield "no node here has a GPU: the job would wait for one"
    elif most < asked.ranks:
        yield f"{asked.ranks} ranks are more than any node here has ({most}): the job would wait for a larger one"


def _slots(node: NodeStatus, asked: Resources) -> int:
    """How many ranks a node could run if nothing else ran there."""
    if asked.device == "cuda" or (node.gpus and asked.device != "cpu"):
        return len(node.gpus)
    return node.cpu_slots
