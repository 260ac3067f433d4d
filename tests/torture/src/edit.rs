//! In charge of what a writer does: the kinds of statements, on rows that all want.

use crate::path;
use crate::random::Random;

/// Rows of `hot` at a time; a few of them are in most transactions. After a minute others take their
/// place: what a page of changes takes grows with its records' histories.
const HOT: u64 = 200;
const HOT_EPOCHS: u64 = 3;
const BULK: u64 = 3000;

pub const SCHEMA: &str = "
    create table hot (id int primary key, n int not null, note text);
    create table bulk (id int primary key, batch int not null, v text);
    create table marks (id text primary key, writer int not null);
    create table cases (
        id text primary key,
        name text not null,
        household int,
        weight double precision,
        cost numeric(12, 2),
        seen timestamptz,
        photo bytea,
        doc jsonb);";

/// One statement. `epoch` counts up every twenty seconds.
pub fn any(random: &mut Random, epoch: u64) -> String {
    match random.weighted(&[46, 7, 24, 23]) {
        0 => hot(random, epoch / HOT_EPOCHS * HOT),
        1 => bulk(random),
        2 => cases(random, epoch),
        _ => put_revisions(random, epoch),
    }
}

/// What these may fail with beside what everybody may: a row that another session has added, or a
/// revision that it has moved.
pub fn is_expected(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "23505" | "P0002"))
}

fn hot(random: &mut Random, first: u64) -> String {
    let id = first + if random.chance(15) { random.below(4) } else { random.below(HOT) };
    let other = first + random.below(HOT);
    let n = random.below(1000);
    match random.weighted(&[30, 30, 14, 8, 4, 6, 8]) {
        0 => format!(
            "insert into hot values ({id}, {n}, 'made') on conflict (id) do update set n = hot.n + 1"
        ),
        1 => format!("update hot set n = n + 1 where id in ({id}, {other})"),
        2 => format!("delete from hot where id = {id}"),
        3 => format!(
            "update hot set note = 'seen {n}' where id = {id} and _rev = (select _rev from hot where id = {id})"
        ),
        4 => format!("update hot set n = n where id between {id} and {other}"),
        5 => format!(
            "merge into hot using (values ({id}, {n})) as s (id, n) on hot.id = s.id
               when matched and s.n % 3 = 0 then delete
               when matched then update set n = s.n
               when not matched then insert values (s.id, s.n, 'merged')"
        ),
        _ => format!("insert into hot values ({id}, {n}, 'new') on conflict do nothing"),
    }
}

fn bulk(random: &mut Random) -> String {
    let from = random.below(BULK);
    let to = from + random.between(10, 250);
    let batch = random.below(1_000_000);
    match random.weighted(&[40, 25, 15, 19, 1]) {
        0 => format!(
            "insert into bulk select g, {batch}, repeat('x', g % 50) from generate_series({from}, {to}) g
                 on conflict do nothing"
        ),
        1 => format!("update bulk set batch = {batch} where id between {from} and {to}"),
        2 => format!(
            "insert into bulk select g, {batch}, null from generate_series({from}, {to}) g
                 on conflict (id) do update set v = excluded.batch"
        ),
        3 => format!("delete from bulk where id between {from} and {to}"),
        _ => "truncate bulk".into(),
    }
}

fn cases(random: &mut Random, epoch: u64) -> String {
    let id = format!("peer-{epoch}-{}", random.below(24));
    let n = random.below(100);
    match random.weighted(&[35, 15, 15, 20, 15]) {
        0 => format!(
            "update cases set household = {n}, cost = {n} / 4.0, seen = '2026-11-23 10:00:00+00'
              where id = '{id}'"
        ),
        1 => format!("delete from cases where id = '{id}'"),
        2 => format!(
            "insert into cases (id, name, doc) values ('{id}', 'clerk', '{{\"n\": {n}.0}}')
                 on conflict (id) do update set weight = {n} / 7.0::float8"
        ),
        3 => format!(
            "select godwit.put('cases', jsonb_build_object('id', c.id, 'revision', c._rev::text,
                 'attributes', jsonb_build_object('name', jsonb_build_object('string', 'put {n}'))),
                 on_conflict => 'branch') from cases c where id = '{id}'"
        ),
        _ => format!("select godwit.resolve('cases', id) from cases where id = '{id}'"),
    }
}

/// Written by `peer`, so that it can be told from what was made here.
fn put_revisions(random: &mut Random, epoch: u64) -> String {
    let epoch = if random.chance(80) { epoch } else { random.below(epoch + 1) };
    let mut records = Vec::new();
    for _ in 0..random.between(1, 4) {
        records.extend(path::batch(random, epoch));
    }
    let json = serde_json::to_string(&records).unwrap_or_default().replace('\'', "''");
    format!(
        "select set_config('request.jwt.claims', '{{\"sub\": \"peer\"}}', true);
         select status from godwit.put_revisions('cases', '{json}');
         select set_config('request.jwt.claims', '', true)"
    )
}
