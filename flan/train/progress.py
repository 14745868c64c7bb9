"""Where training stands. It lies in every checkpoint, so a resumed run counts on from there."""

from flan.spec import Document

SMOOTHING = 0.98
"""Weight of the past in the smoothed loss: it remembers some fifty steps."""


class TaskLoss(Document):
    """What a task lost since the last report."""

    nats: float = 0.0
    tokens: int = 0


class Progress(Document):
    """Where training stands; what a checkpoint continues from."""

    step: int = 0
    """Updates that are in the weights."""
    target_tokens: int = 0
    """Supervised tokens of all steps."""
    num_tokens: int = 0
    """The same with inputs."""
    wall_s: float = 0.0
    """Time the steps took, over all attempts, whatever was done twice left out."""
    loss_average: float = 0.0
    """Exponential average of the losses, from zero: `smoothed_loss` takes the zero out."""
    since_report: dict[str, TaskLoss] = {}
    """By task."""

    @property
    def smoothed_loss(self) -> float:
        """The loss of the last fifty steps or so; 0 before the first."""
        return self.loss_average / (1 - SMOOTHING**self.step) if self.step else 0.0
