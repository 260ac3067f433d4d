//! In charge of the verdict: what one reader was shown, against what the history has in the end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// A change as a reader was shown it; names and bodies as hashes, for an hour of them must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub sequence: i64,
    pub name: u64,
    /// None where the reader doesn't ask for bodies.
    pub body: Option<u64>,
}

/// A change as the history has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub sequence: i64,
    pub name: u64,
    pub body: u64,
    /// Its place in `TABLES`.
    pub table: u8,
}

pub struct Follower<'a> {
    /// In the order in which it was shown.
    pub seen: &'a [Seen],
    /// The tables that it reads, a bit each.
    pub tables: u8,
    /// What it was shown while a primary's tail was being lost, for each tail: places in `seen`.
    pub excused: Vec<Range<usize>>,
    /// How far it had come when it was stopped; it may not have been shown what lies above.
    pub end: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// In the history, and never shown.
    Skipped { sequence: i64 },
    /// Shown, and not in the history.
    TakenBack { sequence: i64 },
    /// Shown as another revision than the history has under that number.
    Renumbered { sequence: i64 },
    /// Shown with another body.
    OtherBody { sequence: i64 },
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub faults: Vec<Fault>,
    /// Shown and lost with a primary's tail: places in `seen`.
    pub lost: Vec<usize>,
    pub shown: usize,
    /// Shown more than once.
    pub again: usize,
}

/// `history` is in the order of its numbers.
pub fn check(history: &[Change], follower: &Follower) -> Verdict {
    let mut verdict = Verdict { shown: follower.seen.len(), ..Verdict::default() };
    let mut shown: Vec<(i64, usize)> =
        follower.seen.iter().enumerate().map(|(place, seen)| (seen.sequence, place)).collect();
    shown.sort_unstable();
    let mut shown = shown.into_iter().peekable();
    let is_mine = |change: &&Change| {
        follower.tables & (1 << change.table) != 0 && change.sequence <= follower.end
    };
    for change in history.iter().filter(is_mine) {
        while let Some((sequence, place)) = shown.next_if(|(found, _)| *found < change.sequence) {
            verdict.unknown(follower, sequence, place);
        }
        let mut times = 0;
        while let Some((sequence, place)) = shown.next_if(|(found, _)| *found == change.sequence) {
            let seen = &follower.seen[place];
            if seen.name != change.name {
                verdict.faults.push(Fault::Renumbered { sequence });
            } else if seen.body.is_some_and(|body| body != change.body) {
                verdict.faults.push(Fault::OtherBody { sequence });
            }
            times += 1;
        }
        match times {
            0 => verdict.faults.push(Fault::Skipped { sequence: change.sequence }),
            more => verdict.again += more - 1,
        }
    }
    for (sequence, place) in shown {
        verdict.unknown(follower, sequence, place);
    }
    verdict
}

impl Verdict {
    fn unknown(&mut self, follower: &Follower, sequence: i64, place: usize) {
        if follower.excused.iter().any(|tail| tail.contains(&place)) {
            self.lost.push(place);
        } else {
            self.faults.push(Fault::TakenBack { sequence });
        }
    }
}

pub fn hash_of(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> Vec<Change> {
        let change = |sequence, table| Change { sequence, name: sequence as u64, body: 7, table };
        vec![change(1, 0), change(2, 1), change(3, 0), change(5, 0)]
    }

    fn seen(sequences: &[i64]) -> Vec<Seen> {
        let seen =
            |sequence: &i64| Seen { sequence: *sequence, name: *sequence as u64, body: None };
        sequences.iter().map(seen).collect()
    }

    fn faults(seen: &[Seen], tables: u8) -> Vec<Fault> {
        check(&history(), &Follower { seen, tables, excused: vec![], end: i64::MAX }).faults
    }

    #[test]
    fn all_and_nothing_else_is_well() {
        assert_eq!(faults(&seen(&[1, 2, 3, 5]), 3), []);
        assert_eq!(faults(&seen(&[1, 3, 5]), 1), []);
        let twice = seen(&[1, 2, 2, 3, 1, 5]);
        let verdict = check(
            &history(),
            &Follower { seen: &twice, tables: 3, excused: vec![], end: i64::MAX },
        );
        assert_eq!((verdict.faults.len(), verdict.again), (0, 2));
    }

    #[test]
    fn each_change_that_is_left_out_is_missed() {
        for left_out in 0..4 {
            let mut shown = seen(&[1, 2, 3, 5]);
            let sequence = shown.remove(left_out).sequence;
            assert_eq!(faults(&shown, 3), [Fault::Skipped { sequence }]);
        }
        assert_eq!(faults(&[], 2), [Fault::Skipped { sequence: 2 }]);
    }

    #[test]
    fn what_the_history_has_not_was_taken_back() {
        for sequence in [0, 4, 6] {
            let mut shown = seen(&[1, 2, 3, 5]);
            shown.extend(seen(&[sequence]));
            assert_eq!(faults(&shown, 3), [Fault::TakenBack { sequence }]);
        }
    }

    #[test]
    fn a_lost_tail_excuses_what_was_shown_in_its_time_only() {
        let shown = seen(&[1, 2, 3, 4, 5, 6]);
        let judge = |excused| {
            check(&history(), &Follower { seen: &shown, tables: 3, excused, end: i64::MAX })
        };
        let verdict = judge(vec![0..1, 3..6]);
        assert_eq!(verdict.faults, []);
        assert_eq!(verdict.lost, [3, 5]);
        let verdict = judge(vec![Range { start: 4, end: 6 }]);
        assert_eq!(verdict.faults, [Fault::TakenBack { sequence: 4 }]);
        // An excuse for what is extra is none for what is missing.
        let shown = seen(&[1, 2, 5]);
        let follower = Follower {
            seen: &shown,
            tables: 3,
            excused: vec![Range { start: 0, end: 3 }],
            end: i64::MAX,
        };
        assert_eq!(check(&history(), &follower).faults, [Fault::Skipped { sequence: 3 }]);
    }

    #[test]
    fn another_revision_or_body_under_a_number_is_told() {
        let mut shown = seen(&[1, 2, 3, 5]);
        shown[2].name = 9;
        assert_eq!(faults(&shown, 3), [Fault::Renumbered { sequence: 3 }]);
        let mut shown = seen(&[1, 2, 3, 5]);
        shown[1].body = Some(7);
        assert_eq!(faults(&shown, 3), []);
        shown[1].body = Some(8);
        assert_eq!(faults(&shown, 3), [Fault::OtherBody { sequence: 2 }]);
    }
}
