#!/usr/bin/env python3
"""A model of headsup in Python: its rows with Polars or DuckDB, its ONNX with onnxruntime.

    pip install polars duckdb onnxruntime
    headsup train order_return                # writes the rows beside the data, the model into its registry
    model.py headsup-data/order_return.rows.parquet headsup-data/models/order_return/VERSION

A row of Parquet is a customer at a time: what was known then, and the label (empty if it cannot be
known yet). The model names its features in the order in which it takes them.
"""
import json
import os
import sys

import duckdb
import numpy
import onnxruntime
import polars

rows_file, version = sys.argv[1], sys.argv[2]
manifest = json.load(open(os.path.join(version, "manifest.json"), encoding="utf-8"))

# 1. Rows: those of the test with Polars, and a look at them in SQL with DuckDB.
test_from = manifest["data"]["test"]["from"]
rows = (
    polars.read_parquet(rows_file)
    .filter(polars.col("as_of").dt.strftime("%Y-%m-%d") >= test_from, polars.col("label").is_not_null())
    .sort("as_of", "customer_id")
)
print(duckdb.sql(
    "SELECT as_of, count(*) AS customers, avg(label::INTEGER) AS rate FROM read_parquet(?) "
    "WHERE strftime(as_of, '%Y-%m-%d') >= ? AND label IS NOT NULL GROUP BY as_of ORDER BY as_of",
    params=[rows_file, test_from],
))

# 2. Probabilities. Missing values are NaN; truth values 0 and 1.
session = onnxruntime.InferenceSession(os.path.join(version, "model.onnx"), providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["features"])
assert names == manifest["features"]
features = rows.select(polars.col(names).cast(polars.Float64).fill_null(float("nan"))).to_numpy().astype(numpy.float32)
margin, probability = session.run(["margin", "probability"], {"features": features})
probability = probability.ravel().astype(float)

# 3. Figures, by hand: whoever has the label ranks above whoever has not (ties half), and the Brier score.
label = rows["label"].to_numpy().astype(bool)
ranks = polars.Series(probability).rank("average").to_numpy()
positives = label.sum()
auroc = (ranks[label].sum() - positives * (positives + 1) / 2) / (positives * (len(label) - positives))
brier = numpy.mean((probability - label) ** 2)
print(f"{len(label)} rows, AUROC {auroc:.6f}, Brier {brier:.6f}")

# 4. The same as headsup said when it trained.
for name, value in [("auroc", auroc), ("brier", brier)]:
    said = manifest["metrics"][name]
    assert abs(said - value) < 1e-6, f"{name}: {value}, but the manifest says {said}"
print("as in the manifest")
