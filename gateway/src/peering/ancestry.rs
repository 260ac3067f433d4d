//! In charge of ancestries: what the stream doesn't tell of a revision whose parent nobody has a body of.

use futures_util::{TryStreamExt, stream};
use revision::{Record, RevisionId};

use crate::client::{Client, Error, Show};

/// Requests at once; a gateway has 16 connections to its database by default.
const AT_ONCE: usize = 8;

/// The parent, if there may be more behind it that the record doesn't tell. What the change stream says of a
/// revision ends with its parent.
pub fn open_end(record: &Record) -> Option<&RevisionId> {
    match record.revisions.as_deref() {
        Some([_, parent]) if parent.generation() > 1 => Some(parent),
        _ => None,
    }
}

/// Gives each of these records its whole ancestry, as far as the source knows it.
pub async fn complete(from: &Client, records: Vec<&mut Record>) -> Result<(), Error> {
    stream::iter(records.into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |record| async move {
            if let Some(whole) = whole(from, record).await? {
                record.revisions = Some(whole);
            }
            Ok(())
        })
        .await
}

/// The one place that knows how a gateway is asked for it.
async fn whole(from: &Client, record: &Record) -> Result<Option<Vec<RevisionId>>, Error> {
    let (Some(table), Some(revision)) = (&record.table, &record.revision) else { return Ok(None) };
    let show = Show { revision: Some(revision.clone()), revisions: true, conflicts: false };
    match from.show(table, &record.id, &show).await {
        Ok(found) => Ok(found.revisions),
        // Compacted since it was read, or an id that no URL can name: its parent is known all the same.
        Err(error) if matches!(error.name(), Some("not_found" | "deleted")) => Ok(None),
        Err(Error::Unaskable(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
