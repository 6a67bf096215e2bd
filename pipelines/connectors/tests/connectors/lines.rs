//! Lines of files and streams, plain and packed.

use std::{
    fs,
    io::{self, Cursor, Read, Write},
};

use headsup_connectors::{Lines, LinesOptions, lines::Packing};
use proptest::prelude::*;

const SMALL: LinesOptions = LinesOptions { chunk_bytes: 4096, line_bytes_max: 20_000 };

/// All records and the indices of oversized ones, checked for consecutive line numbers.
fn read_all(lines: &mut Lines) -> (Vec<Vec<u8>>, Vec<u64>) {
    let (mut records, mut oversized) = (Vec::new(), Vec::new());
    while let Some(chunk) = lines.next().unwrap() {
        assert_eq!(chunk.first_offset, records.len() as u64);
        assert!(!chunk.spans.is_empty());
        oversized.extend(chunk.oversized.iter().map(|&index| chunk.first_offset + u64::from(index)));
        records.extend((0..chunk.spans.len()).map(|index| chunk.record(index).to_vec()));
    }
    assert!(lines.next().unwrap().is_none());
    (records, oversized)
}

fn of_bytes(bytes: &[u8], options: LinesOptions) -> (Vec<Vec<u8>>, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    fs::write(&path, bytes).unwrap();
    read_all(&mut Lines::open_with(path, options).unwrap())
}

fn check(text: &str, expected: &[&str]) {
    let (records, oversized) = of_bytes(text.as_bytes(), LinesOptions::default());
    assert_eq!(
        records.iter().map(|r| std::str::from_utf8(r).unwrap()).collect::<Vec<_>>(),
        expected,
        "{text:?}"
    );
    assert!(oversized.is_empty());
}

#[test]
fn line_ends() {
    check("", &[]);
    check("a", &["a"]);
    check("a\n", &["a"]);
    check("a\nb", &["a", "b"]);
    check("\n", &[""]);
    check("a\r\n\r\n\nb\r\n", &["a", "", "", "b"]);
    check("a\rb\n", &["a\rb"]);
    check("\u{FEFF}{}\n\u{FEFF}{}\n", &["{}", "\u{FEFF}{}"]);
}

