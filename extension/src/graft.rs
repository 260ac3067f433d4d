//! In charge of adding a batch of revisions with their ancestry to a twin: one look at what is
//! there, one statement for the bodies, one for the names, one election.

use pgrx::pg_sys;
use pgrx::prelude::*;
use revision::{Conflicts, RevisionId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::erase;
use crate::error::{Error, OrReport};
use crate::expected;
use crate::history;
use crate::known;
use crate::reconcile;
use crate::row::{self, Cells};
use crate::shape::Shape;
use crate::spi;
use crate::twin::{self, Added, Revision};
use crate::unordered;
use crate::walk::{Sight, Walk};

/// A revision that came from elsewhere.
pub struct Arrival {
    pub revision: Revision,
    /// Its ancestry, itself first.
    pub line: Vec<RevisionId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grafted {
    Accepted,
    Known,
}

/// How a batch goes about what another session may be bringing at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// There is none, as most often: a row that has come to the table meanwhile is an error as any other that is taken.
    Nobody,
    /// Such a row is stepped back from, and the winner elected anew. But where revisions are met, it fails with
    /// `Error::Overtaken`.
    SteppingBack,
    /// Whoever brings a part of it is waited for, one after the other.
    InOrder,
}

type Key<'a> = (&'a str, &'a RevisionId);

/// What the twin has, or will have, of a revision.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Whether the twin has it at all, if only by name.
    there: bool,
    body: bool,
    /// Whether it had a body that was dropped.
    dropped: bool,
    /// Where in the batch its body comes from.
    from: Option<usize>,
    parent: bool,
    /// How far its line has been followed in this batch.
    followed: usize,
}

/// Adds the batch, whose parents come before their children, and shows the winners.
pub fn graft(shape: &Shape, batch: &[&Arrival], meeting: Meeting) -> Vec<Grafted> {
    let ids: BTreeSet<&str> = batch.iter().map(|arrival| arrival.revision.id.as_str()).collect();
    for id in &ids {
        twin::check_id(shape, id);
    }
    // Where the twin has nothing of a record there is no row that could be locked. Of those that come with a first
    // revision it mostly has nothing; of the others a row mostly says that it has something.
    let first = if shape.is_complete { with_first_revisions(batch) } else { BTreeSet::new() };
    let mut new = without_revisions(shape, &Sight::now(), first.clone());
    let may_have_rows = ids.iter().filter(|id| !new.contains(*id)).map(|id| id.to_string());
    let locked = reconcile::lock(shape, &may_have_rows.collect::<Vec<_>>());
    let sight = Sight::now();
    let mut others: BTreeSet<&str> = ids.difference(&first).copied().collect();
    for (id, _) in &locked {
        others.remove(id.as_str());
    }
    new.append(&mut without_revisions(shape, &sight, others));
    let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    let mut known = known(shape, &sight, batch, &new);
    drop(sight);
    let mut bodies: Vec<&Revision> = Vec::new();
    let mut stubs: BTreeSet<Key> = BTreeSet::new();
    let mut names: BTreeMap<Key, Option<&RevisionId>> = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(batch.len());
    for (place, arrival) in batch.iter().enumerate() {
        let new = &arrival.revision;
        let here = known.entry((&new.id, &new.revision)).or_default();
        let outcome = match here.from {
            _ if here.dropped => Grafted::Known,
            _ if here.body => is_same(has_body(shape, new), new),
            Some(first) => is_same(says_the_same(&batch[first].revision, new), new),
            None => {
                here.from = Some(place);
                here.parent |= new.previous.is_some();
                bodies.push(new);
                if here.there {
                    stubs.insert((&new.id, &new.revision));
                }
                Grafted::Accepted
            }
        };
        outcomes.push(outcome);
        follow(&mut known, &mut names, arrival);
    }
    unordered::list(shape, &cut_short(batch, &known));
    // Two batches with the same records wait for one another in one order.
    bodies.sort_by(|a, b| (&a.id, &a.revision).cmp(&(&b.id, &b.revision)));
    let added = expected::while_capturing(shape.twin_relation, || {
        let added = match bodies.is_empty() {
            true => Added::in_twin(&[]),
            false if meeting == Meeting::InOrder => twin::insert_in_order(shape, &bodies),
            false => {
                let is_stub = |new: &Revision| stubs.contains(&(new.id.as_str(), &new.revision));
                let mut added = twin::insert_unless_overtaken(shape, &bodies, is_stub, new);
                added.may_meet_rows = meeting != Meeting::Nobody;
                added
            }
        };
        if added.is_met {
            if let Some(forged) = bodies.iter().find(|new| has_other_body(shape, new)) {
                refuse(forged)
            }
            // Whoever brought it at the same moment may not have known its parent.
            let with_parent = bodies.iter().filter(|new| new.previous.is_some());
            names.extend(
                with_parent.map(|new| ((new.id.as_str(), &new.revision), new.previous.as_ref())),
            );
        }
        if !names.is_empty() {
            name(shape, &names);
        }
        added
    });
    for met in &added.met {
        let place = known.get(&(met.id.as_str(), &met.revision)).and_then(|here| here.from);
        if let Some(place) = place {
            outcomes[place] = Grafted::Known;
        }
    }
    // What is known has been elected. But conflicts may have come under a policy since.
    if !bodies.is_empty() || !names.is_empty() || shape.policy.conflicts != Conflicts::Keep {
        reconcile::reconcile(shape, &ids, &added, Some(locked));
    }
    // What lives in a record that was new has ended nothing, and nobody has ended it: who names it is met.
    let may_end =
        |arrival: &&&Arrival| arrival.revision.deleted || !added.is_of_new(&arrival.revision.id);
    erase::heed(shape, batch.iter().filter(may_end).copied());
    outcomes
}

