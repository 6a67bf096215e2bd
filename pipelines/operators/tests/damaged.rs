//! Saved state with bytes changed is refused, or goes on to the end: no panic, no end that does
//! not come. `pipelines/fuzz` looks further.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

#[path = "../../fuzz/pipeline.rs"]
mod pipeline;

use pipeline::{EVENTS, PARTITIONS};

#[test]
fn saved_state_with_bytes_changed() {
    let mut whole = pipeline::new();
    let mut states = Vec::new();
    for number in 0..EVENTS.map(|events| events.lines().count()).into_iter().max().unwrap_or(0) {
        for (partition, events) in EVENTS.iter().enumerate().take(PARTITIONS) {
            if let Some(line) = events.lines().nth(number) {
                pipeline::push(&mut whole, partition, line);
            }
        }
        whole.advance().expect("nothing is evaluated");
        states.push(whole.save().pack().expect("packed"));
    }
    let mut restored = 0;
    for state in states.into_iter().skip(1).step_by(3) {
        let mut again = pipeline::new();
        again.restore(&state, u32::MAX).expect("what was saved");
        pipeline::go_on(&mut again);
        for place in 0..state.len() {
            for byte in [0, 0xff, state[place] ^ 1, state[place] ^ 0x10] {
                let mut spoiled = state.clone();
                spoiled[place] = byte;
                let mut pipeline = pipeline::new();
                if pipeline.restore(&spoiled, u32::MAX).is_ok() {
                    pipeline::go_on(&mut pipeline);
                    restored += 1;
                }
            }
            assert!(pipeline::new().restore(&state[..place], u32::MAX).is_err(), "cut to {place}");
        }
    }
    // Texts and counts, and bytes that were so before.
    assert!(restored > 1_000, "{restored}");
}
