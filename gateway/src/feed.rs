//! In charge of waking whoever waits for changes: one look at the sequence for all of a group, and one query and one
//! writing of a page for all in it that ask for the same.
//!
//! Groups are woken by turns, each for all that came since its last turn. Were all woken at once, a change would wait
//! for the next waking and then for everybody before in the queue; so it waits for a turn, which is half of that.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use crate::auth::Caller;
use crate::changes::{self, Ask, Page};
use crate::config;
use crate::database::{Database, int8};
use crate::error::Error;
use crate::limits::Limits;
use crate::routes::Gateway;
use crate::stopping::Stopping;

/// How long one statement waits for the sequence to move. The database looks at it a thousand times a second
/// meanwhile, in microseconds; no writer waits for that, as it would for the lock that NOTIFY takes at its commit.
const WAIT_MS: i64 = 500;
/// How often is looked whether somebody listens, and how long a reader waits that is ahead of a slow writer.
pub const TICK: Duration = Duration::from_millis(25);
/// Listeners that are woken together. Fewer would be woken more evenly, and each group reads its own pages.
const GROUP_MAX: usize = 1_000;
/// The most pages that a group keeps between its turns, and the bytes of all of them: readers may be at as many places as
/// they like, and beyond that each reads its own.
const PAGES_MAX: usize = 64;
const PAGES_BYTES_MAX: usize = 1024 * 1024;
/// What waking one listener takes at the least, and how long is waited for each at the most: those who were woken have
/// their pages before others are woken, so that many listeners get several changes at once rather than each of them
/// late; and a machine that is slow, or busy, isn't asked for more than it can.
const WAKING_MIN: Duration = Duration::from_micros(8);
const WAKING_MAX: Duration = Duration::from_micros(25);
/// How often is looked whether they have them; clocks don't know less.
const LOOK: Duration = Duration::from_millis(1);
/// The pause after a failure, so that a database that comes up is not hammered.
const TICK_AFTER_FAILURE: Duration = Duration::from_secs(1);

type Cell = Arc<OnceCell<Result<Arc<Page>, Error>>>;

/// The pages that were read since the group's last turn, by the addresses of what is asked, which is there once, and by
/// where they begin.
type Pages = HashMap<(usize, i64), Kept>;

struct Kept {
    /// It has its address as long as it is kept.
    ask: Arc<Ask>,
    cell: Cell,
    /// How many have asked for it.
    asked: usize,
}

/// Listeners that are woken together. At each change all of them look at all of this, from several threads, so what can
/// be read without writing anything, a lock's count for instance, is.
struct Group {
    bell: watch::Sender<()>,
    /// The sequence as it was seen when the bell was rung.
    seen: AtomicI64,
    pages: Mutex<Pages>,
    /// Those who have been woken since its turn began.
    woken: AtomicUsize,
}

#[derive(Default)]
struct Groups {
    /// The one whose turn is next stands first.
    turns: VecDeque<Arc<Group>>,
    /// The sequence as it was last seen.
    seen: i64,
    /// What listeners ask for, each once, so that it is compared without a look into it, and how many ask for it.
    asks: HashMap<Arc<Ask>, usize>,
    /// The gateway stops: whoever comes to wait is woken at once.
    is_over: bool,
}

/// Tells waiting requests that there may be something new.
#[derive(Clone, Default)]
pub struct Feed(Arc<Mutex<Groups>>);

/// One listener's view of the sequence, as its group last saw it, and of the pages that it asks for.
pub struct Ticks {
    groups: Weak<Mutex<Groups>>,
    group: Arc<Group>,
    bell: watch::Receiver<()>,
    ask: Arc<Ask>,
}

impl Feed {
    /// Starts the watcher, with a connection of its own; it ends when the last clone of the feed is gone.
    pub fn start(
        config: &config::Database,
        shared: Database,
        limits: Arc<Limits>,
        stopping: Stopping,
    ) -> Result<Self, String> {
        let database = Database::new(&config::Database { pool_size: 1, ..config.clone() })?;
        let wait = match config.statement_timeout_ms {
            0 => WAIT_MS,
            bound => WAIT_MS.min((bound / 2).into()),
        };
        let feed = Feed::default();
        tokio::spawn(wake(Arc::downgrade(&feed.0), limits, database, shared, wait));
        let groups = Arc::downgrade(&feed.0);
        tokio::spawn(async move {
            stopping.stopped().await;
            if let Some(groups) = groups.upgrade() {
                lock(&groups).stop();
            }
        });
        Ok(feed)
    }

