//! Writes what the targets begin with into a folder for each below the one that is named: what
//! this version writes itself, so that no file of a past format has to be kept.

mod pipeline;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use fluvio_protocol::Encoder as _;
use fluvio_protocol::record::{Batch, MemoryRecords, RawRecords, Record};
use headsup_operators::pack;
use pipeline::{EVENTS, PARTITIONS};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

// What is compiled for coverage has to be linked with what counts it.
libfuzzer_sys::fuzz_target!(|_bytes: &[u8]| {});

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("name a folder for the seeds")?);
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(folder.join(target))?;
        std::fs::write(folder.join(target).join(name), bytes)
    };
    let text = EVENTS.join("\n");
    for gap in [0, 1] {
        seed("events", &format!("gap-{gap}"), &[&[gap], text.as_bytes()].concat())?;
        for (number, line) in text.lines().enumerate() {
            let spaced = line.replace(',', " , ").replace("u1", "u\\u00e9\\n");
            seed("events", &format!("line-{number}-{gap}"), &[&[gap], line.as_bytes()].concat())?;
            seed("events", &format!("spaced-{number}-{gap}"), &[&[gap], spaced.as_bytes()].concat())?;
        }
    }

    seed("alerts", "rules", include_bytes!("rules.toml"))?;
    seed("alerts", "tests", include_bytes!("../../sql/alerts_test.toml"))?;
    seed("alerts", "state", include_bytes!("../alerts/src/tests/state-1.bin"))?;

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(text.as_bytes())?;
    seed("lines", "plain", &[&[9], text.as_bytes()].concat())?;
    seed("lines", "crlf", &[&[9], "\u{feff}".as_bytes(), text.replace('\n', "\r\n").as_bytes()].concat())?;
    seed("lines", "gzip", &[&[9], gzip.finish()?.as_slice()].concat())?;
    seed("lines", "zstd", &[&[9], zstd::bulk::compress(text.as_bytes(), 3)?.as_slice()].concat())?;

    let lines: Vec<&str> = text.lines().collect();
    let body = lines.iter().map(|line| (line.len() as u32).to_le_bytes()).collect::<Vec<_>>().concat();
    let body = [&body, vec![0; body.len()].as_slice(), lines.concat().as_bytes()].concat();
    for (codec, packed) in [(0, body.clone()), (1, zstd::bulk::compress(&body, 3)?)] {
        let mut value = vec![1, codec, 0, 0];
        value.extend_from_slice(&(lines.len() as u32).to_le_bytes());
        value.extend_from_slice(&1_772_410_200_000i64.to_le_bytes());
        value.extend_from_slice(&(lines.concat().len() as u32).to_le_bytes());
        value.extend_from_slice(&0u32.to_le_bytes());
        let checksum = xxh3_64_with_seed(&packed, xxh3_64(&value));
        value.extend_from_slice(&checksum.to_le_bytes());
        value.extend_from_slice(&packed);
        seed("batch", &format!("codec-{codec}"), &value)?;
    }

    let contents = b"the state of everything";
    for version in [1u32, 2, 3] {
        let mut file = b"headsup\n".to_vec();
        file.extend_from_slice(&version.to_le_bytes());
        file.extend_from_slice(&(contents.len() as u64).to_le_bytes());
        file.extend_from_slice(&xxh3_128(contents).to_le_bytes());
        file.extend_from_slice(contents);
        seed("checkpoint", &format!("version-{version}"), &file)?;
    }

    // The samples that the tests keep of every format, without the header of their files.
    let samples: [&[u8]; 2] = [
        include_bytes!("../../jobs/tests/cli/checkpoints/format-1.ckpt"),
        include_bytes!("../../jobs/tests/cli/checkpoints/format-2.ckpt"),
    ];
    for (place, sample) in samples.into_iter().enumerate() {
        seed("contents", &format!("format-{}", place + 1), &[&[place as u8], &sample[36..]].concat())?;
    }

    shares(&seed)?;
    rowbinary(&seed)?;
    fluvio(&seed)?;

    let mut pipeline = pipeline::new();
    seed("state", "nothing", &save(&mut pipeline)?)?;
    // Line by line, so that there are states with contacts in all phases.
    let longest = EVENTS.map(|events| events.lines().count()).into_iter().max().unwrap_or(0);
    for number in 0..longest {
        for partition in 0..PARTITIONS {
            if let Some(line) = EVENTS[partition].lines().nth(number) {
                pipeline::push(&mut pipeline, partition, line);
            }
        }
        let waiting = save(&mut pipeline)?;
        seed("state", &format!("waiting-{number}"), &waiting)?;
        let output = pipeline.advance().map_err(|error| error.to_string())?;
        let applied = save(&mut pipeline)?;
        seed("state", &format!("applied-{number}"), &applied)?;
        for (table, facts) in output.facts {
            seed("unpack", &format!("{}-{number}", table.name()), &pack(&[facts.clone()])?)?;
            seed("unpack", &format!("{}-{number}-twice", table.name()), &pack(&[facts.clone(), facts])?)?;
        }
    }
    seed("config", "sample", include_bytes!("../../deploy/headsup.toml"))?;
    Ok(())
}

