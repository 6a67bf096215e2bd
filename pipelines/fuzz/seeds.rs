//! Writes what the targets begin with into a folder for each below the one that is named: what
//! this version writes itself, so that no file of a past format has to be kept.

mod pipeline;

use std::io::Write as _;
use std::path::PathBuf;

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
