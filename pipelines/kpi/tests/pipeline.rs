//! The operators together: the same events give the same bits, however they come.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, TimestampMicrosecondArray, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headsup_events::{Chunk, Decoder, Limits};
use headsup_kpi::{
    Kpi, KpiPartials, KpiWindows, Merge, Merged, Settings, Share, ShareRecord, ShareSays, tick_of,
};
use headsup_operators::facts::Table;
use headsup_operators::{ContactLimits, FollowLimits, Pipeline, PipelineConfig, Windows};
use headsup_sources::simulate::{Config, Simulator};
use headsup_stream::Accounting;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "pipeline/golden.rs"]
mod golden;

/// Long after all events.
const APPENDED_AT_MS: i64 = 4_000_000_000_000;

fn kpis() -> Vec<Arc<Kpi>> {
    kpis_with(&Settings::default())
}

fn kpis_with(settings: &Settings) -> Vec<Arc<Kpi>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/kpis");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("sql/kpis").map(|e| e.expect("entry").path()).collect();
    files.sort();
    let kpi = |file: std::path::PathBuf| {
        let name = file.file_stem().expect("name").to_string_lossy().into_owned();
        let sql = std::fs::read_to_string(&file).expect("readable");
        let kpi = Kpi::parse_with(&file.display().to_string(), &name, &sql, settings);
        Arc::new(kpi.unwrap_or_else(|e| panic!("{e}")))
    };
    files.into_iter().map(kpi).collect()
}

/// A simulated morning: time, customer, JSON.
fn events() -> Vec<(i64, String, String)> {
    let config = Config { customers: 1_500, days: 1, truth: false, ..Config::default() };
    let simulator = Simulator::new(config).expect("a world");
    let mut events: Vec<_> = simulator.map(|event| (event.time_ms, event.key, event.json)).collect();
    let middle = events[events.len() / 2].0;
    events.retain(|(time, ..)| *time < middle);
    assert!(events.len() > 1_000, "{}", events.len());
    events
}

struct Result {
    /// Final rows of all KPIs, as text, sorted.
    rows: Vec<String>,
    /// All rows in order, with their revisions.
    history: Vec<String>,
    facts: BTreeMap<Table, Vec<RecordBatch>>,
    accounting: Accounting,
}

fn text(kpi: &str, batch: &RecordBatch, row: usize, columns: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let cells: Vec<String> = (0..columns)
        .map(|column| {
            ArrayFormatter::try_new(batch.column(column), &options).expect("formats").value(row).to_string()
        })
        .collect();
    format!("{kpi} {}", cells.join(" "))
}

/// Runs the pipeline over partitions of lines, `cut` lines a batch, the partitions
/// in turn.
fn run(kpis: &[Arc<Kpi>], partitions: &[Vec<&str>], cut: usize) -> Result {
    run_storing(kpis, partitions, cut, &Table::ALL)
}

fn run_storing(kpis: &[Arc<Kpi>], partitions: &[Vec<&str>], cut: usize, store: &[Table]) -> Result {
    let (result, refused) = run_refusing(kpis, partitions, cut, store, usize::MAX);
    assert_eq!(refused, 0);
    result
}

/// Also how many facts came for final windows only. After every `lives` rounds of batches
/// the pipeline is saved, and another one goes on.
fn run_refusing(
    kpis: &[Arc<Kpi>],
    partitions: &[Vec<&str>],
    cut: usize,
    store: &[Table],
    lives: usize,
) -> (Result, u64) {
    run_with(kpis, partitions, cut, store, lives, true)
}

