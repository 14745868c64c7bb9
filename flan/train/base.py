"""What a run starts from: the base model, with its tokenizer.

A preset's tokenizer is trained on training rows or the corpus alone, as they are drawn, so that no held-out text
shapes the vocabulary. It is trained once, by rank 0, and kept in every checkpoint: a resumed run never trains
another.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from flan.card import LeakageCheck, Lineage, Tuning
from flan.data.bases import PRESETS
from flan.data.examples import Examples
from flan.data.members import TRAIN
from flan.data.rows import Rows, UnreadableRow
from flan.model.load import Model, UnsupportedModel, contract_of, load_model, make_card
from flan.model.presets import from_preset, train_tokenizer
from flan.spec import Pins, TuneSpec
from flan.store import Store
from flan.tasks.task import Task
from flan.tasks.template import RowError
from flan.train.progress import Progress

TOKENIZER_DRAWS = 10_000
"""Examples a preset's tokenizer is trained on: a few million characters, seconds."""
TOKENIZER_CHARS = 8_000_000
"""Of plain text as much: its pieces are as long as an example may be."""


def load_base(spec: TuneSpec, store: Store, tokenizer: Path | None) -> Model:
    """The base model in fp32 on the CPU; the same bits at every rank.

    `tokenizer` is the folder of a preset's tokenizer; any other base brings its own.
    """
    if tokenizer is None:
        assert spec.pins is not None and spec.pins.model is not None, "a resolved spec pins its base"
        return load_model(store.path(spec.pins.model), dtype=torch.float32)
    loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True, trust_remote_code=False)
    network = from_preset(spec.base, loaded, spec.seed)
    contract = contract_of(network.config, loaded)
    nothing_seen = Lineage(base=spec.base, tasks_seen=(), clusters_seen=())
    # A name has 64 characters at most.
    return Model(network, loaded, make_card(f"{spec.name[:59]}-base", network, contract, nothing_seen))


def recompute_layers(network: PreTrainedModel) -> None:
    """From here on `network`, in training, keeps of each layer its input alone and computes the rest again.

    The same losses and gradients, dropout included, for less memory and one more forward pass.
    Raises UnsupportedModel.
    """
    if not network.supports_gradient_checkpointing:
        raise UnsupportedModel(
            f"{type(network).__name__} cannot compute its layers again",
            hint="leave gradient_checkpointing out",
            pointer="/gradient_checkpointing",
        )
    # Reentrant checkpoints have no gradient where a layer's input needs none: behind frozen embeddings.
    network.activation_checkpointing_enable({"use_reentrant": False})


def fit_tokenizer(
    spec: TuneSpec, tasks: Mapping[str, Task], rows: Mapping[str, Rows]
) -> PreTrainedTokenizerFast:
    """The tokenizer of a preset: a pure function of spec and rows."""
    return train_tokenizer(_texts(spec, tasks, rows), spec.vocabulary_size or PRESETS[spec.base].vocabulary)


def tuned_lineage(
    spec: TuneSpec, base: Model, progress: Progress, leakage: LeakageCheck, *, device: str, draws: str
) -> Lineage:
    """What a model tuned from `base` by `spec` has seen, and what it took: the base's share and its own.

    The tasks of a base made elsewhere stay unknown; the clusters it was tuned on here are known all the same.
    """
    assert spec.pins is not None, "a run has a resolved spec"
    before, pins = base.card.lineage, spec.pins
    # Plain text asks no task: it is on record by name, beside what is.
    instructed, texts = ((), pins.train) if spec.objective == "lm" else (pins.train, ())
    tasks = None if before.tasks_seen is None else tuple(sorted({*before.tasks_seen, *instructed}))
    clusters = {*(before.clusters_seen or ()), *(pins.clusters[task] for task in instructed)}
    families = {*before.families_seen, *(pins.families[task] for task in instructed)}
    families.update(family for task in instructed for family in pins.texts_of.get(task, ()))
    return Lineage(
        base=spec.base if pins.model is None else base.card.name,
        tasks_seen=tasks,
        clusters_seen=tuple(sorted(clusters)),
        families_seen=tuple(sorted(families)),
        unplaced=before.unplaced
        | {task: pins.unplaced[task] for task in instructed if task in pins.unplaced},
        corpora=tuple(sorted({*before.corpora, *texts})),
        spec=spec.digest(),
        steps=before.steps + progress.step,
        target_tokens=before.target_tokens + progress.target_tokens,
        adjacency=_joined(before.adjacency, pins.adjacency),
        tunings=(*before.tunings, _tuning(spec, pins, progress, device, draws)),
        leakage=(*before.leakage, leakage),
    )


def _tuning(spec: TuneSpec, pins: Pins, progress: Progress, device: str, draws: str) -> Tuning:
    leaves = spec.mixture.leaves if spec.objective == "instructions" else ()
    wall_s = round(progress.wall_s, 1)
    return Tuning(
        spec=spec.digest(),
        rows={task: pins.tasks[task].rows[TRAIN] for task in pins.train},
        draws=draws,
        steps=progress.step,
        tokens=progress.num_tokens,
        target_tokens=progress.target_tokens,
        ranks=spec.resources.ranks,
        device=device,
        wall_s=wall_s,
        device_s=round(wall_s * spec.resources.ranks, 1),
        prompt_formats=tuple(dict.fromkeys(leaf.prompt_format for leaf in leaves)),
        templates_per_task=max((leaf.templates_per_task for leaf in leaves), default=None),
    )


def _texts(spec: TuneSpec, tasks: Mapping[str, Task], rows: Mapping[str, Rows]) -> Iterator[str]:
    examples, num_chars = Examples(spec, tasks, rows), 0
    for number in range(TOKENIZER_DRAWS):
        try:
            rendered = examples.rendered(number)
        except (RowError, UnreadableRow):
            continue  # the stream counts it when it is drawn there
        yield rendered.input
        if spec.objective == "lm":
            num_chars += len(rendered.input)
            if num_chars >= TOKENIZER_CHARS:
                return
        else:
            yield rendered.target


def _joined(a: Mapping[str, tuple[str, ...]], b: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted({*a.get(name, ()), *b.get(name, ())})) for name in sorted({*a, *b})}
