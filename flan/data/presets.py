"""Mixtures that come with the platform, by name, and a mixture with every such name replaced by what it stands for."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import Field

from flan.errors import FlanError, NotFound, did_you_mean
from flan.spec import Document, HoldOut, Mixture, parse
from flan.tasks.yaml_text import parse_yaml


class UnknownMixture(NotFound):
    """A mixture names a preset that there is not."""

    code = "unknown_preset"


class CircularMixture(FlanError):
    """A mixture is a part of itself."""

    code, blame = "circular_mixture", "user"


class MixturePreset(Document):
    """A mixture of a publication, or one that is worth a name."""

    description: str = Field(min_length=1)
    mixture: Mixture


@cache
def load_presets() -> Mapping[str, MixturePreset]:
    """Name → preset, in name order, for those that come with the platform."""
    folder = Path(str(resources.files("flan.tasks"))) / "mixtures"
    return {
        path.stem: parse(MixturePreset, parse_yaml(path.read_text()))
        for path in sorted(folder.glob("*.yaml"))
    }


def expanded(
    mixture: Mixture,
    presets: Mapping[str, MixturePreset],
    pointer: str = "/mixture",
    around: tuple[str, ...] = (),
) -> Mixture:
    """`mixture` with each preset replaced by its contents, which then answer to its name.

    What is said beside `preset` (weight, name, hold_out, missing) holds for the contents.
    Raises UnknownMixture, CircularMixture.
    """
    if mixture.parts:
        parts = (
            expanded(part, presets, f"{pointer}/parts/{i}", around) for i, part in enumerate(mixture.parts)
        )
        return mixture.model_copy(update={"parts": tuple(parts)})
    if mixture.preset is None:
        return mixture
    name, here = mixture.preset, f"{pointer}/preset"
    if name not in presets:
        hint = did_you_mean(name, presets) or f"there are: {', '.join(presets)}"
        raise UnknownMixture(f"there is no preset {name!r} of a mixture", hint=hint, pointer=here)
    if name in around:
        chain = " → ".join((*around[around.index(name) :], name))
        raise CircularMixture(f"a mixture cannot be a part of itself: {chain}", pointer=here)
    inner = expanded(presets[name].mixture, presets, here, (*around, name))
    said = {
        "weight": mixture.weight,
        "name": mixture.name or name,
        "missing": "drop" if "drop" in (mixture.missing, inner.missing) else "fail",
    }
    if HoldOut() in (mixture.hold_out, inner.hold_out):
        hold_out = inner.hold_out if mixture.hold_out == HoldOut() else mixture.hold_out
        return inner.model_copy(update=said | {"hold_out": hold_out})
    return Mixture(parts=(inner,), hold_out=mixture.hold_out).model_copy(update=said)


def has_preset(mixture: Mixture) -> bool:
    """Whether a name in `mixture` is still to be replaced by what it stands for."""
    return mixture.preset is not None or any(map(has_preset, mixture.parts))
