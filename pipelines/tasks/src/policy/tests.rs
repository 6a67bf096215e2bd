#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, as it should")]
