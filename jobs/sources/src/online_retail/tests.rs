//! Hand-made lines for every rule, the sample against the oracle's figures, and
//! the whole file if it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use expect_test::{Expect, expect};
use serde_json::Value;

use super::*;

/// Maps lines written as `invoice sku quantity time price customer sheet`, the
/// time as `2010-12-01T08:26`, `-` for no customer; answers the events and the
/// account.
fn check(lines: &str, expect: Expect) {
    let mut reading = Reading::default();
    for (at, line) in lines.lines().enumerate() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let time: jiff::civil::DateTime = fields[3].parse().unwrap();
        let local = TimeZone::UTC.to_timestamp(time).unwrap();
        let row = Row {
            invoice: Some(fields[0]),
            sku: Some(fields[1]),
            quantity: Some(fields[2].parse().unwrap()),
            local_us: Some(local.as_microsecond()),
            price: Some(fields[4].parse().unwrap()),
            customer: fields[5].parse().ok(),
            country: None,
            sheet: fields[6],
        };
        reading.line(Path::new("f"), at as u64 + 1, 0, &row);
    }
    let (invoices, summary) = reading.finish();
    summary.check();
    let mut text = String::new();
    for invoice in &invoices {
        let ranks: &[u8] = match invoice.kind {
            Kind::Order => &[PLACED, PAID],
            Kind::Cancellation { .. } => &[CANCELLED],
        };
        for rank in ranks {
            let event = render(invoice, invoice.time_ms, *rank);
            let json: Value = serde_json::from_str(&event.json).unwrap();
            let [time, kind, subject] = ["time", "type", "subject"].map(|name| json[name].as_str().unwrap());
            let amount = &json["data"]["amount_minor"];
            let lines = json["data"].get("lines").map_or(String::new(), |lines| {
                lines
                    .to_string()
                    .replace('"', "")
                    .replace("quantity:", "")
                    .replace("sku:", "")
                    .replace("unit_minor:", "")
            });
            text += &format!("{time} {kind} {subject} {} {amount} {lines}\n", event.key);
        }
    }
    for (what, n) in &summary.set_aside {
        text += &format!("aside {n}: {what}\n");
    }
    for (what, n) in &summary.noted {
        text += &format!("noted {n}: {what}\n");
    }
    expect.assert_eq(&text);
}

