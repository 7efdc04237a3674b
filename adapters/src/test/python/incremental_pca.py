"""Writes incremental_pca.json: what PEFT's IncrementalPCA knows after each of several batches.

    python adapters/src/test/python/incremental_pca.py adapters/src/test/resources/espalier/adapters/incremental_pca.json

Needs peft and torch. The decompositions are the exact ones; EVA's own calls of this class use randomised ones.
"""

import json
import sys

import torch
from peft.utils.incremental_pca import IncrementalPCA


def case(name, sizes, features, components, falling, seed):
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(features, features, generator=draw)).Q
    scales = falling ** torch.arange(features)
    pca = IncrementalPCA(n_components=components)
    batches = []
    for size in sizes:
        # the mean wanders from batch to batch, so that its shift counts
        rows = torch.randn(size, features, generator=draw) * scales @ basis.T + torch.randn(features, generator=draw)
        pca.partial_fit(rows)
        batches.append(
            {
                "rows": rows.tolist(),
                "components": pca.components_.tolist(),
                "singular_values": pca.singular_values_.tolist(),
                "explained_ratio": pca.explained_variance_ratio_.tolist(),
                "mean": pca.mean_.tolist(),
                "variance": pca.var_.tolist(),
            }
        )
    return {"name": name, "components": components, "batches": batches}


cases = [
    case("as many directions as are looked at", [9, 7, 11], 6, 3, 0.6, 1),
    case("more features than are looked at", [8, 5, 6], 14, 2, 0.5, 2),
    case("batches of hardly more rows than components", [5, 12, 4], 9, 4, 0.7, 3),
]
with open(sys.argv[1], "w") as out:
    json.dump(cases, out, separators=(",", ":"))
    out.write("\n")