/// The same, with agents followed or not: shares cannot.
fn run_with(
    kpis: &[Arc<Kpi>],
    partitions: &[Vec<&str>],
    cut: usize,
    store: &[Table],
    lives: usize,
    agents: bool,
) -> (Result, u64) {
    let config = PipelineConfig {
        partitions: partitions.len(),
        disorder_ms_max: 2_000,
        lateness_ms_max: 600_000,
        contacts: ContactLimits::default(),
        queue_tick_ms: 10_000,
        queue_over_ms: 120_000,
        follow: FollowLimits::default(),
        agents,
        quiet_until_ms: kpis.first().map_or(i64::MIN, |kpi| kpi.from_ms),
        store: store.to_vec(),
        profile: false,
    };
    let fresh = || {
        let windows = kpis.iter().map(|kpi| Box::new(KpiWindows::new(kpi.clone())) as Box<dyn Windows>);
        Pipeline::new(config.clone(), windows.collect())
    };
    let mut pipeline = fresh();
    let mut decoder = Decoder::new(Limits::default(), Pipeline::columns());
    let mut result =
        Result { rows: vec![], history: vec![], facts: BTreeMap::new(), accounting: Accounting::default() };
    let mut take = |output: headsup_operators::Output| {
        for (table, batch) in output.facts {
            result.facts.entry(table).or_default().push(batch);
        }
        for (place, batch) in output.rows {
            let is_final = batch.column(batch.num_columns() - 2).clone();
            let is_final = arrow::array::AsArray::as_boolean(&is_final);
            for row in 0..batch.num_rows() {
                let name = &kpis[place].name;
                result.history.push(text(name, &batch, row, batch.num_columns()));
                if is_final.value(row) {
                    result.rows.push(text(name, &batch, row, batch.num_columns() - 3));
                }
            }
        }
    };
    let longest = partitions.iter().map(Vec::len).max().unwrap_or(0);
    for (round, begin) in (0..longest).step_by(cut).enumerate() {
        if round % lives == lives - 1 {
            let saved = pipeline.save().pack().expect("saved");
            pipeline = fresh();
            pipeline.restore(&saved, u32::MAX).expect("restored");
            assert_eq!(pipeline.save().pack().expect("saved").len(), saved.len());
            for (place, lines) in partitions.iter().enumerate() {
                if begin >= lines.len() {
                    pipeline.end(place);
                }
            }
        }
        for (place, lines) in partitions.iter().enumerate() {
            let part = &lines[begin.min(lines.len())..(begin + cut).min(lines.len())];
            if !part.is_empty() {
                let chunk = Chunk::of_lines(&part.join("\n"), begin as u64, APPENDED_AT_MS);
                let decoded = decoder.decode(&chunk);
                let quarantined = decoded.quarantined.len() as u64;
                pipeline.push(place, decoded, quarantined);
            }
            if begin + cut >= lines.len() {
                pipeline.end(place);
            }
        }
        take(pipeline.advance().expect("KPIs evaluate"));
    }
    take(pipeline.advance().expect("KPIs evaluate"));
    for accounting in pipeline.accounting() {
        result.accounting += accounting;
    }
    assert_eq!(result.accounting.pending(), 0, "{}", result.accounting);
    result.rows.sort();
    (result, pipeline.refused().map(|(_, refused)| refused).sum())
}

fn by_customer(events: &[(i64, String, String)], partitions: usize) -> Vec<Vec<&str>> {
    let mut parts = vec![Vec::new(); partitions];
    for (_, key, json) in events {
        let place = key.bytes().fold(7usize, |h, b| h.wrapping_mul(31).wrapping_add(b.into())) % partitions;
        parts[place].push(json.as_str());
    }
    parts
}

fn shuffled(events: &[(i64, String, String)], seed: u64) -> Vec<(i64, String, String)> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut keyed: Vec<_> =
        events.iter().map(|event| (event.0 + dice.random_range(0..2_000), event.clone())).collect();
    keyed.sort_by_key(|(at, _)| *at);
    let shuffled: Vec<_> = keyed.into_iter().map(|(_, event)| event).collect();
    assert_ne!(shuffled, events);
    shuffled
}

#[test]
fn the_same_events_give_the_same_bits() {
    let kpis = kpis();
    let events = events();
    let one = run(&kpis, &by_customer(&events, 1), usize::MAX >> 1);
    assert!(one.rows.len() > 1_000, "{}", one.rows.len());
    assert_eq!(one.accounting.applied, events.len() as u64);

    let many = run(&kpis, &by_customer(&events, 1), events.len() / 1_000 + 1);
    assert_eq!(one.rows, many.rows, "1,000 batches");
    assert_eq!(one.history, many.history, "1,000 batches, with early values and revisions");

    let unstored = run_storing(&kpis, &by_customer(&events, 1), 1_000, &[]);
    assert_eq!(one.history, unstored.history, "facts only with the columns that KPIs read");

    let eight = run(&kpis, &by_customer(&events, 8), 50);
    assert_eq!(one.rows, eight.rows, "8 partitions");
    assert_eq!(one.history, eight.history, "8 partitions, with early values and revisions");

    for seed in 0..3 {
        let shuffled = shuffled(&events, seed);
        let disordered = run(&kpis, &by_customer(&shuffled, 1), 100);
        assert_eq!(one.history, disordered.history, "shuffled with seed {seed}");
        let both = run(&kpis, &by_customer(&shuffled, 8), 13);
        assert_eq!(one.history, both.history, "shuffled with seed {seed}, 8 partitions");
        assert_eq!(both.accounting.late, 0);
    }
}

