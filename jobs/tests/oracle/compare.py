"""Two CSVs of the same columns: integers equal, quantiles within the sketch."""
import csv
import sys

# The relative error of a log-bucket sketch of base 2^(1/32).
TOLERANCE = 0.011


def read(path, keys):
    with open(path, newline="", encoding="utf-8") as file:
        rows = {}
        for row in csv.DictReader(file):
            key = tuple(row[column] for column in keys)
            if key in rows:
                sys.exit(f"{path}: {' '.join(key)} is there twice")
            rows[key] = row
        return rows


def number(text):
    return None if text in ("", "NULL", "null", "NaN") else float(text)


def compare(ours_path, oracle_path, keys, exact, quantiles):
    """Prints every difference; answers the exit code, 1 if there is any."""
    ours, oracle = read(ours_path, keys), read(oracle_path, keys)
    differences, worst, compared = [], 0.0, 0
    for key in sorted(ours.keys() | oracle.keys()):
        name = " ".join(key)
        if key not in ours or key not in oracle:
            missing = "ours" if key not in ours else "the oracle's"
            differences.append(f"{name}: missing in {missing}")
            continue
        for column in exact + quantiles:
            if column not in ours[key] or column not in oracle[key]:
                missing = ours_path if column not in ours[key] else oracle_path
                sys.exit(f"{missing}: no column {column}")
            a, b = ours[key][column], oracle[key][column]
            compared += 1
            if column in exact:
                same = number(a) == number(b)
            elif number(a) is None or number(b) is None:
                same = number(a) == number(b)
            else:
                error = abs(number(a) - number(b)) / number(b) if number(b) else abs(number(a))
                worst = max(worst, error)
                same = error <= TOLERANCE
            if not same:
                differences.append(f"{name}: {column}: ours {a or 'nothing'}, oracle {b or 'nothing'}")
    for line in differences[:40]:
        print(line)
    if len(differences) > 40:
        print(f"... and {len(differences) - 40} more")
    verdict = f"{len(differences)} differ" if differences else "all equal"
    print(f"{len(oracle)} rows, {compared} values: {verdict}", end="")
    print(f"; largest error of a quantile {worst:.4%}" if quantiles else "")
    return 1 if differences else 0
