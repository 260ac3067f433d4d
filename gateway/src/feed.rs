//! In charge of waking whoever waits for changes: one look at the sequence for all of them, however many wait,
//! and one query and one writing of a page for all that ask for the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};

use crate::auth::Caller;
use crate::changes::{self, Ask, Page};
use crate::database::Database;
use crate::error::Error;
use crate::limits::Limits;
use crate::routes::Gateway;

/// How often the sequence is looked at while somebody waits. Forty statements of 0.2 ms a second are not seen in
/// any profile of the database, and no writer waits for them, as it would for the lock that NOTIFY takes at its commit.
pub const TICK: Duration = Duration::from_millis(25);
/// The same after a failure, so that a database that comes up is not hammered.
const TICK_AFTER_FAILURE: Duration = Duration::from_secs(1);

type Cell = Arc<OnceCell<Result<Arc<Page>, Error>>>;

/// The pages that were read since the sequence last moved.
#[derive(Default)]
struct Pages {
    tick: i64,
    pages: HashMap<(Ask, i64), Cell>,
}

/// Tells waiting requests that there may be something new.
#[derive(Clone)]
pub struct Feed {
    sequence: watch::Receiver<i64>,
    pages: Arc<Mutex<Pages>>,
}

impl Feed {
    /// Starts the ticker; it ends when the last clone of the feed is gone.
    pub fn start(database: Database, limits: Arc<Limits>) -> Self {
        let (sender, sequence) = watch::channel(0);
        tokio::spawn(async move {
            while !sender.is_closed() {
                let mut pause = TICK;
                if limits.listeners.taken() > 0 {
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
        Feed { sequence, pages: Arc::default() }
    }

    /// A view of the sequence that has not seen what comes from now on.
    pub fn watch(&self) -> watch::Receiver<i64> {
        let mut receiver = self.sequence.clone();
        receiver.mark_unchanged();
        receiver
    }

    /// Whether the sequence was seen further on than this page reached: a later look may reach less far, while a
    /// transaction that began before writes. What lies between comes without the sequence moving again.
    pub fn is_ahead_of(&self, page: &Page) -> bool {
        !page.is_full && page.next < *self.sequence.borrow()
    }

    /// A page for one of many that were woken at once: the first reads it.
    pub async fn page(&self, gateway: &Gateway, ask: &Ask, since: i64) -> Result<Arc<Page>, Error> {
        let tick = *self.sequence.borrow();
        let cell = {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            if pages.tick != tick {
                *pages = Pages { tick, pages: HashMap::new() };
            }
            Arc::clone(pages.pages.entry((ask.clone(), since)).or_default())
        };
        let read = || async { changes::read(gateway, ask, since).await.map(Arc::new) };
        let page = cell.get_or_init(read).await.clone();
        // What failed or fell short is tried again, and what many have taken is not kept for none.
        let is_good = page.as_ref().is_ok_and(|page| !self.is_ahead_of(page));
        if !is_good || Arc::strong_count(&cell) <= 2 {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (ask.clone(), since);
            if pages.pages.get(&key).is_some_and(|kept| Arc::ptr_eq(kept, &cell)) {
                pages.pages.remove(&key);
            }
        }
        page
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
