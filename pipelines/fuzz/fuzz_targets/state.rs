//! The operators' saved state. What is taken must also be able to go on.
#![no_main]

#[path = "../pipeline.rs"]
mod pipeline;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut pipeline = pipeline::new();
    if pipeline.restore(bytes, u32::MAX).is_err() {
        return;
    }
    let _ = pipeline.sizes();
    pipeline.save().pack().expect("it was restored");
    pipeline::go_on(&mut pipeline);
});
