//! Records that could be events. The first byte says how they lie in a chunk: as lines, or
//! without a gap as in the log.
#![no_main]

use arrow::buffer::Buffer;
use headsup_events::both::Both;
use headsup_events::{Chunk, Decoded, Decoder, EventBatch, Limits, Text};
use headsup_operators::Pipeline;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { event_bytes_max: 2_000, skew_ms_max: 300_000 };

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else {
        return;
    };
    let gap = usize::from(how % 2);
    let (mut text, mut spans) = (Vec::new(), Vec::new());
    for record in bytes.split(|&byte| byte == b'\n') {
        let start = text.len() as u32;
        text.extend_from_slice(record);
        spans.push((start, text.len() as u32));
        text.extend(std::iter::repeat_n(b'\n', gap));
    }
    let mut both = Both::default();
    for &(start, end) in &spans {
        if std::str::from_utf8(&text[start as usize..end as usize]).is_ok() {
            both.agree(&text[start as usize..], (end - start) as usize);
        }
    }
    let oversized = if how & 2 != 0 { vec![spans.len() as u32 - 1] } else { Vec::new() };
    let chunk = Chunk {
        first_offset: 7,
        appended_at_ms: 1_772_410_200_000,
        bytes: Buffer::from_vec(text),
        spans,
        oversized,
    };
    let together = shown(decoder().decode(&chunk));
    // One after the other, by a decoder that has learned nothing.
    let mut alone = String::new();
    for (index, &span) in chunk.spans.iter().enumerate() {
        let oversized = if chunk.oversized.contains(&(index as u32)) { vec![0] } else { Vec::new() };
        let first_offset = chunk.first_offset + index as u64;
        let record = Chunk { first_offset, spans: vec![span], oversized, ..chunk.clone() };
        alone += &shown(decoder().decode(&record));
    }
    let sorted = |text: &str| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    assert_eq!(sorted(&together), sorted(&alone));
});

fn decoder() -> Decoder {
    let mut columns = Pipeline::columns().to_vec();
    columns.push(Text::Role);
    Decoder::new(LIMITS, &columns)
}

/// A line for each record, in the order of its kind of end.
fn shown(decoded: Decoded) -> String {
    let Decoded { read, events, quarantined, ignored } = decoded;
    assert_eq!(read, events.len() as u64 + quarantined.len() as u64 + ignored);
    let mut out = "ignored\n".repeat(ignored as usize);
    for record in quarantined {
        let bytes = record.bytes.escape_ascii();
        out += &format!("{} {} {:?} {bytes}\n", record.offset, record.reason, record.detail);
    }
    let saved: Vec<_> = (0..events.len()).map(|row| events.save(row)).collect();
    let restored = EventBatch::restore(saved.iter()).expect("types that are known");
    for (row, event) in saved.iter().enumerate() {
        assert_eq!(*event, restored.save(row));
        assert_eq!(events.rank(row), restored.rank(row));
        out += &format!("{event:?}\n");
    }
    out
}