#[test]
fn copies_change_nothing() {
    let kpis = kpis();
    let events = events();
    let once = run(&kpis, &by_customer(&events, 2), 100);
    let mut dice = ChaCha8Rng::seed_from_u64(9);
    let mut twice: Vec<_> = events.iter().map(|event| (event.0, event.clone())).collect();
    let copies: Vec<_> = events
        .iter()
        .step_by(3)
        .map(|event| (event.0 + dice.random_range(0..500_000), event.clone()))
        .collect();
    let count = copies.len() as u64;
    twice.extend(copies);
    twice.sort_by_key(|(at, _)| *at);
    let twice: Vec<_> = twice.into_iter().map(|(_, event)| event).collect();
    let run_twice = run(&kpis, &by_customer(&twice, 2), 100);
    assert_eq!(once.history, run_twice.history);
    assert_eq!(run_twice.accounting.duplicate, count);
}

#[test]
fn batch_over_the_facts_is_the_stream() {
    let kpis = kpis();
    let events = events();
    let live = run(&kpis, &by_customer(&events, 4), 200);
    assert_eq!(live.rows, batch(&kpis, &live.facts));
}

/// Final rows over all facts at once.
fn batch(kpis: &[Arc<Kpi>], facts: &BTreeMap<Table, Vec<RecordBatch>>) -> Vec<String> {
    let mut rows = Vec::new();
    for kpi in kpis {
        let mut windows = KpiWindows::new(kpi.clone());
        // In another order than they came: last batch first.
        for (table, batches) in facts {
            for batch in batches.iter().rev() {
                windows.absorb(i64::MIN, *table, batch).expect("evaluates");
            }
        }
        let mut batches = Vec::new();
        windows.finish(&mut batches).expect("evaluates");
        for batch in &batches {
            rows.extend(
                (0..batch.num_rows()).map(|row| text(&kpi.name, batch, row, batch.num_columns() - 3)),
            );
        }
    }
    rows.sort();
    rows
}

#[test]
fn from_a_time_on_there_are_the_same_windows_and_none_before() {
    let events = events();
    // No multiple of any window.
    let from_ms = events[events.len() / 2].0 + 1_234;
    let settings = Settings { from_ms: Some(from_ms), ..Settings::default() };
    let (all, some) = (kpis(), kpis_with(&settings));
    let partitions = by_customer(&events, 4);
    let whole = run(&all, &partitions, 200);
    let live = run(&some, &partitions, 200);
    let begins = |row: &&String| {
        let start = row.split(' ').nth(1).expect("a start").trim_end_matches('Z');
        headsup_events::parse_rfc3339_ms(&format!("{start}Z")).expect("a time") >= from_ms
    };
    let expected: Vec<String> = whole.rows.iter().filter(begins).cloned().collect();
    assert!(expected.len() > 1_000 && expected.len() < whole.rows.len() - 1_000);
    assert_eq!(live.rows, expected);
    assert_eq!(batch(&some, &live.facts), live.rows);
    // The facts are the same, in fewer batches.
    for (table, batches) in &whole.facts {
        let whole = concat_batches(&table.schema(), batches).expect("of one table");
        assert_eq!(concat_batches(&table.schema(), &live.facts[table]).expect("of one table"), whole);
        assert!(live.facts[table].len() < batches.len());
    }
    let (one, _) = run_with(&some, &partitions, 100, &[], usize::MAX, false);
    let mut expected = one.history;
    expected.sort();
    assert!(merged(&some, shares_say(&some, &partitions, 2, 100), 1) == expected);
}

/// A rating of a conversation of its own.
fn rating(time: &str, shop: &str, score: u8) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{time}","source":"/web/{shop}","type":"conversation.rated","subject":"c-{time}","time":"2026-03-02T{time}Z","data":{{"customer_id":"u","shop":"{shop}","channel":"web","score":{score}}}}}"#
    )
}

