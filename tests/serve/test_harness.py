"""lm-evaluation-harness, as it is installed, against a served model: its own client, its own tasks, our answers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flan.model.export import export
from tests.serve.lively import TOKEN, lively_model, server_of

NAMES = ("choices", "written", "rolling")
TASKS = {
    "choices": """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "written": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["q"], max_gen_toks: 12}
metric_list: [{metric: exact_match}]
""",
    "rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}]
""",
}
CHOICES = ["positive", "negative", "it is not possible to tell"]
ROWS = [
    {"question": f"Is review {number} positive or negative? {said}", "choices": CHOICES, "answer": number % 3}
    for number, said in enumerate(["It was long and dull.", "We laughed, all of us.", "Hm.", "A film?"] * 2)
]
Samples = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    """What the harness kept of each task, in the order of ROWS."""
    folder = tmp_path_factory.mktemp("harness")
    rows, tasks, model, found = (folder / name for name in ("rows.jsonl", "tasks", "model", "found"))
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tasks.mkdir()
    for name, text in TASKS.items():
        where = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}}}\ntest_split: test"
        (tasks / f"{name}.yaml").write_text(f"task: {name}\n{where}{text}")
    served = lively_model()
    export(served.network, served.tokenizer, served.card, model)
    with server_of(served) as (client, _):
        told = f"model=lively,base_url={client.base_url}/v1/completions,tokenizer={model},max_length=1024"
        subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-m", "lm_eval", "--model", "local-completions"),
                *("--model_args", f"{told},tokenizer_backend=huggingface", "--batch_size", "3"),
                *("--include_path", tasks, "--tasks", ",".join(NAMES)),
                *("--output_path", found, "--log_samples"),
            ],
            env=os.environ | {"OPENAI_API_KEY": TOKEN, "HF_HOME": str(folder), "HF_DATASETS_OFFLINE": "1"},
            check=True,
        )
    yield {name: _kept(found, name) for name in NAMES}


def _kept(found: Path, name: str) -> list[dict[str, Any]]:
    (file,) = found.rglob(f"samples_{name}_*.jsonl")
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    return sorted(kept, key=lambda sample: int(sample["doc_id"]))


def _ids(text: Any) -> list[int]:
    found: list[int] = lively_model().tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def _logprobs(token_ids: list[int]) -> list[float]:
    """What the model expected at each token but the first, by the network alone."""
    ids = torch.tensor(token_ids)
    with torch.inference_mode():
        logits = lively_model().network(ids[None]).logits[0].log_softmax(-1)
    return [float(each) for each in logits[:-1].gather(-1, ids[1:, None])[:, 0]]


def test_options_have_the_likelihood_that_the_network_gives(samples: Samples) -> None:
    """Each choice after its context, and the accuracy that follows."""
    assert len(samples["choices"]) == len(ROWS)
    for row, sample in zip(ROWS, samples["choices"], strict=True):
        expected = []
        for choice in CHOICES:
            whole, start = _ids(f"{row['question']} {choice}"), len(_ids(row["question"]))
            expected.append(sum(_logprobs(whole)[start - 1 :]))
        found = [float(response[0][0]) for response in sample["resps"]]
        assert found == pytest.approx(expected, abs=1e-2)
        assert sample["acc"] == float(expected.index(max(expected)) == row["answer"])


def test_texts_are_written_greedily_and_end_before_the_stop(samples: Samples) -> None:
    """The answers that our own endpoint gives."""
    with server_of(lively_model()) as (client, _):
        for row, sample in zip(ROWS, samples["written"], strict=True):
            body = {"prompt": row["question"], "temperature": 0, "stop": ["q"], "max_new_tokens": 12}
            answer = client.post("/generate", json=body).raise_for_status().json()
            assert sample["resps"][0][0] == answer["choices"][0]["text"]
    assert len({sample["resps"][0][0] for sample in samples["written"]}) > 1


def test_a_rolling_likelihood_is_that_of_the_text(samples: Samples) -> None:
    """The harness puts the end token before the text; everything after it is counted."""
    end = lively_model().tokenizer.eos_token_id
    for row, sample in zip(ROWS, samples["rolling"], strict=True):
        expected = sum(_logprobs([end, *_ids(row["question"])]))
        assert float(sample["resps"][0][0]) == pytest.approx(expected, abs=1e-2)
