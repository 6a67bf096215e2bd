//! Lines of a file, or of standard input, as chunks of records: JSON lines as they are, or packed
//! with gzip or zstd.
//!
//! The packing is told by the first bytes, not by the name. Bytes are read straight into the
//! allocation that becomes the chunk's Arrow buffer; only the line that a chunk's end cuts is
//! copied, to the front of the next one. A buffer whose chunk nobody holds any more is used
//! again.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Chain, Cursor, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use arrow::buffer::Buffer;

use crate::log::{Chunk, LogError};

/// How [`Lines`] cuts what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinesOptions {
    /// About how many bytes a chunk has (default 256 KiB; 4 KiB to 256 MiB).
    pub chunk_bytes: usize,
    /// The longest line that is taken whole, without its line end (default 16 MiB; at most 1
    /// GiB).
    pub line_bytes_max: usize,
}

impl Default for LinesOptions {
    fn default() -> Self {
        Self { chunk_bytes: 256 << 10, line_bytes_max: 16 << 20 }
    }
}

/// How much is kept of a line longer than [`LinesOptions::line_bytes_max`].
pub const OVERSIZED_KEPT_BYTES: usize = 1024;

/// A file being read line by line, a chunk at a time.
pub struct Lines {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    packing: Packing,
    options: LinesOptions,
    /// The modification time of a file; `None` where the time of reading counts.
    modified_ms: Option<i64>,
    /// Whether bytes come when they come, so that whole lines are handed on rather than held
    /// until a chunk is full.
    is_live: bool,
    bytes_read: Arc<AtomicU64>,
    total_bytes: Option<u64>,
    /// The beginning of a line that the last chunk's end cut.
    carry: Carry,
    next_line: u64,
    state: State,
    /// Buffers handed out lately, to be used again once nobody else holds them.
    lent: Vec<Buffer>,
}

enum State {
    Reading,
    /// The input failed after lines that were handed on first.
    Failed(io::Error),
    Done,
}

/// What is left of a chunk's buffer behind its last line end.
#[derive(Default)]
struct Carry {
    bytes: Vec<u8>,
    /// The line is over the limit: `bytes` is its beginning, the rest is being skipped.
    is_oversized: bool,
}

