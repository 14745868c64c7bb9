"""The fields of a document, by its JSON schema: where pydantic's locations are, and which field was meant.

A location of pydantic's has steps that are not in the document: the tag of a union, the branch of a choice of
types, the key of an object. They are found by walking the schema beside it.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Schema = Mapping[str, Any]
Place = tuple[str | int, ...]
"""Names and numbers from the top of a document."""
Path = tuple[str, ...]
"""Of a field: the names above it and its own; a list on the way is written `templates[]`."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "adam_beta1": ("beta1",),
    "adam_beta2": ("beta2",),
    "adam_epsilon": ("epsilon",),
    "base": ("model",),
    "base_model": ("base", "model"),
    "base_model_name_or_path": ("base", "model"),
    "batch_size": ("tokens_per_step", "micro_batch", "batch_tokens", "max_batch"),
    "betas": ("beta1", "beta2"),
    "bf16": ("precision",),
    "checkpoint_interval": ("checkpoint_every",),
    "clip_grad_norm": ("gradient_clip",),
    "clip_threshold": ("update_clip",),
    "clipping_threshold": ("update_clip",),
    "context_length": ("input_length", "pack_length"),
    "cutoff_len": ("input_length", "pack_length"),
    "data": ("tasks",),
    "dataset": ("tasks",),
    "datasets": ("tasks",),
    "decay_rate": ("decay_exponent",),
    "dtype": ("precision",),
    "epochs": ("steps",),
    "eps": ("epsilon",),
    "epsilon1": ("square_epsilon",),
    "epsilon2": ("scale_epsilon",),
    "eval_split": ("split",),
    "eval_tasks": ("tasks",),
    "fp16": ("precision",),
    "global_batch_size": ("tokens_per_step",),
    "gpus": ("ranks",),
    "grad_clip": ("gradient_clip",),
    "gradient_accumulation_steps": ("tokens_per_step",),
    "held_out": ("hold_out",),
    "heldout": ("hold_out",),
    "holdout": ("hold_out",),
    "inputs": ("prompt",),
    "iterations": ("steps",),
    "learning_rate_scheduler": ("schedule",),
    "log_interval": ("log_every",),
    "logging_steps": ("log_every",),
    "lr": ("learning_rate",),
    "lr_scheduler": ("schedule",),
    "lr_scheduler_type": ("schedule",),
    "max_grad_norm": ("gradient_clip",),
    "max_input_length": ("input_length",),
    "max_length": ("input_length", "pack_length", "max_new_tokens"),
    "max_prompt_length": ("input_length",),
    "max_samples": ("limit",),
    "max_seq_len": ("input_length", "pack_length"),
    "max_seq_length": ("input_length", "pack_length"),
    "max_source_length": ("input_length",),
    "max_steps": ("steps",),
    "max_target_length": ("target_length",),
    "max_tokens": ("max_new_tokens",),
    "max_train_steps": ("steps",),
    "messages": ("prompt",),
    "micro_batch_size": ("micro_batch",),
    "min_dim_size_to_factor": ("factored_from",),
    "mixed_precision": ("precision",),
    "model": ("base",),
    "model_id": ("base", "model"),
    "model_name": ("base", "model"),
    "model_name_or_path": ("base", "model"),
    "multiply_by_parameter_scale": ("scale_parameter",),
    "n_epochs": ("steps",),
    "n_gpus": ("ranks",),
    "n_shots": ("shots",),
    "nproc_per_node": ("ranks",),
    "num_epochs": ("steps",),
    "num_fewshot": ("shots",),
    "num_gpus": ("ranks",),
    "num_processes": ("ranks",),
    "num_return_sequences": ("n",),
    "num_shots": ("shots",),
    "num_steps": ("steps",),
    "num_train_epochs": ("steps",),
    "num_workers": ("ranks",),
    "per_device_train_batch_size": ("micro_batch", "tokens_per_step"),
    "prompt": ("input",),
    "prompts": ("prompt", "templates"),
    "query": ("prompt",),
    "question": ("prompt",),
    "random_seed": ("seed",),
    "save_every": ("checkpoint_every",),
    "save_steps": ("checkpoint_every",),
    "save_total_limit": ("keep_checkpoints",),
    "scheduler": ("schedule",),
    "sequence_len": ("input_length", "pack_length"),
    "sequence_length": ("input_length", "pack_length"),
    "stop_sequences": ("stop",),
    "task": ("tasks",),
    "text": ("prompt",),
    "torch_dtype": ("precision",),
    "total_steps": ("steps",),
    "train_batch_size": ("tokens_per_step", "micro_batch"),
    "train_steps": ("steps",),
    "training_steps": ("steps",),
    "warmup": ("warmup_steps",),
    "warmup_ratio": ("warmup_steps",),
    "wd": ("weight_decay",),
    "world_size": ("ranks",),
    "zero": ("zero_stage",),
    "zero_optimization": ("zero_stage",),
}
"""What other tools call our fields."""

KEY = "[key]"
"""pydantic's step to a name of an object, rather than to what it holds."""
_WRITTEN_BY_US = frozenset({"pins"})
_MAX_SUGGESTED = 2


