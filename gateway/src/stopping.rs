//! In charge of telling everything that waits that the gateway is about to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Still taking requests, but no longer to be sent any.
    Draining,
    /// What waits for changes ends, so that clients resume elsewhere.
    Stopping,
}

/// How far the gateway is on its way to the end; cheap to clone.
#[derive(Clone)]
pub struct Stopping {
    stage: watch::Sender<Stage>,
    /// The same as the last stage, for listeners, each of whom looks at each change: a look at the stage takes a lock.
    is_stopped: Arc<AtomicBool>,
}

impl Default for Stopping {
    fn default() -> Self {
        Stopping { stage: watch::Sender::new(Stage::Serving), is_stopped: Arc::default() }
    }
}

impl Stopping {
    pub fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    pub fn stop(&self) {
        // First, for whoever is woken looks at it.
        self.is_stopped.store(true, Ordering::Release);
        self.stage.send_replace(Stage::Stopping);
    }

    /// Whether clients should still be sent here.
    pub fn is_serving(&self) -> bool {
        *self.stage.borrow() == Stage::Serving
    }

    /// Whether whatever waits is to end.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Returns when whatever waits is to end, at once if that is so already.
    pub async fn stopped(&self) {
        let mut stage = self.stage.subscribe();
        // It fails without a sender only, and this is one.
        let _ = stage.wait_for(|stage| *stage == Stage::Stopping).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_told_and_so_are_those_who_come_late() {
        let stopping = Stopping::default();
        assert!(stopping.is_serving());
        let waiter = stopping.clone();
        let waiter = tokio::spawn(async move { waiter.stopped().await });
        stopping.drain();
        assert!(!stopping.is_serving() && !waiter.is_finished());
        stopping.stop();
        waiter.await.unwrap();
        stopping.stopped().await;
    }
}