#[test]
fn a_window_shows_what_is_new_and_at_last_everything() {
    let sql = "-- title: Scores
-- unit: points
-- corrections: 2 minutes
-- early: 20 seconds
SELECT tumble(rated_at, INTERVAL '1 minute') AS period, shop, count(*) AS ratings, sum(score) AS points
FROM ratings GROUP BY GROUPING SETS ((period), (period, shop))";
    let kpis = [Arc::new(Kpi::parse("scores.sql", "scores", sql).unwrap_or_else(|e| panic!("{e}")))];
    let lines = [
        rating("00:00:05", "a", 5),
        rating("00:00:30", "b", 3),
        rating("00:01:30", "c", 1),
        // Behind the watermark by 38 s: a correction.
        rating("00:00:50", "a", 4),
        // The first window is final, and the second, which nothing corrected.
        rating("00:04:10", "b", 2),
        // Final windows take nothing: it is counted, and in no row.
        rating("00:00:55", "b", 1),
    ];
    let partitions = [lines.iter().map(String::as_str).collect()];
    let (result, refused) = run_refusing(&kpis, &partitions, 1, &[], usize::MAX);
    let expected = "
        scores 00:00 00:01  NULL 1 5 1 false 00:00:20
        scores 00:00 00:01 shop a 1 5 1 false 00:00:20
        scores 00:00 00:01  NULL 2 8 2 false 00:00:40
        scores 00:00 00:01 shop b 1 3 2 false 00:00:40
        scores 00:00 00:01  NULL 3 12 3 false 00:01:40
        scores 00:00 00:01 shop a 2 9 3 false 00:01:40
        scores 00:01 00:02  NULL 1 1 1 false 00:01:40
        scores 00:01 00:02 shop c 1 1 1 false 00:01:40
        scores 00:00 00:01  NULL 3 12 4 true 00:03:00
        scores 00:00 00:01 shop a 2 9 4 true 00:03:00
        scores 00:00 00:01 shop b 1 3 4 true 00:03:00
        scores 00:01 00:02  NULL 1 1 2 true 00:04:00
        scores 00:01 00:02 shop c 1 1 2 true 00:04:00
        scores 00:04 00:05  NULL 1 2 1 false 00:04:20
        scores 00:04 00:05 shop b 1 2 1 false 00:04:20
        scores 00:04 00:05  NULL 1 2 2 true 00:07:00
        scores 00:04 00:05 shop b 1 2 2 true 00:07:00";
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    let short = |row: &String| row.replace("2026-03-02T", "").replace("Z", "").replace(":00 ", " ");
    assert_eq!(result.history.iter().map(short).collect::<Vec<_>>(), expected);
    assert_eq!(refused, 1);
    // A new life after every event.
    let (again, refused) = run_refusing(&kpis, &partitions, 1, &[], 1);
    assert_eq!(again.history, result.history);
    assert_eq!(refused, 1);
}

#[test]
fn a_saved_state_goes_on_as_if_nothing_had_happened() {
    let kpis = kpis();
    let events = shuffled(&events(), 4);
    let mut copies = events.clone();
    copies.extend(events.iter().step_by(7).cloned());
    copies.sort_by_key(|event| event.0);
    let partitions = by_customer(&copies, 3);
    let one = run(&kpis, &partitions, 40);
    for lives in [1, 7] {
        let (many, refused) = run_refusing(&kpis, &partitions, 40, &Table::ALL, lives);
        assert_eq!(one.history, many.history, "a new life every {lives} batches");
        assert_eq!(one.accounting, many.accounting);
        assert_eq!(refused, 0);
        for table in Table::ALL {
            let rows = |result: &Result| {
                let batches = result.facts.get(&table).map_or(&[][..], Vec::as_slice);
                let texts = batches.iter().flat_map(|batch| {
                    (0..batch.num_rows()).map(|row| text(table.name(), batch, row, batch.num_columns()))
                });
                texts.collect::<Vec<_>>()
            };
            assert!(rows(&one) == rows(&many), "facts of {}", table.name());
        }
    }
}

