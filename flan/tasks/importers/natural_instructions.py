"""Super-NaturalInstructions: a task file (JSON) → a task, its rows, and what the file says about it.

    {"Categories": ["Title Generation"], "Definition": ["…"],
     "Positive Examples": [{"input": "…", "output": "…", "explanation": "…"}], "Negative Examples": […],
     "Instances": [{"id": "task1-a", "input": "…", "output": ["…", "…"]}]}

These five keys must be there. Source, URL, Domains, Reasoning, Contributors, the three languages and
Instance License are read where they are; other keys are ignored. Where the format wants a list of texts, one
text is read as a list of one, and null or NaN (so a missing cell was written) as nothing. Of several
definitions and categories the first counts. A blank input or output is kept as it is.

Prompts are laid out as in flan/tasks/importers/tk_instruct.py.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from flan.errors import InvalidDocument, Problem
from flan.spec import parse
from flan.tasks.importers.tk_instruct import PAPER, Encoding, Exemplar, Instructions, closed, pattern
from flan.tasks.joins import UNKNOWN, dataset_name
from flan.tasks.task import Task
from flan.tasks.template import MAX_PATTERN_CHARS

MAX_FILE_BYTES = 50_000_000
"""The collection's own rule for its files: at most 50 MB."""
MAX_FAULTS_SHOWN = 20
MAX_NAME_CHARS = 64

EVALUATION_METRICS: dict[str, Literal["super_ni_exact_match", "super_ni_rouge_l"]] = {
    "textual_entailment": "super_ni_exact_match",
    "cause_effect_classification": "super_ni_exact_match",
    "coreference_resolution": "super_ni_exact_match",
    "dialogue_act_recognition": "super_ni_exact_match",
    "answerability_classification": "super_ni_exact_match",
    "word_analogy": "super_ni_exact_match",
    "overlap_extraction": "super_ni_rouge_l",
    "keyword_tagging": "super_ni_rouge_l",
    "question_rewriting": "super_ni_rouge_l",
    "title_generation": "super_ni_rouge_l",
    "data_to_text": "super_ni_rouge_l",
    "grammar_error_correction": "super_ni_rouge_l",
}
"""Cluster → headline metric, for the 12 categories that the paper evaluates on and never trains on. ROUGE-L is
measured for all of them: it is the benchmark's overall figure."""

ROUGE_L = "super_ni_rouge_l"
_REQUIRED = ("Categories", "Definition", "Positive Examples", "Negative Examples", "Instances")


class Imported(NamedTuple):
    """A file in our terms."""

    task: Task
    rows: list[dict[str, Any]]
    """{"id", "input", "prompt_input", "output", "references"}: `output` is the first reference, `prompt_input`
    the input as a prompt shows it (see `closed`)."""
    instructions: Instructions


def read_natural_instructions(text: str, name: str, encodings: Sequence[Encoding] = (PAPER,)) -> Imported:
    """The task in a file's `text`; `name` is the file's name. Each encoding makes one template.

    The cluster is the category, the family is the source: tasks made from the same texts are held out
    together, as in the official splits. Each of several sources is an origin. Examples for which a pattern has
    no room are left out. Raises InvalidDocument naming the places of the first 20 faults.
    """
    faults = _Faults(name)
    document = _document(text, faults)
    instructions = _instructions(document, faults.text(name.removesuffix(".json"), ""), faults)
    rows = _rows(document["Instances"], faults)
    task = _task(instructions, encodings, faults)
    faults.check()
    return Imported(parse(Task, task), rows, instructions)


def task_name(text: str) -> str:
    """`text` as a name of ours: "Fill in The Blank" → fill_in_the_blank; empty when nothing is left of it.

    A longer one than names may be is cut, and ends in a digest of the whole: some official ones are.
    """
    name = re.sub(r"[^a-z0-9.-]+", "_", text.lower()).strip("._-")
    if len(name) <= MAX_NAME_CHARS:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: MAX_NAME_CHARS - len(digest) - 1]}-{digest}"


