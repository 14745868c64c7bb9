"""What can be asked: the spec of a job, one frozen document per kind.

The same document is the body of `POST /jobs`, the stored row, `spec.json` in the run directory, the
argument of `tune()` and, as YAML, the file given to the command line. The defaults of `tune` are FLAN's
(Wei et al. 2022, section 2.4). Before it runs, a spec is *resolved* (flan/data/resolve.py): names become
digests in `pins`, so that nothing that happens later can change what the job does.
"""

from typing import Annotated, Any, cast

from pydantic import Field, TypeAdapter

from flan.spec.document import Document, Name, Reference, Sha256, canonical_json, parse, validated
from flan.spec.evaluate import ChoiceRule, DevRows, EvaluateSpec, EvaluationFormat, SuiteName
from flan.spec.job import JobSpec, Pins, Precision, Resources, TaskPin
from flan.spec.methods import FullTuning, Lora, Method, ModuleName, SoftPrompt
from flan.spec.mixture import HoldOut, MixedShots, Mixture, Published
from flan.spec.optimizer import ADAFACTOR_ONLY, ADAMW_ONLY, Optimizer
from flan.spec.prompts import FewShot, OptionsPolicy, PromptFormat
from flan.spec.serve import Sampling, ServeSpec
from flan.spec.tune import Corpus, CorpusText, Leakage, TuneSpec

Spec = TuneSpec | EvaluateSpec | ServeSpec
_SPEC: TypeAdapter[Spec] = TypeAdapter(Annotated[Spec, Field(discriminator="kind")])
KINDS = ("tune", "evaluate", "serve")


def parse_spec(value: Any) -> Spec:
    """The job spec in `value` (parsed JSON or YAML). Raises InvalidDocument naming every fault."""
    return cast(Spec, validated(_SPEC, value, "job spec"))


__all__ = [
    "ADAFACTOR_ONLY",
    "ADAMW_ONLY",
    "KINDS",
    "ChoiceRule",
    "Corpus",
    "CorpusText",
    "DevRows",
    "Document",
    "EvaluateSpec",
    "EvaluationFormat",
    "FewShot",
    "FullTuning",
    "HoldOut",
    "JobSpec",
    "Leakage",
    "Lora",
    "Method",
    "MixedShots",
    "Mixture",
    "ModuleName",
    "Name",
    "Optimizer",
    "OptionsPolicy",
    "Pins",
    "Precision",
    "PromptFormat",
    "Published",
    "Reference",
    "Resources",
    "Sampling",
    "ServeSpec",
    "Sha256",
    "SoftPrompt",
    "Spec",
    "SuiteName",
    "TaskPin",
    "TuneSpec",
    "canonical_json",
    "parse",
    "parse_spec",
]
