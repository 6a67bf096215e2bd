//! How many rows a CPU second are scored in batches of 4,096: `score MODEL.onnx ROWS.f32 [seconds]`; `jobs/benches/score.py`
//! writes the rows and sets it beside Python's XGBoost.
//!
//! ROWS are the features of one row after another, as 32-bit floats of this machine's order, missing values NaN. Their
//! margins are written behind it, ROWS.margin, for the comparison.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use headsup_models::score::Scorer;

/// Rows that are scored at a time.
const BATCH: usize = 4_096;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, file, rest @ ..] = args.as_slice() else {
        return Err("give MODEL.onnx ROWS.f32 [seconds]".into());
    };
    let seconds = rest.first().map_or(Ok(5.0), |text| text.parse())?;
    let scorer = Scorer::load(model)?;
    let width = scorer.features().len();
    let rows: Vec<f32> = fs::read(file)?
        .chunks_exact(4)
        .map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let mut margins = Vec::new();
    for batch in rows.chunks(BATCH * width) {
        let scores = scorer.score(batch, width)?;
        margins.extend(scores.iter().flat_map(|score| score.margin.to_ne_bytes()));
    }
    fs::write(format!("{file}.margin"), margins)?;
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let mut scored = 0;
    while began.elapsed() < Duration::from_secs_f64(seconds) {
        for batch in rows.chunks(BATCH * width) {
            scored += scorer.score(batch, width)?.len();
        }
    }
    println!("{:.0}", scored as f64 / (cpu_seconds()? - cpu));
    Ok(())
}

/// User and system, of all threads; the clock of /proc has 100 ticks a second.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