    /// A view of the sequence that has not seen what comes from now on.
    pub fn watch(&self, ask: &Arc<Ask>) -> Ticks {
        let mut groups = lock(&self.0);
        let ask = groups.come(ask);
        let has_room = |group: &&Arc<Group>| group.bell.receiver_count() < GROUP_MAX;
        let group = match groups.turns.iter().find(has_room) {
            Some(group) => Arc::clone(group),
            None => {
                let group = Arc::new(Group {
                    bell: watch::Sender::new(()),
                    seen: AtomicI64::new(groups.seen),
                    pages: Mutex::default(),
                    woken: AtomicUsize::new(0),
                });
                groups.turns.push_back(Arc::clone(&group));
                group
            }
        };
        let mut bell = group.bell.subscribe();
        if groups.is_over {
            bell.mark_changed();
        }
        Ticks { groups: Arc::downgrade(&self.0), group, bell, ask }
    }
}

impl Groups {
    /// The same as another listener's, if there is one that asks the same.
    fn come(&mut self, ask: &Arc<Ask>) -> Arc<Ask> {
        let entry = self.asks.entry(Arc::clone(ask));
        let ask = Arc::clone(entry.key());
        *entry.or_default() += 1;
        ask
    }

    fn leave(&mut self, ask: &Arc<Ask>) {
        if let Entry::Occupied(mut listeners) = self.asks.entry(Arc::clone(ask)) {
            *listeners.get_mut() -= 1;
            if *listeners.get() == 0 {
                listeners.remove();
            }
        }
    }

    /// The group whose turn it is; its next one comes when all others have had theirs.
    fn turn(&mut self) -> Option<Arc<Group>> {
        self.turns.retain(|group| group.bell.receiver_count() > 0);
        let group = self.turns.pop_front()?;
        self.turns.push_back(Arc::clone(&group));
        Some(group)
    }

    fn stop(&mut self) {
        self.is_over = true;
        for group in &self.turns {
            group.bell.send_replace(());
        }
    }
}

impl Kept {
    fn new(ask: Arc<Ask>) -> Self {
        Kept { ask, cell: Cell::default(), asked: 0 }
    }
}

impl Group {
    async fn page(
        &self,
        database: &Database,
        ask: &Arc<Ask>,
        since: i64,
        seen: i64,
    ) -> Result<Arc<Page>, Error> {
        let key = (Arc::as_ptr(ask).addr(), since);
        let cell = {
            let mut pages = lock(&self.pages);
            let kept = pages.entry(key).or_insert_with(|| Kept::new(Arc::clone(ask)));
            kept.asked += 1;
            if let Some(Ok(page)) = kept.cell.get()
                && !is_short(page, seen)
            {
                return Ok(Arc::clone(page));
            }
            Arc::clone(&kept.cell)
        };
        let read = || async { changes::read(database, ask, since).await.map(Arc::new) };
        let page = cell.get_or_init(read).await.clone();
        // What failed or fell short is tried again.
        let is_good = page.as_ref().is_ok_and(|page| !is_short(page, seen));
        let mut pages = lock(&self.pages);
        let is_many = pages.len() > PAGES_MAX || bytes(&pages) > PAGES_BYTES_MAX;
        if let Entry::Occupied(kept) = pages.entry(key)
            && Arc::ptr_eq(&kept.get().cell, &cell)
            && (!is_good || is_many || kept.get().asked == 1)
        {
            kept.remove();
        }
        drop(pages);
        page
    }

    /// Wakes all. What most of them asked for alike will be what they ask for next: it is read before, else each would
    /// be woken twice, the second time by the answer to the first. If that takes long nobody waits for it here.
    async fn wake(self: &Arc<Self>, now: i64, database: &Database) {
        let next = self.next();
        let mut pages = Pages::new();
        if let Some((ask, since)) = &next {
            let kept = Kept { asked: 1, ..Kept::new(Arc::clone(ask)) };
            pages.insert((Arc::as_ptr(ask).addr(), *since), kept);
        }
        // First: who is woken finds none that were read before.
        *lock(&self.pages) = pages;
        if let Some((ask, since)) = next {
            let (group, database) = (Arc::clone(self), database.clone());
            let reading =
                tokio::spawn(async move { group.page(&database, &ask, since, now).await });
            // A failure is told to those who ask.
            let _ = tokio::time::timeout(TICK, reading).await;
        }
        self.woken.store(0, Ordering::Relaxed);
        self.seen.store(now, Ordering::Release);
        self.bell.send_replace(());
    }

    /// What some listeners, and more than any other, will ask for.
    fn next(&self) -> Option<(Arc<Ask>, i64)> {
        let pages = lock(&self.pages);
        let most = pages.values().max_by_key(|kept| kept.asked)?;
        let page = most.cell.get()?.as_ref().ok()?;
        // One of them may have been the reading before.
        (most.asked > 2).then(|| (Arc::clone(&most.ask), page.next))
    }

