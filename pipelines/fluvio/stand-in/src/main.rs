//! Serves as a stand-in for a Fluvio cluster until it is killed, for tests of several processes.

use std::{net::SocketAddr, process::ExitCode, thread};

use headsup_fluvio_stand_in::{Options, StandIn};

const USAGE: &str =
    "usage: headsup-fluvio-stand-in [--listen HOST:PORT] [--listen-records HOST:PORT] [--folder DIR]
HOST is an IP address, PORT 0 any free one; the default is 127.0.0.1:0 for both.";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--listen" => options.listen = address(&value()?)?,
            "--listen-records" => options.listen_records = address(&value()?)?,
            "--folder" => options.folder = Some(value()?.into()),
            "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => return Err(format!("cannot make sense of {argument}\n{USAGE}")),
        }
    }
    let stand_in = StandIn::start_with(options).map_err(|error| format!("cannot start: {error}"))?;
    println!("{}", stand_in.endpoint());
    loop {
        thread::park();
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("cannot make sense of {text}: expected an IP address and a port\n{USAGE}"))
}
