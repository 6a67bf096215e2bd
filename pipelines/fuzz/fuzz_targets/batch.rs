//! Batches of the embedded log, as they are and with a checksum that fits.
#![no_main]

use headsup_connectors::embedded::unpack_stored;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    check(&bytes);
    if let Some((head, body)) = bytes.split_at_checked(32) {
        let checksum = xxh3_64_with_seed(body, xxh3_64(&head[..24]));
        bytes[24..32].copy_from_slice(&checksum.to_le_bytes());
        check(&bytes);
    }
});

fn check(bytes: &[u8]) {
    if let Ok(chunk) = unpack_stored(bytes) {
        for index in 0..chunk.spans.len() {
            chunk.record(index);
        }
    }
}
