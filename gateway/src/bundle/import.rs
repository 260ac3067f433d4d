//! In charge of putting a file to a gateway: read once to check all of it, and once more to put it.

use std::fs::File;

use super::Import;
use super::reader::Reader;
use super::seal::Sealer;
use crate::client::Error;
use crate::peering::offer::Offer;
use crate::peering::stop::Stop;
use crate::peering::{Ending, endpoint, tables};

/// A batch's bodies, at most: they are held in memory, and sent in requests that are as large.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Imports; the error is what to tell a person.
pub async fn import(options: Import) -> Result<Ending, String> {
    let stop = Stop::by_signals()?;
    let name = options.file.display();
    let sealer = Sealer::new(options.key_file.as_deref())?;
    let to =
        endpoint::client(&options.to, options.to_token.as_ref(), options.to_token_file.as_ref())?;
    // One handle for both: who replaces the file in between replaces another.
    let file =
        File::open(&options.file).map_err(|error| format!("{name} can't be read: {error}"))?;
    let again = || file.try_clone().map_err(|error| format!("{name} can't be read: {error}"));

    let mut reader = Reader::open(&options.file, again()?, sealer.clone())?;
    while reader.next()?.is_some() {
        if stop.is_asked() {
            return Err("stopped; nothing was put".into());
        }
    }
    let header = reader.header;
    tables::ensure(&to, &header.tables, options.create_tables).await?;

    let told = |error: Error| format!("{}: {error}", to.url());
    let mut offer = Offer::new(to.clone());
    let mut reader = Reader::open(&options.file, again()?, sealer)?;
    let mut more = true;
    let ended = tokio::select! {
        ended = async {
            while more && !stop.is_asked() {
                let (mut batch, mut bytes) = (Vec::new(), 0);
                while more && batch.len() < options.batch as usize && bytes < BATCH_BYTES_MAX {
                    match reader.next()? {
                        Some((record, length)) => {
                            bytes += length;
                            batch.push(record);
                        }
                        None => more = false,
                    }
                }
                offer.offer(batch, None).await.map_err(told)?;
            }
            offer.settle().await.map_err(told)
        } => ended,
        () = stop.patience_over() => Err("stopped while a batch was under way".into()),
    };
    if let Some(report) = offer.report() {
        eprintln!("{report}");
    }
    let counts =
        format!("{} revisions read, {} put, {} refused", offer.offered, offer.put, offer.refused());
    ended.map_err(|error| format!("{error}; {counts}; run again to go on"))?;
    if more {
        return Err(format!("stopped; {counts}; run again to go on"));
    }
    eprintln!("{name}: {counts}");
    Ok(offer.ending())
}
