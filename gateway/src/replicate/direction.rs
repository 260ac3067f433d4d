//! In charge of one direction: read a page, offer it, note how far that is; again.

use std::time::Duration;

use super::Replicate;
use super::checkpoint;
use super::progress::Progress;
use crate::client::{Client, Error};
use crate::peering::offer::Offer;
use crate::peering::pages::Pages;
use crate::peering::stop::Stop;
use crate::peering::{Ending, tables};

/// How long a page is waited for at the stream's end: below the minute after which proxies commonly give up.
const WAIT: Duration = Duration::from_secs(30);

pub struct Direction<'a> {
    from: Client,
    to: Client,
    options: &'a Replicate,
    peer: Option<String>,
    stop: &'a Stop,
    progress: Progress,
    offer: Offer,
    /// Whether the source takes our notes.
    noted: bool,
}

/// What holds as long as both databases stay what they are.
struct Leg {
    name: String,
    from_incarnation: String,
    to_incarnation: String,
    since: i64,
    /// How far the source's stream was when the leg began.
    horizon: i64,
    pages: Pages,
}

/// Why a leg ended.
enum End {
    /// What there was when it began has been read.
    Read,
    Stopped,
    /// One of the databases isn't what it was.
    Changed,
}

enum Failure {
    /// May go away by itself.
    Passing(Error),
    Final(String),
}

impl<'a> Direction<'a> {
    pub fn new(
        from: Client,
        to: Client,
        options: &'a Replicate,
        peer: Option<String>,
        stop: &'a Stop,
    ) -> Self {
        let progress = Progress::new(format!("{} -> {}", from.url(), to.url()));
        let offer = Offer::new(to.clone());
        Direction { from, to, options, peer, stop, progress, offer, noted: true }
    }

    pub async fn run(mut self) -> Result<Ending, String> {
        let chosen = tables::chosen(&self.from, &self.options.tables).await?;
        tables::ensure(&self.to, &chosen, self.options.create_tables).await?;
        let stop = self.stop;
        // What a stop cuts off is done again from the checkpoint.
        let ended = tokio::select! {
            ended = self.legs() => ended,
            () = stop.patience_over() => Err("stopped while a batch was under way; run again to go on".into()),
        };
        if let Some(report) = self.offer.report() {
            self.progress.say(&report);
        }
        let since = ended?;
        self.progress.say(&format!("done up to sequence {since}: {}", self.counts()));
        Ok(self.offer.ending())
    }

    /// Legs, until one ends for good; how far that is.
    async fn legs(&mut self) -> Result<i64, String> {
        let mut from_start = self.options.from_start;
        let mut failures = 0;
        loop {
            let ended = match self.begin(from_start).await {
                Ok(mut leg) => {
                    let ended = self.follow(&mut leg, &mut failures).await;
                    from_start &= leg.since == 0;
                    ended.map(|end| (end, leg.since))
                }
                Err(failure) => Err(failure),
            };
            match ended {
                Ok((End::Read, since)) => return Ok(since),
                Ok((End::Stopped, since)) if self.options.continuous => return Ok(since),
                Ok((End::Stopped, since)) => {
                    return Err(format!("stopped at sequence {since}; run again to go on"));
                }
                Ok((End::Changed, _)) => {
                    self.progress.say("a database was restored or promoted: all is offered again");
                }
                Err(Failure::Passing(error)) if self.options.continuous => {
                    if self.stop.is_asked() {
                        return Err(format!("stopped while a gateway was away: {error}"));
                    }
                    failures += 1;
                    tokio::select! {
                        () = self.from.pause(failures, &error) => {}
                        () = self.stop.asked() => {}
                    }
                }
                Err(Failure::Passing(error)) => return Err(error.to_string()),
                Err(Failure::Final(reason)) => return Err(reason),
            }
        }
    }

