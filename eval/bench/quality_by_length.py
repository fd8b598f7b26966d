"""Errors of quality by length as estimated without judgements: `profile --by-length` against judged queries.

    python eval/bench/quality_by_length.py RESULTS

RESULTS is the folder of a finished run of `eval/suites/subjects-local.toml`, with its indexes. On each query set the
quality of every subnet is estimated from the texts of the queries and the passages alone, as `elasticdenser profile
--by-length` does. In each range of lengths that has enough
queries of the set, the estimate is compared with the retention that the judgements give, and so are the two values that
are known without an estimate: the retention of the model, and its retention by length.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from report import append_result, print_table

from elasticdenser import ElasticQueryEncoder, PassageIndex
from elasticdenser.engine.profiling.quality_by_length import estimate_by_length
from elasticdenser.models.manifest import retention_by_length_of, retention_of
from elasticdenser.retrieval.retriever import Retriever

SUBNETS = ("w1-d4", "w1-d3", "w1-d2", "w0.5-d3", "w0.25-d1", "level0")
MIN_QUERIES = 50
"""Queries of a set in a range of lengths for which retention is more than noise."""


def main() -> None:
    """Print and record the errors of the estimates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of the run")
    parser.add_argument("--encoder", default="elasticdenser/all-MiniLM-L6-v2", help="the encoder of the suite")
    parser.add_argument("--measure", default="nDCG@10")
    arguments = parser.parse_args()
    encoder = ElasticQueryEncoder.from_pretrained(arguments.encoder, download=False)
    results = json.loads((arguments.results / "results.json").read_text(encoding="utf-8"))
    subnet_of = {system["name"]: system["size"] for system in results["systems"]}
    rows = []
    for query_set in results["query_sets"]:
        values = {
            subnet_of[cell["system"]]: cell["values"][arguments.measure]
            for cell in results["cells"]
            if cell["query_set"] == query_set["name"]
        }
        (folder,) = (arguments.results / "indexes").glob(f"{query_set['name']}.*")
        retriever = Retriever(encoder, PassageIndex.open(folder))
        rows += rows_of(retriever, query_set["queries"], values, query_set["name"])
    print_table("Retention by length, judged and estimated", rows)
    columns = ("estimated", "of the model", "of the model by length")
    errors = [
        {"subnet": subnet, **{column: error(rows, subnet, column) for column in columns}}
        for subnet in (*SUBNETS, "all")
    ]
    print_table("Mean absolute error", errors)
    append_result("quality-by-length", {"measure": arguments.measure, "errors": errors, "rows": rows})


def rows_of(
    retriever: Retriever, queries: dict[str, str], values: dict[str, dict[str, float]], name: str
) -> list[dict[str, Any]]:
    """Return one row for each subnet and range of lengths."""
    folder = retriever.encoder.location.path
    retention, by_length = retention_of(folder), retention_by_length_of(folder)
    estimates = estimate_by_length(retriever, list(queries.values()), SUBNETS, k=10)
    full = values[str(retriever.encoder.full_subnet)]
    lengths = dict(zip(queries, retriever.encoder.count_tokens(list(queries.values())), strict=True))
    bounds = sorted(estimates["level0"])
    rows: list[dict[str, Any]] = []
    for below, max_tokens in zip([0, *bounds], bounds, strict=False):
        in_range = [query for query in full if below < lengths[query] <= max_tokens]
        if len(in_range) < MIN_QUERIES or not sum(full[query] for query in in_range):
            continue
        for subnet in SUBNETS:
            of_model = by_length.get(subnet, {})
            nearest = next((share for bound, share in sorted(of_model.items()) if bound >= max_tokens), np.nan)
            rows.append(
                {
                    "query set": name,
                    "max tokens": max_tokens,
                    "queries": len(in_range),
                    "subnet": subnet,
                    "judged": sum(values[subnet][query] for query in in_range) / sum(full[query] for query in in_range),
                    "estimated": estimates[subnet][max_tokens],
                    "of the model": retention[subnet],
                    "of the model by length": nearest,
                }
            )
    return rows


def error(rows: list[dict[str, Any]], subnet: str, column: str) -> float:
    """Return the mean absolute difference of a column to the judged retention."""
    return fmean(abs(row[column] - row["judged"]) for row in rows if subnet in (row["subnet"], "all"))


if __name__ == "__main__":
    main()
