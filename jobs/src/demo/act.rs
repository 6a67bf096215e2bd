//! The router of the demo: the stand-in of `headsup router`, over the run's own HTTP API, in simulated time.

use headsup_tasks::Transition;
use headsup_tasks::task::Disposition;

use crate::Failure;
use crate::router::agents;
use crate::router::client::{Asked, Client};
use crate::router::desk::{Desk, disposition};

/// Gives tasks to agents.
pub struct Act {
    client: Client,
    /// With what has become of tasks.
    pub desk: Desk,
}

/// Agents who contact customers.
const AGENTS: u16 = 6;
/// Tasks of an agent at once.
const PLACES: u16 = 4;
/// How long a contact takes, in ms.
const HANDLING_MS: i64 = 5 * 60_000;

impl Act {
    pub fn new(url: &str, token: &str) -> Self {
        let skills = ["return".to_owned(), "presale".to_owned()];
        Self {
            client: Client::new(url, token),
            desk: Desk::new(agents(AGENTS, &skills, PLACES), HANDLING_MS),
        }
    }

    /// Does what can be done at a time, and says whom an agent got hold of.
    ///
    /// # Errors
    /// The API does not let it in.
    pub fn step(&mut self, now_ms: i64) -> Result<Vec<String>, Failure> {
        self.client.feed(0)?.into_iter().flatten().for_each(|told| self.desk.take(told));
        let mut reached = Vec::new();
        loop {
            let steps = self.desk.due(now_ms);
            if steps.is_empty() {
                return Ok(reached);
            }
            for step in steps {
                match self.client.ask(&step) {
                    Asked::Done => {
                        let accepted = matches!(step.transition, Transition::Accepted { .. });
                        if accepted && disposition(&step.task_id) != Disposition::NoAnswer {
                            reached.push(step.customer_id.clone());
                        }
                        self.desk.done(&step, now_ms);
                    }
                    Asked::Never(_) => self.desk.lost(&step),
                    // It is still to be done at the next step.
                    Asked::Later(_) => return Ok(reached),
                }
            }
        }
    }
}
