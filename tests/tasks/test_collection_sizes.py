"""The collection's option texts, split sizes and mixing rates, against the numbers of Wei et al. 2022.

Expected values are written out. Sizes are those of the datasets as published, whatever is on this machine, and
count the rows without an answer, which are dropped: unlabelled pairs of SNLI, neutral tweets of Sentiment140.
"""

from typing import NamedTuple

import pytest

from flan.data.mixture import size_of
from flan.data.rates import mixing_rates
from flan.spec import HoldOut, Mixture
from flan.tasks.holdouts import excluded
from flan.tasks.task import HubSource, Task, load_collection
from flan.tasks.taxonomy import load_taxonomy

EXAMPLES_CAP = 30_000
RATE_MAXIMUM = 3_000
OF_THE_ROW = ("options", "of the row")
FREE: tuple[str, ...] = ()


class Published(NamedTuple):
    """What the paper and its released code have for a task."""

    options: tuple[str, ...]
    """In label order."""
    train: int
    """After the split rule and the cap of 30,000."""
    validation: int
    test: int


NO_YES, YES_NO = ("no", "yes"), ("yes", "no")
MOOD = ("negative", "positive")
THREE_WAY = ("yes", "it is not possible to tell", "no")
ANLI = ("Yes", "It's impossible to say", "No")
PUBLISHED = {
    # summarization
    "aeslc": Published(FREE, 14_436, 200, 1_906),
    "cnn_dailymail": Published(FREE, 30_000, 200, 11_490),
    "gigaword": Published(FREE, 30_000, 200, 1_951),
    "multi_news": Published(FREE, 30_000, 200, 5_622),
    "newsroom": Published(FREE, 30_000, 200, 108_862),
    "samsum": Published(FREE, 14_732, 200, 819),
    "xsum": Published(FREE, 30_000, 200, 11_334),
    "ag_news_subset": Published(("World", "Sports", "Business", "Science/Tech"), 30_000, 200, 7_600),
    "opinion_abstracts_rotten_tomatoes": Published(FREE, 3_131, 100, 500),
    "opinion_abstracts_idebate": Published(FREE, 1_659, 100, 500),
    "wiki_lingua_english_en": Published(FREE, 30_000, 200, 28_614),  # of TFDS
    # structure_to_text
    "web_nlg_en": Published(FREE, 30_000, 200, 1_667),
    "common_gen": Published(FREE, 30_000, 200, 993),
    "e2e_nlg": Published(FREE, 30_000, 200, 4_299),
    "dart": Published(FREE, 30_000, 200, 2_768),
    # reading_comprehension
    "squad_v1": Published(FREE, 30_000, 200, 10_570),
    "squad_v2": Published(FREE, 30_000, 200, 11_873),
    "drop": Published(FREE, 30_000, 200, 9_535),
    "multirc": Published(NO_YES, 27_043, 200, 4_848),
    "openbookqa": Published(OF_THE_ROW, 4_957, 200, 500),
    "bool_q": Published(NO_YES, 9_227, 200, 3_270),
    # open_domain_qa
    "trivia_qa": Published(FREE, 30_000, 200, 17_944),
    "natural_questions": Published(FREE, 30_000, 200, 3_610),
    "arc_challenge": Published(OF_THE_ROW, 919, 200, 1_172),
    "arc_easy": Published(OF_THE_ROW, 2_051, 200, 2_376),
    # paraphrase
    "glue_mrpc": Published(NO_YES, 3_468, 200, 408),
    "glue_qqp": Published(NO_YES, 30_000, 200, 40_430),
    "paws_wiki": Published(NO_YES, 30_000, 200, 8_000),
    "stsb": Published(("0", "1", "2", "3", "4", "5"), 5_649, 100, 1_500),
    # sentiment
    "imdb_reviews": Published(MOOD, 24_800, 200, 25_000),
    "sentiment140": Published(MOOD, 30_000, 200, 498),
    "yelp_polarity_reviews": Published(MOOD, 30_000, 200, 38_000),
    "sst2": Published(MOOD, 30_000, 200, 872),
    # text_formatting
    "true_case": Published(FREE, 30_000, 200, 3_000),
    "fix_punct": Published(FREE, 30_000, 200, 3_000),
    "word_segment": Published(FREE, 30_000, 200, 3_000),
    # common_sense
    "copa": Published(OF_THE_ROW, 350, 50, 100),
    "hellaswag": Published(OF_THE_ROW, 30_000, 200, 10_042),
    "story_cloze": Published(OF_THE_ROW, 1_671, 200, 1_871),
    "piqa": Published(OF_THE_ROW, 16_013, 100, 1_838),
    # translation
    "para_crawl_enes": Published(FREE, 30_000, 200, 1_000),
    "wmt14_enfr": Published(FREE, 30_000, 200, 3_003),
    "wmt16_translate_deen": Published(FREE, 30_000, 200, 2_999),
    "wmt16_translate_tren": Published(FREE, 30_000, 200, 3_000),
    "wmt16_translate_csen": Published(FREE, 30_000, 200, 2_999),
    "wmt16_translate_fien": Published(FREE, 30_000, 200, 6_000),
    "wmt16_translate_roen": Published(FREE, 30_000, 200, 1_999),
    "wmt16_translate_ruen": Published(FREE, 30_000, 200, 2_998),
    # coreference
    "definite_pronoun_resolution": Published(OF_THE_ROW, 1_122, 200, 564),
    "winogrande": Published(OF_THE_ROW, 30_000, 200, 1_267),
    "wsc": Published(NO_YES, 504, 50, 104),
    # entailment
    "anli_r1": Published(ANLI, 16_946, 200, 1_000),
    "anli_r2": Published(ANLI, 30_000, 200, 1_000),
    "anli_r3": Published(ANLI, 30_000, 200, 1_200),
    "cb": Published(("Yes", "No", "It's impossible to say"), 200, 50, 56),
    "rte": Published(YES_NO, 2_290, 200, 277),
    "mnli_matched": Published(THREE_WAY, 30_000, 200, 9_815),
    "mnli_mismatched": Published(THREE_WAY, 30_000, 200, 9_832),
    "qnli": Published(YES_NO, 30_000, 200, 5_463),
    "wnli": Published(NO_YES, 605, 30, 71),
    "snli": Published(THREE_WAY, 30_000, 200, 10_000),
    # math, conversational_qa, word_disambiguation, linguistic_acceptability, question_classification
    "math_dataset": Published(FREE, 30_000, 200, 10_000),
    "quac": Published(FREE, 11_367, 200, 1_000),  # dialogues, as on the hub; TFDS counts 83,568 questions
    "coqa": Published(FREE, 7_099, 100, 500),
    "wic": Published(("different meanings", "the same meaning"), 5_228, 200, 638),
    "cola": Published(("unacceptable", "acceptable"), 8_351, 200, 1_043),
    "trec": Published(
        ("description", "entity", "abbreviation", "human", "numeric", "location"), 5_252, 200, 500
    ),
    # read_comp_and_common_sense
    "record": Published(OF_THE_ROW, 30_000, 200, 10_000),
    "cosmos_qa": Published(OF_THE_ROW, 25_062, 200, 2_985),
}
SMALL_RATES = {
    "cb": 200,
    "copa": 350,
    "wsc": 504,
    "wnli": 605,
    "arc_challenge": 919,
    "definite_pronoun_resolution": 1_122,
    "opinion_abstracts_idebate": 1_659,
    "story_cloze": 1_671,
    "arc_easy": 2_051,
    "rte": 2_290,
}
"""The ten tasks with fewer training examples than the rate maximum."""
UNSIZED = {"wiki_lingua_english_en"}
"""Tasks of which we do not know how many rows the hub has; more than the cap, to train on."""
TOTAL_RATE = 188_371
TOTAL_RATE_WITHOUT_ENTAILMENT = 152_276
TASKS = load_collection("flan")
PRESENT = sorted(set(PUBLISHED) & set(TASKS))
SOURCES = {name: task.source for name, task in TASKS.items() if isinstance(task.source, HubSource)}


