#!/usr/bin/env python3
"""Cuts the sample in jobs/sources/tests/data out of Online Retail II.

    online_retail_sample.py FILE.parquet SAMPLE.parquet

Whole invoices of a few customers, and some invoices for each fault of the data.
"""
import sys

import duckdb

db = duckdb.connect()
db.execute("CREATE TABLE raw AS SELECT file_row_number AS place, * EXCLUDE (file_row_number) FROM read_parquet(?, file_row_number = true)", [sys.argv[1]])
db.execute(
    """
    CREATE TABLE sizes AS SELECT Invoice, count(*) AS n, any_value("Customer ID") AS customer FROM raw GROUP BY 1;
    CREATE TABLE wanted AS
    -- two customers with cancellations, all they ever did
    SELECT Invoice FROM raw WHERE "Customer ID" IN (
        SELECT customer FROM sizes WHERE customer IS NOT NULL GROUP BY 1
        HAVING count(*) BETWEEN 6 AND 9 AND sum(n) BETWEEN 40 AND 70 AND count(*) FILTER (Invoice LIKE 'C%') = 2
        ORDER BY customer LIMIT 2)
    UNION SELECT Invoice FROM raw WHERE Invoice LIKE 'A%'
    UNION (SELECT Invoice FROM raw JOIN sizes USING (Invoice) WHERE n < 4 GROUP BY 1 HAVING count(DISTINCT sheet) = 2 ORDER BY 1 LIMIT 6)
    UNION (SELECT Invoice FROM raw JOIN sizes USING (Invoice) WHERE Price = 0.001 AND n < 12 ORDER BY 1 LIMIT 3)
    UNION (SELECT Invoice FROM raw JOIN sizes USING (Invoice) WHERE regexp_matches(StockCode, '^[0-9]{5}[a-z]') AND n < 4 ORDER BY 1 LIMIT 2)
    UNION (SELECT Invoice FROM raw WHERE Quantity < 0 AND Invoice NOT LIKE 'C%' ORDER BY 1 LIMIT 3)
    UNION (SELECT Invoice FROM raw JOIN sizes USING (Invoice) WHERE Price = 0 AND customer IS NOT NULL AND n < 12 ORDER BY 1 LIMIT 2)
    UNION (SELECT Invoice FROM raw WHERE Invoice LIKE 'C%' AND Quantity > 0)
    UNION (SELECT Invoice FROM raw JOIN sizes USING (Invoice) WHERE Invoice LIKE 'C%' AND StockCode IN ('POST', 'D', 'BANK CHARGES') AND n < 4 ORDER BY 1 LIMIT 3)
    UNION (SELECT Invoice FROM raw JOIN sizes USING (Invoice) WHERE n < 30 GROUP BY 1 HAVING count(DISTINCT InvoiceDate) = 2 ORDER BY 1 LIMIT 2)
    UNION (SELECT Invoice FROM raw JOIN sizes USING (Invoice) WHERE n < 12 AND customer IS NOT NULL GROUP BY Invoice, StockCode, Quantity, Price, sheet
           HAVING count(*) = 2 ORDER BY 1 LIMIT 2)
    UNION (SELECT Invoice FROM sizes WHERE customer IS NULL AND n BETWEEN 3 AND 6 AND Invoice NOT LIKE 'C%' ORDER BY 1 LIMIT 2)
    """
)
db.execute(
    f"COPY (SELECT raw.* EXCLUDE (place) FROM raw SEMI JOIN wanted USING (Invoice) ORDER BY place) "
    f"TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION zstd)"
)
