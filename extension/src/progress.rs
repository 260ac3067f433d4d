//! In charge of `godwit.progress`: what a long job has done so far.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::catalog;
use crate::error::OrReport;
use crate::rejected::catalog_owner;
use crate::role;
use crate::settings::Settings;
use crate::spi;

/// Begins a job; what a session that is gone has left behind is struck.
#[pg_extern(sql = false)]
fn _begin_job(job: &str, relation: pg_sys::Oid) {
    let gone = "delete from godwit.progress p where not exists (
                       select from pg_stat_activity a where a.pid = p.pid)";
    write(relation, gone, &[]);
    let sql = "
        insert into godwit.progress (pid, job, relation, done, total)
        select pg_backend_pid(), $1, $2, 0, greatest(reltuples, 0)::bigint
          from pg_class where oid = $2
            on conflict (pid, job, relation) do update set done = 0, started = clock_timestamp()";
    write(relation, sql, &[spi::text(job), spi::oid(relation)]);
}

#[pg_extern(sql = false)]
fn _report_job(job: &str, relation: pg_sys::Oid, done: i64) {
    let sql = "update godwit.progress set done = done + $3
                where pid = pg_backend_pid() and job = $1 and relation = $2";
    write(relation, sql, &[spi::text(job), spi::oid(relation), spi::int8(done)]);
}

#[pg_extern(sql = false)]
fn _end_job(job: &str, relation: pg_sys::Oid) {
    let sql = "delete from godwit.progress
                where pid = pg_backend_pid() and job = $1 and relation = $2";
    write(relation, sql, &[spi::text(job), spi::oid(relation)]);
}

fn write(relation: pg_sys::Oid, sql: &str, args: &[spi::Arg]) {
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    catalog::require_owner(&[relation]).or_report();
    role::as_owner(catalog_owner(), || spi::run(sql, args));
}
