//! In charge of the writers: transactions of every length, form and end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::edit;
use crate::mark::{Mark, Outcome};
use crate::prepared;
use crate::random::Random;
use crate::world::{Figures, World, held, is_expected};

/// Twice the longest transaction: who waits longer for a row waits for a prepared transaction.
const SETTINGS: &str = "set lock_timeout = '2s'; set statement_timeout = '60s'";

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    /// With `synchronous_commit = off`.
    CommitLax,
    Rollback,
    Prepare,
}

/// What went on in a transaction before it ended.
struct Written {
    /// Those that live or die with the transaction.
    marks: Vec<Mark>,
    /// Those of savepoints that were rolled back.
    undone: Vec<Mark>,
}

pub async fn write(world: Arc<World>, number: u16, mut random: Random) {
    let mut transaction = 0;
    while world.is_writing() {
        let session = world.session().await;
        if session.batch_execute(SETTINGS).await.is_err() {
            continue;
        }
        while world.is_writing() && !session.is_closed() {
            world.pace().await;
            transaction += 1;
            Writer { world: &world, session: &session, random: &mut random, number, transaction }
                .transact()
                .await;
        }
    }
}

struct Writer<'a> {
    world: &'a World,
    session: &'a Client,
    random: &'a mut Random,
    number: u16,
    transaction: u32,
}

impl Writer<'_> {
    async fn transact(&mut self) {
        let mut end = match self.random.weighted(&[48, 26, 13, 13]) {
            0 => End::Commit,
            1 => End::CommitLax,
            2 => End::Rollback,
            _ => End::Prepare,
        };
        // Counted before it is asked, so that who forbids it can wait until none is left.
        self.world.lax.fetch_add(1, Ordering::SeqCst);
        if end == End::CommitLax && self.world.durable_only.load(Ordering::SeqCst) {
            end = End::Commit;
        }
        if end != End::Rollback && self.world.lax_only.load(Ordering::SeqCst) {
            end = End::CommitLax;
        }
        if end != End::CommitLax {
            self.world.lax.fetch_sub(1, Ordering::SeqCst);
        }
        self.transact_until(end).await;
        if end == End::CommitLax {
            self.world.lax.fetch_sub(1, Ordering::SeqCst);
        }
    }

    async fn transact_until(&mut self, end: End) {
        let mut written = Written { marks: Vec::new(), undone: Vec::new() };
        let outcome = match self.statements(end, &mut written).await {
            Ok(()) => self.end(end, &written).await,
            Err(_) => {
                // A session that is gone rolls back by itself.
                let _ = self.session.batch_execute("rollback").await;
                Some(Outcome::Aborted)
            }
        };
        let mut ledger = held(&self.world.ledger);
        ledger.note(&written.undone, Outcome::Aborted);
        if let Some(outcome) = outcome {
            ledger.note(&written.marks, outcome);
            let figures = &self.world.figures;
            match outcome {
                Outcome::Aborted => Figures::add(&figures.aborted, 1),
                Outcome::Committed | Outcome::Lax => Figures::add(&figures.committed, 1),
                Outcome::Unknown => {}
            }
        }
    }

    async fn statements(
        &mut self,
        end: End,
        written: &mut Written,
    ) -> Result<(), tokio_postgres::Error> {
        let isolation = ["read committed", "repeatable read"][self.random.weighted(&[9, 1])];
        self.run(&format!("begin isolation level {isolation}")).await?;
        if end == End::CommitLax {
            self.run("set local synchronous_commit = off").await?;
        }
        let most = [1, 4, 12, 40][self.random.weighted(&[45, 42, 11, 2])];
        let count = self.random.between(1, most);
        // Its id, then its first tracked write long after, and the other way about.
        let marked_at = self.random.below(count);
        for place in 0..count {
            if place == marked_at {
                self.mark(0, &mut written.marks).await?;
            }
            if self.random.chance(20) {
                self.savepoint(place as u16 + 1, written).await?;
            } else {
                self.edit().await?;
            }
            if self.random.chance(20) {
                let most = [2, 15, 200][self.random.weighted(&[65, 31, 4])];
                tokio::time::sleep(Duration::from_millis(self.random.between(0, most))).await;
            }
        }
        Ok(())
    }

    /// A part of its own, with a mark of its own, undone or kept.
    async fn savepoint(
        &mut self,
        part: u16,
        written: &mut Written,
    ) -> Result<(), tokio_postgres::Error> {
        self.run("savepoint s").await?;
        // What is to be undone is never committed, however this transaction or its session ends.
        let undo = self.random.chance(60);
        for nth in 0..self.random.between(1, 2) as u16 {
            let marks = if undo { &mut written.undone } else { &mut written.marks };
            self.mark(2 * part + nth, marks).await?;
            self.edit().await?;
        }
        self.run(if undo { "rollback to savepoint s" } else { "release savepoint s" }).await
    }

    async fn mark(&mut self, part: u16, into: &mut Vec<Mark>) -> Result<(), tokio_postgres::Error> {
        let mark = Mark { writer: self.number, transaction: self.transaction, part };
        into.push(mark);
        self.run(&format!("insert into marks values ('{}', {})", mark.id(), self.number)).await
    }

    async fn edit(&mut self) -> Result<(), tokio_postgres::Error> {
        let epoch = self.world.begun.elapsed().as_secs() / 20;
        let sql = edit::any(self.random, epoch);
        self.run(&sql).await
    }

    async fn run(&mut self, sql: &str) -> Result<(), tokio_postgres::Error> {
        let answer = self.session.simple_query(sql).await;
        if let Err(error) = &answer {
            self.unexpected(error, sql);
        }
        for message in answer? {
            if let SimpleQueryMessage::CommandComplete(rows) = message {
                Figures::add(&self.world.figures.rows, rows);
            }
        }
        Ok(())
    }

    /// None where the end is left to somebody else.
    async fn end(&mut self, end: End, written: &Written) -> Option<Outcome> {
        let sql = match end {
            End::Commit | End::CommitLax => "commit",
            End::Rollback => "rollback",
            End::Prepare => {
                let name = format!("{}-{}", self.number, self.transaction);
                return prepared::prepare(
                    self.world,
                    self.session,
                    self.random,
                    &name,
                    &written.marks,
                )
                .await;
            }
        };
        let done = self.session.batch_execute(sql).await;
        Some(match (end, &done) {
            (End::Rollback, _) => Outcome::Aborted,
            (End::Commit, Ok(())) => Outcome::Committed,
            (_, Ok(())) => Outcome::Lax,
            (_, Err(error)) => {
                self.unexpected(error, sql);
                let refused = error.code().is_some_and(|code| {
                    code.code().starts_with("40") || code.code().starts_with("23")
                });
                if refused { Outcome::Aborted } else { Outcome::Unknown }
            }
        })
    }

    fn unexpected(&self, error: &tokio_postgres::Error, sql: &str) {
        if !is_expected(error) && !edit::is_expected(error) {
            let sql: String = sql.chars().take(2000).collect();
            let words = match error.as_db_error() {
                Some(db) => format!("{} {}", db.code().code(), db.message()),
                None => error.to_string(),
            };
            self.world.fault(format!("writer {}: {words}, by {sql}", self.number));
        }
    }
}
