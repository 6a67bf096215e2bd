//! What a router tells of a task.

use headsup_tasks::task::{State, Task, TaskError, TaskEvent, Transition};

use crate::backend::Unavailable;

/// A transition that a router asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Of which task.
    pub task_id: String,
    /// By which it is recognised when it comes again, among those of the task: the id of its event.
    pub key: String,
    /// Only if the task stands at one of these revisions.
    pub if_match: Option<IfMatch>,
    /// What becomes of the task.
    pub transition: Transition,
    /// The name of the token by which it was asked for.
    pub by: String,
}

/// The header `If-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: any revision.
    Any,
    /// One of these strong tags, without their quotes.
    Of(Vec<String>),
}

impl IfMatch {
    /// Whether a task of this revision is meant.
    pub fn allows(&self, revision: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Of(tags) => tags.contains(&revision.to_string()),
        }
    }

    /// Reads the header (RFC 9110, 13.1.1). Weak tags are left out, since they never match. `None` if
    /// it is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text.trim();
        loop {
            let weak = rest.starts_with("W/");
            let open = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
            let (tag, behind) = open.split_once('"')?;
            if !weak {
                tags.push(tag.to_owned());
            }
            rest = behind.trim_start();
            if rest.is_empty() {
                return Some(Self::Of(tags));
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
}

/// Why a transition is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// The task's own reasons.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The task does not stand where the router thinks.
    #[error(
        "task {task_id} is {state} at revision {revision}, which If-Match does not name; read the task again and decide anew"
    )]
    Revision {
        /// Of which task.
        task_id: String,
        /// Where it stands.
        state: State,
        /// Its revision.
        revision: u32,
    },
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Act {
    /// Makes the transition of a task in memory. `None` if it was made before. A key that is known
    /// counts before `If-Match`, so that what is sent again is answered like the first time, and
    /// `If-Match` before what is possible.
    ///
    /// # Errors
    /// It is not possible; nothing has changed then.
    pub fn apply(&self, task: &mut Task, at_ms: i64) -> Result<Option<TaskEvent>, ActError> {
        let mut changed = task.clone();
        let result = changed.apply(self.transition.clone(), &self.key, at_ms);
        let is_new = matches!(result, Ok(Some(_)) | Err(TaskError::Impossible { .. }));
        let (state, revision) = (task.life.state, task.life.revision);
        if is_new && self.if_match.as_ref().is_some_and(|wanted| !wanted.allows(revision)) {
            return Err(ActError::Revision { task_id: self.task_id.clone(), state, revision });
        }
        let event = result?;
        *task = changed;
        Ok(event)
    }
}