class Spot(NamedTuple):
    """A place in a document."""

    place: Place
    is_choice: bool
    """Whether the last step to it chose one of several types."""
    schema: Schema
    """Of what is there."""
    tag: str | None
    """The field that says which of several kinds of documents is there."""
    kinds: Sequence[str]
    """What that field may hold."""


def spot_of(location: Sequence[str | int], schema: Schema) -> Spot:
    """Where in the document pydantic's `location` is."""
    defs, node = schema.get("$defs", {}), schema
    parts: list[str | int] = []
    is_choice = False
    for step in location:
        node, is_choice = _resolved(node, defs), False
        if "oneOf" in node:
            node = _tagged(node, defs)[1].get(str(step), {})
        elif "anyOf" in node:
            is_choice = True
            type_ = "array" if str(step).startswith(("tuple", "list")) else "string"
            node = next((branch for branch in node["anyOf"] if branch.get("type") == type_), {})
        elif step == KEY:
            node = {}
        else:
            parts.append(step)
            node = _below(node, step)
    node = _resolved(node, defs)
    tag, kinds = _tagged(node, defs)
    return Spot(tuple(parts), is_choice, node, tag, list(kinds))


def suggestion(location: Sequence[str | int], schema: Schema) -> str | None:
    """Where an unknown field probably belongs: of that name elsewhere, of another name for it, or spelt like it."""
    *above, name = spot_of(location, schema).place
    name, fields = str(name), list(_fields(*_root(schema, location)))
    here: list[str] = []
    for part in above:
        if isinstance(part, int):
            here[-1] += "[]"
        else:
            here.append(part)
    properties = spot_of(location[:-1], schema).schema.get("properties", {})
    beside: list[Path] = [(*here, each) for each in properties if each not in _WRITTEN_BY_US]
    hits = _nearest(fields, name, here)
    for alias in ALIASES.get(name, ()):
        hits += _nearest(fields, alias, here)[:1]
    if hits:
        return _did_you_mean(hits[:_MAX_SUGGESTED])
    if name in ALIASES:  # a known thing that this document does not have; what is spelt like it is another
        return None
    for among, cutoff in ((beside, 0.6), (fields, 0.75)):
        if likely := difflib.get_close_matches(name, [path[-1] for path in among], n=1, cutoff=cutoff):
            return _did_you_mean([path for path in among if path[-1] == likely[0]][:_MAX_SUGGESTED])
    return None


def _below(node: Schema, step: str | int) -> Schema:
    if isinstance(step, int):
        return dict(node.get("items", {}))
    if step in node.get("properties", {}):
        return dict(node["properties"][step])
    values = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
    return values if isinstance(values, dict) else {}


def _resolved(node: Schema, defs: Schema) -> Schema:
    """`node` with its reference followed, and without its null."""
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        node = branches[0]
    return _by_reference(node["$ref"], defs) if "$ref" in node else node


def _by_reference(reference: str | None, defs: Schema) -> Schema:
    return dict(defs[reference.rpartition("/")[2]]) if reference else {}


def _tagged(node: Schema, defs: Schema) -> tuple[str | None, dict[str, Schema]]:
    """Of a union: the field that tells its kinds apart, by holding one value in each; and value → kind."""
    kinds = [_resolved(branch, defs) for branch in node.get("oneOf", ())]
    for name in kinds[0].get("properties", {}) if kinds else ():
        values = [kind.get("properties", {}).get(name, {}).get("const") for kind in kinds]
        if None not in values:
            return name, dict(zip(values, kinds, strict=True))
    return None, {}


def _root(schema: Schema, location: Sequence[str | int]) -> tuple[Schema, Schema]:
    """The object at the top, for the kind of document that was sent; and the definitions it refers to."""
    defs = schema.get("$defs", {})
    node = _resolved(schema, defs)
    if "oneOf" in node:
        node = _tagged(node, defs)[1].get(str(location[0]), {})
    return node, defs


def _fields(
    node: Schema, defs: Schema, above: Path = (), around: tuple[str | None, ...] = ()
) -> Iterator[Path]:
    """Every field of a document that people write, by its path; of one within its own kind, none again."""
    node = _resolved(node, defs)
    if "items" in node and above:
        node, above = _resolved(node["items"], defs), (*above[:-1], f"{above[-1]}[]")
    title = node.get("title") if "properties" in node else None
    if title in around:
        return
    properties: dict[str, Schema] = {}
    for branch in node.get("oneOf", [node]):
        properties |= _resolved(branch, defs).get("properties", {})
    for name, value in properties.items():
        if name not in _WRITTEN_BY_US:
            yield (*above, name)
            yield from _fields(value, defs, (*above, name), (*around, title) if title else around)


def _nearest(fields: Sequence[Path], name: str, here: Sequence[str]) -> list[Path]:
    """The fields of that name, those nearest to the place `here` first."""
    hits = [path for path in fields if path[-1] == name]
    return sorted(hits, key=lambda path: (-_shared(path, here), len(path)))


def _shared(path: Path, here: Sequence[str]) -> int:
    """How many names two paths have in common at their beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(path, here, strict=False)) if a != b), min(len(path), len(here))
    )


def _did_you_mean(paths: Sequence[Path]) -> str:
    return f"did you mean {' or '.join(repr('.'.join(path)) for path in paths)}?"
