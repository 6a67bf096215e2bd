//! The end of a server.

use std::sync::Arc;

use tokio::sync::watch;

/// Says once that a server is to end; copies say the same.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// From now on nobody is let in, who waits for tasks is answered, and requests are brought to
    /// their end.
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    /// Until [`Stop::now`] is called, at once if it was.
    pub async fn wait(&self) {
        // It fails only without a sender, which `self` is.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}
