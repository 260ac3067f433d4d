//! In charge of random programs of an app's, with triggers that edit what is being edited, and revisions of peers
//! between them. After each statement the table and its history must agree, and an untracked table on which the same
//! has run must have the same rows.

use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::dice::Dice;
use crate::sentence::{KINDS, Kind};
use crate::session::{Fault, Session};

const SCHEMA: &str = include_str!("../programs.sql");

/// Programs are short: what goes wrong does so within a few statements.
const STATEMENTS_MAX: usize = 9;
const TRIGGERS_MAX: usize = 3;

struct Program {
    kind: &'static Kind,
    triggers: Vec<String>,
    steps: Vec<Step>,
}

enum Step {
    /// Statements of one transaction.
    App(Vec<String>),
    Peer(String),
}

impl Program {
    fn by_chance(dice: &mut Dice) -> Program {
        let kind = dice.of(KINDS);
        let triggers = (0..=dice.below(TRIGGERS_MAX)).map(|at| kind.trigger(dice, at)).collect();
        let mut steps = vec![Step::App(vec![kind.fill()])];
        for _ in 0..=dice.below(STATEMENTS_MAX) {
            steps.push(match dice.below(6) {
                0 | 1 => Step::Peer(format!("select {}", kind.peer(dice))),
                2 => Step::App(transaction(kind, dice)),
                _ => Step::App(vec![kind.statement(dice)]),
            });
        }
        Program { kind, triggers, steps }
    }

    fn script(&self) -> String {
        let mut lines = vec![self.kind.tables(), "select godwit.track('t')".into()];
        lines.extend(self.triggers.iter().cloned());
        for step in &self.steps {
            match step {
                Step::App(statements) => lines.extend(statements.iter().cloned()),
                Step::Peer(sql) => lines.push(sql.clone()),
            }
        }
        lines.join(";\n") + ";"
    }
}

fn transaction(kind: &Kind, dice: &mut Dice) -> Vec<String> {
    let mut out =
        vec!["begin".to_owned(), kind.statement(dice), "savepoint s".into(), kind.statement(dice)];
    if dice.once_in(2) {
        out.push("rollback to s".into());
    }
    out.push(kind.statement(dice));
    out.push((*dice.of(&["commit", "commit", "rollback"])).into());
    out
}

/// Runs the programs of a seed for a while, at most so many; returns how many have found something.
pub async fn run(url: &str, budget: Duration, (seed, max): (u64, usize)) -> Result<usize, Fault> {
    let mut session = Session::connect(url).await?;
    session.client.batch_execute(SCHEMA).await?;
    let (begun, mut dice) = (Instant::now(), Dice::new(seed));
    let (mut count, mut findings) = (0, 0);
    while begun.elapsed() < budget && count < max {
        let program = Program::by_chance(&mut dice);
        count += 1;
        if let Some(found) = try_it(&session.client, &program).await? {
            findings += 1;
            println!("FOUND by program {count}: {found}\n{}\n", program.script());
        }
        if session.client.is_closed() {
            session = Session::connect_again(url).await?;
        }
    }
    println!("programs: {count} of seed {seed}, {findings} findings");
    Ok(findings)
}

async fn try_it(client: &Client, program: &Program) -> Result<Option<String>, Fault> {
    let make = "rollback; drop schema if exists tracked cascade; drop schema if exists plain cascade; create schema tracked; create schema plain;
                delete from godwit.rejected; set client_min_messages = error; set statement_timeout = '5s'";
    client.batch_execute(make).await?;
    for schema in ["tracked", "plain"] {
        enter(client, schema).await?;
        client.batch_execute(&program.kind.tables()).await?;
        if schema == "tracked" {
            client.batch_execute("select godwit.track('t')").await?;
        }
        for trigger in &program.triggers {
            client.batch_execute(trigger).await?;
        }
    }
    for step in &program.steps {
        let outcome = match step {
            Step::Peer(sql) => tracked(client, std::slice::from_ref(sql)).await?,
            Step::App(statements) => tracked(client, statements).await?,
        };
        let errors = match outcome {
            Ok(errors) => errors,
            Err(found) => return Ok(Some(found)),
        };
        // What takes too long may end at another place there.
        if errors.iter().flatten().any(|error| error == "57014") {
            return Ok(None);
        }
        match step {
            Step::Peer(_) => follow(client).await?,
            Step::App(statements) => {
                if let Some(found) = compared(client, statements, &errors).await? {
                    return Ok(Some(found));
                }
            }
        }
    }
    Ok(None)
}