fn save(pipeline: &mut headsup_operators::Pipeline) -> Result<Vec<u8>, String> {
    pipeline.save().pack().map_err(|error| error.to_string())
}

type Seed<'s> = &'s dyn Fn(&str, &str, &[u8]) -> std::io::Result<()>;
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Two shares of two KPIs, in postcard as `ShareRecord` is.
fn shares(seed: Seed) -> Outcome {
    let number = |values: [i64; 3]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let text: ArrayRef =
        Arc::new(StringViewArray::from(vec!["web", "phone", "a text that no view holds whole"]));
    let mut records = Vec::new();
    for (place, (first, end)) in [(0_u32, 2_u32), (2, 4)].into_iter().enumerate() {
        let share = (first, end, 4_u32);
        let head = (share, 1 + place as u64, 7_u64);
        for tick_ms in [60_000, 120_000] {
            let columns = [
                ("tick", number([tick_ms; 3])),
                ("pane", number([0, 0, 60_000])),
                ("facts", number([2, 2, 1])),
                ("0", text.clone()),
            ];
            let batch = pack(&[RecordBatch::try_from_iter(columns)?])?;
            for (part, kpi) in ["aht", "csat"].into_iter().enumerate() {
                let says = (0_u32, kpi, tick_ms, part as u32, batch.clone());
                records.push(postcard::to_extend(&(head, says), vec![1])?);
            }
            records.push(postcard::to_extend(&(head, 1_u32, tick_ms), vec![1])?);
        }
        records.push(postcard::to_extend(&(head, 1_u32, i64::MAX), vec![1])?);
    }
    let framed = |record: &Vec<u8>| [&(record.len() as u16).to_le_bytes(), record.as_slice()].concat();
    let all = records.iter().map(framed).collect::<Vec<_>>().concat();
    for first in 0..4 {
        seed("shares", &format!("all-{first}"), &[&[first], all.as_slice()].concat())?;
    }
    for (number, record) in records.iter().enumerate() {
        seed("shares", &format!("record-{number}"), &[&[3], framed(record).as_slice()].concat())?;
    }
    Ok(())
}

/// Rows with and without NULL, and texts of one and two bytes of length.
fn rowbinary(seed: Seed) -> Outcome {
    let mut rows = Vec::new();
    for (number, text) in ["", "web", &"x".repeat(200)].into_iter().enumerate() {
        let put_text = || {
            let length = text.len();
            let length = if length < 0x80 {
                vec![length as u8]
            } else {
                vec![length as u8 | 0x80, (length >> 7) as u8]
            };
            [vec![0], length, text.as_bytes().to_vec()].concat()
        };
        let word = [vec![0], (number as i64 - 1).to_le_bytes().to_vec()].concat();
        let row =
            [put_text(), word.clone(), vec![0, 1], word.clone(), word.clone(), put_text(), word, put_text()];
        rows.push(row.concat());
        rows.push(vec![1; 8]);
    }
    for piece in [0, 6, 255] {
        seed("rowbinary", &format!("rows-{piece}"), &[&[piece], rows.concat().as_slice()].concat())?;
    }
    Ok(())
}

/// A batch in every compression.
fn fluvio(seed: Seed) -> Outcome {
    for compression in 0..5 {
        let mut batch = Batch::<MemoryRecords>::from(vec![
            Record::new("one"),
            Record::new_key_value("a key", ""),
            Record::new("x".repeat(300)),
        ]);
        batch.header.attributes = compression;
        batch.header.max_time_stamp = 1_772_410_200_000;
        let mut bytes = Vec::new();
        Batch::<RawRecords>::try_from(batch)?.encode(&mut bytes, 0)?;
        for skip in [0, 2] {
            let twice = [&[skip], bytes.as_slice(), bytes.as_slice()].concat();
            seed("fluvio", &format!("compression-{compression}-{skip}"), &twice)?;
        }
    }
    Ok(())
}
