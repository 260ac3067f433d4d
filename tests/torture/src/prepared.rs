//! In charge of two-phase commits: each is decided before it is prepared, and whoever finds it later
//! ends it as decided, as a transaction manager does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

use crate::mark::{Mark, Outcome};
use crate::random::Random;
use crate::world::{Decision, Figures, World, held, is_expected};

/// Prepares what the session is in and mostly ends it too. None where that is left to `mind`.
pub async fn prepare(
    world: &World,
    session: &Client,
    random: &mut Random,
    name: &str,
    marks: &[Mark],
) -> Option<Outcome> {
    let commit = random.chance(60);
    held(&world.decisions).insert(name.into(), Decision { commit, minded: true });
    let outcome = if commit { Outcome::Unknown } else { Outcome::Aborted };
    let end = |outcome| {
        if let Some(decision) = held(&world.decisions).get_mut(name) {
            decision.minded = false;
        }
        Some(outcome)
    };
    if let Err(error) = session.batch_execute(&format!("prepare transaction '{name}'")).await {
        if !is_expected(&error) {
            world.fault(format!("prepare transaction {name}: {error}"));
        }
        return end(outcome);
    }
    Figures::add(&world.figures.prepared, 1);
    tokio::time::sleep(Duration::from_millis(random.between(0, 150))).await;
    if random.chance(40) {
        return end(outcome);
    }
    match finish(world, session, name, commit).await {
        true if commit => {
            held(&world.ledger).note(marks, Outcome::Committed);
            Figures::add(&world.figures.committed, 1);
            end(outcome);
            None
        }
        _ => end(outcome),
    }
}

/// Whether the server says that it is done.
async fn finish(world: &World, session: &Client, name: &str, commit: bool) -> bool {
    let verb = if commit { "commit" } else { "rollback" };
    match session.batch_execute(&format!("{verb} prepared '{name}'")).await {
        Ok(()) => true,
        Err(error) => {
            // Gone with a primary's tail, or another session is at it.
            let gone = error.code().is_some_and(|code| matches!(code.code(), "42704" | "55000"));
            if !gone && !is_expected(&error) {
                world.fault(format!("{verb} prepared {name}: {error}"));
            }
            false
        }
    }
}

/// Ends what nobody minds, until nothing is written any more and none is left.
pub async fn mind(world: Arc<World>, finished: Arc<std::sync::atomic::AtomicBool>) {
    let give_up = Duration::from_secs(120);
    let mut last_since: Option<Instant> = None;
    loop {
        let last = finished.load(Ordering::SeqCst);
        if world.lax_only.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let session = world.session().await;
        let found = session.query("select gid from pg_prepared_xacts", &[]).await;
        let names: Vec<String> =
            found.iter().flatten().filter_map(|row| row.try_get(0).ok()).collect();
        for name in &names {
            let decision = held(&world.decisions).get(name).copied();
            match decision {
                Some(Decision { commit, minded: false }) => {
                    if finish(&world, &session, name, commit).await && commit {
                        Figures::add(&world.figures.committed, 1);
                    }
                }
                Some(_) => {}
                None => world.fault(format!("nobody prepared {name}")),
            }
        }
        if last && found.is_ok() && names.is_empty() {
            return;
        }
        if last && last_since.get_or_insert_with(Instant::now).elapsed() > give_up {
            return world.fault(format!("prepared transactions don't end: {names:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
