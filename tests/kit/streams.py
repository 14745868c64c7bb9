"""Two tasks, one of short rows and one of long, and the spec that streams them."""

from flan.data.tokens import make_contract
from flan.spec import TuneSpec
from tests.kit.models import tiny_tokenizer
from tests.kit.tasks import make_rows, make_task, rows_in_memory

TOKENIZER = tiny_tokenizer()
CONTRACTS = {name: make_contract(TOKENIZER, name) for name in ("decoder", "encoder_decoder")}
TASKS = {name: make_task(name) for name in ("mood", "taste")}
ROWS = {
    "mood": rows_in_memory(make_rows(40, words=6)),
    "taste": rows_in_memory(make_rows(25, words=60)),
}
SPEC = TuneSpec(
    name="kit", base="preset:nano", tokens_per_step=600, input_length=80, target_length=20, seed=5
)
