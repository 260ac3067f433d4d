//! In charge of `make demo`: two clients that were offline and a clerk with plain SQL come to agree.
//!
//! Prints what each did and what they agreed on; exits with 1 if any of them has other records.

use godwit_e2e::stack::{Stack, plain};
use godwit_e2e::{Peer, peer::Shown};
use revision::{RevisionId, Value};

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() {
    if let Err(error) = story().await {
        eprintln!("demo: {error}");
        std::process::exit(1);
    }
}

fn string(text: &str) -> Value {
    Value::String(text.into())
}

fn title(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m");
}

async fn story() -> Result<(), Fault> {
    let stack = Stack::connect().await?;
    let columns = "id text primary key, name text not null, household int";
    let table = stack.table("demo", columns).await?;

    title("A clinic's database has a table, which is tracked with one call:");
    println!("  create table {table} ({columns});");
    println!("  select godwit.track('{table}');");
    stack
        .sql
        .batch_execute(&format!(
            "insert into {table} values ('case-17', 'Amina', 7), ('case-18', 'Joseph', 2),
                                        ('case-19', 'Grace', 4), ('case-20', 'Daniel', 1)"
        ))
        .await?;
    let (mut laptop, mut phone) = (stack.peer("laptop", &table), stack.peer("phone", &table));
    for peer in [&mut laptop, &mut phone] {
        let count = peer.pull().await?;
        println!("  the {} takes {count} records over {}", peer.name, stack.gateway.url);
    }

    title("There is no network. Each goes on working.");
    laptop.edit("case-17", &[("name", string("Amina Bakari"))]);
    did("laptop", "case-17: name Amina Bakari");
    laptop.edit("case-18", &[("household", Value::Int(3))]);
    did("laptop", "case-18: household 3");
    laptop.delete("case-20");
    did("laptop", "case-20 deleted");
    let fresh = [("id", string("case-21")), ("name", string("Esther"))];
    laptop.edit("case-21", &fresh);
    did("laptop", "case-21 is new: Esther");
    phone.edit("case-17", &[("household", Value::Int(8))]);
    did("phone", "case-17: household 8");
    phone.edit("case-20", &[("household", Value::Int(5)), ("photo", string("on file"))]);
    did("phone", "case-20: household 5, and a photo, for which the table has no column");
    stack
        .sql
        .batch_execute(&format!(
            "update {table} set household = 9 where id = 'case-17';
             delete from {table} where id = 'case-19';"
        ))
        .await?;
    did("clerk", "case-17: household 9 (update in plain SQL)");
    did("clerk", "case-19 deleted (delete in plain SQL)");

    title("They come back, the phone first. Push, then pull:");
    come_back(&mut phone).await?;
    come_back(&mut laptop).await?;
    phone.pull().await?;
    println!("  the phone looks once more");

    title("What each of them has now:");
    let shown = agree(&stack, &table, [&laptop, &phone]).await?;
    for (id, (revision, body)) in &shown {
        println!("  {id}  {}  {}", short(revision), plain(body));
        for conflict in laptop.conflicts(id) {
            let body = laptop.records[id].bodies.get(&conflict).map(plain).unwrap_or_default();
            println!("     beside it {}  {body}", short(&conflict));
        }
    }
    println!("  The laptop, the phone, the table, its history and a fresh client have the same.");
    println!("  case-17 was edited three times at once: one edit wins everywhere, none is lost.");

    title("The phone resolves it:");
    let edit = [("name", string("Amina Bakari")), ("household", Value::Int(9))];
    phone.edit("case-17", &edit);
    phone.resolve("case-17");
    did("phone", "case-17: name Amina Bakari, household 9; the other two end");
    come_back(&mut phone).await?;
    come_back(&mut laptop).await?;
    let shown = agree(&stack, &table, [&laptop, &phone]).await?;
    let conflicts = laptop.all_conflicts().len();
    let row = stack
        .sql
        .query_one(&format!("select name, household from {table} where id = 'case-17'"), &[])
        .await?;
    let (name, household): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
    println!("  select … where id = 'case-17':  {name}, {household}");
    if conflicts > 0 {
        return Err(format!("{conflicts} conflicts are left").into());
    }
    let count = format!("select count(*) from {table}_history");
    let revisions: i64 = stack.sql.query_one(&count, &[]).await?.try_get(0)?;
    println!(
        "\ndemo: all agree on {} records, no conflicts; the history has {revisions} revisions",
        shown.len()
    );
    stack.sql.batch_execute(&format!("drop table {table}, {table}_history")).await?;
    Ok(())
}

fn short(revision: &RevisionId) -> String {
    format!("{:.8}…", revision.to_string())
}

fn did(who: &str, what: &str) {
    println!("  {who:<8}{what}");
}

async fn come_back(peer: &mut Peer) -> Result<(), Fault> {
    let refused = peer.push().await?;
    if !refused.is_empty() {
        return Err(format!("the database refused work of the {}: {refused:?}", peer.name).into());
    }
    let count = peer.pull().await?;
    println!("  the {} has pushed, and pulled {count} changes", peer.name);
    Ok(())
}

/// All have the same winners and bodies; else the error says who differs.
async fn agree(stack: &Stack, table: &str, peers: [&Peer; 2]) -> Result<Shown, Fault> {
    let shown = stack.shown(table).await?;
    let mut fresh = stack.peer("fresh client", table);
    fresh.pull().await?;
    for peer in [peers[0], peers[1], &fresh] {
        if peer.shown() != shown {
            return Err(format!("the {} has other records than the database", peer.name).into());
        }
        if peer.all_conflicts() != fresh.all_conflicts() {
            return Err(format!("the {} has other conflicts", peer.name).into());
        }
    }
    let [in_table, elected] = stack.table_and_elected(table).await?;
    if in_table != elected {
        return Err("the table shows other revisions than its history elects".into());
    }
    Ok(shown)
}
