"""Writes what the reference reports of an adapter that fits in parts, for LoadingReportTest.

    pip install peft==0.21.2 transformers
    python loading_report.py ../../../../parity/models/llama ../resources/espalier/checkpoints/report

The folder gets an adapter with a tensor too few, two too many and one of a wrong shape, and
report.json with the keys that the reference calls missing and unexpected, without the adapter's name.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def model():
    return AutoModelForCausalLM.from_pretrained(sys.argv[1])


def main():
    out = Path(sys.argv[2])
    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "up_proj"])
    get_peft_model(model(), config).save_pretrained(out)
    (out / "README.md").unlink()
    file = out / "adapter_model.safetensors"
    tensors = load_file(file)
    layers = "base_model.model.model.layers."
    del tensors[layers + "0.self_attn.v_proj.lora_B.weight"]
    tensors[layers + "0.mlp.up_proj.lora_A.weight"] = torch.randn(2, 33)
    tensors[layers + "0.mlp.gate_proj.lora_A.weight"] = torch.randn(2, 32)
    tensors[layers + "9.self_attn.q_proj.lora_B.weight"] = torch.randn(32, 2)
    save_file(tensors, file, metadata={"format": "pt"})

    loaded = get_peft_model(model(), LoraConfig.from_pretrained(out))
    result = loaded.load_adapter(str(out), "again", ignore_mismatched_sizes=True)
    report = {
        kind: sorted(key.replace(".again", "") for key in keys)
        for kind, keys in (("missing", result.missing_keys), ("unexpected", result.unexpected_keys))
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
