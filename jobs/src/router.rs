//! `headsup router`: a stand-in for the router of tasks, to try the whole way and to test against.

pub mod client;
pub mod desk;
mod hooks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use headsup_events::format_rfc3339_ms;
use headsup_stream::parse_duration_ms;
use headsup_tasks::{Told, Transition};
use headsup_webhooks::Secrets;

use crate::Failure;
use crate::rules::read;
use crate::run::stop_on_signal;

use client::{Asked, Client};
use desk::{Agent, Desk, Step};

/// Stand in for the router: take tasks, give them to made-up agents, and report how it went.
///
/// It asks a run's API for tasks, or has them sent by its webhook, and reports by the API. Nobody is contacted: agents
/// take a while, and what they report is drawn from the task's id.
#[derive(Debug, Args)]
pub struct RouterArgs {
    /// Where the run's API is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8787")]
    url: String,
    /// The file with a token of scopes read and act; `headsup token` makes one [default: the environment variable
    /// HEADSUP_ROUTER_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How many agents there are
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    agents: u16,
    /// What agents are able to: the first has all skills, the next ones one each in turn
    #[arg(long, value_name = "SKILL", value_delimiter = ',', default_value = "return,presale")]
    skills: Vec<String>,
    /// Tasks of an agent at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    places: u16,
    /// How long a contact takes, on average
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    handling: i64,
    /// Have tasks sent here, such as 127.0.0.1:9100, by a webhook of the run, instead of asking for them
    #[arg(long, value_name = "ADDRESS", requires = "secret_file")]
    listen: Option<SocketAddr>,
    /// The file with the webhook's secret, whsec_…
    #[arg(long, value_name = "FILE", requires = "listen")]
    secret_file: Option<PathBuf>,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

fn duration(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).filter(|ms| *ms > 0).ok_or_else(|| "expected a duration such as 5m".to_owned())
}

/// How long a router that has nothing to do waits for something.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two attempts after one that failed.
const RETRY: Duration = Duration::from_secs(1);
/// A long poll, in seconds.
const WAIT_S: u32 = 30;

/// So many agents: the first has all skills, the next ones one each in turn.
pub fn agents(count: u16, skills: &[String], places: u16) -> Vec<Agent> {
    let skilled = |number: usize| match number.checked_sub(1) {
        None => skills.to_vec(),
        Some(number) => skills.iter().skip(number % skills.len().max(1)).take(1).cloned().collect(),
    };
    let agent = |number: usize| Agent {
        id: format!("proactive-{}", number + 1),
        skills: skilled(number),
        places: usize::from(places),
    };
    (0..usize::from(count)).map(agent).collect()
}

pub fn router(args: &RouterArgs) -> Result<(), Failure> {
    let token = match &args.token_file {
        Some(file) => read(file)?,
        None => std::env::var("HEADSUP_ROUTER_TOKEN").map_err(|_| Failure {
            code: 2,
            message: "the router needs a token of scopes read and act: --token-file FILE, or the environment variable \
                      HEADSUP_ROUTER_TOKEN; `headsup token router --scopes read,act` makes one"
                .to_owned(),
        })?,
    };
    let token = token.lines().next().unwrap_or_default().trim().to_owned();
    let mut desk = Desk::new(agents(args.agents, &args.skills, args.places), args.handling);
    let stop = stop_on_signal()?;
    let (sender, told) = channel();
    match (args.listen, &args.secret_file) {
        (Some(address), Some(file)) => {
            let address = hooks::listen(address, secrets(file)?, sender)?;
            eprintln!("webhooks are taken at http://{address}/");
        }
        _ => poll(Client::new(&args.url, &token), sender)?,
    }
    eprintln!("tasks of {} are given to {} agents; stop with Ctrl-C", args.url, args.agents);
    let client = Client::new(&args.url, &token);
    let until = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    work(&mut desk, &client, &told, &stop, until)?;
    for (how, count) in &desk.counts {
        eprintln!("{count:>8} {how}");
    }
    eprintln!("{:>8} still open", desk.open());
    Ok(())
}

fn secrets(file: &Path) -> Result<Secrets, Failure> {
    let text = read(file)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Secrets::parse(&lines)
        .map_err(|error| Failure { code: 2, message: format!("{}: {error}", file.display()) })
}

/// What is told, and what time it is for the run, in ms, and since when; or why nothing more is told.
type Heard = Result<(Vec<Told>, Option<(i64, Instant)>), Failure>;

/// Asks for tasks in a thread of its own.
fn poll(mut client: Client, sender: Sender<Heard>) -> Result<(), Failure> {
    let thread = std::thread::Builder::new().name("feed".to_owned());
    let poll = move || {
        let mut is_silent = false;
        loop {
            let heard = match client.feed(WAIT_S) {
                Ok(None) => {
                    if !is_silent {
                        eprintln!("the run does not tell of tasks now; asked again until it does");
                    }
                    is_silent = true;
                    std::thread::sleep(RETRY);
                    continue;
                }
                Ok(Some(told)) => {
                    is_silent = false;
                    Ok((told, client.now()))
                }
                Err(failure) => Err(failure),
            };
            let is_over = heard.is_err();
            if sender.send(heard).is_err() || is_over {
                return;
            }
        }
    };
    thread.spawn(poll).map(drop).map_err(|error| Failure::new(format!("cannot ask for tasks: {error}")))
}

fn work(
    desk: &mut Desk,
    client: &Client,
    told: &Receiver<Heard>,
    stop: &AtomicBool,
    until: Option<Instant>,
) -> Result<(), Failure> {
    let mut later: BTreeMap<String, Instant> = BTreeMap::new();
    let mut now = None;
    while !stop.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
        match told.recv_timeout(PAUSE) {
            Ok(heard) => {
                let (told, said) = heard?;
                now = said.or(now);
                told.into_iter().for_each(|told| desk.take(told));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new("nobody tells of tasks any more"));
            }
        }
        // By the clock, if the run has not said what time it is for it.
        let now_ms = match now {
            Some((now_ms, said)) => now_ms + said.elapsed().as_millis() as i64,
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64,
        };
        for step in desk.due(now_ms) {
            if later.get(&step.task_id).is_some_and(|at| *at > Instant::now()) {
                continue;
            }
            later.remove(&step.task_id);
            let asked = client.ask(&step);
            eprintln!("{} {}", format_rfc3339_ms(now_ms), line(&step, &asked));
            match asked {
                Asked::Done => desk.done(&step, now_ms),
                Asked::Never(_) => desk.lost(&step),
                Asked::Later(_) => drop(later.insert(step.task_id.clone(), Instant::now() + RETRY)),
            }
        }
    }
    Ok(())
}

fn line(step: &Step, asked: &Asked) -> String {
    let what = match &step.transition {
        Transition::Offered { agent_id } => format!("offered to {}", agent_id.as_deref().unwrap_or("nobody")),
        Transition::Accepted { agent_id } => {
            format!("accepted by {}", agent_id.as_deref().unwrap_or("nobody"))
        }
        Transition::Completed { disposition, .. } => format!("completed: {}", disposition.name()),
        other => other.to().name().to_owned(),
    };
    let Step { task_id, customer_id, .. } = step;
    match asked {
        Asked::Done => format!("{task_id} of {customer_id} {what}"),
        Asked::Never(why) => format!("{task_id} of {customer_id} cannot be {what}: {why}"),
        Asked::Later(why) => format!("{task_id} of {customer_id} is {what} later: {why}"),
    }
}
