"""Writes beams-golden.json: what transformers' `generate` finds along beams with the tiny models of the parity module.

    pip install torch==2.10.0 transformers==5.23.0
    python beams_golden.py ../../../../parity/models > ../resources/espalier/serving/beams-golden.json

In float32, prompts of unequal length as one batch padded on the left. Several tokens end an answer, so that answers of
random models do end. `answers` are cut after the token that ends them.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

FAMILIES = ["llama", "qwen3", "gpt2", "t5"]
ENDS = [2] + list(range(5, 128, 9))
NEW = 10
SEARCHES = [
    {"num_beams": beams, "length_penalty": penalty, "early_stopping": early}
    for beams, penalty, early in [
        (2, 1.0, False), (3, 1.0, True), (3, 1.0, "never"), (4, 0.0, False), (4, 0.0, "never"), (4, 2.0, False),
        (4, 2.0, "never"), (4, -1.0, False), (4, -1.0, True), (5, 1.0, False), (5, 3.5, True),
    ]
]


def run(model, prompts, **settings):
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt):] = torch.tensor(prompt)
        mask[row, longest - len(prompt):] = 1
    out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW, pad_token_id=0,
                         eos_token_id=ENDS, **settings)
    skip = 1 if model.config.is_encoder_decoder else longest
    answers = []
    for sequence in out.tolist():
        answer = sequence[skip:]
        end = next((i for i, token in enumerate(answer) if token in ENDS), len(answer) - 1)
        answers.append(answer[:end + 1])
    return answers


def main():
    cases = []
    for family in FAMILIES:
        folder = pathlib.Path(sys.argv[1]) / family
        kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
        model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
        torch.manual_seed(11)
        prompts = [torch.randint(3, 128, (length,)).tolist() for length in (7, 3, 1, 5)]
        for search in SEARCHES:
            cases.append({"family": family, "ends": ENDS, "prompts": prompts, **search,
                          "answers": run(model, prompts, **search)})
        search = {"num_beams": 3, "length_penalty": 1.0, "early_stopping": False}
        # prompts of one length: the reference's penalty would fall on the padding too
        even = [prompt[:1] for prompt in prompts]
        cases.append({"family": family, "ends": ENDS, "prompts": even, **search, "repetition_penalty": 1.6,
                      "answers": run(model, even, repetition_penalty=1.6, **search)})
        cases.append({"family": family, "ends": ENDS, "prompts": prompts, **search, "min_new_tokens": 4,
                      "answers": run(model, prompts, min_new_tokens=4, **search)})
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