#[test]
fn lines_become_orders_in_local_time() {
    check(
        "536365 85123a 6 2010-12-01T08:26 2.55 17850 A
         536365 71053 6 2010-12-01T08:27 3.39 17850 A
         536365 71053 6 2010-12-01T08:27 3.39 17850 A
         540000 22423 1 2011-06-01T09:00 12.75 - A",
        expect![[r#"
            2010-12-01T08:26:00Z order.placed 536365 17850 5598 [{6,85123A,255},{6,71053,339},{6,71053,339}]
            2010-12-01T08:26:00Z order.paid 536365 17850 5598 
            2011-06-01T08:00:00Z order.placed 540000 unknown-540000 1275 [{1,22423,1275}]
            2011-06-01T08:00:00Z order.paid 540000 unknown-540000 1275 
            noted 1: no customer: an id of the invoice's own
            noted 2: stamped another minute than its invoice's first line
            noted 1: stock code in lower case: the same sku as in capitals
            noted 1: the same line again within its invoice: kept
        "#]],
    );
}

#[test]
fn a_cancellation_goes_to_the_latest_order_that_fits() {
    // Order 3 has too few, order 4 is another customer's, order 5 is later.
    check(
        "1 A 10 2010-01-01T09:00 1 7 A
         2 A 5 2010-01-02T09:00 1 7 A
         2 A 5 2010-01-02T09:00 1 7 A
         3 A 2 2010-01-03T09:00 1 7 A
         4 A 50 2010-01-04T09:00 1 8 A
         C9 A -8 2010-01-05T09:00 1 7 A
         5 A 50 2010-01-06T09:00 1 7 A
         C10 B2 -8 2010-01-07T09:00 1 7 A",
        expect![[r#"
            2010-01-01T09:00:00Z order.placed 1 7 1000 [{10,A,100}]
            2010-01-01T09:00:00Z order.paid 1 7 1000 
            2010-01-02T09:00:00Z order.placed 2 7 1000 [{5,A,100},{5,A,100}]
            2010-01-02T09:00:00Z order.paid 2 7 1000 
            2010-01-03T09:00:00Z order.placed 3 7 200 [{2,A,100}]
            2010-01-03T09:00:00Z order.paid 3 7 200 
            2010-01-04T09:00:00Z order.placed 4 8 5000 [{50,A,100}]
            2010-01-04T09:00:00Z order.paid 4 8 5000 
            2010-01-05T09:00:00Z order.cancelled 2 7 800 [{8,A,100}]
            2010-01-06T09:00:00Z order.placed 5 7 5000 [{50,A,100}]
            2010-01-06T09:00:00Z order.paid 5 7 5000 
            2010-01-07T09:00:00Z order.cancelled C10 7 800 [{8,B2,100}]
            noted 1: cancels no order that is there: subject is itself
            noted 1: the same line again within its invoice: kept
        "#]],
    );
}

#[test]
fn the_rest_is_set_aside_with_its_reason() {
    check(
        "1 A 1 2010-12-01T09:00 1 7 first
         1 A 1 2010-12-01T09:00 1 7 second
         A1 B 1 2010-12-01T09:00 -53594.36 - first
         2 post 1 2010-12-01T09:00 18 7 first
         C3 D -1 2010-12-01T09:00 18 7 first
         4 A -9600 2010-12-01T09:00 0 - first
         5 A 3 2010-12-01T09:00 0 - first
         6 A 0 2010-12-01T09:00 1 - first
         C7 A 1 2010-12-01T09:00 373.57 - first
         8 A 1 2010-12-01T09:00 -1 - first
         X9 A 1 2010-12-01T09:00 1 - first
         10 A 1 2010-12-01T09:00 NaN - first
         11 A 9999999999999 2010-12-01T09:00 1 - first",
        expect![[r#"
            2010-12-01T09:00:00Z order.placed 1 7 100 [{1,A,100}]
            2010-12-01T09:00:00Z order.paid 1 7 100 
            aside 1: bad debt adjustment (invoice A…)
            aside 1: negative quantity outside a cancellation
            aside 1: not an invoice number
            aside 1: positive quantity in a cancellation
            aside 1: price 0
            aside 2: price below 0 or beyond belief
            aside 1: quantity 0
            aside 1: quantity beyond belief
            aside 1: second copy of an invoice, in another sheet or file
            aside 2: the code is no goods
        "#]],
    );
}

#[test]
fn money_is_rounded_once_and_exactly() {
    assert_eq!(pence(2.55, 1), Some(255));
    assert_eq!(pence(1.005, 1), Some(100), "half to even, of what was written");
    assert_eq!(pence(1.015, 1), Some(102));
    assert_eq!(pence(0.001, 1), Some(0));
    assert_eq!(pence(0.001, 15), Some(2), "1.5 pence");
    assert_eq!(pence(0.001, 25), Some(2), "2.5 pence");
    assert_eq!(pence(0.1, 80_995), Some(809_950));
    assert_eq!(pence(38_970.0, 1), Some(3_897_000));
    assert_eq!(pence(1e-300, 1), None, "more digits than any price has");
    assert_eq!(pence(-0.01, 1), None);
    assert_eq!(pence(f64::NAN, 1), None);
}

#[test]
fn one_event_in_full() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/online_retail_sample.parquet");
    let (mut events, _) = read(&[sample], &mut |_, _| {}).unwrap();
    let event = events.find(|event| event.json.contains("order.cancelled")).unwrap();
    assert_eq!(event.topic, "orders");
    expect![[r#"{"specversion":"1.0","id":"C489538:order.cancelled","source":"/online-retail","type":"order.cancelled","subject":"C489538","time":"2009-12-01T12:18:00Z","recordedtime":"2009-12-01T12:18:00Z","data":{"customer_id":"15796","shop":"online-retail","channel":"web","actor":"customer","cancellation_id":"C489538","amount_minor":2700,"currency":"GBP","country":"United Kingdom","lines":[{"sku":"22183","quantity":4,"unit_minor":675}]}}"#]].assert_eq(&event.json);
}

/// The oracle's table: month and type (each month, and `*`) to orders, customers,
/// amount, matched.
type Table = BTreeMap<(String, String), [i64; 4]>;

fn table(paths: &[PathBuf]) -> (Table, Summary) {
    let (events, summary) = read(paths, &mut |_, _| {}).unwrap();
    let mut table = Table::new();
    let mut customers = BTreeSet::new();
    let mut last = i64::MIN;
    for event in events {
        assert!(event.time_ms >= last);
        last = event.time_ms;
        let json: Value = serde_json::from_str(&event.json).unwrap();
        let kind = json["type"].as_str().unwrap();
        if kind == "order.paid" {
            continue;
        }
        let matched = kind == "order.cancelled" && !json["subject"].as_str().unwrap().starts_with('C');
        for month in [&json["time"].as_str().unwrap()[..7], "*"] {
            let key = (month.to_owned(), kind.to_owned());
            let row = table.entry(key.clone()).or_default();
            row[0] += 1;
            row[1] += i64::from(customers.insert((key, event.key.clone())));
            row[2] += json["data"]["amount_minor"].as_i64().unwrap();
            row[3] += i64::from(matched);
        }
    }
    (table, summary)
}

#[test]
fn the_sample_equals_what_the_oracle_says() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let sample = data.join("online_retail_sample.parquet");
    let (ours, summary) = table(std::slice::from_ref(&sample));
    let oracle = fs::read_to_string(data.join("online_retail_sample.oracle.csv")).unwrap();
    let oracle: Table = oracle
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let numbers = [2, 3, 4, 5].map(|at| fields[at].parse().unwrap());
            ((fields[0].to_owned(), fields[1].to_owned()), numbers)
        })
        .collect();
    assert_eq!(ours, oracle);
    expect![[r#"
        rows read                                                          231
        rows mapped                                                        195
        rows set aside                                                      36
          bad debt adjustment (invoice A…)                                   6
          negative quantity outside a cancellation                           3
          price 0                                                            3
          second copy of an invoice, in another sheet or file                6
          the code is no goods                                              18
        events                                                              55
          order.cancelled                                                    3
          order.paid                                                        26
          order.placed                                                      26
        mapped, but dubious (rows)
          cancels no order that is there: subject is itself                  1
          no customer: an id of the invoice's own                           11
          stamped another minute than its invoice's first line              20
          stock code in lower case: the same sku as in capitals              2
          the same line again within its invoice: kept                       2
        for example
          F/online_retail_sample.parquet:1: negative quantity outside a cancellation: Invoice 489464, StockCode 21733, Quantity -96, Price 0
          F/online_retail_sample.parquet:2: negative quantity outside a cancellation: Invoice 489463, StockCode 71477, Quantity -240, Price 0
          F/online_retail_sample.parquet:3: negative quantity outside a cancellation: Invoice 489467, StockCode 85123A, Quantity -192, Price 0
          F/online_retail_sample.parquet:4: the code is no goods: Invoice C489535, StockCode D
          F/online_retail_sample.parquet:5: the code is no goods: Invoice C489535, StockCode D
          F/online_retail_sample.parquet:7: the code is no goods: Invoice C489538, StockCode POST
          F/online_retail_sample.parquet:28: price 0: Invoice 489825, StockCode 22076, Quantity 12, Price 0
          F/online_retail_sample.parquet:51: price 0: Invoice 490961, StockCode 22065, Quantity 1, Price 0
          F/online_retail_sample.parquet:52: price 0: Invoice 490961, StockCode 22142, Quantity 12, Price 0
          F/online_retail_sample.parquet:92: bad debt adjustment (invoice A…): Invoice A506401
          F/online_retail_sample.parquet:93: bad debt adjustment (invoice A…): Invoice A516228
          F/online_retail_sample.parquet:99: bad debt adjustment (invoice A…): Invoice A528059
          F/online_retail_sample.parquet:135: second copy of an invoice, in another sheet or file: Invoice 536369 in sheet "Year 2010-2011"
          F/online_retail_sample.parquet:136: second copy of an invoice, in another sheet or file: Invoice 536371 in sheet "Year 2010-2011"
          F/online_retail_sample.parquet:137: second copy of an invoice, in another sheet or file: Invoice 536374 in sheet "Year 2010-2011"
    "#]].assert_eq(&summary.to_string().replace(data.to_str().unwrap(), "F"));

    let (twice, summary) = table(&[sample.clone(), sample]);
    assert_eq!(ours, twice, "a file given twice adds nothing");
    assert_eq!(summary.rows_read, 2 * 231);
}

#[test]
fn what_is_no_such_file_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("retail.parquet");
    let message = || {
        let error = read(std::slice::from_ref(&path), &mut |_, _| {}).err().unwrap();
        error.to_string().replace(folder.path().to_str().unwrap(), "F")
    };
    assert!(message().starts_with("cannot read F/retail.parquet: "));
    fs::write(&path, "Invoice,StockCode\n").unwrap();
    expect!["cannot import F/retail.parquet as online-retail: start: not a Parquet file; give Online Retail II as Parquet, with the columns of the published sheets"]
        .assert_eq(&message());
    fs::write(&path, "PAR1 and then nothing").unwrap();
    assert!(message().starts_with("cannot read F/retail.parquet: "));
}

#[test]
fn all_of_it_equals_what_the_oracle_says() {
    let Some(folder) = std::env::var_os("HEADSUP_TEST_DATA") else {
        eprintln!("skipped: HEADSUP_TEST_DATA does not name the data folder");
        return;
    };
    let path = PathBuf::from(folder).join("online_retail/online_retail_II.parquet");
    let (ours, summary) = table(&[path]);
    eprintln!("{summary}");
    assert_eq!(summary.rows_read, 1_067_370);
    assert_eq!(summary.set_aside["second copy of an invoice, in another sheet or file"], 22_523);
    let total = |kind: &str| ours[&("*".to_owned(), kind.to_owned())];
    // From jobs/tests/oracle/online_retail.py, rows `*`.
    assert_eq!(total("order.placed"), [39_516, 8_774, 1_970_271_061, 0]);
    assert_eq!(total("order.cancelled"), [7_407, 2_569, 71_976_250, 6_769]);
}