def num_rows(name: str, split: str) -> int:
    """Rows of a split of a task when all published rows are there; of an unsized one, as many as are used."""
    if name in UNSIZED and split == "train":
        return EXAMPLES_CAP
    part = SOURCES[name].part(split)
    return part.count(SOURCES[name].rows[part.split])


def test_the_table_is_whole() -> None:
    """It names all 69 tasks of the paper's code, and the collection has at least 51 of them."""
    assert len(PUBLISHED) == 69
    assert len(PRESENT) >= 51


@pytest.mark.parametrize("name", PRESENT)
def test_options_are_the_published_texts_in_label_order(name: str) -> None:
    """A model is trained to answer with these words, and published figures were measured with them."""
    answer, options = TASKS[name].answer, PUBLISHED[name].options

    if options == OF_THE_ROW:
        assert answer.choices_from is not None
    else:
        assert (answer.choices_from, answer.choices) == (None, options)


@pytest.mark.parametrize("name", [name for name in PRESENT if name not in UNSIZED])
def test_splits_have_the_published_sizes(name: str) -> None:
    """Dev rows are cut where the paper cut them, and figures are reported on the same rows."""
    sizes = (min(num_rows(name, "train"), EXAMPLES_CAP), num_rows(name, "validation"), num_rows(name, "test"))

    assert sizes == PUBLISHED[name][1:]


def test_ten_tasks_are_smaller_than_the_rate_maximum() -> None:
    """By name; all others count for exactly 3,000, so that mixing is nearly uniform over tasks."""
    trained = {name: num_rows(name, "train") for name in PRESENT}
    small = {name: rows for name, rows in trained.items() if rows < RATE_MAXIMUM}

    assert small == {name: rate for name, rate in SMALL_RATES.items() if name in TASKS}


def test_rates_sum_to_the_published_total() -> None:
    """188,371 over all 69 tasks: each that the collection lacks takes its own rate from the sum."""
    lacking = sum(SMALL_RATES.get(name, RATE_MAXIMUM) for name in PUBLISHED if name not in TASKS)

    assert _total({name: TASKS[name] for name in PRESENT}) == TOTAL_RATE - lacking


def test_rates_without_entailment_sum_to_the_published_total() -> None:
    """Entailment held out takes paraphrase along: 152,276 over 55 tasks, COPA 0.23% of it."""
    present = {name: TASKS[name] for name in PRESENT}
    out = excluded(present, HoldOut(clusters=("entailment",)), load_taxonomy("flan"))
    kept = {name: task for name, task in present.items() if name not in out}
    lacking = [name for name in PUBLISHED if name not in TASKS and name != "mnli_mismatched"]

    assert len(kept) == 55 - len(lacking)
    total = TOTAL_RATE_WITHOUT_ENTAILMENT - sum(SMALL_RATES.get(name, RATE_MAXIMUM) for name in lacking)
    assert _total(kept) == total
    sizes = {name: size_of(task, num_rows(name, "train"), Mixture()) for name, task in kept.items()}
    (rates,) = mixing_rates(Mixture(), [sizes])
    assert rates["copa"] == pytest.approx(350 / total)
    assert rates["winogrande"] == pytest.approx(3_000 / total)


def _total(tasks: dict[str, Task]) -> int:
    return sum(min(num_rows(name, "train"), RATE_MAXIMUM) for name in tasks)