/// One wrong clock, 1 % of records that are no events, 5 % of copies, 20 % of events that come
/// a quarter of an hour late: each is counted, and the KPIs are those of the rest.
#[test]
fn poison_is_counted_and_changes_nothing_else() {
    let kpis = kpis();
    let events = events();
    let mut dice = ChaCha8Rng::seed_from_u64(3);
    let (mut coming, mut copies) = (Vec::new(), 0);
    for event in &events {
        let (time_ms, key, json) = event;
        // The time at which it comes, and the time it has.
        let delay_ms = if dice.random_range(0..5) == 0 { 900_000 } else { 0 };
        coming.push((time_ms + delay_ms, Some(*time_ms), event.clone()));
        match dice.random_range(0..100) {
            0 => coming.push((*time_ms, None, (*time_ms, key.clone(), json[..json.len() / 2].to_owned()))),
            1..6 if delay_ms == 0 => {
                copies += 1;
                coming.push((time_ms + dice.random_range(0..300_000), None, event.clone()));
            }
            _ => {}
        }
    }
    let malformed = (coming.len() - events.len() - copies) as u64;
    let clock = r#"{"specversion":"1.0","id":"2099","source":"/web/s","type":"conversation.started","subject":"c","time":"2099-01-01T00:00:00Z","data":{"customer_id":"u","shop":"s","channel":"web"}}"#;
    coming.insert(100, (coming[100].0, None, (0, "u".to_owned(), clock.to_owned())));
    coming.sort_by_key(|(at_ms, ..)| *at_ms);
    // By the definition: behind the largest time so far by more than 2 s and 10 min.
    let (mut latest_ms, mut late, mut rest) = (0, 0, Vec::new());
    coming.retain(|(_, time_ms, event)| {
        let Some(time_ms) = *time_ms else { return true };
        match latest_ms - time_ms {
            602_001.. => late += 1,
            // What is late by less corrects the rest, which is not the question here.
            2_001.. => return false,
            _ => {
                latest_ms = latest_ms.max(time_ms);
                rest.push(event.clone());
            }
        }
        true
    });
    assert!(late > events.len() as u64 / 10, "{late} of {}", events.len());
    let coming: Vec<_> = coming.into_iter().map(|(.., event)| event).collect();
    // Contacts whose end is missing may be given up when their windows are final.
    let run = |events: &[_], cut| run_refusing(&kpis, &by_customer(events, 1), cut, &Table::ALL, usize::MAX);
    let (poisoned, refused) = run(&coming, 70);
    rest.sort_by_key(|(time_ms, ..)| *time_ms);
    let (clean, clean_refused) = run(&rest, 100);
    let account = poisoned.accounting;
    assert_eq!(account.read, coming.len() as u64);
    assert_eq!(account.quarantined, malformed + 1);
    assert_eq!((account.late, account.duplicate), (late, copies as u64));
    assert_eq!(account.applied, rest.len() as u64);
    assert_eq!((clean.history, clean_refused), (poisoned.history, refused));
}

