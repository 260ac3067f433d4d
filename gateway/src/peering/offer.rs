//! In charge of offering revisions to a gateway: what it lacks is put there, with as much ancestry as
//! it needs, and what it refuses is remembered.

use revision::{Record, RevisionId};
use std::collections::{BTreeMap, BTreeSet};

use super::{Ending, ancestry};
use crate::client::{Client, Error, OutcomeStatus};

/// Refusals that are remembered one by one; of more only the number is told.
const REFUSED_MAX: usize = 10_000;
/// Refusals that are shown to a person; the target lists the others.
const SHOWN: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub table: String,
    pub id: String,
    pub revision: RevisionId,
    pub reason: String,
}

/// What has been offered to one target, and what became of it.
pub struct Offer {
    to: Client,
    pub offered: u64,
    pub put: u64,
    refused: Vec<Refused>,
    refused_more: u64,
}

impl Offer {
    pub fn new(to: Client) -> Self {
        Offer { to, offered: 0, put: 0, refused: Vec::new(), refused_more: 0 }
    }

    /// Records name their tables and revisions, and come with their parents. Where the target lacks a
    /// parent that isn't offered beside, `from` tells what came before it.
    pub async fn offer(
        &mut self,
        records: Vec<Record>,
        from: Option<&Client>,
    ) -> Result<(), Error> {
        let mut tables: Vec<(String, Vec<Record>)> = Vec::new();
        self.offered += records.len() as u64;
        for record in records {
            let table = record.table.clone().unwrap_or_default();
            match tables.iter_mut().find(|(name, _)| *name == table) {
                Some((_, records)) => records.push(record),
                None => tables.push((table, vec![record])),
            }
        }
        for (table, records) in tables {
            self.offer_to(&table, records, from).await?;
        }
        Ok(())
    }

    async fn offer_to(
        &mut self,
        table: &str,
        mut records: Vec<Record>,
        from: Option<&Client>,
    ) -> Result<(), Error> {
        let mut asked: BTreeMap<String, Vec<RevisionId>> = BTreeMap::new();
        let mut beside: BTreeSet<(String, RevisionId)> = BTreeSet::new();
        for record in &records {
            let of_record = asked.entry(record.id.clone()).or_default();
            of_record.extend(record.revision.clone());
            of_record.extend(ancestry::open_end(record).cloned());
            beside.extend(record.revision.clone().map(|revision| (record.id.clone(), revision)));
        }
        let missing = self.missing(table, &asked).await?;
        let is_missing = |id: &String, revision: &RevisionId| {
            missing.get(id).is_some_and(|revisions| revisions.contains(revision))
        };
        records.retain(|record| {
            record.revision.as_ref().is_some_and(|revision| is_missing(&record.id, revision))
        });
        if let Some(from) = from {
            let open = records.iter_mut().filter(|record| {
                ancestry::open_end(record).is_some_and(|parent| {
                    is_missing(&record.id, parent)
                        && !beside.contains(&(record.id.clone(), parent.clone()))
                })
            });
            ancestry::complete(from, open.collect()).await?;
        }
        for record in &mut records {
            record.table = None;
        }
        let outcomes = self.to.put_revisions(table, &records).await?;
        for (record, outcome) in records.into_iter().zip(outcomes) {
            match outcome.status {
                OutcomeStatus::Accepted => self.put += 1,
                OutcomeStatus::Known => {}
                OutcomeStatus::Rejected | OutcomeStatus::Forbidden | OutcomeStatus::Conflict => {
                    self.refuse(table, record, outcome.reason.unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    async fn missing(
        &self,
        table: &str,
        asked: &BTreeMap<String, Vec<RevisionId>>,
    ) -> Result<BTreeMap<String, BTreeSet<RevisionId>>, Error> {
        let answer = self.to.revisions_missing(table, asked).await?;
        Ok(answer
            .into_iter()
            .map(|(id, found)| (id, found.missing.into_iter().collect()))
            .collect())
    }

    fn refuse(&mut self, table: &str, record: Record, reason: String) {
        let Some(revision) = record.revision else { return };
        let refused = Refused { table: table.to_owned(), id: record.id, revision, reason };
        let again = self.refused.iter().any(|before| {
            (&before.table, &before.id, &before.revision)
                == (&refused.table, &refused.id, &refused.revision)
        });
        match self.refused.len() {
            _ if again => {}
            REFUSED_MAX.. => self.refused_more += 1,
            _ => self.refused.push(refused),
        }
    }

    /// Forgets refusals that are none any more: a child may have waited for a parent that came later.
    pub async fn settle(&mut self) -> Result<(), Error> {
        let mut asked: BTreeMap<String, BTreeMap<String, Vec<RevisionId>>> = BTreeMap::new();
        for refused in &self.refused {
            let of_table = asked.entry(refused.table.clone()).or_default();
            of_table.entry(refused.id.clone()).or_default().push(refused.revision.clone());
        }
        for (table, asked) in asked {
            let missing = self.missing(&table, &asked).await?;
            let before = self.refused.len();
            self.refused.retain(|refused| {
                refused.table != table
                    || missing.get(&refused.id).is_some_and(|m| m.contains(&refused.revision))
            });
            self.put += (before - self.refused.len()) as u64;
        }
        Ok(())
    }

    pub fn refused(&self) -> u64 {
        self.refused.len() as u64 + self.refused_more
    }

    pub fn ending(&self) -> Ending {
        if self.refused() == 0 { Ending::Done } else { Ending::Refused }
    }

    /// What was refused, why, and where to look; nothing if nothing was.
    pub fn report(&self) -> Option<String> {
        if self.refused() == 0 {
            return None;
        }
        let mut text = format!("{} revisions were refused by {}:", self.refused(), self.to.url());
        for Refused { table, id, revision, reason } in self.refused.iter().take(SHOWN) {
            text += &format!("\n  {table}/{id} {revision}: {reason}");
        }
        let shown = self.refused.len().min(SHOWN) as u64;
        if self.refused() > shown {
            text += &format!("\n  and {} more", self.refused() - shown);
        }
        text += "\nWhat a table refused is kept there: GET /v1/rejected lists it to the table's owner, \
                 as does godwit.rejected. What its policies forbid, or is too large, is kept at the source only.";
        Some(text)
    }
}