impl Lines {
    /// Opens a file, or standard input if `path` is `-`, with the default options.
    ///
    /// # Errors
    /// [`LogError::Io`] if it cannot be opened, [`LogError::Input`] if it is a folder or not
    /// lines of text.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LogError> {
        Self::open_with(path, LinesOptions::default())
    }

    /// Opens a file, or standard input if `path` is `-`.
    ///
    /// # Errors
    /// Those of [`Lines::open`].
    pub fn open_with(path: impl AsRef<Path>, options: LinesOptions) -> Result<Self, LogError> {
        let path = path.as_ref();
        if path.as_os_str() == "-" {
            return Self::from_reader("standard input", io::stdin(), options);
        }
        let failed = |source| LogError::Io { attempt: "open", path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(LogError::Input {
                path: path.into(),
                problem: "it is a folder; name the files in it".into(),
            });
        }
        if !metadata.is_file() {
            // A named pipe or a device: like standard input.
            return Self::from_reader(path, file, options);
        }
        let modified_ms = ms_since_epoch(metadata.modified().map_err(failed)?);
        Self::start(path.into(), file, Some(modified_ms), Some(metadata.len()), options)
    }

    /// Reads lines from anything, as from standard input. `name` is what errors call it.
    ///
    /// # Errors
    /// Those of [`Lines::open`].
    pub fn from_reader(
        name: impl Into<PathBuf>,
        input: impl Read + Send + 'static,
        options: LinesOptions,
    ) -> Result<Self, LogError> {
        Self::start(name.into(), input, None, None, options)
    }

    fn start(
        path: PathBuf,
        input: impl Read + Send + 'static,
        modified_ms: Option<i64>,
        total_bytes: Option<u64>,
        options: LinesOptions,
    ) -> Result<Self, LogError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut input = Counted { input, bytes_read: bytes_read.clone() };
        let mut head = Vec::with_capacity(8);
        let failed = |source| LogError::Io { attempt: "read", path: path.clone(), source };
        (&mut input).take(8).read_to_end(&mut head).map_err(failed)?;
        let packing =
            Packing::of(&head).map_err(|problem| LogError::Input { path: path.clone(), problem })?;
        let input: Chain<_, _> = Cursor::new(head).chain(input);
        let input: Box<dyn Read + Send> = match packing {
            Packing::Plain => Box::new(input),
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(
                PACKED_READ_BYTES,
                input,
            ))),
            Packing::Zstd => {
                let input = BufReader::with_capacity(PACKED_READ_BYTES, input);
                Box::new(zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?)
            }
        };
        let options = LinesOptions {
            chunk_bytes: options.chunk_bytes.clamp(4 << 10, 256 << 20),
            line_bytes_max: options.line_bytes_max.clamp(OVERSIZED_KEPT_BYTES, 1 << 30),
        };
        Ok(Self {
            path,
            input,
            packing,
            options,
            modified_ms,
            is_live: total_bytes.is_none(),
            bytes_read,
            total_bytes,
            carry: Carry::default(),
            next_line: 0,
            state: State::Reading,
            lent: Vec::new(),
        })
    }

    /// The next lines, or `None` after the last. From standard input it waits for at least one
    /// line.
    ///
    /// A line end is `\n` or `\r\n` and belongs to no record; the last line needs none. An empty
    /// line is an empty record, so that offsets are line numbers. A UTF-8 byte order mark at the
    /// very beginning is left out.
    ///
    /// # Errors
    /// [`LogError::Input`] if packed data is damaged or ends early, [`LogError::Io`] otherwise,
    /// once all whole lines before that have been handed on; after it `None`.
    #[expect(
        clippy::should_implement_trait,
        reason = "same shape as Reader::next; a source is not an iterator"
    )]
    pub fn next(&mut self) -> Result<Option<Chunk>, LogError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => return Ok(None),
            State::Failed(source) => return Err(self.failure(source)),
            State::Reading => self.state = State::Reading,
        }
        let mut buffer = self.buffer();
        let carry = std::mem::take(&mut self.carry);
        let mut lines = Splitter {
            filled: carry.bytes.len(),
            line_start: 0,
            scanned: carry.bytes.len(),
            is_skipping: carry.is_oversized,
            line_bytes_max: self.options.line_bytes_max,
            spans: Vec::with_capacity(self.options.chunk_bytes / 256),
            oversized: Vec::new(),
        };
        buffer[..carry.bytes.len()].copy_from_slice(&carry.bytes);

        loop {
            if lines.filled == buffer.len() {
                if !lines.spans.is_empty() {
                    break;
                }
                // One line longer than the buffer. The splitter gives up on it at
                // `line_bytes_max`, so this ends.
                let bytes = (buffer.len() * 2).min(self.options.line_bytes_max + self.options.chunk_bytes);
                buffer.resize(bytes, 0);
            }
            match self.input.read(&mut buffer[lines.filled..]) {
                Ok(0) => {
                    lines.finish(&buffer);
                    self.state = State::Done;
                    break;
                }
                Ok(read) => lines.split(&mut buffer, read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.state = State::Failed(error);
                    break;
                }
            }
            if self.is_live && !lines.spans.is_empty() {
                break;
            }
        }

        self.carry =
            Carry { bytes: buffer[lines.line_start..lines.filled].to_vec(), is_oversized: lines.is_skipping };
        self.chunk(buffer, lines)
    }

    /// Where these lines come from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the input is packed, by its first bytes.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Bytes read of the file as it is stored (packed, if it is).
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Size of the file when it was opened, in the same bytes; `None` for standard input and
    /// pipes.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    fn chunk(&mut self, buffer: Vec<u8>, lines: Splitter) -> Result<Option<Chunk>, LogError> {
        let Splitter { mut spans, oversized, line_start, .. } = lines;
        if spans.is_empty() {
            // Only at the end of the input: the loop above does not stop before a line otherwise.
            return match std::mem::replace(&mut self.state, State::Done) {
                State::Failed(source) => Err(self.failure(source)),
                _ => Ok(None),
            };
        }
        let first_offset = self.next_line;
        self.next_line += spans.len() as u64;
        if first_offset == 0 && buffer.starts_with(b"\xEF\xBB\xBF") && spans[0].1 >= 3 {
            spans[0].0 = 3;
        }
        let buffer = Buffer::from_vec(buffer);
        let bytes = buffer.slice_with_length(0, line_start);
        if self.lent.len() == LENT_BUFFERS_MAX {
            self.lent.remove(0);
        }
        self.lent.push(buffer);
        let appended_at_ms = self.modified_ms.unwrap_or_else(|| ms_since_epoch(SystemTime::now()));
        Ok(Some(Chunk { first_offset, appended_at_ms, bytes, spans, oversized }))
    }

    /// An initialised buffer with room for a chunk and the carried line.
    fn buffer(&mut self) -> Vec<u8> {
        let bytes = self.options.chunk_bytes.max(self.carry.bytes.len() * 2);
        for index in 0..self.lent.len() {
            if self.lent[index].strong_count() == 1 {
                let lent = self.lent.swap_remove(index);
                // Grown ones go back to the allocator, lest one long line keeps its memory for
                // good.
                if let Ok(buffer) = lent.into_vec::<u8>()
                    && buffer.len() == bytes
                {
                    return buffer;
                }
                break;
            }
        }
        // Fresh pages of the operating system are zero already: nothing is written here.
        vec![0; bytes]
    }

    fn failure(&self, source: io::Error) -> LogError {
        let packing = match self.packing {
            Packing::Plain => {
                return LogError::Io { attempt: "read", path: self.path.clone(), source };
            }
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        };
        let lines = self.next_line;
        let problem = match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("the {packing} data ends early, after {lines} whole lines; fetch the file again")
            }
            _ => format!(
                "the {packing} data is damaged after {lines} whole lines ({source}); fetch the file again"
            ),
        };
        LogError::Input { path: self.path.clone(), problem }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("path", &self.path)
            .field("packing", &self.packing)
            .field("next_line", &self.next_line)
            .finish_non_exhaustive()
    }
}

