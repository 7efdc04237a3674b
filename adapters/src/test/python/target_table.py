"""Which layers PEFT chooses in random trees of names, for TargetTableTest.

Made with peft 0.21.2:

    python adapters/src/test/python/target_table.py > adapters/src/test/resources/espalier/adapters/targets.json

Only leaves are listed: a choice that names a node with others below it is left out, as such a node
can not be adapted.
"""

import json
import random

from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.other import get_pattern_key

LEAVES = ["q_proj", "k_proj", "proj", "q", "fc1", "lm_head", "gate", "w1"]
INNER = ["model", "layers", "h", "blocks", "self_attn", "mlp", "experts", "encoder", "0", "1", "2", "10"]


def tree(draw):
    """Paths of leaves, so that no leaf is above another."""
    paths = set()
    for _ in range(draw.randint(6, 14)):
        depth = draw.randint(0, 5)
        paths.add(".".join([draw.choice(INNER) for _ in range(depth)] + [draw.choice(LEAVES)]))
    return sorted(paths)


def inner(paths):
    nodes = set()
    for path in paths:
        names = path.split(".")
        nodes.update(".".join(names[:i]) for i in range(1, len(names)))
    return nodes


def name(draw, paths):
    """A leaf's name, or the last names of some path, or a whole path."""
    path = draw.choice(paths).split(".")
    return draw.choice([draw.choice(LEAVES), ".".join(path[-draw.randint(1, len(path)) :])])


def names(draw, paths):
    return sorted({name(draw, paths) for _ in range(draw.randint(1, 4))})


def expression(draw):
    return draw.choice(
        [
            r".*q_proj",
            r"q_proj",
            r".*\.(q|k)_proj",
            r".*layers\.[01]\..*",
            r"model\..*",
            r"(?P<any>.*)\.(?P<leaf>proj|fc1)",
            r".*\.\d+\..*w1",
            r"[^.]+",
        ]
    )


def pattern(draw, paths):
    keys = [
        draw.choice([name(draw, paths), "^" + name(draw, paths), ".*" + draw.choice(LEAVES), r"layers\.[0-9]+\..*"])
        for _ in range(draw.randint(1, 3))
    ]
    return {key: draw.randint(1, 9) for key in keys}


def settings(draw, paths):
    given = {"target_modules": expression(draw) if draw.random() < 0.25 else names(draw, paths)}
    if draw.random() < 0.35:
        given["exclude_modules"] = expression(draw) if draw.random() < 0.4 else names(draw, paths)
    if isinstance(given["target_modules"], list) and draw.random() < 0.5:
        given["layers_to_transform"] = draw.choice([0, 1, 10, [0, 2], [1], []])
        if draw.random() < 0.4:
            given["layers_pattern"] = draw.choice(["layers", ["h", "layers"], "experts"])
    if draw.random() < 0.2:
        given["modules_to_save"] = [draw.choice(LEAVES)]
    if draw.random() < 0.6:
        given["rank_pattern"] = pattern(draw, paths)
    return given


def main():
    draw = random.Random(11)
    cases = []
    while len(cases) < 250:
        paths = tree(draw)
        given = settings(draw, paths)
        config = LoraConfig(**given)

        def chosen(path):
            found = check_target_module_exists(config, path)
            return bool(found) and not isinstance(found, _ExcludedModule)

        matched = [path for path in paths if chosen(path)]
        if not matched and draw.random() < 0.9:
            continue
        if any(chosen(path) for path in inner(paths)):
            continue
        ranks = {}
        for path in matched:
            key = get_pattern_key(config.rank_pattern.keys(), path)
            ranks[path] = config.rank_pattern.get(key, config.r)
        cases.append({"paths": paths, "config": given, "ranks": ranks})
    usual = {
        kind: chosen if isinstance(chosen, str) else sorted(chosen)
        for kind, chosen in sorted(TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.items())
    }
    lines = ",\n".join(json.dumps(case) for case in cases)
    print('{"usual": %s,\n"cases": [\n%s\n]}' % (json.dumps(usual), lines))


if __name__ == "__main__":
    main()
