use arrow::buffer::Buffer;

/// A run of consecutive records of one partition, their bytes in one buffer.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Offset of the first record; of a file, its line number from 0.
    pub first_offset: u64,
    /// When the log took these records in, in ms since the Unix epoch. Of a file
    /// it is the modification time, of standard input the time of reading.
    pub appended_at_ms: i64,
    /// The bytes of all records. Text columns point into it, so it is not copied.
    pub bytes: Buffer,
    /// Start and end (exclusive) of each record in `bytes`, without its newline.
    pub spans: Vec<(u32, u32)>,
    /// Indices of records of which only the beginning is here, because they
    /// exceed the longest line that a source reads.
    pub oversized: Vec<u32>,
}

impl Chunk {
    /// A chunk of the lines in `text`, for tests and small inputs.
    pub fn of_lines(text: &str, first_offset: u64, appended_at_ms: i64) -> Self {
        let mut spans = Vec::new();
        let mut start = 0usize;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            let content = line.trim_end_matches(['\n', '\r']).len();
            spans.push((start as u32, (start + content) as u32));
            start = end;
        }
        Self {
            first_offset,
            appended_at_ms,
            bytes: Buffer::from(text.as_bytes()),
            spans,
            oversized: Vec::new(),
        }
    }

    /// The bytes of record `index`.
    pub fn record(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index];
        &self.bytes[start as usize..end as usize]
    }
}