def evaluation_categories(categories: Iterable[str]) -> tuple[str, ...]:
    """Those of `categories` that are among the 12 the paper evaluates on, in the order given."""
    return tuple(category for category in categories if task_name(category) in EVALUATION_METRICS)


def read_split(text: str) -> tuple[str, ...]:
    """The file names, without ending, of an official list of train or test tasks; each once."""
    names = (line.strip().removesuffix(".json") for line in text.removeprefix("\ufeff").splitlines())
    return tuple(dict.fromkeys(name for name in names if name))


class _Faults:
    """What is wrong with a file, by place; every value that is read comes through here."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._problems: list[Problem] = []

    def add(self, pointer: str, code: str, message: str, hint: str | None = None) -> None:
        """Note a fault; reading goes on."""
        self._problems.append(
            {"pointer": pointer, "code": code, "message": message} | ({"hint": hint} if hint else {})
        )

    def check(self) -> None:
        """Raise InvalidDocument if there is a fault."""
        if self._problems:
            first, num_more = self._problems[0], len(self._problems) - 1
            more = f" (and {num_more} more)" if num_more else ""
            message = f"{self._name}: {first['pointer'] or 'the file'}: {first['message']}{more}"
            raise InvalidDocument(message, self._problems[:MAX_FAULTS_SHOWN])

    def text(self, value: Any, pointer: str) -> str:
        """`value`, if it is text that can be encoded and stored."""
        if not isinstance(value, str):
            self.add(pointer, "type", f"holds {_json_type(value)}, not text")
            return ""
        if "\x00" in value:
            self.add(pointer, "nul", f"NUL at character {value.index(chr(0))}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            self.add(pointer, "surrogate", f"half of a surrogate pair at character {error.start}")
        return value

    def texts(self, value: Any, pointer: str) -> tuple[str, ...]:
        """The texts of a list, or one text; without the cells that are missing."""
        if not isinstance(value, list):
            return () if _is_missing(value) else (self.text(value, pointer),)
        return tuple(
            self.text(each, f"{pointer}/{i}") for i, each in enumerate(value) if not _is_missing(each)
        )

    def objects(
        self, value: Any, pointer: str, keys: tuple[str, ...]
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        """Each object of a list that has all `keys`, with its place."""
        if not isinstance(value, list):
            self.add(pointer, "type", f"holds {_json_type(value)}, not a list")
            return
        for i, each in enumerate(value):
            missing = [key for key in keys if not isinstance(each, dict) or key not in each]
            if not isinstance(each, dict):
                self.add(
                    f"{pointer}/{i}", "type", f"holds {_json_type(each)}, not an object with {list(keys)}"
                )
            elif missing:
                self.add(f"{pointer}/{i}", "missing", f"lacks {missing}; it has {sorted(each)}")
            else:
                yield f"{pointer}/{i}", each


def _document(text: str, faults: _Faults) -> dict[str, Any]:
    if len(text) > MAX_FILE_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_FILE_BYTES:
        faults.add(
            "", "too_large", f"larger than {MAX_FILE_BYTES // 10**6} MB", "split its instances over two tasks"
        )
        faults.check()
    document: Any = None
    try:
        document = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        faults.add("", "not_json", f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}")
    except (ValueError, RecursionError) as error:
        faults.add("", "not_json", f"not JSON we read: {error}")
    else:
        if not isinstance(document, dict):
            faults.add("", "type", f"holds {_json_type(document)}, not an object")
        elif missing := [key for key in _REQUIRED if key not in document]:
            faults.add("", "missing", f"lacks {missing}; it has {sorted(document)}")
    faults.check()
    return dict(document)


def _instructions(document: dict[str, Any], name: str, faults: _Faults) -> Instructions:
    def texts(key: str) -> tuple[str, ...]:
        return faults.texts(document.get(key), f"/{key}")

    def exemplars(key: str) -> tuple[Exemplar, ...]:
        return tuple(
            Exemplar(
                faults.text(each["input"], f"{place}/input"),
                faults.text(each["output"], f"{place}/output"),
                _explanation(each.get("explanation"), f"{place}/explanation", faults),
            )
            for place, each in faults.objects(document[key], f"/{key}", ("input", "output"))
        )

    definition = next(iter(texts("Definition")), "")
    if not definition.strip():
        faults.add("/Definition", "empty", "no definition: the task would not say what to do")
    return Instructions(
        name=name,
        definition=definition,
        positive=exemplars("Positive Examples"),
        negative=exemplars("Negative Examples"),
        categories=texts("Categories"),
        domains=texts("Domains"),
        reasoning=texts("Reasoning"),
        input_languages=texts("Input_language"),
        output_languages=texts("Output_language"),
        instruction_languages=texts("Instruction_language"),
        sources=texts("Source"),
        urls=texts("URL"),
        contributors=texts("Contributors"),
        licences=texts("Instance License"),
    )


def _explanation(value: Any, pointer: str, faults: _Faults) -> str | None:
    return None if _is_missing(value) else faults.text(value, pointer)


def _task(instructions: Instructions, encodings: Sequence[Encoding], faults: _Faults) -> dict[str, Any]:
    name = task_name(instructions.name)
    if not name:
        message = f"no task name can be made from {instructions.name!r}"
        faults.add("", "name", message, "name the file like task001_subject.json")
    cluster = task_name((*instructions.categories, "")[0])
    if not cluster:
        faults.add("/Categories", "empty", "no category that a cluster can be named after")
    patterns = [pattern(instructions, encoding) for encoding in encodings]
    if max(map(len, patterns), default=0) > MAX_PATTERN_CHARS:
        message = f"{len(instructions.definition):,} characters are too many for a template"
        faults.add("/Definition", "too_long", message, f"a template holds {MAX_PATTERN_CHARS:,}")
    return {
        "name": name,
        "cluster": cluster,
        "family": task_name((*instructions.sources, "")[0]) or None,
        "origins": _origins(instructions.sources),
        "description": instructions.definition,
        "licence": ", ".join(instructions.licences) or "unknown",
        "source": {"kind": "dataset", "name": name},
        "fields": {"input": "prompt_input"},
        "answer": {"column": "output", "references_from": "references"},
        "metrics": list(dict.fromkeys((EVALUATION_METRICS.get(cluster, ROUGE_L), ROUGE_L))),
        "templates": [{"input": pattern} for pattern in patterns],
    }


def _origins(sources: Iterable[str]) -> list[str]:
    """The datasets that `sources` name: a text may name several, and none is an origin that nobody knows."""
    names = [dataset_name(each) for source in sources for each in re.split("[;,]", source) if each.strip()]
    return list(dict.fromkeys(names)) or [UNKNOWN]


def _rows(instances: Any, faults: _Faults) -> list[dict[str, Any]]:
    if instances == []:
        faults.add("/Instances", "empty", "no instance: there is nothing to ask")
    rows: list[dict[str, Any]] = []
    places: dict[str, str] = {}
    for place, each in faults.objects(instances, "/Instances", ("id", "input", "output")):
        id_, text = faults.text(each["id"], f"{place}/id"), faults.text(each["input"], f"{place}/input")
        references = faults.texts(each["output"], f"{place}/output")
        if not references:
            faults.add(f"{place}/output", "empty", "no reference answer")
        elif places.setdefault(id_, place) != place:
            faults.add(f"{place}/id", "duplicate", f"the id {id_!r} is also that of {places[id_]}")
        else:
            row = {"id": id_, "input": text, "prompt_input": closed(text)}
            rows.append(row | {"output": references[0], "references": list(references)})
    return rows


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