    async fn begin(&mut self, from_start: bool) -> Result<Leg, Failure> {
        let from = self.from.status().await.map_err(|error| failed(&self.from, error))?;
        let to = self.to.status().await.map_err(|error| failed(&self.to, error))?;
        let mut tables = self.options.tables.clone();
        if tables.is_empty() {
            let all = self.from.tables().await.map_err(|error| failed(&self.from, error))?;
            tables = all.into_iter().map(|table| table.name).collect();
        }
        tables.sort();
        tables.dedup();
        let derived = || checkpoint::name(&from.incarnation, &to.incarnation, &tables);
        let name = self.peer.clone().unwrap_or_else(derived);
        let since = match from_start {
            true => 0,
            false => checkpoint::read(&self.from, &self.to, &name, &from.incarnation)
                .await
                .map_err(|error| failed(&self.to, error))?,
        };
        Ok(Leg {
            name,
            from_incarnation: from.incarnation,
            to_incarnation: to.incarnation,
            since,
            // A stream of no tables is read to its end at once.
            horizon: if tables.is_empty() { 0 } else { from.horizon.unwrap_or(0) },
            pages: Pages::new(self.from.clone(), tables, self.options.batch),
        })
    }

    /// Follows the stream, to where it was when the leg began or for ever.
    async fn follow(&mut self, leg: &mut Leg, failures: &mut u32) -> Result<End, Failure> {
        let mut is_noted = false;
        // Whether the last page did not reach as far as the stream was when the leg began: a transaction that
        // had begun by then writes.
        let mut is_held = false;
        loop {
            if self.stop.is_asked() {
                return Ok(End::Stopped);
            }
            let at_end = leg.since >= leg.horizon;
            if at_end && !is_noted {
                self.offer.settle().await.map_err(|error| failed(&self.to, error))?;
                self.note(leg).await?;
            }
            if at_end && !self.options.continuous {
                return Ok(End::Read);
            }
            let waits = at_end || is_held;
            let read = tokio::select! {
                read = leg.pages.read(leg.since, waits.then_some(WAIT)) => read,
                () = self.stop.asked(), if waits => return Ok(End::Stopped),
            };
            let (records, next) = read.map_err(|error| failed(&self.from, error))?;
            // Asked after the page was read and before it is noted: whatever a failover lost, no note of
            // ours says that it had been brought over.
            if !self.is_as_it_was(leg).await? {
                return Ok(End::Changed);
            }
            *failures = 0;
            is_held = records.is_empty() && next <= leg.since;
            if is_held {
                continue;
            }
            let offered = self.offer.offer(records, Some(&self.from)).await;
            offered.map_err(|error| failed(&self.to, error))?;
            leg.since = next;
            self.note(leg).await?;
            is_noted = self.options.continuous;
            let counts = self.counts();
            let (since, horizon) = (leg.since, leg.horizon.max(leg.since));
            self.progress.tell(|| format!("at sequence {since} of {horizon}: {counts}"));
        }
    }

    async fn is_as_it_was(&self, leg: &Leg) -> Result<bool, Failure> {
        let from = self.from.status().await.map_err(|error| failed(&self.from, error))?;
        let to = self.to.status().await.map_err(|error| failed(&self.to, error))?;
        Ok(from.incarnation == leg.from_incarnation && to.incarnation == leg.to_incarnation)
    }

    /// Keeps the checkpoint on both sides, at the target first: what it says must be there.
    async fn note(&mut self, leg: &Leg) -> Result<(), Failure> {
        let Leg { name, from_incarnation, since, .. } = leg;
        checkpoint::write_to_target(&self.to, name, *since, from_incarnation)
            .await
            .map_err(|error| match error.name() {
                Some("forbidden") => Failure::Final(format!(
                    "{}: the checkpoint {name:?} is another role's, or this token may not sync there; \
                     --peer names another",
                    self.to.url()
                )),
                _ => failed(&self.to, error),
            })?;
        if !self.noted {
            return Ok(());
        }
        let noted = checkpoint::write_to_source(&self.from, name, *since, from_incarnation).await;
        if let Err(error) = noted {
            // A standby takes none. The target's note is enough to go on from.
            self.noted = false;
            let url = self.from.url().to_owned();
            self.progress.say(&format!("{url} keeps no checkpoint of this: {error}"));
        }
        Ok(())
    }

    fn counts(&self) -> String {
        let Offer { offered, put, .. } = &self.offer;
        format!("{offered} revisions read, {put} put, {} refused", self.offer.refused())
    }
}

fn failed(gateway: &Client, error: Error) -> Failure {
    match error.passes() {
        true => Failure::Passing(error),
        false => Failure::Final(format!("{}: {error}", gateway.url())),
    }
}
