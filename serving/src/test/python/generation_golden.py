"""Writes generation-golden.json: what transformers' `generate` says with the tiny models of the parity module.

    pip install torch==2.10.0 transformers==5.23.0
    python generation_golden.py ../../../../parity/models > ../resources/espalier/serving/generation-golden.json

Greedy, in float32. `batch` holds the answers of the prompts as one batch padded on the left, cut after the end token;
`penalty` those of the same batch with a repetition penalty. `margin` is the least distance between the best token and
the second over all steps: rounding must be far smaller.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

FAMILIES = ["llama", "llama_tied", "llama_wide", "qwen2", "qwen3", "gpt2", "opt", "gemma3_text", "mixtral", "t5"]
NEW = 12


def run(model, prompts, end, **settings):
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt):] = torch.tensor(prompt)
        mask[row, longest - len(prompt):] = 1
    out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW, pad_token_id=0,
                         output_scores=True, return_dict_in_generate=True, **settings)
    skip = 1 if model.config.is_encoder_decoder else longest
    answers, margin = [], float("inf")
    for row, sequence in enumerate(out.sequences.tolist()):
        answer = sequence[skip:]
        answer = answer[:answer.index(end) + 1] if end in answer else answer
        answers.append(answer)
        for scores in out.scores[:len(answer)]:
            best = scores[row].topk(2).values
            margin = min(margin, (best[0] - best[1]).item())
    return answers, margin


def main():
    cases = []
    for family in FAMILIES:
        folder = pathlib.Path(sys.argv[1]) / family
        kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
        model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
        end = model.config.eos_token_id
        torch.manual_seed(7)
        prompts = [torch.randint(3, 128, (length,)).tolist() for length in (9, 4, 1, 6)]
        batch, margin = run(model, prompts, end)
        penalty, other = run(model, prompts, end, repetition_penalty=1.8)
        cases.append({"family": family, "prompts": prompts, "batch": batch, "penalty": penalty,
                      "margin": round(min(margin, other), 6)})
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
