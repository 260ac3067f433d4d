//! In charge of comparing all that readers and writers say with the history, and of the figures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::chaos::Chaos;
use crate::check::{self, Change, Fault, Follower, Seen};
use crate::history::{self, History};
use crate::mark;
use crate::read::STYLES;
use crate::world::{Failure, World, held};

/// How many of a reader's faults are told one by one.
const TOLD_MAX: usize = 5;

pub async fn give(
    world: &World,
    chaos: &Chaos,
    seconds: u64,
    seed: u64,
    writers: u16,
) -> Result<bool, Failure> {
    let session = chaos.servers.answering().await?;
    let history = history::read(world, &session).await?;
    if history.changes.is_empty() {
        return Err("nothing was written".into());
    }
    let mut count = Count::default();
    let mut lost: BTreeMap<i64, u64> = BTreeMap::new();
    for (number, style) in STYLES.iter().enumerate() {
        let log = held(&chaos.logs[number]);
        let excused = chaos.tails.iter().map(|tail| tail.shown[number].clone()).collect();
        let end = log.stopped_at.unwrap_or(i64::MAX);
        let follower = Follower { seen: &log.seen, tables: style.mask(), excused, end };
        let verdict = check::check(&history.changes, &follower);
        count.add(&verdict);
        for fault in verdict.faults.iter().take(TOLD_MAX) {
            let more = verdict.faults.len();
            world.fault(format!("reader \"{}\", one of {more}: {fault:?}", style.name));
        }
        // A number that went with a tail isn't handed out again: nor by the history, see `check`, nor in
        // another tail. It may be below what the new primary remembers: of a transaction that drew its
        // numbers early and committed late.
        for place in &verdict.lost {
            let Seen { sequence, name, .. } = log.seen[*place];
            if *lost.entry(sequence).or_insert(name) != name {
                world.fault(format!("{sequence} was two revisions, both lost with a tail"));
            }
        }
        let mut marks = log.marks.clone();
        marks.sort_unstable();
        for fault in mark::check(&held(&world.ledger), &marks, false, &[]) {
            count.taken_back += 1;
            world.fault(format!("reader \"{}\": {fault}", style.name));
        }
        plant(&history, &follower, verdict.faults.len())?;
    }
    let times: Vec<(Instant, Instant)> =
        chaos.tails.iter().map(|tail| (tail.from, tail.to)).collect();
    for fault in mark::check(&held(&world.ledger), &history.marks, true, &times) {
        world.fault(fault);
    }
    let faults = world.faults().len();
    print(world, &history, &count, &format!("{seconds} s, seed {seed}, {writers} writers"), faults);
    Ok(faults == 0)
}

#[derive(Default)]
struct Count {
    shown: usize,
    again: usize,
    skipped: usize,
    taken_back: usize,
    lost: usize,
}

impl Count {
    fn add(&mut self, verdict: &check::Verdict) {
        self.shown += verdict.shown;
        self.again += verdict.again;
        self.lost += verdict.lost.len();
        let count =
            |wanted: fn(&Fault) -> bool| verdict.faults.iter().filter(|f| wanted(f)).count();
        self.skipped += count(|fault| matches!(fault, Fault::Skipped { .. }));
        self.taken_back += count(|fault| matches!(fault, Fault::TakenBack { .. }));
    }
}

/// A check that can't fail is none: with any one change left out of what this reader was shown, or
/// one added that the history has not, there must be one fault more.
fn plant(history: &History, follower: &Follower, faults: usize) -> Result<(), Failure> {
    let mine: Vec<&Change> = history
        .changes
        .iter()
        .filter(|c| follower.tables & (1 << c.table) != 0 && c.sequence <= follower.end)
        .collect();
    let Some(change) = mine.get(mine.len() / 2) else {
        return Err("a reader has nothing to be shown".into());
    };
    let without: Vec<Seen> =
        follower.seen.iter().filter(|seen| seen.sequence != change.sequence).copied().collect();
    let mut with = follower.seen.to_vec();
    with.push(Seen { sequence: i64::MAX, name: 0, body: None });
    let was_skipped = without.len() == follower.seen.len();
    let excused = follower.excused.clone();
    let judge = |seen| {
        let follower = Follower { seen, excused: excused.clone(), ..*follower };
        check::check(&history.changes, &follower).faults
    };
    // Without it, places in the log are others, and so are excuses: the skip alone is looked for.
    let skip = Fault::Skipped { sequence: change.sequence };
    if !judge(&without).contains(&skip) || (!was_skipped && judge(&with).len() != faults + 1) {
        return Err("the check does not see a planted fault".into());
    }
    Ok(())
}

fn print(world: &World, history: &History, count: &Count, run: &str, faults: usize) {
    let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    let f = &world.figures;
    println!(
        "torture: {run}, {} transactions committed, {} aborted, {} prepared, {} backends killed, \
         {} servers killed, {} promotions, {} revisions of {} records, {} conflicts, {} readers, {} sessions on a replica, \
         {} changes read, {} read again, {} lost with a tail, {} skipped, {} taken back, {faults} faults",
        figure(&f.committed),
        figure(&f.aborted),
        figure(&f.prepared),
        figure(&f.backend_kills),
        figure(&f.server_kills),
        figure(&f.promotions),
        history.changes.len(),
        history.records,
        history.conflicts,
        STYLES.len(),
        figure(&f.on_replica),
        count.shown,
        count.again,
        count.lost,
        count.skipped,
        count.taken_back,
    );
}
