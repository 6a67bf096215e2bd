//! Arrow IPC inside of saved state, and of what shares say.
#![no_main]

use arrow::array::RecordBatch;
use headsup_operators::{pack, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batches) = unpack(bytes) {
        // What is taken is whole: it can be shown, and packed again.
        for batch in &batches {
            let _ = format!("{batch:?}");
        }
        let again = pack(&batches).and_then(|bytes| unpack(&bytes)).expect("it was unpacked before");
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>();
        assert_eq!(rows(&again), rows(&batches));
    }
});