/// The records of which a line ends with a revision that isn't a first one, and of whose parent nobody knows.
fn cut_short(batch: &[&Arrival], known: &HashMap<Key, Known>) -> Vec<String> {
    let is_cut_short = |arrival: &&&Arrival| {
        let last = arrival.line.last().filter(|last| last.generation() > 1);
        let here = last.map(|last| known.get(&(arrival.revision.id.as_str(), last)));
        here.is_some_and(|here| here.is_none_or(|here| !here.parent))
    };
    batch.iter().filter(is_cut_short).map(|arrival| arrival.revision.id.clone()).collect()
}

/// Takes the names of an arrival's line that the twin lacks, or has without a parent.
fn follow<'a>(
    known: &mut HashMap<Key<'a>, Known>,
    names: &mut BTreeMap<Key<'a>, Option<&'a RevisionId>>,
    arrival: &'a Arrival,
) {
    let id = arrival.revision.id.as_str();
    for (place, revision) in arrival.line.iter().enumerate() {
        let parent = arrival.line.get(place + 1);
        let left = arrival.line.len() - place;
        let here = known.entry((id, revision)).or_default();
        if here.followed >= left {
            return;
        }
        here.followed = left;
        let named = here.there || here.from.is_some() || names.contains_key(&(id, revision));
        if !named || (parent.is_some() && !here.parent) {
            here.parent |= parent.is_some();
            names.insert((id, revision), parent);
        }
    }
}

/// The records of a batch that come with a first revision.
fn with_first_revisions<'a>(batch: &[&'a Arrival]) -> BTreeSet<&'a str> {
    let is_first = |arrival: &&&Arrival| arrival.revision.revision.generation() == 1;
    batch.iter().filter(is_first).map(|arrival| arrival.revision.id.as_str()).collect()
}

/// Those of some records of which the twin has nothing.
fn without_revisions<'a>(
    shape: &Shape,
    sight: &Sight,
    mut ids: BTreeSet<&'a str>,
) -> BTreeSet<&'a str> {
    for known in known::known(shape, sight, ids.iter().copied().collect()) {
        ids.remove(known);
    }
    ids
}

