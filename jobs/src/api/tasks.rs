//! Tasks as they stand: as the run has decided, and behind that what was asked for and is on its way to it.

use std::collections::{BTreeMap, VecDeque};

use headsup_api::{Act, ActError};
use headsup_tasks::task::{Task, TaskError, TaskEvent};
use headsup_tasks::{Told, Transition};

/// Tasks that are over are kept so many.
const OVER_MAX: usize = 100_000;

/// The tasks of a run.
#[derive(Default)]
pub struct Tasks {
    tasks: BTreeMap<String, Held>,
    over: VecDeque<String>,
}

struct Held {
    /// As the run has decided.
    decided: Task,
    /// Asked for since, in order.
    asked: Vec<(Transition, String, i64)>,
    /// With what was asked for.
    shown: Task,
}

impl Tasks {
    /// Takes in what the run has decided.
    pub fn take(&mut self, told: Told) {
        match told {
            // The same again is computed again, and what became of it follows.
            Told::Created(task) => {
                let held = Held { decided: (*task).clone(), asked: Vec::new(), shown: (*task).clone() };
                self.tasks.insert(task.task_id, held);
            }
            Told::Changed(event) => self.changed(&event),
            Told::Refused { task_id, cause } => {
                if let Some(held) = self.tasks.get_mut(&task_id) {
                    held.asked.retain(|(_, asked, _)| *asked != cause);
                    held.show();
                }
            }
        }
    }

    fn changed(&mut self, event: &TaskEvent) {
        let Some(held) = self.tasks.get_mut(&event.task_id) else { return };
        if event.revision <= held.decided.life.revision {
            return;
        }
        // What was decided follows from what was decided before.
        let _ = held.decided.apply(event.transition.clone(), &event.cause, event.at_ms);
        held.asked.retain(|(_, asked, _)| *asked != event.cause);
        held.show();
        if !held.decided.life.state.is_open() {
            self.over.push_back(event.task_id.clone());
            if self.over.len() > OVER_MAX
                && let Some(oldest) = self.over.pop_front()
                && self.get(&oldest).is_some_and(|task| !task.life.state.is_open())
            {
                self.tasks.remove(&oldest);
            }
        }
    }

    /// A task as it stands.
    pub fn get(&self, task_id: &str) -> Option<&Task> {
        self.tasks.get(task_id).map(|held| &held.shown)
    }

    /// All that are known, as they stand.
    pub fn all(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().map(|held| &held.shown)
    }

    /// What a task would be behind a transition, and whether the transition is new.
    ///
    /// # Errors
    /// It is not possible.
    pub fn ask(&self, act: &Act, at_ms: i64) -> Result<(Task, bool), ActError> {
        let unknown = || TaskError::Unknown { task_id: act.task_id.clone() };
        let mut task = self.get(&act.task_id).ok_or_else(unknown)?.clone();
        let is_new = act.apply(&mut task, at_ms)?.is_some();
        Ok((task, is_new))
    }

    /// It was asked for: it is in the log.
    pub fn asked(&mut self, act: &Act, at_ms: i64) {
        if let Some(held) = self.tasks.get_mut(&act.task_id) {
            held.asked.push((act.transition.clone(), act.key.clone(), at_ms));
            held.show();
        }
    }
}

impl Held {
    fn show(&mut self) {
        self.shown = self.decided.clone();
        for (transition, key, at_ms) in &self.asked {
            // What is impossible by now, the run will refuse.
            let _ = self.shown.apply(transition.clone(), key, *at_ms);
        }
    }
}
