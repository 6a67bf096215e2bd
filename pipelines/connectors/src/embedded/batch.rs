//! Records as they are stored: the format of a batch, and of its key.

use arrow::buffer::Buffer;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{RECORD_BYTES_MAX, storage};
use crate::log::{Chunk, LogError, Record};

/// Records as they are stored together.
///
/// Little-endian: version u8, codec u8, 0 u16, records u32, append time i64 (ms), bytes of values
/// u32, bytes of keys u32, xxh3-64 u64 of what follows (seeded with that of what comes before);
/// then, packed: the length u32 of each value, of each key, the values, the keys.
#[derive(Default)]
pub(super) struct Batch {
    value_lens: Vec<u32>,
    key_lens: Vec<u32>,
    values: Vec<u8>,
    keys: Vec<u8>,
}

const BATCH_VERSION: u8 = 1;
const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const HEADER_BYTES: usize = 32;
/// The most a batch unpacks to: one record of the largest size, or several up to that.
const BODY_BYTES_MAX: usize = RECORD_BYTES_MAX + 16;

impl Batch {
    pub(super) fn push(&mut self, record: &Record<'_>) {
        self.value_lens.push(record.value.len() as u32);
        self.key_lens.push(record.key.len() as u32);
        self.values.extend_from_slice(record.value);
        self.keys.extend_from_slice(record.key);
    }

    pub(super) fn records(&self) -> usize {
        self.value_lens.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.len() + self.keys.len() + 8 * self.value_lens.len()
    }

    pub(super) fn pack(
        &self,
        appended_at_ms: i64,
        packer: &mut zstd::bulk::Compressor<'_>,
    ) -> Result<Vec<u8>, LogError> {
        let mut body = Vec::with_capacity(self.bytes());
        for len in self.value_lens.iter().chain(&self.key_lens) {
            body.extend_from_slice(&len.to_le_bytes());
        }
        body.extend_from_slice(&self.values);
        body.extend_from_slice(&self.keys);
        let packed = packer.compress(&body).map_err(storage("compress records"))?;
        let (codec, body) = if packed.len() < body.len() { (CODEC_ZSTD, packed) } else { (CODEC_NONE, body) };

        let mut value = Vec::with_capacity(HEADER_BYTES + body.len());
        value.extend_from_slice(&[BATCH_VERSION, codec, 0, 0]);
        value.extend_from_slice(&(self.value_lens.len() as u32).to_le_bytes());
        value.extend_from_slice(&appended_at_ms.to_le_bytes());
        value.extend_from_slice(&(self.values.len() as u32).to_le_bytes());
        value.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        let checksum = xxh3_64_with_seed(&body, xxh3_64(&value));
        value.extend_from_slice(&checksum.to_le_bytes());
        value.extend_from_slice(&body);
        Ok(value)
    }
}

pub(super) struct BatchHeader {
    codec: u8,
    pub(super) records: usize,
    pub(super) appended_at_ms: i64,
    values_bytes: usize,
    keys_bytes: usize,
}

impl BatchHeader {
    /// Reads the header and checks the whole stored value against its checksum.
    pub(super) fn read(value: &[u8]) -> Result<Self, String> {
        let Some((head, body)) = value.split_at_checked(HEADER_BYTES) else {
            return Err(format!("a batch has {} bytes, fewer than its header", value.len()));
        };
        if head[0] != BATCH_VERSION {
            return Err(format!("a batch is of version {}, this program reads {BATCH_VERSION}", head[0]));
        }
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if u64_at(24) != xxh3_64_with_seed(body, xxh3_64(&head[..24])) {
            return Err("a batch does not match its checksum".into());
        }
        Ok(Self {
            codec: head[1],
            records: u32_at(4) as usize,
            appended_at_ms: u64_at(8) as i64,
            values_bytes: u32_at(16) as usize,
            keys_bytes: u32_at(20) as usize,
        })
    }
}

pub(super) fn unpack(
    value: &[u8],
    first_offset: u64,
    unpacker: &mut zstd::bulk::Decompressor<'_>,
) -> Result<Chunk, String> {
    let header = BatchHeader::read(value)?;
    let lens_bytes = 8 * header.records;
    let body_bytes = lens_bytes + header.values_bytes + header.keys_bytes;
    if body_bytes > BODY_BYTES_MAX {
        return Err(format!("a batch says it unpacks to {body_bytes} bytes; none has over {BODY_BYTES_MAX}"));
    }
    let packed = &value[HEADER_BYTES..];
    let body = match header.codec {
        CODEC_NONE => packed.to_vec(),
        CODEC_ZSTD => unpacker.decompress(packed, body_bytes).map_err(|error| format!("zstd: {error}"))?,
        codec => return Err(format!("a batch has the unknown codec {codec}")),
    };
    if body.len() != body_bytes {
        return Err(format!("a batch unpacks to {} bytes instead of {body_bytes}", body.len()));
    }
    let mut end = 0u32;
    let mut spans = Vec::with_capacity(header.records);
    for len in body[..4 * header.records].as_chunks::<4>().0 {
        let start = end;
        end = end.saturating_add(u32::from_le_bytes(*len));
        spans.push((start, end));
    }
    // So each of them ends within, too: a sum that has grown too large stays so.
    if end as usize != header.values_bytes {
        return Err(format!("a batch's records add up to {end} bytes instead of {}", header.values_bytes));
    }
    let bytes = Buffer::from_vec(body).slice_with_length(lens_bytes, header.values_bytes);
    Ok(Chunk { first_offset, appended_at_ms: header.appended_at_ms, bytes, spans, oversized: Vec::new() })
}

