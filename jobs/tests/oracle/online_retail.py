#!/usr/bin/env python3
"""The shop's orders and cancellations by month, by DuckDB from the raw Parquet.

    online_retail.py FILE.parquet OUT.csv    compute
    online_retail.py --sql                   print the query for `headsup sql`
    online_retail.py --compare OURS ORACLE   compare two such CSVs; exit code 1
                                             if they differ

Independent: it reads the published file itself and shares no code with the
importer. What both share are the rules, as the importer's documentation
(jobs/sources/src/online_retail.rs) gives them:

  - An invoice that is in both sheets is taken from the first.
  - Invoices A..., codes that are no goods, price 0 or less, quantity 0, negative
    quantities outside a cancellation and positive ones in it: left out.
  - A line is quantity x price, in pence, rounded half to even; an invoice the
    sum of its lines, at the first minute of them.
  - A cancellation (C...) belongs to the order that gets the most of its money,
    each line going to the same customer's latest earlier order with enough of
    the sku; `matched` counts those with such an order.
  - The month is that of the time in UTC. Times in the file are Europe/London.

Columns, one row for each month and type, and each type (`*`): month, type,
orders, customers, amount_minor, matched.
"""
import sys

from compare import compare

KEYS = ["month", "type"]
EXACT = ["orders", "customers", "amount_minor", "matched"]

# order_id of a cancellation that found no order is its own number, C...
HEADSUP_SQL = """
SELECT coalesce(month, '*') AS month, type, count(*) AS orders,
       count(DISTINCT customer_id) AS customers, sum(amount_minor) AS amount_minor,
       count(*) FILTER (WHERE type = 'order.cancelled' AND order_id NOT LIKE 'C%') AS matched
FROM (SELECT substr(CAST("at" AS VARCHAR), 1, 7) AS month, 'order.' || type AS type, customer_id, amount_minor, order_id
      FROM orders WHERE shop = 'online-retail' AND type IN ('placed', 'cancelled')) AS o
GROUP BY GROUPING SETS ((month, type), (type))
ORDER BY 1, 2
""".strip()


def compute(file, out):
    import duckdb

    db = duckdb.connect()
    db.execute(
        """
        CREATE TABLE lines AS
        WITH raw AS (
            SELECT upper(trim(Invoice)) AS invoice, upper(trim(StockCode)) AS sku, Quantity AS quantity,
                   InvoiceDate AS local, Price AS price, "Customer ID" AS customer, sheet
            FROM read_parquet(?)
        ), home AS (SELECT invoice, min(sheet) AS sheet FROM raw GROUP BY 1)
        SELECT raw.invoice, sku, abs(quantity) AS quantity, local,
               round_even(CAST(CAST(price AS VARCHAR) AS DECIMAL(18, 4)) * 100 * abs(quantity), 0)::BIGINT AS amount,
               coalesce(customer::VARCHAR, 'unknown-' || raw.invoice) AS customer,
               raw.invoice LIKE 'C%' AS cancels
        FROM raw JOIN home ON raw.invoice = home.invoice AND raw.sheet = home.sheet
        WHERE raw.invoice NOT LIKE 'A%' AND price > 0 AND quantity <> 0
          AND (quantity < 0) = (raw.invoice LIKE 'C%')
          AND sku NOT IN ('ADJUST', 'ADJUST2', 'AMAZONFEE', 'B', 'BANK CHARGES', 'C2', 'C3', 'CRUK', 'D', 'DOT',
                          'M', 'POST', 'POSTAGE', 'S', 'SAMPLES', 'TEST001', 'TEST002')
        """,
        [file],
    )
    db.execute(
        """
        CREATE TABLE invoices AS
        SELECT invoice, any_value(customer) AS customer, any_value(cancels) AS cancels,
               timezone('UTC', timezone('Europe/London', min(local))) AS utc, sum(amount)::BIGINT AS amount
        FROM lines GROUP BY invoice;
        -- Whether any line of a cancellation has an order to go to is whether the whole has one.
        CREATE TABLE bought AS
        SELECT customer, sku, invoice, sum(quantity) AS quantity FROM lines WHERE NOT cancels GROUP BY ALL;
        CREATE TABLE matched AS
        SELECT DISTINCT note.invoice
        FROM lines AS note
        JOIN invoices AS credit ON credit.invoice = note.invoice
        JOIN bought ON bought.customer = note.customer AND bought.sku = note.sku AND bought.quantity >= note.quantity
        JOIN invoices AS placed ON placed.invoice = bought.invoice AND placed.utc <= credit.utc
        WHERE note.cancels
        """
    )
    db.sql(
        """
        SELECT coalesce(strftime(utc, '%Y-%m'), '*') AS month,
               CASE WHEN cancels THEN 'order.cancelled' ELSE 'order.placed' END AS type,
               count(*) AS orders, count(DISTINCT customer) AS customers, sum(amount)::BIGINT AS amount_minor,
               count(*) FILTER (invoice IN (SELECT invoice FROM matched)) AS matched
        FROM invoices
        GROUP BY GROUPING SETS ((strftime(utc, '%Y-%m'), cancels), (cancels))
        ORDER BY 1, 2
        """
    ).df().to_csv(out, index=False)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--sql"]:
        print(HEADSUP_SQL)
    elif len(arguments) == 3 and arguments[0] == "--compare":
        sys.exit(compare(arguments[1], arguments[2], KEYS, EXACT, []))
    elif len(arguments) == 2 and not arguments[0].startswith("-"):
        compute(*arguments)
    else:
        sys.exit(__doc__)
