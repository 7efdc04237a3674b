"""Writes the two small tokenizers of the tests: byte-level as GPT-2 has it, and sentencepiece-like.

    python3 make_tokenizers.py ../resources/espalier/text
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(sys.argv[1])


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def added(token, id, special=True):
    return {"id": id, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": special}


def byte_letters():
    """The letter that stands for each byte: itself where it prints, else one from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, more = {}, 256
    for byte in range(256):
        letters[byte] = chr(byte) if byte in plain else chr(more)
        more += byte not in plain
    return letters


def byte_level():
    letters = byte_letters()
    space = letters[32]
    vocabulary = {letter: byte for byte, letter in letters.items()}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), (space, "w"), (space + "w", "o"),
              ("r", "l"), ("e", "r"), ("u", "s"), ("us", "er"), (letters[0xF0], letters[0x9F]), ("i", "n"),
              ("in", "g")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    end = len(vocabulary)
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    write(ROOT / "bytelevel" / "tokenizer.json", {
        "version": "1.0",
        # left over, as some published files have them: neither may have an effect
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None,
                    "pad_id": end, "pad_type_id": 0, "pad_token": "<|endoftext|>"},
        "added_tokens": [added(token, end + i) for i, token in enumerate(specials)]
        + [added("<think>", end + 3, special=False)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocabulary, "merges": [" ".join(pair) for pair in merges]},
    })
    write(ROOT / "bytelevel" / "tokenizer_config.json", {
        "add_prefix_space": False,
        "bos_token": None,
        "chat_template": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
                         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 8192,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<|endoftext|>",
    })
    write(ROOT / "bytelevel" / "generation_config.json", {"eos_token_id": [end + 2, end]})


def sentencepiece():
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    for letter in "▁abcdefghijklmnopqrstuvwxyz.,!":
        vocabulary[letter] = len(vocabulary)
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("r", "e"), ("re", "d"), ("▁", "red")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    write(ROOT / "sentencepiece" / "tokenizer.json", {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added("<unk>", 0), added("<s>", 1), added("</s>", 2)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [bos, text],
                           "pair": [bos, text, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocabulary, "merges": [" ".join(pair) for pair in merges]},
    })
    write(ROOT / "sentencepiece" / "tokenizer_config.json", {
        "add_bos_token": True,
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False},
        "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False},
        "model_max_length": 1000000000000000019884624838656,
        "chat_template": [
            {"name": "default", "template": "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"},
            {"name": "tool_use", "template": "{{ bos_token }}tools{{ unk_token }}"}],
    })
    write(ROOT / "sentencepiece" / "special_tokens_map.json", {"unk_token": "<unk>", "eos_token": "<unk>"})
    write(ROOT / "sentencepiece" / "generation_config.json", {"eos_token_id": 2})


byte_level()
sentencepiece()
