//! In charge of many records at once, in requests that are small enough: which revisions are missing, and what became
//! of revisions and edits that are put.

use reqwest::Method;
use revision::{Record, RevisionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::answer::{Missing, Outcome, OutcomeStatus};
use super::{Client, Edit, Error};

/// What surrounds the items in a body, at most: `{"revisions":[` and the like.
const AROUND_BYTES: usize = 64;

/// Where a batch goes.
#[derive(Clone, Copy)]
struct Target {
    verb: &'static str,
    /// What the body calls them.
    member: &'static str,
    branches: bool,
}

impl Client {
    /// Adds revisions as they are, parents before children as far as they are sent so; an outcome for
    /// each, in the order sent. In any order, once or often, the database ends the same.
    pub async fn put_revisions(
        &self,
        table: &str,
        records: &[Record],
    ) -> Result<Vec<Outcome>, Error> {
        let name = |place: usize| {
            let record = &records[place];
            (record.id.clone(), record.revision.as_ref().map(ToString::to_string))
        };
        let target = Target { verb: "revisions", member: "revisions", branches: false };
        self.put_all(table, target, records, name).await
    }

    /// Local edits in bulk, each for itself; an outcome for each, in the order given. Those that may branch are sent after
    /// the others. What was accepted is known when it is sent again.
    pub async fn put_many(
        &self,
        table: &str,
        edits: &[(String, Edit)],
    ) -> Result<Vec<Outcome>, Error> {
        #[derive(Serialize)]
        struct Sent<'a> {
            id: &'a str,
            #[serde(flatten)]
            edit: &'a Edit,
        }
        let mut outcomes = Vec::with_capacity(edits.len());
        for branches in [false, true] {
            let (places, sent): (Vec<usize>, Vec<Sent>) = edits
                .iter()
                .enumerate()
                .filter(|(_, (_, edit))| edit.branch == branches)
                .map(|(place, (id, edit))| (place, Sent { id, edit }))
                .unzip();
            let target = Target { verb: "records:put", member: "records", branches };
            let name = |place: usize| (sent[place].id.to_owned(), None);
            outcomes
                .extend(places.into_iter().zip(self.put_all(table, target, &sent, name).await?));
        }
        outcomes.sort_by_key(|(place, _)| *place);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    async fn put_all(
        &self,
        table: &str,
        target: Target,
        items: &[impl Serialize],
        name: impl Fn(usize) -> (String, Option<String>),
    ) -> Result<Vec<Outcome>, Error> {
        let texts: Result<Vec<Vec<u8>>, _> = items.iter().map(serde_json::to_vec).collect();
        let texts = texts
            .map_err(|error| Error::Unaskable(format!("a record can't be written: {error}")))?;
        let mut outcomes = Vec::with_capacity(items.len());
        let mut waiting = self.chunks(&texts, Vec::len);
        waiting.reverse();
        while let Some(chunk) = waiting.pop() {
            match self.put_chunk(table, target, chunk).await {
                Ok(answers) if answers.len() == chunk.len() => outcomes.extend(answers),
                Ok(answers) => {
                    let (sent, answered) = (chunk.len(), answers.len());
                    let reason = format!("{answered} outcomes for {sent} records");
                    return Err(Error::Unreadable(reason));
                }
                Err(error) if is_too_much(&error) && chunk.len() > 1 => {
                    let (first, second) = chunk.split_at(chunk.len() / 2);
                    waiting.extend([second, first]);
                }
                // What no request is large enough for stops nothing else.
                Err(error) if error.name() == Some("too_large") => {
                    let (id, revision) = name(outcomes.len());
                    outcomes.push(Outcome {
                        id: Some(id),
                        revision,
                        status: OutcomeStatus::Rejected,
                        reason: Some(error.to_string()),
                        winner: None,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(outcomes)
    }

    async fn put_chunk(
        &self,
        table: &str,
        target: Target,
        chunk: &[Vec<u8>],
    ) -> Result<Vec<Outcome>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            results: Vec<Outcome>,
        }
        let mut body = format!("{{\"{}\":[", target.member).into_bytes();
        body.extend(chunk.join(&b','));
        body.extend(b"]}");
        let ask = self.ask(Method::POST, &["v1", "tables", table, target.verb])?;
        let ask = ask.query_if("on_conflict", target.branches.then_some("branch"));
        let answer: Answer = self.answer(ask.body(body)?.splits()).await?;
        Ok(answer.results)
    }

    /// Which of the revisions named the table doesn't have the bodies of, and hasn't dropped; records
    /// with nothing missing are left out.
    pub async fn revisions_missing(
        &self,
        table: &str,
        revisions: &BTreeMap<String, Vec<RevisionId>>,
    ) -> Result<BTreeMap<String, Missing>, Error> {
        let asked: Vec<(&str, &RevisionId)> = revisions
            .iter()
            .flat_map(|(id, revisions)| revisions.iter().map(move |r| (id.as_str(), r)))
            .collect();
        let mut missing: BTreeMap<String, Missing> = BTreeMap::new();
        // An id may be written in escapes of six bytes for one; the revision in quotes.
        let bytes =
            |(id, revision): &(&str, &RevisionId)| 6 * id.len() + 32 + revision.token().len();
        let mut waiting = self.chunks(&asked, bytes);
        while let Some(chunk) = waiting.pop() {
            match self.missing_chunk(table, chunk).await {
                Ok(answer) => {
                    for (id, found) in answer {
                        match missing.get_mut(&id) {
                            Some(known) => known.missing.extend(found.missing),
                            None => drop(missing.insert(id, found)),
                        }
                    }
                }
                Err(error) if is_too_much(&error) && chunk.len() > 1 => {
                    waiting.extend(<[_; 2]>::from(chunk.split_at(chunk.len() / 2)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    async fn missing_chunk(
        &self,
        table: &str,
        chunk: &[(&str, &RevisionId)],
    ) -> Result<BTreeMap<String, Missing>, Error> {
        let mut question: BTreeMap<&str, Vec<&RevisionId>> = BTreeMap::new();
        for (id, revision) in chunk {
            question.entry(id).or_default().push(revision);
        }
        let ask = self.ask(Method::POST, &["v1", "tables", table, "revisions:missing"])?;
        self.answer(ask.json(&question)?.splits()).await
    }

    /// Slices that are below the limits of one request, in order.
    fn chunks<'a, T>(&self, items: &'a [T], bytes: impl Fn(&T) -> usize) -> Vec<&'a [T]> {
        let limits = self.limits();
        let (mut chunks, mut start, mut size) = (Vec::new(), 0, AROUND_BYTES);
        for (place, item) in items.iter().enumerate() {
            let more = bytes(item) + 1;
            let full = size + more > limits.body_bytes_max || place - start >= limits.batch_max;
            if full && place > start {
                chunks.push(&items[start..place]);
                (start, size) = (place, AROUND_BYTES);
            }
            size += more;
        }
        if start < items.len() {
            chunks.push(&items[start..]);
        }
        chunks
    }
}

/// A gateway may have lower limits than this client's, and a database may be slow.
fn is_too_much(error: &Error) -> bool {
    matches!(error.name(), Some("too_large" | "timeout"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Limits;

    #[test]
    fn chunks_keep_below_the_limits_and_leave_nothing_out() {
        let limits = Limits { body_bytes_max: 164, batch_max: 3, ..Limits::default() };
        let client = Client::builder("http://localhost").limits(limits).build().unwrap();
        let sizes: [usize; 9] = [10, 10, 10, 10, 90, 90, 500, 10, 10];
        let chunks = client.chunks(&sizes, |size| *size);
        let expected: [&[usize]; 5] = [&[10, 10, 10], &[10], &[90], &[90], &[500]];
        assert_eq!(chunks[..5], expected);
        assert_eq!(chunks.concat(), sizes);
        assert!(client.chunks(&sizes[..0], |size| *size).is_empty());
    }
}
