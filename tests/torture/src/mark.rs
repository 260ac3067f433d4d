//! In charge of the oracle that doesn't ask Postgres: a row of `marks` in each transaction, and what
//! became of the transaction as its writer knows it.

use std::time::Instant;

/// Writer, transaction and part of it; a part is what a savepoint began, 0 the transaction itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    pub writer: u16,
    pub transaction: u32,
    pub part: u16,
}

impl Mark {
    pub fn id(&self) -> String {
        format!("{}-{}-{}", self.writer, self.transaction, self.part)
    }

    pub fn parse(id: &str) -> Option<Mark> {
        let mut parts = id.split('-');
        let writer = parts.next()?.parse().ok()?;
        let transaction = parts.next()?.parse().ok()?;
        Some(Mark { writer, transaction, part: parts.next()?.parse().ok()? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, and on disk.
    Committed,
    /// Acknowledged with `synchronous_commit = off`.
    Lax,
    /// Rolled back, or never committed.
    Aborted,
    /// The server went away before it said.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub mark: Mark,
    pub outcome: Outcome,
    pub at: Instant,
}

#[derive(Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
}

impl Ledger {
    pub fn note(&mut self, marks: &[Mark], outcome: Outcome) {
        let at = Instant::now();
        self.entries.extend(marks.iter().map(|mark| Entry { mark: *mark, outcome, at }));
    }
}

/// What the ledger says against a sorted list of marks: those that the history has, or that one
/// reader was shown. `complete` is for the history, which must have all that was acknowledged but for
/// what was committed in one of the `lost` times.
pub fn check(
    ledger: &Ledger,
    present: &[Mark],
    complete: bool,
    lost: &[(Instant, Instant)],
) -> Vec<String> {
    let excused = |at: Instant| lost.iter().any(|(from, to)| *from <= at && at <= *to);
    let mut faults = Vec::new();
    for entry in &ledger.entries {
        let there = present.binary_search(&entry.mark).is_ok();
        let id = entry.mark.id();
        match entry.outcome {
            Outcome::Aborted if there => {
                faults.push(format!("taken back: mark {id} was rolled back, and is there"));
            }
            Outcome::Committed if complete && !there && !excused(entry.at) => {
                faults.push(format!("lost: mark {id} was committed, and is not there"));
            }
            _ => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn mark(transaction: u32) -> Mark {
        Mark { writer: 1, transaction, part: 0 }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.note(&[mark(1)], Outcome::Committed);
        ledger.note(&[mark(2)], Outcome::Aborted);
        ledger.note(&[mark(3)], Outcome::Unknown);
        ledger.note(&[mark(4)], Outcome::Lax);
        ledger
    }

    #[test]
    fn an_id_is_read_back() {
        let mark = Mark { writer: 3, transaction: 70_000, part: 2 };
        assert_eq!(Mark::parse(&mark.id()), Some(mark));
        assert_eq!(Mark::parse("1-2"), None);
    }

    #[test]
    fn what_was_committed_is_there_and_what_was_rolled_back_is_not() {
        assert!(check(&ledger(), &[mark(1)], true, &[]).is_empty());
        assert!(check(&ledger(), &[mark(1), mark(3), mark(4)], true, &[]).is_empty());
        assert!(check(&ledger(), &[mark(1), mark(2)], true, &[])[0].starts_with("taken back"));
        assert!(check(&ledger(), &[mark(2)], false, &[])[0].starts_with("taken back"));
        assert!(check(&ledger(), &[], true, &[])[0].starts_with("lost"));
        assert!(check(&ledger(), &[], false, &[]).is_empty());
    }

    #[test]
    fn what_went_with_the_tail_of_a_primary_is_excused() {
        let ledger = ledger();
        let (at, moment) = (ledger.entries[0].at, Duration::from_millis(1));
        assert!(check(&ledger, &[], true, &[(at - moment, at + moment)]).is_empty());
        assert_eq!(check(&ledger, &[], true, &[(at + moment, at + moment)]).len(), 1);
    }
}
