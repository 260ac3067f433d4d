//! In charge of writing what a gateway has to a file.

use revision::{Record, RevisionId};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::time::Duration;

use super::writer::Writer;
use super::{Export, FORMAT, Header};
use crate::client::Client;
use crate::peering::pages::Pages;
use crate::peering::stop::Stop;
use crate::peering::{ancestry, endpoint, tables};

/// How long a page is waited for that a transaction holds back: below the minute after which proxies commonly
/// give up.
const WAIT: Duration = Duration::from_secs(30);

/// Names of revisions that are in the file already, 16 bytes each: a million take about 32 MB.
type Written = HashSet<[u8; 16]>;

/// Exports; the error is what to tell a person.
pub async fn export(options: Export) -> Result<(), String> {
    let stop = Stop::by_signals()?;
    let token_file = options.from_token_file.as_ref();
    let from = endpoint::client(&options.from, options.from_token.as_ref(), token_file)?;
    tokio::select! {
        done = write(&options, &from) => done,
        () = stop.asked() => Err("stopped; nothing was kept".into()),
    }
}

async fn write(options: &Export, from: &Client) -> Result<(), String> {
    let told = |error| format!("{}: {error}", from.url());
    let tables = tables::chosen(from, &options.tables).await?;
    let status = from.status().await.map_err(told)?;
    let until = status.horizon.unwrap_or(0).max(options.since);
    let is_any = !tables.is_empty();
    let mut pages = Pages::new(
        from.clone(),
        tables.iter().map(|table| table.name.clone()).collect(),
        options.batch,
    );
    let header = Header {
        godwit_export: FORMAT,
        software: concat!("godwit ", env!("CARGO_PKG_VERSION")).to_owned(),
        incarnation: status.incarnation.clone(),
        since: options.since,
        until,
        tables,
    };
    let mut writer = Writer::create(&options.file, options.key_file.as_deref(), &header)?;
    let mut written = Written::new();
    let mut since = options.since;
    // A page may reach less far than the stream had come, while a transaction that had begun by then writes.
    let mut wait = None;
    while since < until && is_any {
        let (mut records, next) = pages.read(since, wait).await.map_err(told)?;
        wait = (records.is_empty() && next <= since).then_some(WAIT);
        let names =
            records.iter().filter_map(|record| Some(name(record, record.revision.as_ref()?)));
        written.extend(names);
        // Whoever reads the file has nobody to ask.
        let open = records.iter_mut().filter(|record| {
            ancestry::open_end(record)
                .is_some_and(|parent| !written.contains(&name(record, parent)))
        });
        ancestry::complete(from, open.collect()).await.map_err(told)?;
        for record in &records {
            writer.record(record)?;
        }
        since = next;
    }
    // What was lost in a failover meanwhile may be in the file; what is in the file may be lost there.
    if from.status().await.map_err(told)?.incarnation != status.incarnation {
        return Err("the database was restored or promoted meanwhile; export again".into());
    }
    let count = writer.finish()?;
    let file = options.file.display();
    let until = until.max(since);
    eprintln!(
        "{file}: {count} revisions up to sequence {until}; the next one with --since {until}"
    );
    Ok(())
}

fn name(record: &Record, revision: &RevisionId) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in [record.table.as_deref().unwrap_or_default(), &record.id] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(revision.to_sortable());
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize()[..16]);
    out
}
