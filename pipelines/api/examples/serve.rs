//! The API over a few made-up scores, tasks and alerts, to try clients with:
//!
//! ```text
//! cargo run -p headsup-api --example serve -- 127.0.0.1:8090
//! ```
//!
//! It prints a token and answers until it is killed.

use std::error::Error;
use std::num::NonZeroU32;
use std::sync::Arc;

use headsup_api::{Limits, Options, Rate, Scope, Stop, Tokens, new_token, router, serve};
use tokio::net::TcpListener;

#[path = "../tests/api/memory.rs"]
#[expect(dead_code, reason = "what only tests look at")]
mod memory;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let new = new_token("example", &Scope::ALL, None)?;
    let fast = NonZeroU32::new(1_000_000).ok_or("zero")?;
    let options = Options {
        tokens: Some(Tokens::parse("example", &new.entry)?),
        rate: Rate { per_second: fast, burst: fast },
        ..Options::default()
    };
    let memory = memory::Memory::new();
    for place in 2..100 {
        memory.create(&format!("task-{place}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("http://{}/v1/openapi.json\n{}", listener.local_addr()?, new.token);
        serve(listener, router(Arc::new(memory), options), Limits::default(), None, Stop::default()).await;
        Ok(())
    })
}
