"""The paper's experiments as sweeps: what is tuned, what is held out, what is asked, at every scale."""

from typing import Any, get_args

import pytest

from flan.data.bases import PRESETS
from flan.errors import InvalidDocument
from flan.spec import EvaluateSpec, Mixture, TuneSpec
from flan.sweep_presets import EVALUATED, NUM_TEMPLATES, expanded, preset_sweep
from flan.sweep_spec import PresetName, Scale
from flan.sweeps import Expansion, expand
from flan.tasks.holdouts import excluded
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import load_taxonomy

BASE = "some/model"


def expansion(preset: Any, scale: Any = "full", bases: tuple[str, ...] = (BASE,)) -> Expansion:
    """The jobs of a preset."""
    return expand(expanded(preset_sweep(preset, scale, bases)))


def specs(found: Expansion, job: str) -> list[Any]:
    """Of the children that are one of the sweep's jobs."""
    return [child.spec for child in found.children if child.job == job]


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("preset", get_args(PresetName))
def test_every_preset_is_a_sweep_at_every_scale(preset: PresetName, scale: Scale) -> None:
    """Its specs are valid, networks and clusters exist, and each cell measures base and tuned model alike."""
    found = expansion(preset, scale, (BASE,) if scale == "full" else ())

    for child in found.children:
        if isinstance(child.spec, TuneSpec):
            assert not child.spec.base.startswith("preset:") or child.spec.base in PRESETS
            mixture = child.spec.mixture
            if mixture != Mixture():
                tasks, taxonomy = load_collection(mixture.collection), load_taxonomy(mixture.collection)
                excluded(tasks, mixture.hold_out, taxonomy)
    by_name = {child.name: child.spec for child in found.children}
    for cell in found.cells:
        tuned, base = by_name[cell.children["tuned"]], by_name[cell.children["base"]]
        assert isinstance(tuned, EvaluateSpec)
        assert isinstance(base, EvaluateSpec)
        assert set(tuned.tasks) <= set(base.tasks)
        assert (tuned.limit, tuned.split, tuned.few_shot) == (base.limit, base.split, base.few_shot)


def test_full_is_the_published_recipe() -> None:
    """30,000 steps of 8,192 tokens, Adafactor at a constant 3e-5, inputs of 1,024 and targets of 256 tokens."""
    models = specs(expansion("cluster-sweep"), "model")

    assert [spec.mixture.hold_out.clusters for spec in models] == [(cluster,) for cluster in EVALUATED]
    for spec in models:
        assert (spec.steps, spec.tokens_per_step, spec.input_length, spec.target_length) == (
            30_000,
            8_192,
            1_024,
            256,
        )
        assert (spec.optimizer.name, spec.optimizer.learning_rate, spec.optimizer.schedule) == (
            "adafactor", 3e-5, "constant",
        )  # fmt: skip
        assert (spec.mixture.examples_cap, spec.mixture.rate_maximum) == (30_000, 3_000)


def test_instructions_evaluate_each_tuning_as_the_paper_did() -> None:
    """Four pairs of tuning and evaluation; the two evaluations of names share the model."""
    found = expansion("instructions")
    by_name = {child.name: child.spec for child in found.children}
    pairs = {
        (by_name[cell.children["model"]].mixture.prompt_format, by_name[cell.children["tuned"]].prompt_format)  # type: ignore[union-attr]
        for cell in found.cells
    }

    assert pairs == {
        ("instructions", "instructions"),
        ("no_template", "instructions"),
        ("dataset_name", "instructions"),
        ("dataset_name", "dataset_name"),
    }
    assert len(specs(found, "model")) == 3 * 4
    assert {spec.prompt_format for spec in specs(found, "base")} == {"instructions"}


def test_ablations_vary_one_thing() -> None:
    """Clusters 1 to 7 with three held out; templates 1, 2, 4, 7 and 10; sixteen shots within 960 tokens."""
    clusters = specs(expansion("num-clusters"), "model")
    templates = specs(expansion("templates-per-task"), "model")
    shots = {spec.few_shot for spec in specs(expansion("few-shot"), "tuned")}

    assert [spec.mixture.hold_out.first_clusters for spec in clusters] == list(range(1, 8))
    assert {spec.mixture.hold_out.clusters for spec in clusters} == {
        ("entailment", "common_sense", "open_domain_qa")
    }
    assert tuple(spec.mixture.templates_per_task for spec in templates) == NUM_TEMPLATES
    assert len(templates[0].mixture.hold_out.tasks) == 8
    assert {(each.shots, each.max_tokens) if each else None for each in shots} == {None, (16, 960)}


def test_solved_rows_are_asked_of_no_task_that_has_none() -> None:
    """WSC273 has test rows alone: base and tuned model, alone and behind solved rows, are compared without it."""
    found = expansion("few-shot")
    tuned = {tuple(spec.tasks) for spec in specs(found, "tuned")}

    assert ("cluster:coreference", "-wsc273") in tuned
    assert all("-wsc273" in spec.tasks for spec in specs(found, "base"))
    assert ("cluster:entailment",) in tuned


def test_soft_prompts_are_learnt_on_a_task_whose_cluster_was_held_out() -> None:
    """On base and tuned model, from 32 rows and from all."""
    found = expansion("soft-prompt")
    collection = load_collection("flan")
    by_name = {child.name: child for child in found.children}
    for cell in found.cells:
        prompt = by_name[cell.children["prompt-tuned"]]
        assert prompt.need is not None
        model = by_name[prompt.need.child].spec
        assert isinstance(prompt.spec, TuneSpec)
        assert isinstance(model, TuneSpec)
        (task,) = prompt.spec.mixture.tasks
        assert model.mixture.hold_out.clusters == (collection[task].cluster,)
        assert prompt.spec.method.kind == "soft_prompt"

    assert {spec.mixture.examples_cap for spec in specs(found, "prompt-tuned")} == {32, 30_000}


def test_a_ladder_is_one_recipe_on_several_bases() -> None:
    """Networks from scratch, or those that the request names."""
    assert [spec.base for spec in specs(expansion("scale", "small", ()), "start")] == [
        f"preset:{size}" for size in ("nano", "micro", "mini", "small")
    ]
    named = expansion("scale", "full", ("hub/one", "hub/two"))
    assert [spec.base for spec in specs(named, "model")] == ["hub/one", "hub/two"]


def test_the_base_of_tiny_has_read_no_held_out_row() -> None:
    """Its tokenizer is trained on rows of which no cluster is measured."""
    (start,) = specs(expansion("cluster-sweep", "tiny", ()), "start")

    assert set(start.mixture.hold_out.clusters) == {"entailment", "sentiment", "reading_comprehension"}


@pytest.mark.parametrize(
    ("preset", "scale", "bases", "code"),
    [
        ("cluster-sweep", "full", (), "base_needed"),
        ("cluster-sweep", "tiny", ("a", "b"), "too_many_bases"),
    ],
)
def test_a_base_is_asked_for_where_there_is_none(
    preset: Any, scale: Any, bases: tuple[str, ...], code: str
) -> None:
    """The paper's was never released; one is enough but for the ladder."""
    with pytest.raises(InvalidDocument) as caught:
        expanded(preset_sweep(preset, scale, bases))

    assert caught.value.problems[0]["code"] == code
