//! In charge of waking whoever waits for changes: one look at the sequence for all of them, however many wait,
//! and one query and one writing of a page for all that ask for the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};

use crate::auth::Caller;
use crate::changes::{self, Ask, Page};
use crate::config;
use crate::database::{Database, int8};
use crate::error::Error;
use crate::limits::Limits;
use crate::routes::Gateway;

/// How long one statement waits for the sequence to move. The database looks at it a thousand times a second
/// meanwhile, in microseconds; no writer waits for that, as it would for the lock that NOTIFY takes at its commit.
const WAIT_MS: i64 = 500;
/// How often is looked whether somebody listens, and how long a reader waits that is ahead of a slow writer.
pub const TICK: Duration = Duration::from_millis(25);
/// What waking one listener takes, about: those who were woken have their pages before they are woken again, so that
/// many listeners get several changes at once rather than each of them late.
const WAKING: Duration = Duration::from_micros(15);
const WAKING_MAX: Duration = Duration::from_millis(100);
/// The pause after a failure, so that a database that comes up is not hammered.
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
    /// Starts the watcher, with a connection of its own; it ends when the last clone of the feed is gone.
    pub fn start(config: &config::Database, limits: Arc<Limits>) -> Result<Self, String> {
        let database = Database::new(&config::Database { pool_size: 1, ..config.clone() })?;
        let wait = match config.statement_timeout_ms {
            0 => WAIT_MS,
            bound => WAIT_MS.min((bound / 2).into()),
        };
        let (sender, sequence) = watch::channel(0);
        tokio::spawn(async move {
            while !sender.is_closed() {
                let listeners = limits.listeners.taken();
                if listeners == 0 {
                    tokio::time::sleep(TICK).await;
                    continue;
                }
                let known = *sender.borrow();
                match moved(&database, known, wait).await {
                    Ok(now) if now == known => {}
                    Ok(now) => {
                        sender.send_replace(now);
                        let waking = WAKING * u32::try_from(listeners).unwrap_or(u32::MAX);
                        tokio::time::sleep(waking.min(WAKING_MAX)).await;
                    }
                    Err(_) => tokio::time::sleep(TICK_AFTER_FAILURE).await,
                }
            }
        });
        Ok(Feed { sequence, pages: Arc::default() })
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

/// The sequence when it is another than the known one, or after a while the same. The failure has been logged
/// where it became an `Error`.
async fn moved(database: &Database, known: i64, wait: i64) -> Result<i64, Error> {
    let sql = "select godwit._await_change($1, $2::int8::int4)";
    let parameters = [int8(&known), int8(&wait)];
    let rows = database.rows(&Caller::Login, sql, &parameters).await?;
    match rows.first() {
        Some(row) => Ok(row.try_get(0)?),
        None => Err(Error::unavailable("the database did not say its sequence")),
    }
}
