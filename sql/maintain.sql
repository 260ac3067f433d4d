-- Looking after the history: as it was, checked, made smaller, erased.

-- Under the settings that values are always read by (settings.rs): what ALTER TABLE has left is cast.
create function godwit.as_of(shown anyelement, at timestamptz) returns setof anyelement
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set datestyle = iso, ymd
    set timezone = 'UTC'
    set intervalstyle = iso_8601
    set extra_float_digits = 1
    set bytea_output = hex
    set lc_monetary = 'C'
    set standard_conforming_strings = on
    set array_nulls = on
    as $$
begin
    return query execute godwit._as_of_sql(pg_catalog.pg_typeof(shown)::oid, 'h._at <= $1') using at;
end
$$;
comment on function godwit.as_of(anyelement, timestamptz) is
    'A table as it was at a time: select * from godwit.as_of(null::cases, ''2026-01-01'').';

create function godwit.as_of(shown anyelement, sequence bigint) returns setof anyelement
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set datestyle = iso, ymd
    set timezone = 'UTC'
    set intervalstyle = iso_8601
    set extra_float_digits = 1
    set bytea_output = hex
    set lc_monetary = 'C'
    set standard_conforming_strings = on
    set array_nulls = on
    as $$
begin
    return query execute godwit._as_of_sql(pg_catalog.pg_typeof(shown)::oid, 'h._seq <= $1') using sequence;
end
$$;
comment on function godwit.as_of(anyelement, bigint) is
    'A table as it was when the change stream had come to this number.';

create function godwit.verify(
    relation regclass
) returns table (id text, revision text, problem text)
    language plpgsql
    volatile
    set search_path = pg_catalog, pg_temp
    as $$
declare
    statement text;
begin
    perform godwit._require_table(relation);
    foreach statement in array godwit._verify_sql(relation) loop
        return query execute statement;
    end loop;
end
$$;
comment on function godwit.verify is
    'Recomputes every hash made here and every winner; no rows if all is well.';

-- What a long job has done so far, for other sessions to see. A line goes when its job ends.
create table godwit.progress (
    pid integer not null,
    job text not null,
    relation regclass not null,
    done bigint not null,
    -- An estimate.
    total bigint not null,
    started timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (pid, job, relation)
);
comment on table godwit.progress is 'How far godwit.compact and godwit.track_online are.';
grant select on godwit.progress to public;

create function godwit._check_compact(keep interval, revisions integer) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if keep is null and revisions is null then
        raise exception 'say what to keep: an interval, or a number of revisions of each record'
            using errcode = 'invalid_parameter_value';
    end if;
    if keep < interval '0' or revisions < 1 then
        raise exception 'keep is not negative, and revisions is 1 or more'
            using errcode = 'invalid_parameter_value';
    end if;
end
$$;

create procedure godwit.compact(
    relation regclass,
    keep interval default null,
    revisions integer default null,
    batch integer default 1000
)
    language plpgsql
    as $$
declare
    after pg_catalog.text;
    freed pg_catalog.int8;
    total pg_catalog.int8 := 0;
begin
    -- A procedure that commits can't have a search path of its own: every name here says its schema.
    perform godwit._check_compact(keep, revisions);
    perform godwit._check_batch(batch);
    perform godwit._begin_job('compact', relation);
    commit;
    loop
        select c.after, c.freed into after, freed
          from godwit._compact(relation, after, keep, revisions, batch) c;
        exit when after is null;
        total := total operator(pg_catalog.+) freed;
        perform godwit._report_job('compact', relation, batch);
        commit;
    end loop;
    perform godwit._end_job('compact', relation);
    raise notice '% bodies dropped from the history of %', total, relation;
end
$$;
comment on procedure godwit.compact is
    'Drops old bodies and keeps their names, tombstones, leaves and what conflicts began from.';

create function godwit.erase(
    relation regclass,
    id text
) returns jsonb
    language plpgsql
    volatile
    as $$
declare
    -- What triggers are called under is the caller's search path: every name here says its schema.
    digests pg_catalog.text[] := godwit._attachment_digests(relation, id);
    came pg_catalog.timestamptz := godwit._attachments_came(relation, id);
    erased pg_catalog.jsonb := godwit._erase(relation, id);
begin
    perform godwit._drop_attachment_parts(relation, digests, came);
    return erased;
end
$$;
comment on function godwit.erase is
    'Removes what a record ever said, for good, and leaves a tombstone that makes peers do the same.';

create function godwit.stream_status()
    returns table (last_sequence bigint, horizon bigint, holds_at bigint, pid integer, prepared text,
                   role name, application text, client inet, state text, since timestamptz, seconds double precision)
    language sql
    volatile
    set search_path = pg_catalog, pg_temp
    as $$
        with held as (
            select l.pid, l.virtualtransaction, ((l.classid::int8 << 32) | l.objid::int8) & 9007199254740991 as holds_at
              from pg_locks l
             where l.locktype = 'advisory' and l.objsubid = 3 and l.granted
               and l.database = (select oid from pg_database where datname = current_database())
               and ((l.classid::int8 << 32) | l.objid::int8) >> 53 = 375),
        holders as (
            select h.holds_at, h.pid, p.gid as prepared, coalesce(a.usename, p.owner) as role,
                   a.application_name as application, a.client_addr as client,
                   coalesce(a.state, 'prepared') as state, coalesce(a.xact_start, p.prepared) as since
              from held h
              left join pg_stat_activity a on a.pid = h.pid
              left join pg_locks x
                on h.pid is null and x.pid is null and x.locktype = 'transactionid'
               and x.virtualtransaction = h.virtualtransaction
              left join pg_prepared_xacts p on p.transaction = x.transactionid)
        select s.last, s.horizon, h.holds_at, h.pid, h.prepared, h.role, h.application, h.client, h.state, h.since,
               extract(epoch from clock_timestamp() - h.since)::double precision
          from (select godwit._last_sequence() as last, godwit._horizon() as horizon) s
          left join holders h on true
         order by h.holds_at, h.since
    $$;
comment on function godwit.stream_status is
    'How far the change stream is shown, and who holds it back: a backend, or a prepared transaction.';
