"""A data folder with a few items of every benchmark, in the layout of its Hub repository or the suite's own format.

    python -c "from suite_files import build; build(Path('benchmarks'))"

The items are made up; what is real is their columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MATH = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra")
METRIC = '''
"""A stand-in for evaluate-metric/code_eval: it runs nothing, a candidate passes that has `return`."""
import datasets
import evaluate


class CodeEval(evaluate.Metric):
    def _info(self):
        kinds = {"predictions": datasets.List(datasets.Value("string")), "references": datasets.Value("string")}
        return evaluate.MetricInfo(description="", citation="", features=datasets.Features(kinds))

    def _compute(self, predictions, references, k):
        passed = [sum("return" in one for one in tried) / len(tried) for tried in predictions]
        return {f"pass@{n}": sum(passed) / len(passed) for n in k}, {}
'''


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def gsm8k(data: Path) -> None:
    """OpenAI's own test.jsonl: the answer ends in #### and the number."""
    rows = [
        {"question": f"{n} hills and 2 more?", "answer": f"{n}+2=<<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}"}
        for n in range(3)
    ]
    lines(data / "openai/gsm8k/test.jsonl", rows)


def ifeval(data: Path) -> None:
    """Google's own input_data.jsonl, whose name says no split; and a Punkt model that knows no abbreviation."""
    told = [
        ("punctuation:no_comma", {}),
        ("length_constraints:number_sentences", {"num_sentences": 99, "relation": "less than"}),
    ]
    rows = [
        {"key": n, "prompt": "Write of rain.", "instruction_id_list": [name], "kwargs": [kwargs]}
        for n, (name, kwargs) in enumerate(told)
    ]
    lines(data / "google/IFEval/input_data.jsonl", rows)
    punkt = data / "nltk_data/tokenizers/punkt_tab/english"
    punkt.mkdir(parents=True, exist_ok=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (punkt / name).write_text("")


def build(data: Path, subsets: dict[str, list[str]]) -> Path:
    """All eleven. `subsets` are the dataset's subsets by Hub id, as the installed harness names them."""
    gsm8k(data)
    ifeval(data)
    for name in subsets["cais/mmlu"]:
        row = {"question": "Which runs?", "choices": ["hill", "river", "sea", "shell"], "answer": 1, "subject": name}
        lines(data / f"cais/mmlu/{name}/test.jsonl", [row])
    for name in subsets["SaylorTwift/bbh"]:
        lines(data / f"SaylorTwift/bbh/{name}/test.jsonl", [{"input": "True and False is", "target": "False"}])
    for name in subsets["EleutherAI/hendrycks_math"]:
        row = {"problem": "1+1?", "solution": "It is $\\boxed{2}$.", "level": "Level 1", "type": "Algebra"}
        lines(data / f"EleutherAI/hendrycks_math/{name}/test.jsonl", [row])
    spans = {
        "number": "",
        "date": {"day": "", "month": "", "year": ""},
        "spans": ["river"],
        "worker_id": "",
        "hit_id": "",
    }
    many = {"number": [""], "date": [spans["date"]], "spans": [["river"]], "worker_id": [""], "hit_id": [""]}
    drop = {"section_id": "s", "query_id": "q", "passage": "The river runs.", "question": "What runs?", "answer": spans}
    for split, count in (("train", 5), ("validation", 2)):
        rows = [drop | {"query_id": f"q{n}", "validated_answers": many} for n in range(count)]
        lines(data / f"EleutherAI/drop/{split}.jsonl", rows)
    popqa = {"possible_answers": '["river", "the Nile"]', "obj": "river"}
    lines(data / "akariasai/PopQA/test.jsonl", [popqa | {"question": f"What is number {n}?"} for n in range(18)])
    told = {"choices": ["yes", "no"], "labels": [1, 0]}
    lines(
        data / "truthfulqa/truthful_qa/multiple_choice/validation.jsonl",
        [{"question": "Does it rain?", "mc1_targets": told, "mc2_targets": told}],
    )
    code = {"task_id": "H/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n", "entry_point": "f"}
    code["test"] = "def check(f):\n    assert f(1) == 1\n"
    lines(data / "openai/openai_humaneval/openai_humaneval/test.jsonl", [code])
    lines(data / "evalplus/humanevalplus/data/test.jsonl", [code])
    metric = data / "metrics/code_eval"
    metric.mkdir(parents=True, exist_ok=True)
    (metric / "code_eval.py").write_text(METRIC)
    (metric / "execute.py").write_text("")
    lines(data / "tatsu-lab/alpaca_eval/eval.jsonl", [{"instruction": "Tell of rain.", "dataset": "made_up"}])
    return data
