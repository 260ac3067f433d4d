//! In charge of a peer's own store: offline edits, and pulling and pushing when there is a network.

use revision::{Attributes, Record, RevisionId, Tree, Value};
use std::collections::{BTreeMap, BTreeSet};

use crate::gateway::{Error, Gateway};

/// Changes a page: small, so that every pull of a test takes several.
const PAGE: u32 = 100;

/// One record as this peer has it.
#[derive(Default, Clone)]
pub struct Kept {
    pub tree: Tree,
    pub bodies: BTreeMap<RevisionId, Attributes>,
}

impl Kept {
    fn add(&mut self, path: &[RevisionId], deleted: bool, attributes: Attributes) {
        self.tree.insert(path, deleted);
        self.bodies.insert(path[0].clone(), attributes);
    }
}

pub struct Peer {
    pub name: String,
    pub table: String,
    gateway: Gateway,
    pub records: BTreeMap<String, Kept>,
    /// How far this peer has read.
    pub checkpoint: i64,
    /// Records with revisions of our own that the database may lack.
    unpushed: BTreeSet<String>,
}

/// What a peer shows: record ids with the winner's revision and body.
pub type Shown = BTreeMap<String, (RevisionId, Attributes)>;

impl Peer {
    pub fn new(name: &str, table: &str, gateway: Gateway) -> Self {
        Peer {
            name: name.into(),
            table: table.into(),
            gateway,
            records: BTreeMap::new(),
            checkpoint: 0,
            unpushed: BTreeSet::new(),
        }
    }

    /// Edits the winner, offline: the named attributes change, the others stay. A record that isn't
    /// there, or is deleted, begins with these.
    pub fn edit(&mut self, id: &str, changes: &[(&str, Value)]) -> RevisionId {
        let kept = self.records.entry(id.into()).or_default();
        let winner = kept.tree.winner().cloned();
        let living = winner.as_ref().filter(|winner| !kept.tree.is_deleted(winner));
        let mut attributes =
            living.and_then(|winner| kept.bodies.get(winner)).cloned().unwrap_or_default();
        for (name, value) in changes {
            attributes.insert((*name).into(), value.clone());
        }
        self.add(id, winner.as_ref(), false, attributes)
    }

    /// Deletes the winner, offline.
    pub fn delete(&mut self, id: &str) -> RevisionId {
        let winner = self.records.get(id).and_then(|kept| kept.tree.winner()).cloned();
        self.add(id, winner.as_ref(), true, Attributes::new())
    }

    /// Ends a conflict: the winner stays, every other leaf gets a tombstone.
    pub fn resolve(&mut self, id: &str) {
        let losers: Vec<RevisionId> = self.conflicts(id);
        for loser in losers {
            self.add(id, Some(&loser), true, Attributes::new());
        }
    }

    fn add(
        &mut self,
        id: &str,
        previous: Option<&RevisionId>,
        deleted: bool,
        attributes: Attributes,
    ) -> RevisionId {
        let revision = RevisionId::of(id, previous, deleted, &attributes);
        let mut path = vec![revision.clone()];
        path.extend(previous.cloned());
        self.records.entry(id.into()).or_default().add(&path, deleted, attributes);
        self.unpushed.insert(id.into());
        revision
    }

    /// Reads the change stream to its end. Returns how many changes there were.
    pub async fn pull(&mut self) -> Result<usize, Error> {
        let mut count = 0;
        loop {
            let page = self.gateway.changes(self.checkpoint, &self.table, PAGE).await?;
            if page.changes.is_empty() {
                return Ok(count);
            }
            count += page.changes.len();
            for change in page.changes {
                let record = change.record.ok_or_else(|| {
                    Error::Unreadable(format!("change {} has no record", change.sequence))
                })?;
                self.take(record)?;
            }
            self.checkpoint = page.next;
        }
    }

    fn take(&mut self, record: Record) -> Result<(), Error> {
        let path = record.revisions.filter(|path| !path.is_empty()).ok_or_else(|| {
            Error::Unreadable(format!("record {} comes without its revisions", record.id))
        })?;
        let kept = self.records.entry(record.id).or_default();
        kept.add(&path, record.deleted, record.attributes);
        Ok(())
    }

    /// Sends what the database lacks of our revisions. Returns the revisions that it refused.
    pub async fn push(&mut self) -> Result<Vec<String>, Error> {
        let mut asked: BTreeMap<String, Vec<RevisionId>> = BTreeMap::new();
        for id in &self.unpushed {
            let kept = &self.records[id];
            asked.insert(id.clone(), kept.bodies.keys().cloned().collect());
        }
        let missing = self.gateway.missing(&self.table, &asked).await?;
        let mut batch = Vec::new();
        for (id, revisions) in &missing {
            let kept = &self.records[id];
            batch.extend(revisions.iter().map(|revision| record(id, kept, revision)));
        }
        let mut refused = Vec::new();
        if !batch.is_empty() {
            for outcome in self.gateway.put_revisions(&self.table, &batch).await? {
                if outcome.status == "rejected" {
                    refused.push(outcome.reason.unwrap_or_default());
                }
            }
        }
        self.unpushed.clear();
        Ok(refused)
    }

    /// Forgets that anything was pushed, as a client does that lost the answer.
    pub fn forget_pushed(&mut self) {
        self.unpushed = self.records.keys().cloned().collect();
    }

    pub async fn sync(&mut self) -> Result<Vec<String>, Error> {
        let refused = self.push().await?;
        self.pull().await?;
        Ok(refused)
    }

    /// The winners that aren't tombstones.
    pub fn shown(&self) -> Shown {
        let living = |(id, kept): (&String, &Kept)| {
            let winner = kept.tree.winner().filter(|winner| !kept.tree.is_deleted(winner))?;
            let body = kept.bodies.get(winner).cloned().unwrap_or_default();
            Some((id.clone(), (winner.clone(), body)))
        };
        self.records.iter().filter_map(living).collect()
    }

    /// The leaves of a record that are neither the winner nor tombstones.
    pub fn conflicts(&self, id: &str) -> Vec<RevisionId> {
        let kept = self.records.get(id);
        kept.map(|kept| kept.tree.conflicts().into_iter().cloned().collect()).unwrap_or_default()
    }

    /// Every record that has conflicts, with them.
    pub fn all_conflicts(&self) -> BTreeMap<String, Vec<RevisionId>> {
        let conflicts = self.records.keys().map(|id| (id.clone(), self.conflicts(id)));
        conflicts.filter(|(_, conflicts)| !conflicts.is_empty()).collect()
    }

    pub fn value(&self, id: &str, attribute: &str) -> Option<Value> {
        self.shown().get(id)?.1.get(attribute).cloned()
    }
}

/// One revision as it goes on the wire, with its ancestry.
fn record(id: &str, kept: &Kept, revision: &RevisionId) -> Record {
    Record {
        id: id.into(),
        table: None,
        revision: Some(revision.clone()),
        deleted: kept.tree.is_deleted(revision),
        attributes: kept.bodies.get(revision).cloned().unwrap_or_default(),
        revisions: Some(kept.tree.ancestors(revision).into_iter().cloned().collect()),
        conflicts: None,
    }
}
