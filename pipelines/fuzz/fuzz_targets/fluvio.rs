//! Batches of records that Fluvio sends: taken apart by the client, and their records by us.
#![no_main]

#[path = "../../fluvio/src/batch.rs"]
mod batch;

use fluvio_protocol::Decoder;
use fluvio_protocol::record::{RawRecords, RecordSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&skip, bytes)) = bytes.split_first() else { return };
    let set = [&(bytes.len() as i32).to_be_bytes(), bytes].concat();
    let Ok(set) = RecordSet::<RawRecords>::decode_from(&mut set.as_slice(), 0) else { return };
    for batch in set.batches {
        let Ok(records) = batch::unpack(&batch, u64::from(skip)) else { continue };
        let mut at = 0;
        for &(start, end) in &records.spans {
            assert!(start == at && start <= end, "records follow each other");
            at = end;
        }
        assert_eq!(at as usize, records.bytes.len());
        assert!(records.skipped <= u64::from(skip));
        let count = records.skipped + records.spans.len() as u64;
        assert_eq!(records.is_cut, count < batch.records_len() as u64);
    }
});
