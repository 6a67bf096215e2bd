//! ClickHouse's compressed frames: a CityHash128 of what follows, the method (LZ4), the
//! length with these nine bytes, the length uncompressed, the data.

use cityhash_rs::cityhash_102_128;

const LZ4: u8 = 0x82;
const CHECKSUM: usize = 16;
const HEADER: usize = 9;
/// No frame of a client is longer.
const UNCOMPRESSED_MAX: usize = 1 << 28;

/// The data of all frames in `body`.
pub(crate) fn decompress(mut body: &[u8]) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    while !body.is_empty() {
        let short = || "Code: 271. a compressed frame is cut off".to_owned();
        let (checksum, rest) = body.split_at_checked(CHECKSUM).ok_or_else(short)?;
        let header = rest.get(..HEADER).ok_or_else(short)?;
        let number = |at: usize| {
            header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
                as usize
        };
        let (compressed, uncompressed) = (number(1), number(5));
        if header[0] != LZ4 || uncompressed > UNCOMPRESSED_MAX {
            return Err(format!("Code: 432. a frame of method {:#x}, {uncompressed} bytes", header[0]));
        }
        let frame = rest.get(..compressed).filter(|frame| frame.len() > HEADER).ok_or_else(short)?;
        // The checksum is two words, the higher first, each little-endian.
        let hash = cityhash_102_128(frame);
        let expected = [((hash >> 64) as u64).to_le_bytes(), (hash as u64).to_le_bytes()].concat();
        if checksum != expected.as_slice() {
            return Err("Code: 40. the checksum of a frame does not match".to_owned());
        }
        let frame = lz4_flex::block::decompress(&frame[HEADER..], uncompressed)
            .map_err(|error| format!("Code: 432. {error}"))?;
        data.extend_from_slice(&frame);
        body = &rest[compressed..];
    }
    Ok(data)
}