/// What the shares of the partitions say, each in its order.
fn shares_say(
    kpis: &[Arc<Kpi>],
    partitions: &[Vec<&str>],
    shares: usize,
    cut: usize,
) -> Vec<Vec<ShareRecord>> {
    let of = partitions.len();
    let mut all = Vec::new();
    for place in 0..shares {
        let range = place * of / shares..(place + 1) * of / shares;
        let share = Share { first: range.start as u32, end: range.end as u32, of: of as u32 };
        let config = PipelineConfig {
            partitions: range.len(),
            disorder_ms_max: 2_000,
            lateness_ms_max: 600_000,
            contacts: ContactLimits::default(),
            queue_tick_ms: 10_000,
            queue_over_ms: 120_000,
            follow: FollowLimits::default(),
            agents: false,
            quiet_until_ms: kpis.first().map_or(i64::MIN, |kpi| kpi.from_ms),
            store: Vec::new(),
            profile: false,
        };
        let fresh = || {
            let windows = kpis.iter().map(|kpi| Box::new(KpiPartials::new(kpi.clone())) as Box<dyn Windows>);
            Pipeline::new(config.clone(), windows.collect())
        };
        let mut pipeline = fresh();
        let mut decoder = Decoder::new(Limits::default(), Pipeline::columns());
        let mut says = Vec::new();
        let mine = &partitions[range];
        let longest = mine.iter().map(Vec::len).max().unwrap_or(0);
        for (round, begin) in (0..=longest).step_by(cut).enumerate() {
            if round % 5 == 4 {
                let saved = pipeline.save().pack().expect("saved");
                pipeline = fresh();
                pipeline.restore(&saved, u32::MAX).expect("restored");
                for (place, lines) in mine.iter().enumerate() {
                    if begin >= lines.len() {
                        pipeline.end(place);
                    }
                }
            }
            for (place, lines) in mine.iter().enumerate() {
                let part = &lines[begin.min(lines.len())..(begin + cut).min(lines.len())];
                let chunk = Chunk::of_lines(&part.join("\n"), begin as u64, APPENDED_AT_MS);
                pipeline.push(place, decoder.decode(&chunk), 0);
                if begin + cut >= lines.len() {
                    pipeline.end(place);
                }
            }
            let output = pipeline.advance().expect("KPIs evaluate");
            let say = |what| ShareRecord { share: share.clone(), generation: 1, definitions: 7, what };
            for (place, batch) in output.rows {
                says.push(say(ShareSays::Partials {
                    kpi: kpis[place].name.clone(),
                    tick_ms: tick_of(&batch).expect("a tick"),
                    part: 0,
                    batch: headsup_operators::pack(&[batch]).expect("packed"),
                }));
            }
            says.extend(pipeline.watermark_ms().map(|ms| say(ShareSays::Done(ms))));
        }
        all.push(says);
    }
    all
}

/// The history of the merged rows, sorted; the shares come in an order that `seed` decides, and
/// some of what they say comes twice.
fn merged(kpis: &[Arc<Kpi>], mut says: Vec<Vec<ShareRecord>>, seed: u64) -> Vec<String> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut merge = Merge::new(kpis, 7);
    let mut history = Vec::new();
    let (mut again, mut speaker) = (0, 0);
    says.iter_mut().for_each(|says| says.reverse());
    while says.iter().any(|says| !says.is_empty()) {
        // Now and then a share gets far ahead of the others.
        if dice.random_range(0..50) == 0 {
            speaker = dice.random_range(0..says.len());
        }
        let place = if dice.random_range(0..2) == 0 { speaker } else { dice.random_range(0..says.len()) };
        let Some(record) = says[place].pop() else { continue };
        let bytes = record.to_bytes().expect("packed");
        let record = ShareRecord::from_bytes(&bytes).expect("unpacked");
        let what = merge.push(record.clone()).expect("taken in");
        // A watermark that has not moved is no news.
        assert!(what == Merged::Applied || matches!(record.what, ShareSays::Done(_)), "{record:?}");
        if dice.random_range(0..10) == 0 {
            assert_eq!(merge.push(record).expect("taken in"), Merged::Duplicate);
            again += 1;
        }
        if dice.random_range(0..2_000) == 0 {
            let saved = merge.save().expect("saved");
            merge = Merge::new(kpis, 7);
            merge.restore(&saved).expect("restored");
        }
        for (place, batch) in merge.advance().expect("KPIs evaluate").rows {
            history.extend(
                (0..batch.num_rows()).map(|row| text(&kpis[place].name, &batch, row, batch.num_columns())),
            );
        }
    }
    assert!(again > 0);
    assert_eq!((merge.watermark_ms(), merge.waiting()), (Some(i64::MAX), 0));
    history.sort();
    history
}

#[test]
fn shares_of_the_partitions_give_the_same_rows() {
    let kpis = kpis();
    let mut events = shuffled(&events(), 2);
    // Some come late, so that there are corrections and refusals.
    let late: Vec<_> = events.iter().step_by(11).cloned().collect();
    let mut place = 0;
    events.retain(|_| {
        place += 1;
        place % 11 != 1
    });
    events.extend(late.into_iter().map(|(at_ms, key, json)| (at_ms + 400_000, key, json)));
    events.sort_by_key(|event| event.0);
    let partitions = by_customer(&events, 8);
    let (one, _) = run_with(&kpis, &partitions, 100, &[], usize::MAX, false);
    let mut expected = one.history;
    expected.sort();
    assert!(expected.len() > 10_000);
    for (shares, cut) in [(1, 100), (2, 37), (4, 400)] {
        let says = shares_say(&kpis, &partitions, shares, cut);
        assert!(merged(&kpis, says, shares as u64) == expected, "{shares} shares");
    }
}

