"""Loads adapters that Espalier wrote into PEFT and compares the logits of both.

    python parity/peft_reads_ours.py --model MODEL_FOLDER RUN_FOLDER...

Needs peft, transformers and torch (bench/requirements.txt). For each folder, PEFT's model and `./espalier logits` see the
same token ids in float32; the largest difference of any logit is printed, and how far the adapter moved the base at all.
Exit code 1 if one differs by more than --tolerance times the largest logit.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

HOME = pathlib.Path(__file__).resolve().parent.parent


def ours(model, adapter, ids, folder):
    inputs, outputs = folder / "in.safetensors", folder / "out.safetensors"
    save_file({"input_ids": ids}, inputs)
    outputs.unlink(missing_ok=True)
    command = [HOME / "espalier", "logits", "--model", model, "--inputs", inputs, "--out", outputs, "--dtype", "f32"]
    if adapter:
        command += ["--adapter", adapter]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return load_file(outputs)["logits"]


def reference(model, adapter, ids):
    written = json.loads((pathlib.Path(model) / "config.json").read_text()).get("architectures") or [""]
    auto = AutoModelForSequenceClassification if "Classification" in written[0] else AutoModelForCausalLM
    loaded = auto.from_pretrained(model, dtype=torch.float32)
    if adapter:
        loaded = PeftModel.from_pretrained(loaded, adapter)
    with torch.no_grad():
        return loaded.eval()(input_ids=ids).logits


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--ids", type=int, nargs="*", help="token ids; default: the ids 300 to 331 of the vocabulary")
    parser.add_argument("adapters", nargs="+", type=pathlib.Path)
    chosen = parser.parse_args()
    ids = torch.tensor([chosen.ids or list(range(300, 332))])
    failed = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        base = reference(chosen.model, None, ids)
        print("| adapter | method | moved the base by | largest difference | largest logit |\n|---|---|---|---|---|")
        for adapter in chosen.adapters:
            method = json.loads((adapter / "adapter_config.json").read_text())["peft_type"]
            if method not in PEFT_TYPE_TO_CONFIG_MAPPING:
                print(f"| {adapter.name} | {method} | not a method of PEFT | | |")
                continue
            theirs = reference(chosen.model, str(adapter), ids)
            difference = (ours(chosen.model, adapter, ids, folder) - theirs).abs().max().item()
            largest = theirs.abs().max().item()
            moved = (theirs - base).abs().max().item()
            print(f"| {adapter.name} | {method} | {moved:.3g} | {difference:.2g} | {largest:.3g} |", flush=True)
            if not difference <= chosen.tolerance * largest:
                failed.append(adapter.name)
    if failed:
        sys.exit(f"differs in {', '.join(failed)}")


main()