async fn enter(client: &Client, schema: &str) -> Result<(), Fault> {
    Ok(client.batch_execute(&format!("set search_path = {schema}, public")).await?)
}

/// Errors by statement, up to the one that ended the transaction; or what was found.
async fn tracked(
    client: &Client,
    statements: &[String],
) -> Result<Result<Vec<Option<String>>, String>, Fault> {
    enter(client, "tracked").await?;
    let mut errors = Vec::new();
    for sql in statements {
        let error = error_of(client, sql).await?;
        if let Some(code) = error.as_ref().filter(|code| code.starts_with("XX")) {
            return Ok(Err(format!("{code} after {sql}")));
        }
        let is_lost = error.is_some();
        errors.push(error);
        if is_lost {
            break;
        }
        // A key may be there twice until its constraint is looked at.
        let sql = "select p from programs.problems('t') p where not exists (select from t group by id, part having count(*) > 1)
                   and not exists (select from t where (select condeferrable from pg_constraint where conrelid = 't'::regclass and contype = 'p')
                                   group by id having count(*) > 1)";
        let problems: Vec<String> =
            client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
        if !problems.is_empty() {
            return Ok(Err(format!(
                "after {}: {}",
                statements[errors.len() - 1],
                problems.join("; ")
            )));
        }
    }
    client.batch_execute("rollback").await?;
    Ok(Ok(errors))
}

/// The SQLSTATE of a statement that fails.
async fn error_of(client: &Client, sql: &str) -> Result<Option<String>, Fault> {
    match client.simple_query(sql).await {
        Ok(_) => Ok(None),
        Err(error) => match error.as_db_error() {
            Some(told) => Ok(Some(told.code().code().to_owned())),
            None => Err(format!("{error} at {sql}").into()),
        },
    }
}

/// The untracked table has no peers: it takes the rows over, in the order in which they lie.
async fn follow(client: &Client) -> Result<(), Fault> {
    let sql = "set session_replication_role = replica; truncate plain.t;
               insert into plain.t select id, part, v, n, ref from tracked.t order by tableoid, ctid;
               reset session_replication_role";
    Ok(client.batch_execute(sql).await?)
}

async fn compared(
    client: &Client,
    statements: &[String],
    errors: &[Option<String>],
) -> Result<Option<String>, Fault> {
    enter(client, "plain").await?;
    let mut others = Vec::new();
    for sql in statements {
        let error = error_of(client, sql).await?;
        let is_lost = error.is_some();
        others.push(error);
        if is_lost {
            break;
        }
    }
    client.batch_execute("rollback").await?;
    // Which of several errors comes first may be another.
    let failed = |errors: &[Option<String>]| errors.iter().any(Option::is_some);
    if failed(errors) != failed(&others) {
        return Ok(Some(format!("{statements:?}: tracked {errors:?}, untracked {others:?}")));
    }
    let (ours, theirs) = (rows(client, "tracked").await?, rows(client, "plain").await?);
    Ok((ours != theirs)
        .then(|| format!("after {statements:?}: tracked {ours:?}, untracked {theirs:?}")))
}

async fn rows(client: &Client, schema: &str) -> Result<Vec<String>, Fault> {
    let sql = format!("select row(id, part, v, n, ref)::text from {schema}.t order by 1");
    let messages = client.simple_query(&sql).await?;
    let text = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    Ok(messages.iter().filter_map(text).collect())
}