/// What shares say and what is saved, with bytes changed, is refused or taken: nothing panics.
#[test]
fn damaged_records_and_states() {
    let mut dice = ChaCha8Rng::seed_from_u64(11);
    let kpis = kpis();
    let events = events();
    let partitions = by_customer(&events[..events.len().min(3_000)], 2);
    let says = shares_say(&kpis, &partitions, 2, 400);
    let mut merge = Merge::new(&kpis, 7);
    for record in says.iter().flatten().step_by(5) {
        let bytes = record.to_bytes().expect("packed");
        for _ in 0..20 {
            let record = ShareRecord::from_bytes(&spoiled(&bytes, &mut dice));
            let Some(record) = record.filter(|record| record.definitions == 7) else { continue };
            let mut merge = Merge::new(&kpis, 7);
            if merge.push(record).is_ok() {
                let done = |first| ShareRecord {
                    share: Share { first, end: first + 1, of: 2 },
                    generation: 1,
                    definitions: 7,
                    what: ShareSays::Done(i64::MAX),
                };
                let _ = [merge.push(done(0)), merge.push(done(1))];
                let _ = merge.advance();
            }
        }
    }
    for says in &says {
        for record in &says[..says.len() / 2] {
            merge.push(record.clone()).expect("taken in");
        }
    }
    merge.advance().expect("KPIs evaluate");
    let saved = merge.save().expect("saved");
    for _ in 0..200 {
        let mut merge = Merge::new(&kpis, 7);
        if merge.restore(&spoiled(&saved, &mut dice)).is_ok() {
            let _ = merge.advance();
        }
    }
}

/// Bytes of which one or two are others.
fn spoiled(bytes: &[u8], dice: &mut ChaCha8Rng) -> Vec<u8> {
    let mut spoiled = bytes.to_vec();
    for _ in 0..dice.random_range(1..3) {
        let place = dice.random_range(0..bytes.len());
        spoiled[place] = match dice.random_range(0..3) {
            0 => dice.random_range(0..=255u8),
            1 => spoiled[place] ^ 1 << dice.random_range(0..8),
            _ => [0, 1, 0x7f, 0x80, 0xff][dice.random_range(0..5)],
        };
    }
    spoiled
}

/// Missing values are not in the hashes by which rows are grouped, so groups with the same values in other columns have
/// equal ones.
#[test]
fn every_grouping_set_is_one_batch_also_if_hashes_are_equal() {
    const SQL: &str = "-- title: N\n-- unit: n\n-- early: none\nSELECT tumble(ended_at, INTERVAL '1 minute') AS period, shop, skill, intent, count(*) AS contacts \
         FROM contacts GROUP BY GROUPING SETS ((period, skill, intent), (period, shop, skill, intent))";
    let kpi = Arc::new(Kpi::parse("n.sql", "n", SQL).unwrap_or_else(|error| panic!("{error}")));
    let mut windows = KpiWindows::new(kpi);
    let ended_us = 1_772_409_600_000_000;
    let schema = Table::Contacts.schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match (field.name().as_str(), field.data_type()) {
            ("shop", _) => Arc::new(StringViewArray::from(vec!["s"; 2])),
            ("skill", _) => Arc::new(StringViewArray::from(vec![Some("refund"), None])),
            ("intent", _) => Arc::new(StringViewArray::from(vec![None, Some("refund")])),
            (_, DataType::Timestamp(..)) => {
                Arc::new(TimestampMicrosecondArray::from(vec![ended_us; 2]).with_timezone("UTC"))
            }
            (_, DataType::Utf8View) => Arc::new(StringViewArray::from(vec!["x"; 2])),
            (_, other) => new_null_array(other, 2),
        }
    });
    let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let facts = RecordBatch::try_new(schema, columns.collect()).expect("contacts");
    windows.absorb(i64::MIN, Table::Contacts, &facts).expect("absorbed");
    let mut rows = Vec::new();
    windows.finish(&mut rows).expect("rows");
    let sets: Vec<String> = rows.iter().map(|batch| text("n", batch, 0, 3)).collect();
    let mut once = sets.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((once.len(), sets.len()), (2, 2), "{sets:?}");
    assert!(rows.iter().all(|batch| batch.num_rows() == 2), "{rows:?}");
}
