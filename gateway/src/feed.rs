//! In charge of waking long polls: one look at the sequence for all of them, however many wait.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::auth::Caller;
use crate::database::Database;
use crate::error::Error;

/// How often the sequence is looked at while somebody waits. A person doesn't notice a tenth of a
/// second, and ten statements of 0.2 ms a second are not seen in any profile of the database.
const TICK: Duration = Duration::from_millis(100);
/// The same after a failure, so that a database that comes up is not hammered.
const TICK_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Tells waiting requests that there may be something new.
#[derive(Clone)]
pub struct Feed {
    sequence: watch::Receiver<i64>,
    waiters: Arc<Semaphore>,
}

impl Feed {
    /// Starts the ticker; it ends when the last clone of the feed is gone.
    pub fn start(database: Database, waiters_max: usize) -> Self {
        let (sender, sequence) = watch::channel(0);
        let waiters = Arc::new(Semaphore::new(waiters_max));
        let idle = Arc::clone(&waiters);
        tokio::spawn(async move {
            while !sender.is_closed() {
                let mut pause = TICK;
                if idle.available_permits() < waiters_max {
                    match look(&database).await {
                        Ok(now) => {
                            sender.send_if_modified(|last| std::mem::replace(last, now) != now);
                        }
                        Err(_) => pause = TICK_AFTER_FAILURE,
                    }
                }
                tokio::time::sleep(pause).await;
            }
        });
        Feed { sequence, waiters }
    }

    /// A place among the waiting; 503 when there is none.
    pub fn enter(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.waiters
            .try_acquire()
            .map_err(|_| Error::unavailable("too many long polls are waiting here; try again"))
    }

    /// A view of the sequence that has not seen what comes from now on.
    pub fn watch(&self) -> watch::Receiver<i64> {
        let mut receiver = self.sequence.clone();
        receiver.mark_unchanged();
        receiver
    }
}

/// The failure has been logged where it became an `Error`.
async fn look(database: &Database) -> Result<i64, Error> {
    let rows = database.rows(&Caller::Login, "select godwit.last_sequence()", &[]).await?;
    match rows.first() {
        Some(row) => Ok(row.try_get(0)?),
        None => Err(Error::unavailable("the database did not say its sequence")),
    }
}
