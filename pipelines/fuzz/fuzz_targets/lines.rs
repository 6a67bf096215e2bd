//! Files of lines, plain or packed. The first byte says in which pieces the input comes.
#![no_main]

use std::io::{self, Read};

use headsup_connectors::lines::{OVERSIZED_KEPT_BYTES, Packing};
use headsup_connectors::{Lines, LinesOptions};
use libfuzzer_sys::fuzz_target;

const OPTIONS: LinesOptions = LinesOptions { chunk_bytes: 4096, line_bytes_max: OVERSIZED_KEPT_BYTES };
/// A few packed bytes can hold gigabytes.
const BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, file)) = bytes.split_first() else {
        return;
    };
    let pieces = Pieces { rest: file.to_vec(), place: 0, piece: usize::from(piece) + 1 };
    let (packing, records, error) = read(pieces);
    let (_, whole, whole_error) = read(io::Cursor::new(file.to_vec()));
    if error.is_none() && whole_error.is_none() {
        assert_eq!(records, whole);
    } else {
        // How much is unpacked before a damage is found depends on the pieces.
        assert!(records.starts_with(&whole) || whole.starts_with(&records));
    }
    if packing == Some(Packing::Plain) {
        assert_eq!((records, error), (naive(file), None));
    }
});

type Record = (Vec<u8>, bool);

fn read(input: impl Read + Send + 'static) -> (Option<Packing>, Vec<Record>, Option<String>) {
    let mut lines = match Lines::from_reader("fuzzed", input, OPTIONS) {
        Ok(lines) => lines,
        Err(error) => return (None, Vec::new(), Some(error.to_string())),
    };
    let packing = Some(lines.packing());
    let mut records = Vec::new();
    let mut bytes = 0;
    while bytes < BYTES_MAX {
        match lines.next() {
            Ok(Some(chunk)) => {
                assert_eq!(chunk.first_offset, records.len() as u64);
                assert!(chunk.bytes.len() <= 4 * OPTIONS.chunk_bytes);
                bytes += chunk.bytes.len();
                records.extend(
                    (0..chunk.spans.len()).map(|index| {
                        (chunk.record(index).to_vec(), chunk.oversized.contains(&(index as u32)))
                    }),
                );
            }
            Ok(None) => return (packing, records, None),
            Err(error) => return (packing, records, Some(error.to_string())),
        }
    }
    // How far that is depends on how chunks are cut.
    records.truncate(1_000);
    (packing, records, None)
}

fn naive(file: &[u8]) -> Vec<Record> {
    if file.is_empty() {
        return Vec::new();
    }
    let file = file.strip_suffix(b"\n").unwrap_or(file);
    let line = |(index, line): (usize, &[u8])| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_oversized = line.len() > OPTIONS.line_bytes_max;
        let line = if is_oversized { &line[..OVERSIZED_KEPT_BYTES] } else { line };
        let line = if index == 0 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        (line.to_vec(), is_oversized)
    };
    file.split(|&byte| byte == b'\n').enumerate().map(line).collect()
}

struct Pieces {
    rest: Vec<u8>,
    place: usize,
    piece: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.rest[self.place..];
        let length = rest.len().min(buffer.len()).min(self.piece);
        buffer[..length].copy_from_slice(&rest[..length]);
        self.place += length;
        Ok(length)
    }
}
