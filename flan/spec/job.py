"""What every kind of job has: resources, precision, and the pins that fix its names to bytes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from flan.faults import fault
from flan.spec.document import Document, Name, Sha256


class Resources(Document):
    """What a run needs: `ranks` processes, one GPU each where the node has GPUs."""

    ranks: int = Field(default=1, ge=1, le=1024)
    """Processes of a run, all on one node; one GPU each where the node has GPUs, else one slot each."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What they compute on; auto: GPUs where the node has any."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads of each rank on a CPU: more pay for large models, on cores that nobody else uses."""


def _no_fp16(value: Any) -> Any:
    if value in ("fp16", "float16", "half"):
        raise fault(
            "no_fp16",
            f"{value} is not offered: its numbers end at 65,504, which T5's activations exceed, and its small "
            "gradients vanish unless the loss is scaled",
            "use 'bf16', as fast and with the range of fp32; or 'fp32'",
        )
    return value


Precision = Annotated[Literal["bf16", "fp32"], BeforeValidator(_no_fp16)]


class TaskPin(Document):
    """A task fixed to bytes: its document, and the digest of the rows of each split that is used."""

    document: Sha256
    """Digest of the task's document."""
    rows: dict[str, Sha256]
    """Split → digest of what decides its rows."""
    num_rows: dict[str, int]
    """Split → number of its rows."""


class Pins(Document):
    """What the names of a spec meant when the job was accepted. Written by resolve(), never by hand."""

    tasks: dict[str, TaskPin]
    """Every task the run reads, by name."""
    train: tuple[str, ...] = ()
    """Of these, the ones that are trained on."""
    leaves: tuple[tuple[str, ...], ...] = ()
    """For each leaf of the mixture, in order, which of those it draws from."""
    missing: dict[str, float | None] = {}
    """Task that is not on this machine → the share it would have had; null where its size is not known."""
    excluded: dict[str, str] = {}
    """Task → why it is left out of training ("held out: entailment", "adjacent to entailment", ...)."""
    clusters: dict[str, str] = {}
    """Task → cluster, for every task in `tasks` and `excluded`."""
    families: dict[str, str] = {}
    """Task → family, for the same tasks; one without a family is its own."""
    texts_of: dict[str, tuple[str, ...]] = {}
    """Task → further families whose texts are in its rows, where there are any."""
    unplaced: dict[str, str] = {}
    """Task → why it is not known what it is akin to, where it is not: nothing is proven unseen after it."""
    adjacency: dict[str, tuple[str, ...]] = {}
    """Cluster → its neighbours, by the taxonomy in force."""
    held_out: dict[str, TaskPin] = {}
    """Tasks whose rows training rows are compared with, by name."""
    not_compared: dict[str, str] = {}
    """Task that is held out too → why its rows, or some of them, are not compared."""
    model: Sha256 | None = None
    """The base, evaluated or served model: a directory of the store. None for a preset."""


class JobSpec(Document):
    """What every kind of job has."""

    name: Name
    """What the job is called. A tuned model is registered under it, a served one answers to it."""
    resources: Resources = Resources()
    """What the run needs of a node."""
    max_retries: int = Field(default=3, ge=0, le=100)
    """How many times a fault of the machine (not of the request) starts a new attempt."""
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default={}, max_length=16
    )
    """Words of yours, kept and shown with the job; they change nothing."""
    pins: Pins | None = None
    """What the names meant when the job was accepted. Leave it out: it is written by the platform."""
