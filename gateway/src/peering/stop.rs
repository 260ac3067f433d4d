//! In charge of ending well: a signal lets the batch at hand be finished, for a while.

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long the batch at hand may take after a signal. Cut off, it is done again by the next run.
const GRACE: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub struct Stop {
    asked: watch::Receiver<bool>,
}

impl Stop {
    /// Stops by SIGINT and SIGTERM; must be called within a Tokio runtime.
    pub fn by_signals() -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("signals can't be heard: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let (sender, asked) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            sender.send_replace(true);
            // The channel must outlive who waits for it.
            sender.closed().await;
        });
        Ok(Stop { asked })
    }

    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits for the signal.
    pub async fn asked(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the signal, and then as long as what is under way may take.
    pub async fn patience_over(&self) {
        self.asked().await;
        tokio::time::sleep(GRACE).await;
    }
}