/// Big-endian, so that the batches of a partition lie together and in order.
pub(super) fn batch_key(topic: u32, partition: u32, first_offset: u64) -> [u8; 16] {
    (u128::from(topic) << 96 | u128::from(partition) << 64 | u128::from(first_offset)).to_be_bytes()
}

pub(super) fn first_offset(key: &[u8]) -> Option<u64> {
    Some(u128::from_be_bytes(key.try_into().ok()?) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        for (key, value) in [("c-1", "{}"), ("", ""), ("c-2", "{\"id\":\"e\"}")] {
            batch.push(&Record { key: key.as_bytes(), value: value.as_bytes() });
        }
        batch
    }

    fn values(chunk: &Chunk) -> Vec<&str> {
        let record = |index| std::str::from_utf8(chunk.record(index)).unwrap();
        (0..chunk.spans.len()).map(record).collect()
    }

    /// A batch as version 1 wrote it, for as long as there are such logs.
    const STORED_V1: &[u8] =
        b"\x01\x00\x00\x00\x03\x00\x00\x00{h\xe5\xcf\x8b\x01\x00\x00\x0c\x00\x00\x00\x06\x00\x00\x00\
        \xa7\x85\xb13\"\x13\x12\xd1\x02\x00\x00\x00\x00\x00\x00\x00\n\x00\x00\x00\
        \x03\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00{}{\"id\":\"e\"}c-1c-2";

    #[test]
    fn a_batch_of_version_1() {
        let packed = batch().pack(1_700_000_000_123, &mut zstd::bulk::Compressor::new(1).unwrap());
        let packed = packed.unwrap();
        assert_eq!(packed.escape_ascii().to_string(), STORED_V1.escape_ascii().to_string());
        let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
        let chunk = unpack(STORED_V1, 7, &mut unpacker).unwrap();
        assert_eq!((chunk.first_offset, chunk.appended_at_ms), (7, 1_700_000_000_123));
        assert_eq!(values(&chunk), ["{}", "", "{\"id\":\"e\"}"]);
    }

    #[test]
    fn a_damaged_batch_is_noticed() {
        let mut packer = zstd::bulk::Compressor::new(1).unwrap();
        let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
        let mut large = batch();
        large.push(&Record { key: b"k", value: &[b'x'; 500] });
        for batch in [batch(), large] {
            let stored = batch.pack(5, &mut packer).unwrap();
            unpack(&stored, 0, &mut unpacker).unwrap();
            for at in 0..stored.len() {
                let mut damaged = stored.clone();
                damaged[at] ^= 0x10;
                assert!(unpack(&damaged, 0, &mut unpacker).is_err(), "byte {at}");
                assert!(unpack(&stored[..at], 0, &mut unpacker).is_err(), "cut at {at}");
            }
        }
    }

    /// With a checksum that fits, so that what the header says is believed.
    fn stored(records: u32, values_bytes: u32, keys_bytes: u32, codec: u8, body: &[u8]) -> Vec<u8> {
        let mut value = vec![BATCH_VERSION, codec, 0, 0];
        value.extend_from_slice(&records.to_le_bytes());
        value.extend_from_slice(&5i64.to_le_bytes());
        value.extend_from_slice(&values_bytes.to_le_bytes());
        value.extend_from_slice(&keys_bytes.to_le_bytes());
        value.extend_from_slice(&xxh3_64_with_seed(body, xxh3_64(&value)).to_le_bytes());
        value.extend_from_slice(body);
        value
    }

    #[test]
    fn a_batch_that_lies_about_its_size_is_refused() {
        let mut unpacker = zstd::bulk::Decompressor::new().unwrap();
        let mut problem = |value: &[u8]| unpack(value, 0, &mut unpacker).err().unwrap_or_default();
        // As much as the fields can say: 42 GB that would be allocated before anything is unpacked.
        let packed = zstd::bulk::compress(b"", 1).unwrap();
        let huge = stored(u32::MAX, u32::MAX, u32::MAX, CODEC_ZSTD, &packed);
        assert!(problem(&huge).contains("none has over"), "{}", problem(&huge));
        // Lengths that add up to those stated only if the sum overflows.
        let lens = [u32::MAX, 5, 0, 0].map(u32::to_le_bytes).concat();
        let wrapped = stored(2, 4, 0, CODEC_NONE, &[&lens, b"abcd".as_slice()].concat());
        assert!(problem(&wrapped).contains("add up to"), "{}", problem(&wrapped));
    }

    #[test]
    fn batch_keys_are_in_the_order_of_offsets() {
        let keys = [(0, 0, 0), (0, 0, 1), (0, 0, 300), (0, 1, 0), (1, 0, 0), (1, 0, u64::MAX)];
        let keys = keys.map(|(topic, partition, offset)| batch_key(topic, partition, offset));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| first_offset(&key)), [0, 1, 300, 0, 0, u64::MAX].map(Some));
    }
}
