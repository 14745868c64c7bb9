"""Named preparations: raw row → row, for datasets whose columns no slot can reach directly.

A task names one under `prepare`. Each is pure, keeps the columns it does not speak of, and is documented
with the columns it expects. One that cannot read a row, or finds nothing to ask in it, raises one of the
errors of Python that `flan.tasks.render.instance` turns into a RowError.
"""

from collections.abc import Callable

from flan.tasks.prepare import choices, questions, reasoning, summaries, tables, texts
from flan.tasks.prepare.rows import Row

PREPARATIONS: dict[str, Callable[[Row], Row]] = {
    preparation.__name__: preparation
    for preparation in (
        texts.trim,
        texts.web_text,
        texts.backslashed_text,
        texts.ag_news,
        texts.true_case,
        texts.fix_punct,
        texts.word_segment,
        summaries.cnn_dailymail,
        summaries.multi_news,
        summaries.newsroom,
        summaries.rotten_tomatoes,
        summaries.idebate,
        questions.ask,
        questions.squad,
        questions.squad_v2,
        questions.drop,
        questions.quac,
        questions.coqa,
        questions.math_dataset,
        choices.stsb,
        choices.lettered_choices,
        choices.copa,
        choices.piqa,
        choices.hellaswag,
        choices.cosmos_qa,
        choices.winogrande,
        choices.candidates,
        choices.wsc273,
        choices.story_cloze,
        choices.record,
        tables.common_gen,
        tables.e2e_nlg,
        tables.web_nlg,
        tables.dart,
        reasoning.cot,
        reasoning.gsm8k,
        reasoning.aqua_rat,
        reasoning.strategy_qa,
    )
}