/// Enough that a consumer a few chunks behind still gives buffers back.
const LENT_BUFFERS_MAX: usize = 4;
const PACKED_READ_BYTES: usize = 128 << 10;

/// Finds the lines in a buffer as it fills.
struct Splitter {
    filled: usize,
    /// Where the line begins whose end has not been seen.
    line_start: usize,
    /// Up to where line ends have been looked for.
    scanned: usize,
    /// The line at `line_start` is over the limit: its kept beginning is there, what follows is
    /// dropped.
    is_skipping: bool,
    line_bytes_max: usize,
    spans: Vec<(u32, u32)>,
    oversized: Vec<u32>,
}

impl Splitter {
    /// Takes in `read` more bytes behind `filled`.
    fn split(&mut self, buffer: &mut [u8], read: usize) {
        self.filled += read;
        while self.is_skipping {
            // Close up the gap, so that the line's kept beginning is followed by its line end.
            let kept_end = self.scanned;
            match memchr::memchr(b'\n', &buffer[kept_end..self.filled]) {
                None => {
                    self.filled = kept_end;
                    return;
                }
                Some(skipped) => {
                    buffer.copy_within(kept_end + skipped..self.filled, kept_end);
                    self.filled -= skipped;
                    self.end_oversized();
                    self.line_start = kept_end + 1;
                    self.scanned = self.line_start;
                    self.split_lines(buffer);
                }
            }
        }
        self.split_lines(buffer);
    }

    fn split_lines(&mut self, buffer: &[u8]) {
        let searched = self.scanned;
        for found in memchr::memchr_iter(b'\n', &buffer[searched..self.filled]) {
            let end = searched + found;
            self.end_line(buffer, end);
            self.line_start = end + 1;
        }
        self.scanned = self.filled;
        if self.filled - self.line_start > self.line_bytes_max {
            self.is_skipping = true;
            self.filled = self.line_start + OVERSIZED_KEPT_BYTES;
            self.scanned = self.filled;
        }
    }

    /// The input has ended: what is there without a line end is a line.
    fn finish(&mut self, buffer: &[u8]) {
        if self.is_skipping {
            self.end_oversized();
        } else if self.line_start < self.filled {
            self.end_line(buffer, self.filled);
        }
        self.line_start = self.filled;
    }

    fn end_line(&mut self, buffer: &[u8], end: usize) {
        let start = self.line_start;
        let end = if end > start && buffer[end - 1] == b'\r' { end - 1 } else { end };
        if end - start > self.line_bytes_max {
            self.oversized.push(self.spans.len() as u32);
            self.spans.push((start as u32, (start + OVERSIZED_KEPT_BYTES) as u32));
        } else {
            self.spans.push((start as u32, end as u32));
        }
    }

    fn end_oversized(&mut self) {
        self.is_skipping = false;
        self.oversized.push(self.spans.len() as u32);
        self.spans.push((self.line_start as u32, (self.line_start + OVERSIZED_KEPT_BYTES) as u32));
    }
}

/// How the bytes of an input are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    Plain,
    /// gzip, any number of members.
    Gzip,
    /// zstd, any number of frames.
    Zstd,
}

impl Packing {
    fn of(head: &[u8]) -> Result<Self, String> {
        let unpack_first = |what: &str| Err(format!("it is {what}, not lines; unpack or convert it first"));
        match head {
            [0x1F, 0x8B, ..] => Ok(Self::Gzip),
            // A zstd frame, or a skippable one before it.
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Ok(Self::Zstd),
            [b'P', b'K', 3, 4, ..] => unpack_first("a zip archive"),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => unpack_first("bzip2 data"),
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => unpack_first("xz data"),
            [b'P', b'A', b'R', b'1', ..] => unpack_first("a Parquet file"),
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => unpack_first("UTF-16 text"),
            _ => Ok(Self::Plain),
        }
    }
}

struct Counted<R> {
    input: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn ms_since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}
