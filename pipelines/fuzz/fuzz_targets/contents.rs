//! The contents of checkpoint files of every format. What is taken can be written, and is the
//! same read again. The file is compiled into the target, as that of the configuration is.
#![no_main]

#[allow(dead_code)]
#[path = "../../runtime/src/checkpoint.rs"]
mod checkpoint;

/// What `checkpoint` needs of its crate.
mod publish {
    pub type Positions = std::collections::BTreeMap<String, Vec<u64>>;
}

use checkpoint::{Checkpoint, FORMAT, FORMATS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&format, contents)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(format) % FORMATS.len()];
    if let Ok(checkpoint) = Checkpoint::unpack(format, contents) {
        let written = postcard::to_stdvec(&checkpoint).expect("written");
        let again = Checkpoint::unpack(FORMAT, &written).expect("it was written");
        assert_eq!(postcard::to_stdvec(&again).expect("written"), written);
    }
});
