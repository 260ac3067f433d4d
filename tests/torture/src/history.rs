//! In charge of what the database has in the end: every revision, and whether each table shows what
//! its history says.

use revision::{Record, RevisionId, Tree};
use std::collections::BTreeMap;
use tokio_postgres::Client;

use crate::check::Change;
use crate::mark::Mark;
use crate::read::{body_of, is_foreign, name_of};
use crate::world::{Failure, TABLES, World};

/// Records whose histories are asked for in one statement.
const RECORDS_A_PAGE: i64 = 200;

#[derive(Default)]
pub struct History {
    /// In the order of their numbers.
    pub changes: Vec<Change>,
    pub marks: Vec<Mark>,
    pub records: u64,
    pub conflicts: u64,
}

struct Line {
    revision: RevisionId,
    previous: Option<RevisionId>,
    deleted: bool,
    stub: bool,
    winner: bool,
    leaf: bool,
    sequence: Option<i64>,
    by: Option<String>,
    record: Option<Record>,
}

pub async fn read(world: &World, session: &Client) -> Result<History, Failure> {
    session.batch_execute("set statement_timeout = 0").await?;
    let mut history = History::default();
    for (place, table) in TABLES.iter().enumerate() {
        let shown = shown(session, table).await?;
        let mut after = String::new();
        let mut living = 0;
        let begin = history.changes.len();
        loop {
            let page = page(session, table, &after).await?;
            let Some((last, _)) = page.last_key_value() else { break };
            after.clone_from(last);
            for (id, lines) in &page {
                let winner = record(world, table, id, lines, &mut history);
                if winner.as_deref() != shown.get(id).map(String::as_str) {
                    let row = shown.get(id);
                    world.fault(format!("{table} {id} shows {row:?}, its history {winner:?}"));
                }
                living += usize::from(winner.is_some());
                history.records += 1;
                history.add(place as u8, table, id, lines);
            }
        }
        if living != shown.len() {
            let rows = shown.len();
            world.fault(format!("{table} shows {rows} records, its history {living}"));
        }
        compare_with_twin(world, session, table, &history.changes[begin..]).await?;
        for row in session
            .query("select id, problem from godwit.verify($1::text::regclass)", &[table])
            .await?
        {
            let (id, problem): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            world.fault(format!("godwit.verify: {table} {id}: {problem}"));
        }
    }
    history.changes.sort_unstable_by_key(|change| change.sequence);
    history.marks.sort_unstable();
    for pair in history.changes.windows(2) {
        if pair[0].sequence == pair[1].sequence {
            world.fault(format!("two revisions have number {}", pair[0].sequence));
        }
    }
    Ok(history)
}

impl History {
    fn add(&mut self, place: u8, table: &str, id: &str, lines: &[Line]) {
        for line in lines {
            let (Some(sequence), Some(record)) = (line.sequence, &line.record) else { continue };
            let name = name_of(table, id, &line.revision.to_string(), line.deleted);
            self.changes.push(Change { sequence, name, body: body_of(record), table: place });
        }
        if table == "marks" {
            self.marks.extend(Mark::parse(id));
        }
    }
}

/// What the table itself has: record ids and revisions.
async fn shown(session: &Client, table: &str) -> Result<BTreeMap<String, String>, Failure> {
    let sql = format!("select id::text, _rev::text from {table}");
    let rows = session.query(&sql, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn page(
    session: &Client,
    table: &str,
    after: &str,
) -> Result<BTreeMap<String, Vec<Line>>, Failure> {
    let sql = format!(
        "select i.id, h.revision, h.previous, h.deleted, h.stub, h.winner, h.leaf, h.seq, h.by, h.record::text
           from (select distinct _id as id from {table}_history where _id > $1 order by 1 limit $2) i
          cross join lateral godwit.history('{table}', i.id) h"
    );
    let mut page: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for row in session.query(&sql, &[&after, &RECORDS_A_PAGE]).await? {
        let (revision, previous): (String, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
        let record: Option<String> = row.try_get(9)?;
        page.entry(row.try_get(0)?).or_default().push(Line {
            revision: RevisionId::parse(&revision)?,
            previous: previous.map(|text| RevisionId::parse(&text)).transpose()?,
            deleted: row.try_get(3)?,
            stub: row.try_get(4)?,
            winner: row.try_get(5)?,
            leaf: row.try_get(6)?,
            sequence: row.try_get(7)?,
            by: row.try_get(8)?,
            record: record.map(|text| serde_json::from_str(&text)).transpose()?,
        });
    }
    Ok(page)
}

/// Checks one record's revisions with the rules' own crate; returns what the table must show.
fn record(
    world: &World,
    table: &str,
    id: &str,
    lines: &[Line],
    history: &mut History,
) -> Option<String> {
    let mut tree = Tree::new();
    let mut numbers = BTreeMap::new();
    for line in lines {
        tree.add_node(&line.revision, line.previous.as_ref(), line.deleted, line.stub);
        numbers.insert(&line.revision, line.sequence);
    }
    let fault = |words: String| world.fault(format!("{table} {id}: {words}"));
    let leaves = tree.leaves();
    for line in lines {
        let Line { revision, previous, deleted, .. } = line;
        if line.winner != (tree.winner() == Some(revision))
            || line.leaf != leaves.contains(&revision)
        {
            fault(format!("{revision}: another winner or leaf than the tree says"));
        }
        let Some(record) = &line.record else {
            if !line.stub || line.sequence.is_some() {
                fault(format!("{revision} is known by name only, and has a number"));
            }
            continue;
        };
        let Some(sequence) = line.sequence else {
            fault(format!("{revision} has no number"));
            continue;
        };
        let made = RevisionId::of(id, previous.as_ref(), *deleted, &record.attributes);
        if made != *revision && !is_foreign(id) {
            fault(format!("{revision} hashes to {made}"));
        }
        // What a peer sends may come in any order; what is made here comes after what it is made of.
        let parent =
            previous.as_ref().and_then(|previous| numbers.get(previous).copied().flatten());
        if line.by.as_deref() != Some("peer") && parent.is_some_and(|parent| parent > sequence) {
            fault(format!("{revision} has number {sequence}, its parent {parent:?}"));
        }
    }
    history.conflicts += tree.conflicts().len() as u64;
    tree.winner().filter(|winner| !tree.is_deleted(winner)).map(RevisionId::to_string)
}

/// `godwit.history` has told it all, and nothing else, as it stands in the twin.
async fn compare_with_twin(
    world: &World,
    session: &Client,
    table: &str,
    told: &[Change],
) -> Result<(), Failure> {
    let sql = format!(
        "select _seq, _id, _rev::text, _deleted from {table}_history where not _stub order by 1"
    );
    let mut twin = Vec::with_capacity(told.len());
    for row in session.query(&sql, &[]).await? {
        let (id, revision): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        twin.push((row.try_get(0)?, name_of(table, &id, &revision, row.try_get(3)?)));
    }
    let mut told: Vec<(i64, u64)> =
        told.iter().map(|change| (change.sequence, change.name)).collect();
    told.sort_unstable();
    if twin != told {
        world.fault(format!("godwit.history tells other revisions than {table}_history has"));
    }
    Ok(())
}
