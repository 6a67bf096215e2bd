//! Features at a time are the same from all facts, from a log that ends at that time, and as the stream
//! would have served them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringViewArray};
use headsup_events::{Chunk, Decoder, Limits};
use headsup_features::{Definitions, History, Side, View};
use headsup_operators::facts::Table;
use headsup_operators::{ContactLimits, FollowLimits, Output, Pipeline, PipelineConfig};
use headsup_sources::simulate::{Config, Simulator};
use rand::{RngExt, SeedableRng};

const DAY_MS: i64 = 86_400_000;

fn views() -> Arc<Definitions> {
    let mut files: Vec<_> =
        std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let views = files.iter().map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy();
        View::parse(&name, &name, &std::fs::read_to_string(path).unwrap(), &[]).unwrap()
    });
    Arc::new(Definitions::features(views.collect()).unwrap())
}

/// The operators over one partition, without KPIs.
struct Stream {
    pipeline: Pipeline,
    decoder: Decoder,
}

impl Stream {
    fn new() -> Self {
        let config = PipelineConfig {
            partitions: 1,
            disorder_ms_max: 0,
            lateness_ms_max: 0,
            contacts: ContactLimits::default(),
            queue_tick_ms: 10_000,
            queue_over_ms: 120_000,
            follow: FollowLimits::default(),
            agents: true,
            quiet_until_ms: i64::MIN,
            store: Table::ALL.to_vec(),
            profile: false,
        };
        Self {
            pipeline: Pipeline::new(config, Vec::new()),
            decoder: Decoder::new(Limits::default(), Pipeline::columns()),
        }
    }

    /// Takes in lines, and a heartbeat that says it is `until_ms`.
    fn push(&mut self, lines: &[String], until_ms: i64) -> Output {
        let time = headsup_events::format_rfc3339_ms(until_ms);
        let heartbeat = format!(
            r#"{{"specversion":"1.0","id":"{until_ms}","source":"/clock","time":"{time}","type":"headsup.heartbeat"}}"#
        );
        let mut text = lines.concat();
        text += &(heartbeat + "\n");
        let decoded = self.decoder.decode(&Chunk::of_lines(&text, 0, 4_000_000_000_000));
        assert!(decoded.quarantined.is_empty(), "{:?}", decoded.quarantined.first());
        self.pipeline.push(0, decoded, 0);
        self.pipeline.advance().unwrap()
    }
}

fn append(history: &mut History, output: &Output) {
    for table in Table::ALL {
        // Every tick has a batch of few rows.
        let facts: Vec<&RecordBatch> =
            output.facts.iter().filter(|(of, _)| *of == table).map(|(_, facts)| facts).collect();
        let facts = arrow::compute::concat_batches(&table.schema(), facts).unwrap();
        history.append(table, &facts, |_| true).unwrap();
    }
}

#[test]
fn offline_and_live_and_from_a_log_that_ends_there() {
    let config = Config { customers: 500, days: 45, texts: false, truth: false, ..Config::default() };
    let start_ms = headsup_events::parse_rfc3339_ms(&config.start).unwrap();
    let mut events: Vec<(i64, String)> = Vec::new();
    for event in Simulator::new(config).unwrap() {
        let at_ms = event.time_ms;
        events.push((at_ms, event.json + "\n"));
    }
    let mut dice = rand_chacha::ChaCha12Rng::seed_from_u64(5);
    let mut times: Vec<i64> =
        (0..20).map(|_| start_ms + dice.random_range(8_640..44 * 8_640) * 10_000).collect();
    times.sort_unstable();

    // All facts, first in any order, then by customer.
    let definitions = views();
    let lines: Vec<String> = events.iter().map(|(_, line)| line.clone()).collect();
    let mut offline = History::new(definitions.clone());
    append(&mut offline, &Stream::new().push(&lines, start_ms + 100 * DAY_MS));
    offline.sort();
    let customers = StringViewArray::from_iter_values(offline.first_known_us().iter().map(|(name, _)| *name));
    assert!(customers.len() >= 500, "{}", customers.len());

    let (mut stream, mut live, mut next) = (Stream::new(), History::new(definitions.clone()), 0);
    let mut rows = 0;
    for as_of_ms in times {
        let known = events.partition_point(|(recorded_ms, _)| *recorded_ms <= as_of_ms);
        let as_of_us = vec![as_of_ms * 1_000; customers.len()];
        let evaluate = |history: &History, threads| -> RecordBatch {
            history.evaluate(&customers, &as_of_us, Side::Past, threads).unwrap()
        };
        let expected = evaluate(&offline, 2);

        append(&mut live, &stream.push(&lines[next..known.max(next)], as_of_ms));
        next = known.max(next);
        assert_same(&evaluate(&live, 1), &expected, &customers, "live");

        let mut cut = History::new(definitions.clone());
        append(&mut cut, &Stream::new().push(&lines[..known], as_of_ms));
        assert_same(&evaluate(&cut, 3), &expected, &customers, "from a log that ends there");
        rows += expected.num_rows();
    }
    assert!(rows >= 10_000, "{rows}");
}

fn assert_same(found: &RecordBatch, expected: &RecordBatch, customers: &StringViewArray, what: &str) {
    if found == expected {
        return;
    }
    for (place, field) in expected.schema().fields().iter().enumerate() {
        for row in 0..expected.num_rows() {
            let cell = |rows: &RecordBatch| format!("{:?}", rows.column(place).slice(row, 1));
            assert_eq!(cell(found), cell(expected), "{what}: {} of {}", field.name(), customers.value(row));
        }
    }
}
