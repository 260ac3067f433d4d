//! In charge of the time from a write to a listener: from when it is sent, since a notification is often here before its
//! writer has heard of the commit.

use futures_util::{StreamExt, stream};
use memchr::memmem::Finder;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::feed::{self, Feed};
use crate::{Fault, Latency};

/// Listeners whose times are kept, spread over all that there are. The others are read as fast and only counted: at 10,000 listeners and 200 writes
/// a second to take the time of each line would cost the machine more than to send it.
const TIMED_MAX: usize = 1_000;
/// How long is waited for what is late.
const LATE: Duration = Duration::from_secs(10);

/// What arrived: how much of it, and when, for those listeners whose times are kept.
#[derive(Default)]
struct Seen {
    arrived: AtomicU64,
    times: Mutex<Vec<(u64, Instant)>>,
}

impl Seen {
    /// All of these at this moment.
    fn note(&self, numbers: impl IntoIterator<Item = u64>) {
        let at = Instant::now();
        let numbers = numbers.into_iter().map(|number| (number, at));
        self.times.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
    }

    fn take(&self) -> Vec<(u64, Instant)> {
        std::mem::take(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub async fn measure(options: &Latency) -> Result<(), Fault> {
    let writer = connect(&options.database_url).await?;
    let (fed, notified) = (Arc::<Seen>::default(), Arc::<Seen>::default());
    let mut listeners = JoinSet::new();
    let feeds = feed::open_many(&options.address, options.listeners).await?;
    let every = options.listeners.div_ceil(TIMED_MAX);
    for (number, feed) in feeds.into_iter().enumerate() {
        listeners.spawn(follow(feed, Arc::clone(&fed), number % every == 0));
    }
    for _ in 0..options.notified {
        listeners.spawn(listen(options.database_url.clone(), Arc::clone(&notified)).await?);
    }
    let mut next = 0;
    for round in 0..=options.rounds {
        for (kind, seen, count) in
            [("feed", &fed, options.listeners), ("notify", &notified, options.notified)]
        {
            if count == 0 {
                continue;
            }
            let arrived = seen.arrived.load(Ordering::Relaxed);
            let writes = write(options, &writer, kind, next).await?;
            let expected = arrived + (writes.len() * count) as u64;
            wait(&mut listeners, seen, expected).await?;
            let times = seen.take();
            if round > 0 {
                print(kind, &latencies(&writes, next, &times));
            }
            next += writes.len() as u64;
        }
    }
    listeners.shutdown().await;
    Ok(())
}

async fn connect(url: &str) -> Result<Client, Fault> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("bench: a connection ended: {error}");
        }
    });
    Ok(client)
}

async fn follow(mut feed: Feed, seen: Arc<Seen>, is_timed: bool) -> Result<(), Fault> {
    let change = Finder::new("{\"sequence\"");
    feed.lines(|lines| {
        if is_timed {
            let lines = lines.split_inclusive(|byte| *byte == b'\n');
            let changes = lines.filter(|line| line.starts_with(change.needle()));
            seen.note(changes.filter_map(number_of));
        }
        // Once for all that came at once: ten thousand readers share the count.
        seen.arrived.fetch_add(change.find_iter(lines).count() as u64, Ordering::Relaxed);
    })
    .await
}

fn number_of(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once("\"id\":\"")?;
    rest.split_once('"')?.0.parse().ok()
}

/// A connection of its own that listens.
async fn listen(
    url: String,
    seen: Arc<Seen>,
) -> Result<impl Future<Output = Result<(), Fault>>, Fault> {
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await?;
    let messages = stream::poll_fn(move |context| connection.poll_message(context));
    let mut messages = Box::pin(messages);
    {
        // The connection is driven by reading its messages.
        let listening = client.batch_execute("listen lively");
        tokio::pin!(listening);
        loop {
            tokio::select! {
                outcome = &mut listening => break outcome?,
                message = messages.next() => match message {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err("the connection ended before it could listen".into()),
                },
            }
        }
    }
    Ok(async move {
        // Dropped, it would end the connection.
        let _client = client;
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(notice) = message?
                && let Ok(number) = notice.payload().parse()
            {
                seen.note([number]);
                seen.arrived.fetch_add(1, Ordering::Relaxed);
            }
        }
        Err("a connection that listened ended".into())
    })
}

/// Writes that keep to their rate, and so late that a stall shows up as latency, not as fewer writes.
async fn write(
    options: &Latency,
    writer: &Client,
    kind: &str,
    first: u64,
) -> Result<Vec<Instant>, Fault> {
    let count = options.writes * options.seconds;
    let begun = Instant::now();
    let mut writes = Vec::with_capacity(count as usize);
    for turn in 0..count {
        let due = begun + Duration::from_secs(1) * turn / options.writes;
        tokio::time::sleep_until(due.into()).await;
        let number = first + u64::from(turn);
        let statement = match kind {
            "feed" => format!("insert into lively values ({number}, 'x')"),
            _ => format!(
                "begin; insert into silent values ({number}, 'x'); notify lively, '{number}'; commit"
            ),
        };
        writes.push(Instant::now());
        writer.batch_execute(&statement).await?;
    }
    Ok(writes)
}

/// Until all has arrived; a listener that ends before is a fault.
async fn wait(
    listeners: &mut JoinSet<Result<(), Fault>>,
    seen: &Seen,
    expected: u64,
) -> Result<(), Fault> {
    let until = Instant::now() + LATE;
    loop {
        if let Some(ended) = listeners.try_join_next() {
            ended??;
            return Err("a listener ended".into());
        }
        let arrived = seen.arrived.load(Ordering::Relaxed);
        if arrived == expected {
            return Ok(());
        }
        if arrived > expected || Instant::now() > until {
            return Err(format!("{arrived} of {expected} arrived within {LATE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// In milliseconds, least first.
fn latencies(writes: &[Instant], first: u64, seen: &[(u64, Instant)]) -> Vec<f64> {
    let of = |(number, at): &(u64, Instant)| {
        let sent = writes.get(usize::try_from(number.checked_sub(first)?).ok()?)?;
        Some(at.saturating_duration_since(*sent).as_secs_f64() * 1000.0)
    };
    let mut all: Vec<f64> = seen.iter().filter_map(of).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn print(kind: &str, all: &[f64]) {
    let at = |part: f64| {
        let place = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
        all.get(place).copied().unwrap_or(f64::NAN)
    };
    println!(
        "{{\"kind\": \"{kind}\", \"p50_ms\": {:.3}, \"p99_ms\": {:.3}, \"max_ms\": {:.3}}}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