/// What the twin has of the revisions that this batch names. A stub counts as named already.
fn known<'a>(
    shape: &Shape,
    sight: &Sight,
    batch: &[&'a Arrival],
    new: &BTreeSet<&str>,
) -> HashMap<Key<'a>, Known> {
    let keys: BTreeSet<Key<'a>> = batch
        .iter()
        .filter(|arrival| !new.contains(arrival.revision.id.as_str()))
        .flat_map(|arrival| {
            arrival.line.iter().map(|revision| (arrival.revision.id.as_str(), revision))
        })
        .collect();
    if keys.is_empty() {
        return HashMap::new();
    }
    let mut walk = Walk::of_revisions(shape, sight);
    // SAFETY: the descriptor stays while the walk lasts.
    let mut cells = unsafe { Cells::for_rows(walk.desc()) };
    let mut known = HashMap::new();
    for (id, revision) in keys {
        let id_datum = id.into_datum().unwrap_or(pg_sys::Datum::from(0));
        // SAFETY: a text and a stored revision; the row is taken apart before the walk goes on.
        unsafe {
            let Some(row) = walk.find(id_datum, row::revision_datum(revision)) else { continue };
            cells.take(row);
        }
        let stub = cells.get("_stub").unwrap_or(false);
        let there = Known {
            there: true,
            body: !stub,
            dropped: stub && cells.datum("_seq").is_some(),
            parent: cells.datum("_prev").is_some(),
            ..Known::default()
        };
        known.insert((id, revision), there);
    }
    known
}

/// Keeps stubs, and tells revisions their parents.
fn name(shape: &Shape, names: &BTreeMap<Key, Option<&RevisionId>>) {
    let sql = format!(
        "insert into {} as h (_id, _rev, _prev, _stub, _seq)
         select n.id, n.revision::godwit.revision, n.parent::godwit.revision, true, null
           from unnest($1, $2, $3) n(id, revision, parent)
             on conflict (_id, _rev) do update set _prev = excluded._prev
          where h._prev is null and excluded._prev is not null",
        shape.twin
    );
    let revisions: Vec<String> = names.keys().map(|(_, revision)| revision.to_string()).collect();
    let parents: Vec<Option<String>> =
        names.values().map(|parent| parent.map(RevisionId::to_string)).collect();
    let args = [
        spi::texts(names.keys().map(|(id, _)| *id)),
        spi::texts(revisions.iter().map(String::as_str)),
        spi::optional_texts(&parents),
    ];
    // Another session may have brought what is named, and its body, after what has just been made on it.
    if spi::run(&sql, &args) < names.len() as u64 {
        unordered::note(shape, names.keys().copied());
    }
}

fn is_same(same: bool, new: &Revision) -> Grafted {
    if !same {
        refuse(new)
    }
    Grafted::Known
}

fn refuse(new: &Revision) -> ! {
    let (id, revision) = (new.id.clone(), new.revision.clone());
    Error::OtherBody { id, revision }.report()
}

fn says_the_same(a: &Revision, b: &Revision) -> bool {
    a.deleted == b.deleted && a.attributes == b.attributes
}

/// Whether the twin has this revision with the same body.
fn has_body(shape: &Shape, new: &Revision) -> bool {
    body(shape, new) == Some(true)
}

/// Whether it has it with another; one that was dropped meanwhile is none.
fn has_other_body(shape: &Shape, new: &Revision) -> bool {
    body(shape, new) == Some(false)
}

/// Whether the body that the twin has of a revision is the same; `None` where it has none.
fn body(shape: &Shape, new: &Revision) -> Option<bool> {
    let same = |cells: &Cells| {
        let is = |name: &str| cells.get::<bool>(name).unwrap_or(false);
        let kept = twin::attributes(shape, cells).or_report();
        (!is("_stub")).then(|| is("_deleted") == new.deleted && kept == new.attributes)
    };
    history::with_revision(shape, &new.id, &new.revision, same).flatten()
}
