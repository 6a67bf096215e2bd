#!/usr/bin/env python3
"""Rows a CPU second, headsup against Python's XGBoost, of the same model and rows, in batches of 4,096, in turn.

    pip install xgboost-cpu==3.2.0 polars==2.1.0 numpy
    score.py EXAMPLE ROWS.parquet VERSION [rounds] [seconds]

EXAMPLE is the binary of models/examples/score.rs; ROWS.parquet what `headsup train` wrote beside the data; VERSION the
folder of the model that it made.
"""
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import polars
import xgboost

example, rows_file, version = sys.argv[1:4]
rounds, seconds = int(sys.argv[4]) if len(sys.argv) > 4 else 5, float(sys.argv[5]) if len(sys.argv) > 5 else 5.0
BATCH = 4_096
names = json.load(open(os.path.join(version, "manifest.json"), encoding="utf-8"))["features"]
rows = polars.read_parquet(rows_file, columns=names).cast(polars.Float64).fill_null(float("nan")).to_numpy()
rows = numpy.ascontiguousarray(rows[: BATCH * 16], dtype=numpy.float32)
batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
# One for each bag: the margin is their mean.
boosters = [xgboost.Booster(model_file=file) for file in sorted(glob.glob(os.path.join(version, "*.ubj")))]
for booster in boosters:
    booster.set_param({"nthread": 1})


def matrix(batch):
    data = xgboost.DMatrix(batch, feature_names=boosters[0].feature_names, nthread=1)
    return sum(booster.predict(data, output_margin=True) for booster in boosters) / len(boosters)


def inplace(batch):
    return sum(booster.inplace_predict(batch, predict_type="margin") for booster in boosters) / len(boosters)


def rate(predict):
    began, cpu, scored = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < seconds:
        for batch in batches:
            scored += len(predict(batch))
    return scored / (time.process_time() - cpu)


with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "rows.f32")
    rows.tofile(file)
    figures = {"headsup": [], "XGBoost, inplace_predict": [], "XGBoost, DMatrix": []}
    for _ in range(rounds):
        command = [example, os.path.join(version, "model.onnx"), file, str(seconds)]
        figures["headsup"].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        figures["XGBoost, inplace_predict"].append(rate(inplace))
        figures["XGBoost, DMatrix"].append(rate(matrix))
    margins = numpy.fromfile(file + ".margin", dtype=numpy.float32)
print(f"{len(rows)} rows of {len(names)} features, largest difference of margins "
      f"{numpy.abs(margins - numpy.concatenate([inplace(batch) for batch in batches])).max():.2e}")
for name, values in figures.items():
    print(f"{name:26} {statistics.median(values):12,.0f} rows a CPU second ({min(values):,.0f} to {max(values):,.0f})")