    /// Until nearly all have been woken; some may be slow to take what they got before.
    async fn rest(&self) {
        let listeners = self.bell.receiver_count();
        let times = u32::try_from(listeners).unwrap_or(u32::MAX);
        let end = Instant::now() + WAKING_MAX * times;
        tokio::time::sleep(WAKING_MIN * times).await;
        while self.woken.load(Ordering::Relaxed) < listeners - listeners / 8 && Instant::now() < end
        {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Ticks {
    /// Returns when the sequence has moved, or the gateway stops.
    pub async fn changed(&mut self) {
        // It fails without a sender only, and the group has it.
        let _ = self.bell.changed().await;
        self.group.woken.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the sequence was seen further on than this page reached: a later look may reach less far, while a
    /// transaction that began before writes. What lies between comes without the sequence moving again.
    pub fn are_ahead_of(&self, page: &Page) -> bool {
        is_short(page, self.group.seen.load(Ordering::Acquire))
    }

    /// A page for one of many that were woken at once: the first reads it.
    pub async fn page(&self, gateway: &Gateway, since: i64) -> Result<Arc<Page>, Error> {
        let seen = self.group.seen.load(Ordering::Acquire);
        self.group.page(&gateway.database, &self.ask, since, seen).await
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        if let Some(groups) = self.groups.upgrade() {
            lock(&groups).leave(&self.ask);
        }
    }
}

/// What the pages take that were read and are kept.
fn bytes(pages: &Pages) -> usize {
    pages.values().filter_map(|kept| Some(kept.cell.get()?.as_ref().ok()?.bytes())).sum()
}

fn is_short(page: &Page, seen: i64) -> bool {
    !page.is_full && page.next < seen
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn wake(
    groups: Weak<Mutex<Groups>>,
    limits: Arc<Limits>,
    database: Database,
    shared: Database,
    wait: i64,
) {
    while let Some(groups) = groups.upgrade() {
        let turn = lock(&groups).turn().filter(|_| limits.listeners.taken() > 0);
        let Some(group) = turn else {
            drop(groups);
            tokio::time::sleep(TICK).await;
            continue;
        };
        let known = group.seen.load(Ordering::Acquire);
        match moved(&database, known, wait).await {
            Ok(now) if now == known => {}
            Ok(now) => {
                lock(&groups).seen = now;
                group.wake(now, &shared).await;
                drop(groups);
                group.rest().await;
            }
            Err(_) => tokio::time::sleep(TICK_AFTER_FAILURE).await,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Arc<Ask> {
        Arc::new(Ask::of_leaves(Caller::Login, "cases", 1, false, None, false))
    }

    #[test]
    fn what_is_asked_alike_is_there_once_as_long_as_somebody_asks_it() {
        let feed = Feed::default();
        let of =
            |table: &str| Arc::new(Ask::of_leaves(Caller::Login, table, 1, false, None, false));
        let (first, second, other) =
            (feed.watch(&of("a")), feed.watch(&of("a")), feed.watch(&of("b")));
        assert!(Arc::ptr_eq(&first.ask, &second.ask) && !Arc::ptr_eq(&first.ask, &other.ask));
        drop((first, other));
        assert!(Arc::ptr_eq(&second.ask, &feed.watch(&of("a")).ask));
        assert_eq!(lock(&feed.0).asks.len(), 1, "nothing is kept of who has left");
        drop(second);
        assert!(lock(&feed.0).asks.is_empty());
    }

    #[test]
    fn groups_are_filled_up_and_have_their_turns() {
        let feed = Feed::default();
        let mut first: Vec<Ticks> = (0..GROUP_MAX).map(|_| feed.watch(&ask())).collect();
        let second = feed.watch(&ask());
        assert!(!Arc::ptr_eq(&first[0].group, &second.group));
        drop(first.pop());
        first.push(feed.watch(&ask()));
        assert!(Arc::ptr_eq(&first[0].group, &first[GROUP_MAX - 1].group));
        let turn = || lock(&feed.0).turn();
        let is_turn_of = |ticks: &Ticks| turn().is_some_and(|now| Arc::ptr_eq(&now, &ticks.group));
        assert!(is_turn_of(&first[0]) && is_turn_of(&second) && is_turn_of(&first[0]));
        drop(first);
        assert!(is_turn_of(&second) && is_turn_of(&second));
        drop(second);
        assert!(turn().is_none());
    }

    #[tokio::test]
    async fn who_waits_and_who_comes_later_is_woken_by_the_end() {
        let feed = Feed::default();
        let mut ticks = feed.watch(&ask());
        let waiting = tokio::spawn(async move { ticks.changed().await });
        tokio::task::yield_now().await;
        lock(&feed.0).stop();
        waiting.await.unwrap();
        feed.watch(&ask()).changed().await;
    }
}