#[test]
fn long_lines_grow_the_buffer_and_longer_ones_are_cut() {
    let line = |byte: u8, len: usize| vec![byte; len];
    let lens = [10, 20_000, 5000, 20_001, 3, 100_000, 20_002, 4096, 70_000];
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for (index, &len) in lens.iter().enumerate() {
        let byte = b'a' + index as u8;
        bytes.extend(line(byte, len));
        bytes.push(b'\n');
        expected.push(line(byte, if len > 20_000 { 1024 } else { len }));
    }
    for text in [&bytes[..], &bytes[..bytes.len() - 1]] {
        let (records, oversized) = of_bytes(text, SMALL);
        assert!(records == expected);
        assert_eq!(oversized, [3, 5, 6, 8]);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn many_lines() -> (Vec<u8>, usize) {
    let lines = 20_000;
    ((0..lines).flat_map(|number| format!("{{\"id\":\"{number}\"}}\n").into_bytes()).collect(), lines)
}

#[test]
fn packed_files_are_told_by_content() {
    let (bytes, lines) = many_lines();
    let folder = tempfile::tempdir().unwrap();
    // The names say nothing, or the wrong thing.
    let zstd = zstd::encode_all(&bytes[..], 1).unwrap();
    for (name, packed, packing) in [
        ("a.jsonl", bytes.clone(), Packing::Plain),
        ("b.gz", bytes.clone(), Packing::Plain),
        ("c.jsonl", gzip(&bytes), Packing::Gzip),
        ("d.gz", zstd.clone(), Packing::Zstd),
        ("e.gz", [gzip(&bytes[..1003]), gzip(&bytes[1003..])].concat(), Packing::Gzip),
        (
            "f.zst",
            [zstd::encode_all(&bytes[..17], 1).unwrap(), zstd::encode_all(&bytes[17..], 3).unwrap()].concat(),
            Packing::Zstd,
        ),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, &packed).unwrap();
        let mut read = Lines::open_with(&path, SMALL).unwrap();
        assert_eq!(read.packing(), packing, "{name}");
        let records = read_all(&mut read).0;
        assert_eq!(records.len(), lines, "{name}");
        assert_eq!(records.last().unwrap(), b"{\"id\":\"19999\"}");
        assert_eq!((read.bytes_read(), read.total_bytes()), (packed.len() as u64, Some(packed.len() as u64)));
    }
}

#[test]
fn packed_data_that_ends_early_or_is_damaged() {
    let (bytes, _) = many_lines();
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, packed: &[u8], message: &str| {
        let path = folder.path().join(name);
        fs::write(&path, packed).unwrap();
        let mut lines = Lines::open_with(&path, SMALL).unwrap();
        let mut records = 0;
        let error = loop {
            match lines.next() {
                Ok(Some(chunk)) => records += chunk.spans.len(),
                Ok(None) => panic!("{name} seemed whole"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(records > 100, "{name}: {records}");
        assert!(error.contains(message) && error.contains(name), "{error}");
        assert!(error.contains(&format!(" {records} whole lines")), "{error}");
        assert!(lines.next().unwrap().is_none());
    };
    let packed = gzip(&bytes);
    check("cut.gz", &packed[..packed.len() / 2], "the gzip data ends early");
    check("cut-trailer.gz", &packed[..packed.len() - 3], "the gzip data ends early");
    let mut wrong_sum = packed.clone();
    *wrong_sum.iter_mut().rev().nth(5).unwrap() ^= 1;
    check("wrong-sum.gz", &wrong_sum, "the gzip data is damaged");
    // Hardly compressible: several blocks, so that some come before the cut.
    let noise: Vec<u8> = (0..60_000_u64)
        .flat_map(|n| format!("{:x}\n", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes())
        .collect();
    let packed = zstd::encode_all(&noise[..], 1).unwrap();
    check("cut.zst", &packed[..packed.len() / 2], "the zstd data ends early");
}

#[test]
fn what_cannot_be_read_as_lines() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &std::path::Path| Lines::open(path).unwrap_err().to_string();
    assert!(message(folder.path()).ends_with("it is a folder; name the files in it"));
    let missing = folder.path().join("missing.jsonl");
    assert_eq!(message(&missing), format!("cannot open {}", missing.display()));
    assert!(std::error::Error::source(&Lines::open(&missing).unwrap_err()).is_some());
    for (head, what) in [
        (&b"PK\x03\x04...."[..], "a zip archive"),
        (b"PAR1....", "a Parquet file"),
        (b"\xFF\xFE{\0", "UTF-16 text"),
    ] {
        let path = folder.path().join("file");
        fs::write(&path, head).unwrap();
        let expected = format!("it is {what}, not lines; unpack or convert it first");
        assert!(message(&path).ends_with(&expected), "{}", message(&path));
    }
}

#[test]
fn a_stream_hands_on_whole_lines_at_once() {
    let (receiver, mut sender) = io::pipe().unwrap();
    let mut lines = {
        sender.write_all(b"{\"id\":\"first\"}\n{\"id\":").unwrap();
        Lines::from_reader("standard input", receiver, LinesOptions::default()).unwrap()
    };
    assert_eq!(lines.next().unwrap().unwrap().record(0), b"{\"id\":\"first\"}");
    sender.write_all(b"\"second\"}\n").unwrap();
    let second = lines.next().unwrap().unwrap();
    assert_eq!((second.first_offset, second.record(0)), (1, &b"{\"id\":\"second\"}"[..]));
    drop(sender);
    assert!(lines.next().unwrap().is_none());
    assert_eq!(lines.total_bytes(), None);
}

/// Reads of the sizes given, over and over.
struct Dribble {
    bytes: Cursor<Vec<u8>>,
    sizes: Vec<usize>,
    step: usize,
}

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.step += 1;
        let size = self.sizes[self.step % self.sizes.len()].min(buffer.len());
        self.bytes.read(&mut buffer[..size])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the input arrives, the lines are those of the plain definition.
    #[test]
    fn any_cut_gives_the_same_lines(
        lines in prop::collection::vec((0_usize..9000, any::<bool>()), 0..12),
        ends_with_newline in any::<bool>(),
        sizes in prop::collection::vec(1_usize..6000, 1..8),
    ) {
        let options = LinesOptions { chunk_bytes: 4096, line_bytes_max: 6000 };
        let mut bytes = Vec::new();
        let (mut expected, mut expected_oversized) = (Vec::new(), Vec::new());
        for (index, &(len, has_return)) in lines.iter().enumerate() {
            let line = vec![b'a' + index as u8; len];
            let is_last = index + 1 == lines.len();
            bytes.extend(&line);
            // One byte over the limit may be the carriage return of a line that is not.
            if has_return && len != 6000 {
                bytes.push(b'\r');
            }
            if !is_last || ends_with_newline || (len == 0 && !has_return) {
                bytes.push(b'\n');
            }
            if len > 6000 {
                expected_oversized.push(index as u64);
                expected.push(line[..1024].to_vec());
            } else {
                expected.push(line);
            }
        }
        let input = Dribble { bytes: Cursor::new(bytes), sizes, step: 0 };
        let (records, oversized) = read_all(&mut Lines::from_reader("test", input, options).unwrap());
        prop_assert_eq!(oversized, expected_oversized);
        prop_assert!(records == expected);
    }
}
