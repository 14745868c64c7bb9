"""A question about a row, on its way to a served model, which knows neither our tasks nor their rows.

The name of a task becomes its document, and solved rows that are to be drawn become the rows: drawn by the
builder of training and evaluation, so that `POST /render` shows the prompt that is asked here.
"""

from anyio import to_thread

from api.catalog import template_sets
from api.deps import Platform
from flan.data.rows import open_rows
from flan.data.shots import Shots
from flan.errors import FlanError, NotFound
from flan.evaluate.preview import Form
from flan.serve.messages import ClassifyRequest, GenerateRequest, TemplateUse
from flan.tasks.formats import formatted
from flan.tasks.task import Task


async def with_rows(here: Platform, asked: GenerateRequest | ClassifyRequest, body: bytes) -> bytes:
    """The request as a served model can answer it: `body`, as it came, where no template is used.

    Raises NotFound at /template/task, and what opening rows raises at /template/few_shot/split.
    """
    if asked.template is None:
        return body
    use = await to_thread.run_sync(_resolved, here, asked.template)
    return asked.model_copy(update={"template": use}).model_dump_json(exclude_unset=True).encode()


def _resolved(here: Platform, use: TemplateUse) -> TemplateUse:
    task = use.task if isinstance(use.task, Task) else _task(here, use.task)
    changes: dict[str, object] = {"task": task}
    if use.few_shot is not None and use.exemplars is None:
        asked = formatted(task, use.prompt_format)
        try:
            rows = open_rows(asked, use.few_shot.split, here.places)
            solved = Shots(Form(use.options, use.seed), use.few_shot, asked, rows).at(0)
        except FlanError as error:
            if error.blame == "user":
                error.pointer = "/template/few_shot/split"
            raise
        changes["exemplar_numbers"] = solved.numbers
        changes["exemplars"] = tuple(rows[number] for number in solved.numbers)
    return use.model_copy(update=changes)


def _task(here: Platform, reference: str) -> Task:
    with here.sessions.begin() as session:
        try:
            return template_sets.any_task(session, reference)
        except NotFound as error:
            error.pointer = "/template/task"
            raise
