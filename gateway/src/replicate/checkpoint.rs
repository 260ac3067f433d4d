//! In charge of how far one direction is, as both sides keep it.

use sha2::{Digest, Sha256};

use crate::client::{Checkpoint, Client, Error, Peer};

/// The name under which a replication of these tables from this database to that one is kept.
pub fn name(from: &str, to: &str, tables: &[String]) -> String {
    let mut hasher = Sha256::new();
    for part in [from, to].into_iter().chain(tables.iter().map(String::as_str)) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    format!("godwit-{}", hex::encode(&hasher.finalize()[..16]))
}

/// Where to go on. The target's own note stands and falls with what was put there: one that was restored from a
/// backup remembers what the backup has. The source's may only lower it. A note about another incarnation of
/// the source counts for nothing.
pub async fn read(from: &Client, to: &Client, name: &str, incarnation: &str) -> Result<i64, Error> {
    let at_target = to.peer(name).await?;
    let at_source = from.peer(name).await?;
    Ok(since(at_target.as_ref(), at_source.as_ref(), incarnation))
}

fn since(at_target: Option<&Peer>, at_source: Option<&Peer>, incarnation: &str) -> i64 {
    let same = |peer: &&Peer| peer.incarnation.as_deref() == Some(incarnation);
    let Some(pushed) = at_target.filter(same).and_then(|peer| peer.pushed) else { return 0 };
    match at_source {
        None => pushed,
        Some(peer) if same(&peer) => peer.pulled.map_or(pushed, |pulled| pulled.min(pushed)),
        Some(_) => 0,
    }
}

pub async fn write_to_target(
    to: &Client,
    name: &str,
    since: i64,
    incarnation: &str,
) -> Result<(), Error> {
    to.put_peer(name, &Checkpoint { pushed: Some(since), ..ours(incarnation) }).await
}

pub async fn write_to_source(
    from: &Client,
    name: &str,
    since: i64,
    incarnation: &str,
) -> Result<(), Error> {
    from.put_peer(name, &Checkpoint { pulled: Some(since), ..ours(incarnation) }).await
}

fn ours(incarnation: &str) -> Checkpoint {
    Checkpoint {
        incarnation: Some(incarnation.to_owned()),
        software: Some(concat!("godwit replicate ", env!("CARGO_PKG_VERSION")).to_owned()),
        ..Checkpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(incarnation: &str, sequence: i64) -> Peer {
        Peer {
            peer: "p".into(),
            pulled: Some(sequence),
            pushed: Some(sequence),
            behind: None,
            incarnation: Some(incarnation.into()),
            software: None,
            owner: "o".into(),
            first_seen: String::new(),
            last_seen: String::new(),
        }
    }

    #[test]
    fn the_lower_note_counts_and_none_about_another_incarnation() {
        assert_eq!(since(Some(&peer("a", 7)), Some(&peer("a", 5)), "a"), 5);
        assert_eq!(since(Some(&peer("a", 5)), Some(&peer("a", 7)), "a"), 5);
        assert_eq!(since(Some(&peer("a", 7)), None, "a"), 7);
        assert_eq!(since(None, Some(&peer("a", 7)), "a"), 0);
        assert_eq!(since(Some(&peer("b", 7)), Some(&peer("a", 7)), "a"), 0);
        assert_eq!(since(Some(&peer("a", 7)), Some(&peer("b", 7)), "a"), 0);
    }

    #[test]
    fn a_name_tells_databases_directions_and_tables_apart() {
        let tables =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let one = name("a", "b", &tables(&["x", "y"]));
        assert_eq!(one, name("a", "b", &tables(&["x", "y"])));
        for other in [
            name("b", "a", &tables(&["x", "y"])),
            name("a", "b", &tables(&["xy"])),
            name("a", "b", &tables(&["x"])),
            name("ab", "", &tables(&["x", "y"])),
        ] {
            assert_ne!(one, other);
        }
    }
}
