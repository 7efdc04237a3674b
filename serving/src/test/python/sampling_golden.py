"""Writes sampling-golden.json: what the processors of transformers leave of random logits.

    pip install torch==2.10.0 transformers==5.23.0
    python sampling_golden.py > ../resources/espalier/serving/sampling-golden.json

Each case has logits over a small vocabulary, the tokens before, the settings, and the probabilities from which
transformers would draw. The processors stand in the order in which `generate` puts them.
"""
import json

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList, MinNewTokensLengthLogitsProcessor, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)

VOCABULARY = 40
ENDS = [3, 17]
SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.7},
    {"topK": 1},
    {"topK": 5},
    {"topK": 40},
    {"topK": 1000},
    {"topP": 0.3},
    {"topP": 0.9},
    {"topP": 0.0},
    {"minP": 0.05},
    {"minP": 1.0},
    {"repetitionPenalty": 1.3},
    {"repetitionPenalty": 0.7},
    {"minNewTokens": 4},
    {"temperature": 0.8, "topK": 10, "topP": 0.7},
    {"temperature": 1.5, "topK": 20, "topP": 0.95, "minP": 0.1},
    {"repetitionPenalty": 2.0, "temperature": 0.6, "topP": 0.8},
    {"repetitionPenalty": 1.2, "minNewTokens": 4, "temperature": 1.2, "topK": 12, "topP": 0.9, "minP": 0.02},
]


def processors(settings):
    chain = LogitsProcessorList()
    if "repetitionPenalty" in settings:
        chain.append(RepetitionPenaltyLogitsProcessor(settings["repetitionPenalty"]))
    if "minNewTokens" in settings:
        chain.append(MinNewTokensLengthLogitsProcessor(6, settings["minNewTokens"], ENDS))
    if "temperature" in settings:
        chain.append(TemperatureLogitsWarper(settings["temperature"]))
    if "topK" in settings:
        chain.append(TopKLogitsWarper(settings["topK"]))
    if "topP" in settings:
        chain.append(TopPLogitsWarper(settings["topP"]))
    if "minP" in settings:
        chain.append(MinPLogitsWarper(settings["minP"]))
    return chain


def main():
    torch.manual_seed(20)
    cases = []
    for settings in SETTINGS:
        logits = torch.randn(1, VOCABULARY) * 2.5
        if settings.get("topK") == 5:
            # a tie with the last of the five: transformers keeps both
            order = logits[0].argsort(descending=True)
            logits[0, order[5]] = logits[0, order[4]]
        prompt = torch.randint(VOCABULARY, (1, 6))
        new = torch.randint(VOCABULARY, (1, 3))
        scores = processors(settings)(torch.cat([prompt, new], 1), logits.clone())
        cases.append({
            "settings": settings, "prompt": prompt[0].tolist(), "generated": new[0].tolist(),
            "logits": logits[0].tolist(), "probabilities": scores.softmax(-1)[0].tolist()})
    lines = ",\n".join(json.dumps(case) for case in cases)
    print('{"ends": %s, "cases": [\n%s\n]}' % (ENDS, lines))


if __name__ == "__main__":
    main()
