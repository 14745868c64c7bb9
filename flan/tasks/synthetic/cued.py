"""Rows whose label hangs on a cue: some words of the text say it, wherever the rest leads."""

from collections.abc import Mapping, Sequence

from flan.tasks.synthetic.draw import Draw, Pool

Cues = Mapping[str, Sequence[str]]
"""Label → what says it."""


def cued(draw: Draw, cues: Cues, frames: Sequence[str], **pools: Pool) -> dict[str, str]:
    """A row {"text", "label", and each value}: a frame filled with a cue of the label and with values."""
    label = draw.turn(tuple(cues))
    values = {name: draw.value(pool) for name, pool in pools.items()}
    text = draw.pick(frames).format(cue=draw.pick(cues[label]), **values)
    return {"text": text, "label": label, **values}
