-- Written by scripts/upgrade_sql.py; do not edit.

-- What 0.1.0's catalog needs to become that of 0.2.0. Every function stands between the two halves.

set local search_path = pg_catalog, pg_temp;

drop event trigger godwit_after_drop;
drop event trigger godwit_after_alter;
drop function godwit._after_alter();
drop function godwit._copy_privileges(regclass, regclass);
drop function godwit._first_revision(text, text[], anyelement);
drop function godwit._parent(oid, anyelement);
drop function godwit._put_revisions(oid, jsonb);
drop function godwit._revs_diff(oid, jsonb);
drop function godwit._record(oid, anyelement);
drop function godwit.records(regclass, text, integer);
drop function godwit._records(oid, text, integer);
drop function godwit.changes(bigint, text[], integer, text);
drop function godwit._changes(bigint, oid[], integer, text);
drop function godwit._create_table(text, text, text, jsonb);
drop function godwit._column_definition(jsonb);

alter table godwit.tracked add column key text[], add column key_types text[],
    add column policy jsonb not null default '{"conflicts": "keep"}';

alter table godwit.rejected enable row level security;
create policy owner on godwit.rejected for select using (pg_catalog.pg_has_role(
    (select c.relowner from pg_catalog.pg_class c where c.oid = relation), 'usage'));
create index on godwit.rejected (relation, sqlstate);
-- What waits for a parent is found by what it says of it.
create index rejected_attributes on godwit.rejected using gin ((record -> 'attributes') pg_catalog.jsonb_path_ops)
    with (fastupdate = off) where sqlstate = '23503';
grant select on godwit.rejected to public;

create table godwit.conflicted (
    relation regclass not null,
    record_id text collate "C" not null,
    primary key (relation, record_id)
);
comment on table godwit.conflicted is 'Records that may have conflicts; read godwit.conflicts.';

create table godwit.unordered (
    relation regclass not null,
    record_id text collate "C" not null
);
create index unordered_by_record on godwit.unordered (relation, record_id);
comment on table godwit.unordered is 'Records whose revisions may not have come one on top of the other.';

create sequence godwit.horizon as bigint minvalue 0 start 0 maxvalue 9007199254740991;

create table godwit.era (
    relation regclass not null,
    twin_column text not null,
    attribute text not null,
    since bigint not null,
    until bigint,
    primary key (relation, twin_column, since)
);
comment on table godwit.era is 'Which revisions have which attributes, where ALTER TABLE has changed that.';
grant select on godwit.era to public;

create table godwit.progress (
    pid integer not null,
    job text not null,
    relation regclass not null,
    done bigint not null,
    total bigint not null,
    started timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (pid, job, relation)
);
comment on table godwit.progress is 'How far godwit.compact and godwit.track_online are.';
grant select on godwit.progress to public;

create sequence godwit.identity as bigint;
do $$
begin
    perform pg_catalog.setval('godwit.identity',
        ('x' || pg_catalog.substr(pg_catalog.replace(pg_catalog.gen_random_uuid()::pg_catalog.text, '-', ''), 17))::pg_catalog.bit(64)::bigint
        & 9223372036854775807 | 1);
end
$$;
grant select on sequence godwit.identity to public;
select pg_catalog.pg_extension_config_dump('godwit.identity', '');

create table godwit.local_documents (
    relation regclass not null,
    owner text not null default current_user,
    -- The subject of the token, for many may share one role.
    author text not null default godwit._author(),
    id text collate "C" not null check (pg_catalog.octet_length(id) between 1 and 1024),
    revision bigint not null check (revision > 0),
    -- As it came, without _id and _rev.
    body text not null check (pg_catalog.octet_length(body) <= 1048576),
    at timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (relation, owner, author, id)
);
comment on table godwit.local_documents is
    'What clients of the CouchDB protocol keep for themselves, such as checkpoints; written by godwit.put_local.';
select pg_catalog.pg_extension_config_dump('godwit.local_documents', '');

alter table godwit.local_documents enable row level security;
create policy own on godwit.local_documents
    using (owner = current_user and author = (select godwit._author()))
    with check (owner = current_user and author = (select godwit._author()));
create policy reading on godwit.local_documents as restrictive for insert with check (exists (
    select from godwit.tracked t where t.relation = local_documents.relation
       and (pg_catalog.has_table_privilege(t.twin, 'select') or pg_catalog.has_any_column_privilege(t.relation, 'insert'))));
create policy monitor on godwit.local_documents for select using (pg_catalog.pg_has_role(
    (select c.relowner from pg_catalog.pg_class c where c.oid = 'godwit.local_documents'::pg_catalog.regclass), 'usage'));
create policy tidy on godwit.local_documents for delete using (pg_catalog.pg_has_role(
    (select c.relowner from pg_catalog.pg_class c where c.oid = 'godwit.local_documents'::pg_catalog.regclass), 'usage'));
grant select, insert, update, delete on godwit.local_documents to public;

-- Attachments of documents, in parts, each once a table. A document names its parts by their hashes, in its attribute
-- `_attachments`; so no manifest is kept here, and a part can't be another than it is named.
create table godwit.attachment_parts (
    relation regclass not null,
    digest bytea not null,
    data bytea not null check (pg_catalog.octet_length(data) <= 1048576 and digest = pg_catalog.sha256(data)),
    at timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (relation, digest)
);
comment on table godwit.attachment_parts is 'What documents have attached; see godwit.sweep_attachments.';
-- Photos are compressed already, and parts are read whole.
alter table godwit.attachment_parts alter column data set storage external;
select pg_catalog.pg_extension_config_dump('godwit.attachment_parts', '');

alter table godwit.attachment_parts enable row level security;
create policy owner on godwit.attachment_parts using (pg_catalog.pg_has_role(
    (select c.relowner from pg_catalog.pg_class c where c.oid = relation), 'usage'));
grant select, delete on godwit.attachment_parts to public;

create table godwit.peers (
    peer text primary key check (pg_catalog.octet_length(peer) between 1 and 256 and peer !~ '[[:cntrl:]]'),
    -- A sequence of this database: up to there the peer has read.
    pulled bigint check (pulled between 0 and 9007199254740991),
    -- A sequence of the peer's own: up to there it has brought here what it has.
    pushed bigint check (pushed between 0 and 9007199254740991),
    -- Of which database, as that one was, the sequences are: see godwit.current_incarnation.
    incarnation text check (pg_catalog.octet_length(incarnation) <= 256),
    software text check (pg_catalog.octet_length(software) <= 256),
    owner text not null default current_user,
    first_seen timestamptz not null default pg_catalog.clock_timestamp(),
    last_seen timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table godwit.peers is 'Who syncs with this database, and how far they are; written by godwit.put_peer.';

alter table godwit.peers enable row level security;
create policy own on godwit.peers using (owner = current_user) with check (owner = current_user);
-- Who has nothing to sync leaves no peers behind.
create policy syncing on godwit.peers as restrictive for insert with check (exists (
    select from godwit.tracked t
     where pg_catalog.has_table_privilege(t.twin, 'select') or pg_catalog.has_table_privilege(t.relation, 'insert')));
create policy monitor on godwit.peers for select using (
    pg_catalog.pg_has_role('pg_monitor', 'usage') or pg_catalog.pg_has_role(
        (select c.relowner from pg_catalog.pg_class c where c.oid = 'godwit.peers'::pg_catalog.regclass), 'usage'));
create policy tidy on godwit.peers for delete using (pg_catalog.pg_has_role(
    (select c.relowner from pg_catalog.pg_class c where c.oid = 'godwit.peers'::pg_catalog.regclass), 'usage'));
grant select, insert, update, delete on godwit.peers to public;

select pg_catalog.pg_extension_config_dump('godwit.conflicted', '');
select pg_catalog.pg_extension_config_dump('godwit.unordered', '');
select pg_catalog.pg_extension_config_dump('godwit.peers', '');
select pg_catalog.pg_extension_config_dump('godwit.era', '');

create or replace function godwit._generation_floor(revision godwit.revision, ahead integer)
    returns godwit.revision
    language c immutable strict parallel safe as 'MODULE_PATHNAME', '_generation_floor_wrapper';

create or replace function godwit._stamp() returns trigger
    language c as 'MODULE_PATHNAME', 'godwit_stamp';

create or replace function godwit._capture() returns trigger
    language c as 'MODULE_PATHNAME', 'godwit_capture';

create or replace function godwit._reconcile() returns trigger
    language c as 'MODULE_PATHNAME', 'godwit_reconcile';

create or replace function godwit._next_sequence() returns bigint
    language c volatile as 'MODULE_PATHNAME', '_next_sequence_wrapper';

create or replace function godwit._author() returns text
    language c volatile as 'MODULE_PATHNAME', '_author_wrapper';

create or replace function godwit._horizon() returns bigint
    language c volatile as 'MODULE_PATHNAME', '_horizon_wrapper';

create or replace function godwit._await_change(known bigint, timeout_ms integer) returns bigint
    language c volatile as 'MODULE_PATHNAME', '_await_change_wrapper';

create or replace function godwit._sees(shown anyelement) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_sees_wrapper';

create or replace function godwit._is_leaf(relation oid, id text, revision godwit.revision) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_is_leaf_wrapper';

create or replace function godwit._record_id(key anyelement) returns text
    language c stable strict as 'MODULE_PATHNAME', '_record_id_wrapper';

create or replace function godwit._as_row(kind anyelement, body record) returns anyelement
    language c stable as 'MODULE_PATHNAME', '_as_row_wrapper';

create or replace function godwit._first_revision(id text, names text, body anyelement) returns godwit.revision
    language c stable strict as 'MODULE_PATHNAME', '_first_revision_of_wrapper';

create or replace function godwit._rewrite(relation oid) returns boolean
    language c volatile strict as 'MODULE_PATHNAME', '_rewrite_wrapper';

create or replace function godwit._tombstone(id text, previous godwit.revision) returns godwit.revision
    language c immutable strict as 'MODULE_PATHNAME', '_tombstone_wrapper';

create or replace function godwit._parent(relation oid, shown anyelement) returns godwit.revision
    language c volatile strict as 'MODULE_PATHNAME', '_parent_wrapper';

create or replace function godwit._carried(relation oid, extra jsonb, before anyelement, after anyelement)
    returns jsonb
    language c stable strict as 'MODULE_PATHNAME', '_carried_wrapper';

create or replace function godwit._record(relation oid, revision anyelement, revisions boolean) returns jsonb
    language c stable strict as 'MODULE_PATHNAME', '_record_wrapper';

create or replace function godwit._put(relation oid, record jsonb, on_conflict text) returns jsonb
    language c volatile strict as 'MODULE_PATHNAME', '_put_wrapper';

create or replace function godwit._put_many(relation oid, records jsonb, on_conflict text)
    returns table (ord integer, id text, revision text, status text, reason text, winner text)
    language c volatile strict as 'MODULE_PATHNAME', '_put_many_wrapper';

create or replace function godwit._put_revisions(relation oid, records text)
    returns table (ord integer, id text, revision text, status text, reason text)
    language c volatile strict as 'MODULE_PATHNAME', '_put_revisions_text_wrapper';

create or replace function godwit._take_revisions(relation oid, records text) returns text
    language c volatile strict as 'MODULE_PATHNAME', '_take_revisions_wrapper';

create or replace function godwit._get(
    relation oid, id text, revision text, revisions boolean, conflicts boolean) returns jsonb
    language c volatile as 'MODULE_PATHNAME', '_get_wrapper';

create or replace function godwit._records(relation oid, after text, max integer, filter jsonb)
    returns table (id text, record text)
    language c volatile as 'MODULE_PATHNAME', '_records_wrapper';

create or replace function godwit._records_between(relation oid, low text, high text, descending boolean, skip bigint, max integer)
    returns table (id text, record text)
    language c volatile as 'MODULE_PATHNAME', '_records_between_wrapper';

create or replace function godwit._get_many(relation oid, ids text[], revisions text[], ancestry boolean)
    returns table (ord integer, id text, record text, leaf boolean)
    language c volatile as 'MODULE_PATHNAME', '_get_many_wrapper';

create or replace function godwit._keep_attachment_part(relation oid, data bytea) returns void
    language c volatile as 'MODULE_PATHNAME', '_keep_attachment_part_wrapper';

create or replace function godwit._attachment_digests(relation oid, id text) returns text[]
    language c volatile as 'MODULE_PATHNAME', '_attachment_digests_wrapper';

create or replace function godwit._attachment_part(relation oid, digest bytea) returns bytea
    language c stable as 'MODULE_PATHNAME', '_attachment_part_wrapper';

create or replace function godwit._history(relation oid, id text, leaves_only boolean)
    returns table (revision text, previous text, deleted boolean, stub boolean, winner boolean,
                   leaf boolean, seq bigint, at timestamptz, by text, record jsonb)
    language c volatile strict as 'MODULE_PATHNAME', '_history_wrapper';

create or replace function godwit._conflict(relation oid, id text)
    returns table (winner text, conflict text, ancestor text, grade text, attributes text[],
                   at timestamptz, by text)
    language c volatile strict as 'MODULE_PATHNAME', '_conflict_wrapper';

create or replace function godwit._resolve(
    relation oid, id text, keep text, attributes jsonb, leaves text[]) returns jsonb
    language c volatile as 'MODULE_PATHNAME', '_resolve_wrapper';

create or replace function godwit._as_of_sql(row_type oid, moment text) returns text
    language c stable strict as 'MODULE_PATHNAME', '_as_of_sql_wrapper';

create or replace function godwit._was_erased(relation oid, id text, revision godwit.revision) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_was_erased_wrapper';

create or replace function godwit._verify_sql(relation oid) returns text[]
    language c stable strict as 'MODULE_PATHNAME', '_verify_sql_wrapper';

create or replace function godwit._restamp(relation oid, columns text[]) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_restamp_wrapper';

create or replace function godwit._reads(relation oid, column_name text, value text) returns boolean
    language c volatile as 'MODULE_PATHNAME', '_reads_wrapper';

create or replace function godwit._is_hashed(relation oid, revision anyelement) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_is_hashed_wrapper';

create or replace function godwit._is_listed(relation oid, id text) returns boolean
    language c stable strict as 'MODULE_PATHNAME', '_is_listed_wrapper';

create or replace function godwit._compact(
    relation oid, after text, keep interval, revisions integer, batch integer)
    returns table (after text, freed bigint)
    language c volatile as 'MODULE_PATHNAME', '_compact_wrapper';

create or replace function godwit._erase(relation oid, id text) returns jsonb
    language c volatile strict as 'MODULE_PATHNAME', '_erase_wrapper';

create or replace function godwit._end_missing(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_end_missing_wrapper';

create or replace function godwit._current_incarnation() returns text
    language c volatile as 'MODULE_PATHNAME', '_current_incarnation_wrapper';

create or replace function godwit._last_sequence() returns bigint
    language c volatile as 'MODULE_PATHNAME', '_last_sequence_wrapper';

create or replace function godwit._check_backfill(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_check_backfill_wrapper';

create or replace function godwit._backfill(relation oid, block bigint, rows integer)
    returns table (next bigint, stamped bigint)
    language c volatile strict as 'MODULE_PATHNAME', '_backfill_wrapper';

create or replace function godwit._begin_job(job text, relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_begin_job_wrapper';

create or replace function godwit._report_job(job text, relation oid, done bigint) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_report_job_wrapper';

create or replace function godwit._end_job(job text, relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_end_job_wrapper';

create or replace function godwit._set_policy(relation oid, policy jsonb) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_set_policy_wrapper';

create or replace function godwit._merge_conflicts(relation oid, max integer) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_merge_conflicts_wrapper';

create or replace function godwit._retry_rejected(relation oid, max integer)
    returns table (number bigint, id text, revision text, status text, reason text)
    language c volatile strict as 'MODULE_PATHNAME', '_retry_rejected_wrapper';

create or replace function godwit._discard_rejected(relation oid, numbers bigint[]) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_discard_rejected_wrapper';

create or replace function godwit._revs_diff(relation oid, revisions text) returns text
    language c volatile strict as 'MODULE_PATHNAME', '_revs_diff_wrapper';

create or replace function godwit._changes_on_wire(since bigint, tables text[], max integer, include text, style text, ids text[],
                                        filter jsonb)
    returns table (seq bigint, change text)
    language c volatile as 'MODULE_PATHNAME', 'godwit_changes_on_wire';

create or replace function godwit._last_change(relation oid) returns bigint
    language c volatile strict as 'MODULE_PATHNAME', '_last_change_wrapper';

create or replace function godwit._uuid_v7() returns uuid
    language c volatile as 'MODULE_PATHNAME', '_uuid_v7_wrapper';

create or replace function godwit._remember(relation oid, twin oid, metadata jsonb) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_remember_wrapper';

create or replace function godwit._as_owner(relation oid, statement text) returns boolean
    language c volatile strict as 'MODULE_PATHNAME', '_as_owner_wrapper';

create or replace function godwit._invalidate(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_invalidate_wrapper';

create or replace function godwit._list_conflicts(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_list_conflicts_wrapper';

create or replace function godwit._annotate(relation oid, metadata jsonb) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_annotate_wrapper';

create or replace function godwit._forget(relation oid) returns void
    language c volatile strict as 'MODULE_PATHNAME', '_forget_wrapper';

create or replace function godwit._own_columns() returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$ select array['_id', '_rev', '_prev', '_deleted', '_seq', '_at', '_by', '_stub', '_extra',
                       '_godwit_row'] $$;

create or replace function godwit._twin_type(type oid, modifier integer) returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select case t.typtype
               when 'd' then format_type(godwit._base_type(t.oid), t.typtypmod)
               else format_type(t.oid, modifier) end
          from pg_type t where t.oid = type
    $$;

create or replace function godwit._key_columns(relation oid) returns text[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select array_agg(a.attname::text order by k.place)
          from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality k(number, place)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
         where i.indrelid = relation and i.indisprimary and k.place <= i.indnkeyatts
    $$;

create or replace function godwit._follow(relation regclass, renamed_from text default null, renamed_to text default null)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    t record;
begin
    select k.relation, k.twin, k.key, c.relname as name, c.relnamespace as namespace, n.nspname as schema_name,
           c.relowner as owner, c.relkind as kind, c.relpersistence as persistence, c.relrowsecurity as secured,
           c.relforcerowsecurity as forced, w.relname as twin_name, w.relnamespace as twin_namespace,
           w.relowner as twin_owner, w.relrowsecurity as twin_secured, w.relforcerowsecurity as twin_forced
      into t
      from godwit.tracked k
      join pg_class c on c.oid = k.relation join pg_namespace n on n.oid = c.relnamespace
      join pg_class w on w.oid = k.twin
     where k.relation = _follow.relation;
    if t.persistence <> 'p' then
        raise exception '% is tracked and can''t become unlogged', t.relation
            using errcode = 'wrong_object_type',
                  detail = 'Its rows may vanish in a crash, and a history must not.';
    end if;
    if exists (select from pg_inherits i where i.inhrelid = t.relation or t.kind = 'r' and i.inhparent = t.relation) then
        raise exception '% is tracked and can''t take part in inheritance or become a partition', t.relation
            using errcode = 'wrong_object_type', detail = 'A row would belong to two tables'' histories.';
    end if;
    if t.kind = 'p' then
        perform godwit._follow_partitions(t.relation);
    end if;
    if t.namespace <> t.twin_namespace or t.twin_name <> t.name || '_history' then
        perform godwit._follow_name(t.twin, t.schema_name, t.name, t.twin_name);
    end if;
    if t.owner <> t.twin_owner then
        execute format('alter table %s owner to %I', t.twin, pg_get_userbyid(t.owner));
    end if;
    perform godwit._follow_columns(t.relation, t.twin, renamed_from, renamed_to);
    perform godwit._follow_key(t.relation, t.twin, t.key, renamed_from, renamed_to);
    perform godwit._follow_privileges(t.relation, t.twin);
    if t.secured <> t.twin_secured then
        execute format('alter table %s %s row level security', t.twin,
                       case when t.secured then 'enable' else 'disable' end);
    end if;
    if t.forced <> t.twin_forced then
        execute format('alter table %s %s row level security', t.twin,
                       case when t.forced then 'force' else 'no force' end);
    end if;
    perform godwit._invalidate(t.relation);
end
$$;

create or replace function godwit._follow_name(twin regclass, schema_name text, name text, twin_name text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    wanted text := name || '_history';
begin
    if octet_length(wanted) > 63 or octet_length(schema_name) > 63 then
        raise exception 'the name % is too long for a tracked table', quote_ident(name)
            using errcode = 'name_too_long',
                  detail = 'Its twin adds "_history", and a name has at most 63 bytes.';
    end if;
    if to_regclass(format('%I.%I', schema_name, wanted)) is not null then
        raise exception '%.% exists already', quote_ident(schema_name), quote_ident(wanted)
            using errcode = 'duplicate_table', hint = 'The twin would have this name. Rename that table.';
    end if;
    if twin_name <> wanted then
        execute format('alter table %s rename to %I', twin, wanted);
    end if;
    execute format('alter table %s set schema %I', twin, schema_name);
end
$$;

create or replace function godwit._set_aside(relation regclass, twin regclass, twin_column text, number bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    aside text := left(twin_column, 40) || '_until_' || number;
begin
    perform godwit._as_owner(relation, format('alter table %s rename column %I to %I', twin, twin_column, aside));
    update godwit.era e set twin_column = aside
     where e.relation = _set_aside.relation and e.twin_column = _set_aside.twin_column;
    -- One that has always been what it was has had no line so far.
    insert into godwit.era (relation, twin_column, attribute, since, until)
    select relation, aside, twin_column, 0, number
     where not exists (select from godwit.era e
                        where e.relation = _set_aside.relation and e.twin_column = aside);
    update godwit.era e set until = number
     where e.relation = _set_aside.relation and e.twin_column = aside and e.until is null;
end
$$;

create or replace function godwit._follow_columns(
    relation regclass, twin regclass, renamed_from text, renamed_to text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    number bigint;
    c record;
    clash text;
    is_open boolean;
begin
    select string_agg(quote_ident(a.attname), ', ') into clash
      from pg_attribute a
      left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
     where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
       and a.attname = any (godwit._own_columns()) and a.atttypid <> 'godwit.revision'::regtype
       and not (a.attname = '_id' and i.indnkeyatts = 1 and i.indkey[0] = a.attnum
                and a.atttypid = 'text'::regtype);
    if clash is not null then
        raise exception '% is tracked, and Godwit has a column of that name: %', relation, clash
            using errcode = 'duplicate_column';
    end if;
    if not exists (select from pg_attribute a where a.attrelid = relation and a.attname = '_rev'
                      and a.atttypid = 'godwit.revision'::regtype) then
        raise exception '% is tracked: its column _rev must stay as it is', relation
            using errcode = 'dependent_objects_still_exist', hint = 'godwit.untrack() takes it away.';
    end if;
    -- The twin's columns that hold attributes now, beside the table's. Changed are those in one of both
    -- only, or of another type.
    for c in
        select coalesce(n.name, o.name) as name, n.name is null as gone, o.name is null as fresh,
               n.type as type, n.base as base, n.named, o.type as old_type, o.base as old_base,
               o.named as old_named
          from (select a.attname::text as name, godwit._base_type(a.atttypid) as base,
                       godwit._twin_type(a.atttypid, a.atttypmod) as type,
                       format_type(godwit._base_type(a.atttypid), null) as named
                  from pg_attribute a
                 where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
                   and a.attgenerated = '' and a.attname not in ('_id', '_rev')) n
          full join (
                select coalesce(case when a.attname = renamed_from then renamed_to end, a.attname)::text as name,
                       a.atttypid as base, format_type(a.atttypid, a.atttypmod) as type,
                       format_type(a.atttypid, null) as named
                  from pg_attribute a
                 where a.attrelid = twin and a.attnum > 0 and not a.attisdropped
                   and a.attname <> all (godwit._own_columns())
                   and (not exists (select from godwit.era e
                                     where e.relation = _follow_columns.relation and e.twin_column = a.attname)
                        or exists (select from godwit.era e
                                    where e.relation = _follow_columns.relation and e.twin_column = a.attname
                                      and e.until is null))) o on o.name = n.name
         where n.name is null or o.name is null or n.type <> o.type or n.name = renamed_to
         order by n.name is not null
    loop
        number := coalesce(number, godwit._next_sequence());
        if c.name = renamed_to and not c.fresh and not c.gone then
            -- A column of this name that the table had once keeps its place in the history.
            if exists (select from pg_attribute a where a.attrelid = twin and a.attname = renamed_to
                          and not a.attisdropped) then
                perform godwit._set_aside(relation, twin, renamed_to, number);
            end if;
            perform godwit._as_owner(relation, format('alter table %s rename column %I to %I', twin, renamed_from, renamed_to));
            update godwit.era e set twin_column = renamed_to
             where e.relation = _follow_columns.relation and e.twin_column = renamed_from;
            perform godwit._close(relation, renamed_to, renamed_from, number);
            insert into godwit.era values (relation, renamed_to, renamed_to, number, null);
        end if;
        if c.gone then
            perform godwit._close(relation, c.name, c.name, number);
        elsif c.fresh then
            -- A dropped column that comes back of the same type goes on where it was.
            if exists (select from pg_attribute a where a.attrelid = twin and a.attname = c.name
                          and not a.attisdropped and format_type(a.atttypid, a.atttypmod) = c.type) then
                null;
            else
                if exists (select from pg_attribute a where a.attrelid = twin and a.attname = c.name
                              and not a.attisdropped) then
                    perform godwit._set_aside(relation, twin, c.name, number);
                end if;
                perform godwit._as_owner(relation, format('alter table %s add column %I %s', twin, c.name, c.type));
            end if;
            insert into godwit.era values (relation, c.name, c.name, number, null);
        elsif c.type <> c.old_type then
            if c.base = c.old_base or (c.base in ('text'::regtype, 'varchar'::regtype)
                                       and c.old_base in ('text'::regtype, 'varchar'::regtype)) then
                -- The same values; without a modifier nothing that was longer or finer is cut.
                perform godwit._as_owner(relation, format('alter table %s alter column %I type %s', twin, c.name, c.named));
            else
                perform godwit._set_aside(relation, twin, c.name, number);
                perform godwit._as_owner(relation, format('alter table %s add column %I %s', twin, c.name, c.type));
                insert into godwit.era values (relation, c.name, c.name, number, null);
            end if;
        end if;
    end loop;
end
$$;

create or replace function godwit._close(relation regclass, twin_column text, attribute text, number bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    update godwit.era e set until = number
     where e.relation = _close.relation and e.twin_column = _close.twin_column and e.until is null;
    if not found then
        insert into godwit.era values (relation, twin_column, attribute, 0, number);
    end if;
end
$$;

create or replace function godwit._check_key(relation oid) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    array_name text;
begin
    for array_name in
        select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
          join pg_type t on t.oid = godwit._base_type(a.atttypid) and t.typcategory = 'A'
         where i.indrelid = relation and i.indisprimary
    loop
        if godwit._as_owner(relation, format('select exists (select from %s t where array_dims(t.%I) !~ ''^(\[1:[0-9]+\])+$'')',
                                             relation::regclass, array_name)) then
            raise exception '% has a key %, an array whose elements aren''t counted from 1', relation::regclass, quote_ident(array_name)
                using errcode = 'invalid_table_definition',
                      detail = 'Records are named by texts: [0:1]={1,2} and {1,2} would be one record.';
        end if;
    end loop;
    if exists (select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                where i.indrelid = relation and i.indisprimary and godwit._base_type(a.atttypid) = 'jsonb'::regtype) then
        raise exception '% has a primary key of type jsonb', relation::regclass
            using errcode = 'invalid_table_definition',
                  detail = 'Records are named by texts: 7 and "7" would be one record.';
    end if;
end
$$;

create or replace function godwit._follow_key(
    relation regclass, twin regclass, key text[], renamed_from text, renamed_to text) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    present text[] := godwit._key_columns(relation);
    same boolean;
begin
    if present is distinct from array_replace(key, renamed_from, renamed_to) then
        raise exception '% is tracked and must keep its primary key', relation
            using errcode = 'dependent_objects_still_exist',
                  detail = 'Its records are named by it: ' || array_to_string(key, ', ') || '.',
                  hint = 'godwit.untrack() the table, change the key, and track it again.';
    end if;
    if present <> key then
        update godwit.tracked k set key = present where k.relation = _follow_key.relation;
    end if;
    if not exists (select from godwit.tracked k where k.relation = _follow_key.relation
                      and k.key_types = godwit._key_types(_follow_key.relation)) then
        perform godwit._check_key(relation);
        same := godwit._as_owner(relation, format('select not exists (select from %s t where not exists (
                            select from %s h where h._id = %s and h._rev operator(godwit.=) t._rev))',
                       relation, twin, godwit._id_expression(relation, 't')));
        if not same then
            raise exception '% is tracked: its records would get other ids', relation
                using errcode = 'dependent_objects_still_exist',
                      hint = 'godwit.untrack() the table, change the key, and track it again.';
        end if;
        update godwit.tracked k set key_types = godwit._key_types(_follow_key.relation)
         where k.relation = _follow_key.relation;
    end if;
end
$$;

create or replace function godwit._key_types(relation oid) returns text[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select array_agg(format_type(a.atttypid, a.atttypmod) order by k.place)
          from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality k(number, place)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
         where i.indrelid = relation and i.indisprimary and k.place <= i.indnkeyatts
    $$;

create or replace function godwit._follow_privileges(relation regclass, twin regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    g record;
begin
    for g in
        select case coalesce(w.grantee, t.grantee) when 0 then 'public'
               else quote_ident(pg_get_userbyid(coalesce(w.grantee, t.grantee))) end as grantee,
               w.grantee is null as has_too_much, t.privileges is distinct from array['SELECT'] as has_other
          from (select distinct a.grantee from pg_class c cross join aclexplode(c.relacl) a
                 where c.oid = relation and a.grantee <> c.relowner and a.privilege_type = 'SELECT') w
          full join (
                select a.grantee, array_agg(a.privilege_type order by 1) as privileges
                  from pg_class c cross join aclexplode(c.relacl) a
                 where c.oid = twin and a.grantee <> c.relowner group by 1) t on t.grantee = w.grantee
    loop
        if g.has_too_much or g.has_other then
            execute format('revoke all on %s from %s', twin, g.grantee);
        end if;
        if g.has_other and not g.has_too_much then
            execute format('grant select on %s to %s', twin, g.grantee);
        end if;
    end loop;
end
$$;

create or replace function godwit._partitions(relation regclass) returns setof regclass
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select p.relid from pg_partition_tree(relation) p where p.relid <> relation order by p.level, p.relid
    $$;

create or replace function godwit._check_partition(relation regclass, partition regclass) returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    kind "char";
    persistence "char";
begin
    select relkind, relpersistence into kind, persistence from pg_class where oid = partition;
    if kind not in ('r', 'p') then
        raise exception '% is tracked, and % is a foreign table', relation, partition
            using errcode = 'wrong_object_type', detail = 'What is written to it elsewhere would have no history.';
    elsif persistence <> 'p' then
        raise exception '% is tracked, and its partition % is temporary or unlogged', relation, partition
            using errcode = 'wrong_object_type',
                  detail = 'Its rows may vanish in a crash, and a history must not.';
    end if;
end
$$;

create or replace function godwit._create_partition_triggers(partition regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    perform godwit._create_capture_triggers(partition);
    execute format('create trigger "!godwit_truncate" before truncate on %s
        for each statement execute function godwit._capture()', partition);
    execute format('alter table only %s enable always trigger "!godwit_truncate"', partition);
end
$$;

create or replace function godwit._drop_partition_triggers(partition regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    name text;
begin
    for name in select tgname from pg_trigger where tgrelid = partition and tgparentid = 0 and not tgisinternal
                   and tgfoid = 'godwit._capture'::regproc
    loop
        execute format('drop trigger %I on %s', name, partition);
    end loop;
end
$$;

create or replace function godwit._follow_partitions(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    partition regclass;
    has_rows boolean;
    gone boolean := false;
begin
    for partition in select godwit._partitions(relation) loop
        perform godwit._check_partition(relation, partition);
        continue when exists (select from pg_trigger where tgrelid = partition and tgname = '!godwit_insert');
        execute format('select exists (select from %s)', partition) into has_rows;
        if has_rows then
            raise exception '% has rows that the history of % doesn''t know', partition, relation
                using errcode = 'object_not_in_prerequisite_state',
                      hint = 'Attach it empty, and insert the rows: each becomes a record.';
        end if;
        perform godwit._create_partition_triggers(partition);
    end loop;
    for partition in
        select t.tgrelid from pg_trigger t
         where t.tgfoid = 'godwit._capture'::regproc and t.tgname = '!godwit_insert'
           and not exists (select from godwit.tracked k
                            where k.relation in (select t.tgrelid union select relid from pg_partition_ancestors(t.tgrelid)))
           -- Whoever detaches owns both.
           and pg_has_role((select relowner from pg_class where oid = t.tgrelid), 'usage')
    loop
        perform godwit._drop_partition_triggers(partition);
        gone := true;
    end loop;
    if gone then
        perform godwit._end_missing(relation);
    end if;
end
$$;

create or replace function godwit._wire_name(relation oid) returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select case n.nspname when 'public' then c.relname else n.nspname || '.' || c.relname end
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.oid = $1
    $$;

create or replace function godwit.find_table(name text) returns regclass
    language c
    stable
    as 'MODULE_PATHNAME', 'find_table_by_name_wrapper';

comment on function godwit.find_table is
    'The tracked table of this name on the wire: bare in schema public, else "schema.table".';

create or replace function godwit._require_table(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if relation is null then
        raise exception 'the table must not be null' using errcode = 'null_value_not_allowed';
    elsif not exists (select from pg_class c where c.oid = relation) then
        raise exception 'there is no table with OID %', relation::oid using errcode = 'undefined_table';
    end if;
end
$$;

create or replace function godwit._check_trackable(relation regclass) returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    t pg_class;
    schema_name text;
    primary_key pg_index;
    clash text;
begin
    select * into t from pg_class c where c.oid = relation;
    if not found then
        raise exception 'there is no table with OID %', relation::oid using errcode = 'undefined_table';
    end if;
    schema_name := t.relnamespace::regnamespace::text;
    if t.relkind not in ('r', 'p') then
        raise exception '% is not a table', relation
            using errcode = 'wrong_object_type',
                  detail = 'Views and foreign tables can''t be tracked.';
    end if;
    if not pg_has_role(t.relowner, 'usage') then
        raise exception 'only the owner of % can track it', relation
            using errcode = 'insufficient_privilege';
    end if;
    if t.relpersistence <> 'p' then
        raise exception '% is temporary or unlogged', relation
            using errcode = 'wrong_object_type',
                  detail = 'Its rows may vanish in a crash, and a history must not.';
    end if;
    if t.relispartition then
        raise exception '% is a partition', relation
            using errcode = 'wrong_object_type',
                  hint = 'Track the table that it is a partition of: ' || pg_partition_root(relation)::text || '.';
    end if;
    if t.relkind = 'r' and exists (select from pg_inherits i where relation in (i.inhrelid, i.inhparent)) then
        raise exception '% takes part in inheritance', relation
            using errcode = 'wrong_object_type',
                  detail = 'A row would belong to two tables'' histories.';
    end if;
    perform godwit._check_partition(relation, p) from godwit._partitions(relation) p;
    if schema_name in ('godwit', 'pg_catalog', 'information_schema') then
        raise exception 'tables of schema % can''t be tracked', schema_name
            using errcode = 'wrong_object_type';
    end if;
    if exists (select from godwit.tracked k where k.relation = t.oid) then
        raise exception '% is tracked already', relation using errcode = 'duplicate_object';
    end if;
    if exists (select from godwit.tracked k where k.twin = t.oid) then
        raise exception '% is a history twin itself', relation using errcode = 'wrong_object_type';
    end if;
    select * into primary_key from pg_index i where i.indrelid = t.oid and i.indisprimary;
    if not found then
        raise exception '% has no primary key', relation
            using errcode = 'invalid_table_definition',
                  detail = 'A record is named by its table''s primary key.',
                  hint = 'Add one: alter table … add primary key (…).';
    end if;
    perform godwit._check_key(t.oid);
    if octet_length(t.relname || '_history') > 63 then
        raise exception 'the name % is too long', relation
            using errcode = 'name_too_long',
                  detail = 'Its twin adds "_history", and a name has at most 63 bytes.';
    end if;
    if godwit._is_left_over(relation) then
        return;
    end if;
    if to_regclass(format('%I.%I', schema_name, t.relname || '_history')) is not null then
        raise exception '%.% exists already', quote_ident(schema_name),
                quote_ident(t.relname || '_history')
            using errcode = 'duplicate_table', hint = 'The twin would have this name. Rename that table.';
    end if;
    select string_agg(quote_ident(a.attname), ', ') into clash
      from pg_attribute a
     where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
       and (a.attname = any (godwit._own_columns()) and a.attname <> '_id'
            or a.attname = '_id' and not (primary_key.indnkeyatts = 1
               and primary_key.indkey[0] = a.attnum and a.atttypid = 'text'::regtype));
    if clash is not null then
        raise exception '% has columns named like Godwit''s own: %', relation, clash
            using errcode = 'duplicate_column', hint = 'Rename them.';
    end if;
end
$$;

create or replace function godwit._id_expression(relation regclass, row_name text) returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select case
            when count(*) = 1 and bool_and(a.atttypid in (
                'text'::regtype, 'varchar'::regtype, 'int2'::regtype, 'int4'::regtype,
                'int8'::regtype, 'uuid'::regtype))
            then format('%s.%I::pg_catalog.text', row_name, min(a.attname))
            else format('godwit._record_id(row(%s))',
                        string_agg(format('%s.%I', row_name, a.attname), ', ' order by k.place))
        end
          from pg_index i
          cross join unnest(i.indkey::int2[]) with ordinality k(number, place)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
         where i.indrelid = relation and i.indisprimary and k.place <= i.indnkeyatts
    $$;

create or replace function godwit._is_left_over(relation regclass) returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select exists (select from pg_attribute a where a.attrelid = relation and a.attname = '_rev'
                          and a.atttypid = 'godwit.revision'::regtype)
           and (select count(*) = 9
                  from pg_class c
                  join pg_class w on w.relnamespace = c.relnamespace and w.relname = c.relname || '_history'
                  join pg_attribute a on a.attrelid = w.oid
                  join (values ('_id', 'text'::regtype), ('_rev', 'godwit.revision'::regtype),
                               ('_prev', 'godwit.revision'), ('_deleted', 'boolean'), ('_seq', 'bigint'),
                               ('_at', 'timestamptz'), ('_by', 'text'), ('_stub', 'boolean'),
                               ('_extra', 'jsonb')) o(name, type)
                    on o.name = a.attname and o.type = a.atttypid
                 where c.oid = relation and w.relkind = 'r' and w.relowner = c.relowner)
    $$;

create or replace function godwit._adopt(relation regclass, metadata jsonb) returns regclass
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    twin regclass;
    trigger record;
    broken record;
begin
    select w.oid into twin
      from pg_class c join pg_class w
        on w.relnamespace = c.relnamespace and w.relname = c.relname || '_history'
     where c.oid = relation;
    execute format('lock table %s in access exclusive mode', twin);
    for trigger in select tgname as name, tgrelid::regclass as of from pg_trigger
                    where tgrelid in (select relation union select twin union select godwit._partitions(relation))
                      and tgparentid = 0 and not tgisinternal and tgname ~ '^[~!]?godwit_'
    loop
        execute format('drop trigger %I on %s', trigger.name, trigger.of);
    end loop;
    execute format('drop policy if exists godwit on %s', twin);
    perform godwit._remember(relation, twin, metadata);
    execute format('update %1$s h set _seq = n.number
                      from (select o._id, o._rev, godwit._next_sequence() as number
                              from (select _id, _rev from %1$s where _seq is not null order by _seq) o) n
                     where h._id = n._id and h._rev operator(godwit.=) n._rev', twin);
    for broken in select * from godwit.verify(relation) where problem <> 'its conflict is not listed' limit 1 loop
        raise exception 'the history in % can''t be taken over: record %, revision %: %',
                twin, broken.id, broken.revision, broken.problem
            using errcode = 'data_corrupted',
                  detail = 'What ALTER TABLE changed is kept in the catalog, which a dump of one table leaves out.',
                  hint = 'Restore the whole database, or drop the twin and the column _rev and track the table anew.';
    end loop;
    perform godwit._list_conflicts(relation);
    return twin;
end
$$;

create or replace function godwit.track(
    relation regclass,
    metadata jsonb default '{}'
) returns regclass
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    twin_name text;
    twin regclass;
    body text;
    names text[];
    columns text;
    owner oid;
    forces boolean;
begin
    perform godwit._require_table(relation);
    execute format('lock table %s in access exclusive mode', relation);
    perform godwit._check_trackable(relation);
    if jsonb_typeof(metadata) <> 'object' then
        raise exception 'metadata is a JSON object' using errcode = 'invalid_parameter_value';
    end if;
    if godwit._is_left_over(relation) then
        twin := godwit._adopt(relation, metadata);
        perform godwit._finish(relation, twin);
        return twin;
    end if;
    select format('%I.%I', n.nspname, c.relname || '_history'), c.relowner, c.relforcerowsecurity into twin_name, owner, forces
      from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation;
    select b.columns, b.body, b.names into columns, body, names from godwit._body_of(relation) b;
    twin := godwit._create_twin(relation, twin_name, columns);

    -- A constant makes it NOT NULL without a look at the rows. No row keeps it.
    execute format('alter table %s add column _rev godwit.revision not null default %L', relation,
                   '1-' || repeat('0', 32));
    execute format('alter table %s alter column _rev drop default', relation);
    perform godwit._remember(relation, twin, metadata);
    -- One rewrite of the table, and no trigger of the app's sees it. An event trigger that looks at rewrites, and may
    -- forbid them, hears of ALTER TABLE's only.
    if exists (select from pg_event_trigger where evtevent = 'table_rewrite' and evtenabled <> 'D')
        or not godwit._rewrite(relation)
    then
        execute format(
            'alter table %s alter column _rev type godwit.revision
                 using godwit._first_revision(%s, %L::text, row(%s))',
            relation, replace(godwit._id_expression(relation, '@'), '@.', ''), to_jsonb(names),
            ltrim(body, ', '));
        -- Or its policies would hide rows from its owner, and leave them without a history.
        if forces then
            execute format('alter table %s no force row level security', relation);
        end if;
        execute format('insert into %s (_id, _rev%s) select %s, t._rev%s from %s t', twin, body,
            godwit._id_expression(relation, 't'), replace(body, ', ', ', t.'), relation);
        if forces then
            execute format('alter table %s force row level security', relation);
        end if;
    end if;
    -- Built in a fraction of the time once the rows are there.
    perform godwit._create_indexes(relation, twin);
    execute format('alter table %s owner to %I', twin, pg_get_userbyid(owner));
    perform godwit._finish(relation, twin);
    return twin;
end
$$;

comment on function godwit.track is
    'Gives an existing table its history twin; the app goes on with plain SQL. Locks and rewrites it once.';

create or replace function godwit._body_of(relation regclass, out columns text, out body text, out names text[])
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
    select coalesce(string_agg(format(', %I %s', a.attname, godwit._twin_type(a.atttypid, a.atttypmod)), ''
               order by a.attnum), ''),
           coalesce(string_agg(format(', %I', a.attname), '' order by a.attnum), ''),
           coalesce(array_agg(a.attname::text order by a.attnum), '{}')
      from pg_attribute a
     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
       and a.attgenerated = '' and a.attname <> '_id'
    $$;

create or replace function godwit._create_twin(relation regclass, twin_name text, columns text) returns regclass
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format(
        'create table %s (
             _id text collate "C" not null,
             _rev godwit.revision not null,
             _prev godwit.revision,
             _deleted boolean not null default false,
             _seq bigint default godwit._next_sequence(),
             _at timestamptz not null default pg_catalog.clock_timestamp(),
             _by text not null default godwit._author(),
             _stub boolean not null default false
             %s,
             _extra jsonb,
             constraint body_or_stub check (_stub or _seq is not null)
         )', twin_name, columns);
    -- First revisions have nothing there, so it need not wait for them. Where there are no columns all that revisions
    -- say is there, and the twin's key has the same entries.
    if columns <> '' then
        execute format('create index on %s (_id, _rev) where _extra is not null', twin_name);
    end if;
    return twin_name::regclass;
end
$$;

create or replace function godwit._create_indexes(relation regclass, twin regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('alter table %s add primary key (_id, _rev)', twin);
    -- Numbers only grow, so nothing is ever put between those that are there.
    execute format('create index on %s (_seq) with (fillfactor = 100)', twin);
    execute format('comment on table %s is %L', twin,
        'History twin of ' || relation || ': every revision of every record. Kept by godwit.');
end
$$;

create or replace function godwit._finish(relation regclass, twin regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    perform godwit._create_triggers(relation, twin);
    perform godwit._check_triggers(t) from (select relation union select godwit._partitions(relation)) p(t);
    execute format('create policy godwit on %s for select using (godwit._sees(%I.*))', twin,
                   (select relname from pg_class where oid = twin));
    perform godwit._follow(relation);
end
$$;

create or replace procedure godwit.track_online(
    relation regclass,
    metadata jsonb default '{}',
    batch integer default 10000
)
    language plpgsql
    as $$
declare
    block pg_catalog.int8 := 0;
    blocks pg_catalog.int8;
    stamped pg_catalog.int8;
begin
    -- A procedure that commits can't have a search path of its own: every name here says its schema.
    perform godwit._check_batch(batch);
    perform godwit._require_table(relation);
    perform godwit._check_backfill(relation);
    if godwit._begin_online(relation, metadata) then
        commit;
    end if;
    perform godwit._begin_job('track_online', relation);
    commit;
    select b.blocks into blocks from godwit._blocks(relation) b;
    while block operator(pg_catalog.<) blocks loop
        select b.next, b.stamped into block, stamped from godwit._backfill(relation, block, batch) b;
        perform godwit._report_job('track_online', relation, stamped);
        commit;
    end loop;
    perform godwit._end_online(relation);
    commit;
end
$$;

comment on procedure godwit.track_online is
    'Tracks a large table without a long lock, in batches; can be called again where it was interrupted.';

create or replace function godwit._check_batch(batch integer) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if batch is null or batch not between 1 and 1000000 then
        raise exception 'batch is 1 to 1000000' using errcode = 'invalid_parameter_value';
    end if;
end
$$;

create or replace function godwit._begin_online(relation regclass, metadata jsonb) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    twin_name text;
    owner oid;
    twin regclass;
begin
    if exists (select from godwit.tracked t where t.relation = _begin_online.relation) then
        if exists (select from pg_attribute a where a.attrelid = relation and a.attname = '_rev' and not a.attnotnull) then
            return false;
        end if;
        raise exception '% is tracked already', relation using errcode = 'duplicate_object';
    end if;
    execute format('lock table %s in access exclusive mode', relation);
    perform godwit._check_trackable(relation);
    if (select relkind = 'p' from pg_class where oid = relation) then
        raise exception '% is partitioned', relation
            using errcode = 'wrong_object_type', hint = 'Use godwit.track(), which locks and rewrites it once.';
    end if;
    if jsonb_typeof(metadata) <> 'object' then
        raise exception 'metadata is a JSON object' using errcode = 'invalid_parameter_value';
    end if;
    select format('%I.%I', n.nspname, c.relname || '_history'), c.relowner into twin_name, owner
      from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation;
    twin := godwit._create_twin(relation, twin_name, (select b.columns from godwit._body_of(relation) b));
    perform godwit._create_indexes(relation, twin);
    execute format('alter table %s add column _rev godwit.revision', relation);
    perform godwit._remember(relation, twin, metadata);
    execute format('alter table %s owner to %I', twin, pg_get_userbyid(owner));
    perform godwit._finish(relation, twin);
    return true;
end
$$;

create or replace function godwit._blocks(relation regclass, out blocks bigint)
    language sql
    volatile
    set search_path = pg_catalog, pg_temp
    as $$ select pg_relation_size(relation) / current_setting('block_size')::bigint $$;

create or replace function godwit._end_online(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
begin
    execute format('alter table %s alter column _rev set not null', relation);
    perform godwit._end_job('track_online', relation);
    perform godwit._invalidate(relation);
end
$$;

create or replace function godwit._base_type(type oid) returns oid
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        with recursive line(oid, base, typtype) as (
            select t.oid, t.typbasetype, t.typtype from pg_type t where t.oid = $1
            union all
            select t.oid, t.typbasetype, t.typtype from line join pg_type t on t.oid = line.base
             where line.typtype = 'd')
        select line.oid from line where line.typtype <> 'd'
    $$;

create or replace function godwit._create_triggers(relation regclass, twin regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('create trigger "~godwit_stamp" before insert or update on %s
        for each row execute function godwit._stamp()', relation);
    execute format('alter table %s enable always trigger "~godwit_stamp"', relation);
    perform godwit._create_capture_triggers(relation);
    execute format('create trigger "!godwit_truncate" after truncate on %s
        for each statement execute function godwit._capture()', relation);
    execute format('alter table only %s enable always trigger "!godwit_truncate"', relation);
    execute format('create trigger "!godwit_replay" after insert or update or delete on %s
        for each row execute function godwit._capture()', relation);
    execute format('alter table %s enable replica trigger "!godwit_replay"', relation);
    perform godwit._create_partition_triggers(p) from godwit._partitions(relation) p;
    execute format('create trigger godwit_reconcile_insert after insert on %s
        referencing new table as godwit_new
        for each statement execute function godwit._reconcile()', twin);
    execute format('create trigger godwit_reconcile_update after update on %s
        referencing new table as godwit_new
        for each statement execute function godwit._reconcile()', twin);
end
$$;

create or replace function godwit._create_capture_triggers(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    execute format('create trigger "!godwit_insert" after insert on %s
        referencing new table as godwit_new
        for each statement execute function godwit._capture()', relation);
    execute format('create trigger "!godwit_update" after update on %s
        referencing old table as godwit_old new table as godwit_new
        for each statement execute function godwit._capture()', relation);
    execute format('create trigger "!godwit_delete" after delete on %s
        referencing old table as godwit_old
        for each statement execute function godwit._capture()', relation);
end
$$;

create or replace function godwit.untrack(
    relation regclass,
    drop_history boolean default false
) returns void
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    twin regclass;
begin
    select t.twin into twin from godwit.tracked t where t.relation = untrack.relation;
    if not found then
        raise exception 'table % is not tracked', relation using errcode = 'undefined_table';
    end if;
    execute format('lock table %s, %s in access exclusive mode', relation, twin);
    perform godwit._forget(relation);
    perform godwit._release(relation, twin);
    if drop_history then
        execute format('drop table %s', twin);
    else
        raise notice 'the history stays in %, as a plain table', twin;
    end if;
end
$$;

comment on function godwit.untrack is
    'Takes triggers and _rev off a table again. The twin stays as a plain table, or goes.';

create or replace function godwit._release(relation regclass, twin regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    name text;
begin
    for name in select tgname from pg_trigger where tgrelid = relation and not tgisinternal
                   and tgname in ('~godwit_stamp', '!godwit_insert', '!godwit_update',
                                  '!godwit_delete', '!godwit_truncate', '!godwit_replay')
    loop
        execute format('drop trigger %I on %s', name, relation);
    end loop;
    perform godwit._drop_partition_triggers(p) from godwit._partitions(relation) p;
    execute format('alter table %s drop column _rev', relation);
    execute format('drop trigger godwit_reconcile_insert on %s', twin);
    execute format('drop trigger godwit_reconcile_update on %s', twin);
    execute format('drop policy godwit on %s', twin);
end
$$;

create or replace function godwit.create_table(
    name text,
    columns text,
    metadata jsonb default '{}'
) returns regclass
    language plpgsql
    volatile
    security invoker
    as $$
declare
    -- The columns' types and defaults are looked for in the caller's own search path, so this has none
    -- of its own: whatever could be anything else by another path is in functions that have.
    names pg_catalog.text[] := godwit._table_names(pg_catalog.parse_ident(name), pg_catalog.current_schema());
begin
    execute godwit._create_statement(names, columns);
    return godwit._track_new(names, metadata);
end
$$;

comment on function godwit.create_table(text, text, jsonb) is
    'Makes a table and its twin from a column list in SQL; the record id is a column _id.';

create or replace function godwit._table_names(parts text[], schema_name text) returns text[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if cardinality(parts) > 2 then
        raise exception '% has too many dots', array_to_string(parts, '.') using errcode = 'invalid_name';
    end if;
    if cardinality(parts) = 1 then
        parts := array[schema_name] || parts;
    end if;
    if parts[1] is null then
        raise exception 'no schema to create % in', quote_ident(parts[2])
            using errcode = 'undefined_schema', hint = 'Name one: schema.table.';
    end if;
    if parts[2] is null or parts[2] = '' then
        raise exception 'the table has no name' using errcode = 'invalid_name';
    end if;
    if octet_length(parts[2] || '_history') > 63 then
        raise exception 'the name % is too long', quote_ident(parts[2])
            using errcode = 'name_too_long',
                  detail = 'Its twin adds "_history", and a name has at most 63 bytes.';
    end if;
    return parts;
end
$$;

create or replace function godwit._create_statement(names text[], columns text) returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$
        select format('create table %I.%I (_id pg_catalog.text collate pg_catalog."C" primary key default godwit._uuid_v7()::pg_catalog.text%s)',
                      names[1], names[2],
                      case when btrim(coalesce(columns, '')) = '' then '' else ', ' || columns end)
    $$;

create or replace function godwit._track_new(names text[], metadata jsonb) returns regclass
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    relation regclass := format('%I.%I', names[1], names[2]);
begin
    perform godwit.track(relation, metadata);
    return relation;
end
$$;

create or replace function godwit.create_table(
    definition jsonb
) returns regclass
    language plpgsql
    volatile
    security invoker
    as $$
declare
    -- As above: what the caller's path decides is the schema, and what a type's name means.
    names pg_catalog.text[] := godwit._names_of(definition, pg_catalog.current_schema());
    types pg_catalog.regtype[];
begin
    select pg_catalog.array_agg(pg_catalog.to_regtype(t.name) order by t.place) into types
      from godwit._types_of(definition) t;
    execute godwit._create_statement(names, godwit._columns_of(definition, types));
    return godwit._track_new(names, godwit._metadata_of(definition));
end
$$;

comment on function godwit.create_table(jsonb) is
    'Makes a table and its twin from the JSON table definition of the wire.';

create or replace function godwit._names_of(definition jsonb, schema_name text) returns text[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    unknown text;
begin
    if jsonb_typeof(definition) <> 'object' or jsonb_typeof(definition -> 'name') is distinct from 'string' then
        raise exception 'a table definition is a JSON object with a name'
            using errcode = 'invalid_parameter_value';
    end if;
    select string_agg(key, ', ') into unknown from jsonb_object_keys(definition) key
     where key not in ('name', 'columns', 'metadata');
    if unknown is not null then
        raise exception 'a table definition has no member %', unknown
            using errcode = 'invalid_parameter_value', hint = 'It has name, columns and metadata.';
    end if;
    if jsonb_typeof(coalesce(definition -> 'columns', '[]')) <> 'array' then
        raise exception 'columns is a JSON array' using errcode = 'invalid_parameter_value';
    end if;
    return godwit._table_names(array[definition ->> 'name'], schema_name);
end
$$;

create or replace function godwit._types_of(definition jsonb) returns table (name text, place bigint)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        -- What is no type at all is not handed on to where it would be a syntax error.
        select case when jsonb_typeof(c.def) = 'object'
                     and c.def ->> 'type' ~ '^[\w\s".]+(\([\d,\s]+\))?[\w\s\[\]]*$' then c.def ->> 'type' end,
               c.place
          from jsonb_array_elements(coalesce(definition -> 'columns', '[]')) with ordinality c(def, place)
    $$;

create or replace function godwit._columns_of(definition jsonb, types regtype[]) returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select string_agg(godwit._column_definition(c.def, types[c.place]), ', ' order by c.place)
          from jsonb_array_elements(coalesce(definition -> 'columns', '[]')) with ordinality c(def, place)
    $$;

create or replace function godwit._metadata_of(definition jsonb) returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$ select coalesce(definition -> 'metadata', '{}') $$;

create or replace function godwit._column_definition(def jsonb, resolved regtype) returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    name text := def ->> 'name';
    type text := def ->> 'type';
    out text;
    rule record;
    unknown text;
begin
    if jsonb_typeof(def) <> 'object' or coalesce(name, '') = '' or coalesce(type, '') = '' then
        raise exception 'a column definition is a JSON object with a name and a type'
            using errcode = 'invalid_parameter_value';
    end if;
    select string_agg(key, ', ') into unknown from jsonb_object_keys(def) key
     where key not in ('name', 'type', 'default', 'constraints');
    if unknown is not null then
        raise exception 'column % has an unknown member %', quote_ident(name), unknown
            using errcode = 'invalid_parameter_value',
                  hint = 'It has name, type, default and constraints.';
    end if;
    if octet_length(name) > 63 then
        raise exception 'the column name % is too long', quote_ident(name)
            using errcode = 'name_too_long';
    end if;
    if name = any (godwit._own_columns()) then
        raise exception 'column % is named like one of Godwit''s own', quote_ident(name)
            using errcode = 'duplicate_column';
    end if;
    if type ~ '--|/\*' or resolved is null then
        raise exception 'column %: there is no type %', quote_ident(name), quote_literal(type)
            using errcode = 'undefined_object';
    end if;
    -- What the safe path doesn't show is written with its schema, its modifier as it came.
    out := format('%I %s', name, case when to_regtype(type) = resolved then type
                                 else resolved || coalesce(substring(type from '\(.*\)'), '') end);
    if def ? 'default' and jsonb_typeof(def -> 'default') <> 'null' then
        -- A wire value, {"int": "7"}, or a plain JSON scalar.
        out := out || format(' default %L', case jsonb_typeof(def -> 'default')
            when 'object' then (select value from jsonb_each_text(def -> 'default') limit 1)
            else def ->> 'default' end);
    end if;
    if jsonb_typeof(coalesce(def -> 'constraints', '[]')) <> 'array' then
        raise exception 'column %: constraints is a JSON array', quote_ident(name)
            using errcode = 'invalid_parameter_value';
    end if;
    for rule in
        select e.key from jsonb_array_elements(coalesce(def -> 'constraints', '[]')) c(rule),
               jsonb_each(c.rule) e
    loop
        out := out || case rule.key when 'not_null' then ' not null' when 'unique' then ' unique'
                      else null end;
        if out is null then
            raise exception 'column %: there is no constraint %', quote_ident(name),
                    quote_literal(rule.key)
                using errcode = 'invalid_parameter_value', hint = 'There are not_null and unique.';
        end if;
    end loop;
    return out;
end
$$;

create or replace function godwit.tables()
    returns table (name text, table_oid regclass, twin regclass, id_columns text[],
                   created_by text, created_at timestamptz, metadata jsonb)
    language sql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
        select godwit._wire_name(t.relation), t.relation, t.twin,
               t.key,
               t.created_by, t.created_at, t.metadata
          from godwit.tracked t
         order by 1
    $$;

comment on function godwit.tables is 'The tracked tables.';

create or replace function godwit.table_def(
    relation regclass
) returns jsonb
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
declare
    def jsonb;
begin
    select jsonb_build_object(
               'name', godwit._wire_name(t.relation), 'id_columns', t.key, 'created_by', t.created_by,
               'created_at', to_char(t.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'metadata', t.metadata,
               'columns', (
                   select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                              'name', a.attname,
                              'type', format_type(a.atttypid, a.atttypmod),
                              'default', case when a.attgenerated = '' then pg_get_expr(d.adbin, 0) end,
                              'generated', case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end,
                              'constraints', case when a.attnotnull then '[{"not_null": {}}]'::jsonb end
                          )) order by a.attnum), '[]')
                     from pg_attribute a
                     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                    where a.attrelid = t.relation and a.attnum > 0 and not a.attisdropped
                      and a.attname <> '_rev'))
      into def
      from godwit.tracked t where t.relation = table_def.relation;
    if def is null then
        raise exception 'table % is not tracked', relation using errcode = 'undefined_table';
    end if;
    return def;
end
$$;

comment on function godwit.table_def is
    'A tracked table''s definition as it is now, who tracked it and when, and its metadata.';

create or replace function godwit.set_metadata(
    relation regclass,
    metadata jsonb
) returns void
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._annotate(relation, metadata) $$;

comment on function godwit.set_metadata is 'Attaches a JSON object of the owner''s to a tracked table.';

create or replace function godwit.put(
    relation regclass,
    record jsonb,
    on_conflict text default 'fail'
) returns jsonb
    language sql
    volatile
    security invoker
    as $$ select godwit._put(relation, record, on_conflict) $$;

comment on function godwit.put is
    'A local edit: the record names the revision that it edits. SQLSTATE 40001 when that is no leaf.';

create or replace function godwit.put_many(
    relation regclass,
    records jsonb,
    on_conflict text default 'fail'
) returns table (ord integer, id text, revision text, status text, reason text, winner text)
    language sql
    volatile
    security invoker
    as $$ select * from godwit._put_many(relation, records, on_conflict) $$;

comment on function godwit.put_many is
    'Local edits in bulk, each for itself: accepted, known, conflict, rejected or forbidden. Safe to repeat.';

create or replace function godwit.put_revisions(
    relation regclass,
    records jsonb
) returns table (ord integer, id text, revision text, status text, reason text)
    language c
    volatile
    strict
    security invoker
    as 'MODULE_PATHNAME', 'put_revisions_wrapper';

comment on function godwit.put_revisions is
    'Replication: revisions with their ancestry, in any order, once or often; one result for each.';

create or replace function godwit.get(
    relation regclass,
    id text,
    revision text default null,
    revisions boolean default false,
    conflicts boolean default false
) returns jsonb
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._get(relation, id, revision, revisions, conflicts) $$;

comment on function godwit.get is
    'A record''s winner, or a given revision, as it goes on the wire; null where it is not known.';

create or replace function godwit.records(
    relation regclass,
    after text default null,
    max integer default 100,
    filter jsonb default null
) returns setof jsonb
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select r.record::jsonb from godwit._records(relation, after, max, filter) r $$;

comment on function godwit.records is 'A page of winners, by the bytes of their record ids.';

create or replace function godwit.history(
    relation regclass,
    id text
) returns table (revision text, previous text, deleted boolean, stub boolean, winner boolean,
                 leaf boolean, seq bigint, at timestamptz, by text, record jsonb)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select * from godwit._history(relation, id, false) $$;

comment on function godwit.history is 'Every revision of a record, highest first.';

create or replace function godwit.leaves(
    relation regclass,
    id text
) returns table (revision text, previous text, deleted boolean, stub boolean, winner boolean,
                 leaf boolean, seq bigint, at timestamptz, by text, record jsonb)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select * from godwit._history(relation, id, true) $$;

comment on function godwit.leaves is 'The revisions of a record that have no child, highest first.';

create or replace function godwit.revs_diff(
    relation regclass,
    revisions jsonb
) returns jsonb
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._revs_diff(relation, revisions::text)::jsonb $$;

comment on function godwit.revs_diff is
    'Of {"record id": ["revision", …]} what is not here, with possible ancestors.';

create or replace function godwit.resolve(
    relation regclass,
    id text,
    keep text default null,
    attributes jsonb default null,
    leaves text[] default null
) returns jsonb
    language sql
    volatile
    security invoker
    as $$ select godwit._resolve(relation, id, keep, attributes, leaves) $$;

comment on function godwit.resolve is
    'Ends the other branches of a record: keeps one leaf, or edits it to these attributes.';

create or replace function godwit.set_policy(
    relation regclass,
    policy jsonb
) returns void
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._set_policy(relation, policy) $$;

comment on function godwit.set_policy is
    'What is done about a table''s conflicts: {"conflicts": "keep" | "fields", "attributes": {"stock": "counter", …}}.';

create or replace function godwit.merge_conflicts(
    relation regclass,
    max integer default 1000
) returns bigint
    language sql
    volatile
    security invoker
    as $$ select godwit._merge_conflicts(relation, max) $$;

comment on function godwit.merge_conflicts is
    'Merges conflicts that are there already by the table''s policy; returns how many records.';

create or replace function godwit.retry_rejected(
    relation regclass,
    max integer default 1000
) returns table (number bigint, id text, revision text, status text, reason text)
    language sql
    volatile
    security invoker
    as $$ select * from godwit._retry_rejected(relation, max) $$;

comment on function godwit.retry_rejected is
    'Tries refused revisions of a table again, those first that have waited longest.';

create or replace function godwit.discard_rejected(
    relation regclass,
    numbers bigint[]
) returns bigint
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._discard_rejected(relation, numbers) $$;

comment on function godwit.discard_rejected is
    'Gives up refused revisions for good; returns how many there were.';

create or replace function godwit._readable(tables text[]) returns oid[]
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if tables is null then
        -- All that the caller may read; a table named by the caller is an error instead.
        return (select coalesce(array_agg(t.relation::oid order by t.relation::oid), '{}')
                  from godwit.tracked t
                 where has_table_privilege(t.twin, 'select'));
    end if;
    return (select coalesce(array_agg(distinct godwit.find_table(name)::oid), '{}')
              from unnest(tables) as name);
end
$$;

create or replace function godwit.changes(
    since bigint default 0,
    tables text[] default null,
    max integer default 1000,
    include text default 'none',
    style text default 'revisions',
    ids text[] default null,
    filter jsonb default null
) returns table (seq bigint, table_name text, id text, revision text, deleted boolean,
                 winner text, record jsonb, next bigint, leaves jsonb, has_left boolean)
    language c
    volatile
    security invoker
    as 'MODULE_PATHNAME', 'godwit_changes';

comment on function godwit.changes is
    'Changes above a sequence, in order; ask again from "next". Never skips a committed change.';

create or replace function godwit.changes_json(
    since bigint default 0,
    tables text[] default null,
    max integer default 1000,
    include text default 'none',
    style text default 'revisions',
    ids text[] default null,
    filter jsonb default null
) returns table (seq bigint, table_name text, id text, revision text, deleted boolean,
                 winner text, record json, next bigint, leaves json, has_left boolean)
    language c
    volatile
    security invoker
    as 'MODULE_PATHNAME', 'godwit_changes_json';

comment on function godwit.changes_json is
    'What changes says, with records as json: faster for a reader that passes them on as text.';

create or replace function godwit.last_sequence() returns bigint
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._horizon() $$;

comment on function godwit.last_sequence is
    'The highest sequence that a reader may be shown now.';

create or replace function godwit.last_change(relation regclass) returns bigint
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._last_change(relation) $$;

comment on function godwit.last_change is
    'The sequence of a table''s last change, whether the caller sees it or not; null before the first.';

create or replace function godwit.sequence_at(at timestamptz, tables text[] default null) returns bigint
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- What is written but not committed is above: nobody is sent past it.
    found bigint := godwit.last_sequence();
    twin regclass;
    first bigint;
begin
    for twin in
        select t.twin from godwit.tracked t
         where case when tables is null then has_table_privilege(t.twin, 'select')
                    else t.relation in (select godwit.find_table(name) from unnest(tables) name) end
    loop
        execute format('select min(_seq) from %s where _at >= $1', twin) into first using at;
        found := least(found, first - 1);
    end loop;
    return found;
end
$$;

comment on function godwit.sequence_at is
    'Where to read the stream from to see every change that was made at a time or later; looks through the histories.';

create or replace function godwit.current_incarnation() returns text
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._current_incarnation() $$;

comment on function godwit.current_incarnation is
    'Names what this database is now: another name after a restore, a promotion or a copy.';

create or replace function godwit.as_of(shown anyelement, at timestamptz) returns setof anyelement
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

create or replace function godwit.as_of(shown anyelement, sequence bigint) returns setof anyelement
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

create or replace function godwit.verify(
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

create or replace function godwit._check_compact(keep interval, revisions integer) returns void
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

create or replace procedure godwit.compact(
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

create or replace function godwit.erase(
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

create or replace function godwit.stream_status()
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

create or replace function godwit.put_peer(
    peer text,
    entry jsonb
) returns void
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    fault text;
begin
    if put_peer.peer is null or octet_length(put_peer.peer) not between 1 and 256 or put_peer.peer ~ '[[:cntrl:]]' then
        raise exception 'a peer''s name has 1 to 256 bytes and no control characters'
            using errcode = 'invalid_parameter_value';
    elsif jsonb_typeof(put_peer.entry) is distinct from 'object' then
        raise exception 'what is kept of a peer is a JSON object' using errcode = 'invalid_parameter_value';
    end if;
    select case when m.key in ('pulled', 'pushed') then format('%s is a sequence: an integer from 0 to 9007199254740991', m.key)
                when m.key in ('incarnation', 'software') then format('%s is a string of at most 256 bytes', m.key)
                else format('nothing is kept of a peer as %s', quote_ident(left(m.key, 80))) end into fault
      from jsonb_each(put_peer.entry) m
     where not case
               when m.key in ('pulled', 'pushed', 'incarnation', 'software') and m.value = 'null' then true
               when m.key in ('pulled', 'pushed') and jsonb_typeof(m.value) = 'number'
                   then (m.value #>> '{}')::numeric between 0 and 9007199254740991 and (m.value #>> '{}')::numeric % 1 = 0
               when m.key in ('incarnation', 'software') and jsonb_typeof(m.value) = 'string'
                   then octet_length(m.value #>> '{}') <= 256
               else false end
     limit 1;
    if fault is not null then
        raise exception '%', fault using errcode = 'invalid_parameter_value';
    end if;
    insert into godwit.peers as p (peer, pulled, pushed, incarnation, software)
    values (put_peer.peer, (put_peer.entry ->> 'pulled')::numeric, (put_peer.entry ->> 'pushed')::numeric,
            put_peer.entry ->> 'incarnation', put_peer.entry ->> 'software')
        on conflict (peer) do update
       set pulled = case when put_peer.entry ? 'pulled' then excluded.pulled else p.pulled end,
           pushed = case when put_peer.entry ? 'pushed' then excluded.pushed else p.pushed end,
           incarnation = case when put_peer.entry ? 'incarnation' then excluded.incarnation else p.incarnation end,
           software = case when put_peer.entry ? 'software' then excluded.software else p.software end,
           last_seen = excluded.last_seen;
end
$$;

comment on function godwit.put_peer is
    'Keeps what a peer says of itself: pulled, pushed, incarnation, software; what it leaves out stays as it was.';

create or replace function godwit.forget_peer(peer text) returns boolean
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
        with gone as (delete from godwit.peers p where p.peer = forget_peer.peer returning p.peer)
        select exists (select from gone)
    $$;

comment on function godwit.forget_peer is 'Drops what is kept of a peer that won''t come back; false if there is none.';

create or replace function godwit.peers()
    returns table (peer text, pulled bigint, pushed bigint, behind bigint, incarnation text, software text,
                   owner text, first_seen timestamptz, last_seen timestamptz)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
        select p.peer, p.pulled, p.pushed, greatest(h.horizon - p.pulled, 0), p.incarnation, p.software,
               p.owner, p.first_seen, p.last_seen
          from godwit.peers p cross join (select godwit.last_sequence() as horizon) h
         order by p.peer collate "C"
    $$;

comment on function godwit.peers is
    'The caller''s own peers, all for operators: how far each is, and how many sequences behind.';

create or replace function godwit.database_uuid() returns text
    language sql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select md5('godwit ' || last_value) from godwit.identity $$;

comment on function godwit.database_uuid is
    'Tells this database from others; a dump or backup that is restored goes on as the same.';

create or replace function godwit.get_local(relation regclass, id text)
    returns table (revision bigint, body text)
    -- Not sql, which would plan it at each call.
    language plpgsql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
begin
    return query
        select d.revision, d.body from godwit.local_documents d
         where d.relation = get_local.relation and d.id = get_local.id
           -- A name's own collation is not the key's, by which it is looked up.
           and d.owner = current_user collate "default" and d.author = (select godwit._author());
end
$$;

comment on function godwit.get_local is 'A local document of the caller''s: how often it was written, and its body.';

create or replace function godwit.put_local(relation regclass, id text, edited bigint, body text) returns bigint
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    made bigint;
begin
    -- Whoever writes the same at the same time waits here, and then has edited what is gone.
    insert into godwit.local_documents as d (relation, id, revision, body)
    values (put_local.relation, put_local.id, coalesce(put_local.edited, 0) + 1, put_local.body)
        on conflict on constraint local_documents_pkey do update
       set revision = d.revision + 1, body = excluded.body, at = clock_timestamp()
     where d.revision = coalesce(put_local.edited, 0)
 returning d.revision into made;
    if made is null then
        raise exception 'local document % was edited meanwhile', quote_literal(left(put_local.id, 80))
            using errcode = 'serialization_failure',
                  detail = (select 'winner: 0-' || d.revision from godwit.get_local(put_local.relation, put_local.id) d);
    end if;
    return made;
end
$$;

comment on function godwit.put_local is
    'Writes a local document that was read as this revision, null if it is new; SQLSTATE 40001 when it is another by now.';

create or replace function godwit.delete_local(relation regclass, id text, edited bigint) returns boolean
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
        with gone as (
            delete from godwit.local_documents d
             where d.relation = delete_local.relation and d.id = delete_local.id
               and d.owner = current_user collate "default" and d.author = (select godwit._author())
               and d.revision = coalesce(delete_local.edited, d.revision)
             returning d.id)
        select exists (select from gone)
    $$;

comment on function godwit.delete_local is 'Deletes a local document; false where there is none of this revision.';

create or replace function godwit.count_records(relation regclass) returns bigint
    language plpgsql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
declare
    counted bigint;
begin
    perform godwit._require_table(relation);
    execute format('select count(*) from %s', relation) into counted;
    return counted;
end
$$;

comment on function godwit.count_records is 'How many records the caller sees: counted, so it takes as long as count(*) does.';

create or replace function godwit.records_between(
    relation regclass,
    low text default null,
    high text default null,
    descending boolean default false,
    skip bigint default 0,
    max integer default 100
) returns table (id text, record jsonb)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select r.id, r.record::jsonb from godwit._records_between(relation, low, high, descending, skip, max) r $$;

comment on function godwit.records_between is
    'Winners whose record ids are from low to high, by the ids'' bytes, from either end.';

create or replace function godwit.get_many(
    relation regclass,
    ids text[],
    revisions text[],
    ancestry boolean default true
) returns table (ord integer, id text, record jsonb, leaf boolean)
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select r.ord, r.id, r.record::jsonb, r.leaf from godwit._get_many(relation, ids, revisions, ancestry) r $$;

comment on function godwit.get_many is
    'Revisions by name, or winners where the name is null; a record that is not here in full is null.';

create or replace function godwit.drop_document_table(relation regclass) returns void
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
begin
    perform godwit._require_table(relation);
    if exists (select from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
                  and a.attname not in ('_id', '_rev'))
    then
        raise exception 'table % has columns of its own', relation
            using errcode = 'insufficient_privilege', hint = 'Drop it in SQL: godwit.untrack, then drop table.';
    end if;
    perform godwit.untrack(relation, drop_history => true);
    execute format('drop table %s', relation);
end
$$;

comment on function godwit.drop_document_table is
    'Drops a table that has no columns but its record id, with its history; refuses all others.';

create or replace function godwit.keep_attachment_parts(relation regclass, parts bytea[]) returns void
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._keep_attachment_part(relation, p.data) from pg_catalog.unnest(parts) p(data) $$;

comment on function godwit.keep_attachment_parts is
    'Keeps parts of attachments, at most 1 MiB each, before the document that names them is put.';

create or replace function godwit.attachment_part(relation regclass, digest bytea) returns bytea
    language sql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._attachment_part(relation, digest) $$;

comment on function godwit.attachment_part is 'A part of an attachment, by its SHA-256 as a document names it.';

create or replace function godwit.sweep_attachments(relation regclass, older interval default '1 day') returns bigint
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    swept bigint;
    named text[];
begin
    perform godwit._require_table(sweep_attachments.relation);
    if sweep_attachments.older is null or sweep_attachments.older < interval '2 hours' then
        raise exception 'what came within two hours may be of a document on its way'
            using errcode = 'invalid_parameter_value';
    end if;
    named := godwit._attachment_digests(sweep_attachments.relation, null);
    delete from godwit.attachment_parts p
     where p.relation = sweep_attachments.relation and p.at < now() - sweep_attachments.older
       and not exists (select from unnest(named) n(digest) where n.digest = encode(p.digest, 'hex'));
    get diagnostics swept = row_count;
    return swept;
end
$$;

comment on function godwit.sweep_attachments is
    'Drops parts of attachments that no revision names any more; for the table''s owner. Returns how many.';

create or replace function godwit._attachments_came(relation regclass, id text) returns timestamptz
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
declare
    came timestamptz;
begin
    execute format('select max(h._at) from %s h where h._id = $1 and h._extra ? $2',
                   (select t.twin from godwit.tracked t where t.relation = _attachments_came.relation))
       into came using _attachments_came.id, '_attachments';
    return came;
end
$$;

create or replace function godwit._drop_attachment_parts(relation regclass, digests text[], kept_until timestamptz) returns void
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    named text[];
begin
    if cardinality(_drop_attachment_parts.digests) > 0 then
        named := godwit._attachment_digests(_drop_attachment_parts.relation, null);
        -- What was kept again since may be of a document on its way; it is left to the sweep.
        delete from godwit.attachment_parts p
         where p.relation = _drop_attachment_parts.relation
           and encode(p.digest, 'hex') = any (_drop_attachment_parts.digests)
           and not encode(p.digest, 'hex') = any (named)
           and p.at <= _drop_attachment_parts.kept_until;
    end if;
end
$$;

create or replace function godwit._index_comment(name text) returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$ select 'godwit index ' || name $$;

create or replace function godwit.create_index(relation regclass, name text, columns text[]) returns boolean
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
declare
    missing text;
    made text;
begin
    perform godwit._require_table(relation);
    if name is null or name = '' or columns is null or array_position(columns, null) is not null then
        raise exception 'an index has a name, and names of columns' using errcode = 'invalid_parameter_value';
    end if;
    select c.name into missing from unnest(columns) c(name)
     where not exists (select from pg_attribute a where a.attrelid = relation and a.attname = c.name
                          and a.attnum > 0 and not a.attisdropped);
    if missing is not null or cardinality(columns) = 0 then
        raise exception 'table % has no column %', relation, quote_ident(coalesce(missing, ''))
            using errcode = 'invalid_parameter_value',
                  hint = 'Add one to index it. What has no column is found without an index.';
    end if;
    if exists (select from godwit.indexes(relation) i where i.name = create_index.name) then
        return false;
    end if;
    made := left((select c.relname from pg_class c where c.oid = relation), 20) || '_' || left(md5(name), 16);
    execute format('create index %I on %s (%s)', made, relation,
                   (select string_agg(quote_ident(c.name), ', ' order by c.place)
                      from unnest(columns) with ordinality c(name, place)));
    execute format('comment on index %I.%I is %L',
                   (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation),
                   made, godwit._index_comment(name));
    return true;
end
$$;

comment on function godwit.create_index is
    'An index on columns, under a name that clients give it; false if there is one of that name. For the table''s owner.';

create or replace function godwit.indexes(relation regclass)
    returns table (name text, columns text[])
    language sql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
        select coalesce(case when starts_with(obj_description(i.indexrelid, 'pg_class'), godwit._index_comment(''))
                             then substr(obj_description(i.indexrelid, 'pg_class'), length(godwit._index_comment('')) + 1) end,
                        x.relname),
               array(select a.attname::text from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality k(number, place)
                       join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number order by k.place)
          from pg_index i
          join pg_class x on x.oid = i.indexrelid
          join pg_am m on m.oid = x.relam and m.amname = 'btree'
         where i.indrelid = indexes.relation and i.indisvalid and i.indexprs is null and i.indpred is null
         order by 1
    $$;

comment on function godwit.indexes is 'Indexes on whole columns, by the name that a client gave them or their own.';

create or replace function godwit.drop_index(relation regclass, name text) returns boolean
    language plpgsql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$
declare
    found regclass;
begin
    select i.indexrelid into found from pg_index i
     where i.indrelid = relation and obj_description(i.indexrelid, 'pg_class') = godwit._index_comment(name);
    if found is null then
        return false;
    end if;
    execute format('drop index %s', found);
    return true;
end
$$;

comment on function godwit.drop_index is 'Drops an index that godwit.create_index has made, and no other; false if there is none.';

create or replace function godwit._self_and_ancestors(relation oid) returns setof oid
    language sql
    stable
    rows 2
    set search_path = pg_catalog, pg_temp
    as $$ select relation union select relid from pg_partition_ancestors(relation) $$;

create or replace function godwit._after_drop() returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    d record;
begin
    for d in
        select o.object_identity as name, t.relation, t.twin, o.objid
          from pg_event_trigger_dropped_objects() o
          join godwit.tracked t on t.twin = o.objid
         where o.classid = 'pg_class'::regclass and o.objsubid = 0
           and not exists (select from pg_event_trigger_dropped_objects() r
                            where r.classid = 'pg_class'::regclass and r.objid = t.relation)
    loop
        raise exception '% is the history of % and can''t be dropped', d.name, d.relation
            using errcode = 'dependent_objects_still_exist',
                  hint = 'godwit.untrack(''' || d.relation || ''', drop_history => true) drops it.';
    end loop;
    -- DROP TYPE or DROP EXTENSION with CASCADE.
    for d in
        select o.object_identity as name, t.twin
          from pg_event_trigger_dropped_objects() o join godwit.tracked t on t.twin = o.objid
         where o.classid = 'pg_class'::regclass and o.objsubid > 0
           and not o.original
           and coalesce(current_setting('godwit.altering', true), '') <> 'on'
    loop
        raise exception '% holds values of history and can''t be dropped', d.name
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Alter the column to another type, or godwit.untrack() the table.';
    end loop;
    for d in
        select distinct t.relation from pg_event_trigger_dropped_objects() o
          join godwit.tracked t on t.relation = o.objid
         where o.classid = 'pg_class'::regclass and o.objsubid > 0 and not o.original
           and coalesce(current_setting('godwit.altering', true), '') <> 'on'
    loop
        perform godwit._follow(d.relation);
    end loop;
    for d in
        select o.object_identity as name, t.relation
          from pg_event_trigger_dropped_objects() o
          join pg_class c on c.relname = o.address_names[2]
          join pg_namespace n on n.oid = c.relnamespace and n.nspname = o.address_names[1]
         cross join lateral godwit._self_and_ancestors(c.oid) a(relation)
          join godwit.tracked t on t.relation = a.relation
         where o.classid = 'pg_trigger'::regclass and o.original
           and o.address_names[3] ~ '^(~godwit_stamp|!godwit_)'
           and coalesce(current_setting('godwit.altering', true), '') <> 'on'
    loop
        raise exception 'trigger % keeps the history and can''t be dropped', d.name
            using errcode = 'dependent_objects_still_exist', hint = 'godwit.untrack() takes it away.';
    end loop;
    for d in
        select t.relation, t.twin from godwit.tracked t
          join pg_event_trigger_dropped_objects() o on o.objid = t.relation
         where o.classid = 'pg_class'::regclass and o.objsubid = 0
           and not exists (select from pg_event_trigger_dropped_objects() r
                            where r.classid = 'pg_class'::regclass and r.objid = t.twin)
         order by t.twin::text
    loop
        raise notice 'the history stays in %, as a plain table', d.twin;
    end loop;
    delete from godwit.tracked t
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = t.relation;
    delete from godwit.rejected r
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = r.relation;
    delete from godwit.conflicted c
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = c.relation;
    delete from godwit.unordered u
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = u.relation;
    delete from godwit.era e
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = e.relation;
    delete from godwit.local_documents l
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = l.relation;
    delete from godwit.attachment_parts p
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = p.relation;
    -- With a partition its rows are gone. Which table it was of nobody says any more.
    if coalesce(current_setting('godwit.altering', true), '') <> 'on' and exists (
        select from pg_event_trigger_dropped_objects() o
         where o.classid = 'pg_trigger'::regclass and not o.original and o.address_names[3] = '!godwit_insert'
           and to_regclass(format('%I.%I', o.address_names[1], o.address_names[2])) is null)
    then
        for d in
            select t.relation, pg_get_userbyid(c.relowner) as owner
              from godwit.tracked t join pg_class c on c.oid = t.relation where c.relkind = 'p'
        loop
            begin
                perform godwit._end_missing(d.relation);
            exception when others then
                -- Another's table must not keep anybody from dropping theirs.
                if d.owner = session_user then
                    raise;
                end if;
                raise warning 'records of % could not be ended: %', d.relation, sqlerrm;
            end;
        end loop;
    end if;
end
$$;

create or replace function godwit._after_ddl() returns event_trigger
    language c
    security definer
    set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'godwit_after_ddl';

create or replace function godwit._is_complete(relation oid) returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select exists (select from pg_trigger where tgrelid = relation and tgname = '~godwit_stamp')
    $$;

create or replace function godwit._own_triggers(is_partition boolean)
    returns table (name text, function regproc, type int, old_table text, new_table text, state "char")
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        values ('~godwit_stamp', 'godwit._stamp'::regproc, 23, null, null, 'A'::"char"),
               ('!godwit_insert', 'godwit._capture', 4, null, 'godwit_new', 'O'),
               ('!godwit_update', 'godwit._capture', 16, 'godwit_old', 'godwit_new', 'O'),
               ('!godwit_delete', 'godwit._capture', 8, 'godwit_old', null, 'O'),
               ('!godwit_truncate', 'godwit._capture', case when is_partition then 34 else 32 end, null, null, 'A'),
               ('!godwit_replay', 'godwit._capture', 29, null, null, 'R')
    $$;

create or replace function godwit._check_triggers(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    t record;
begin
    select g.tgname into t
      from pg_trigger g join pg_class c on c.oid = g.tgrelid
      left join godwit._own_triggers((select relispartition from pg_class where oid = relation)) o
        on o.name = g.tgname and o.function = g.tgfoid and o.type = g.tgtype
       and o.old_table is not distinct from g.tgoldtable and o.new_table is not distinct from g.tgnewtable
       and g.tgqual is null and g.tgnargs = 0 and g.tgattr = ''::int2vector
     where g.tgrelid = relation and not g.tgisinternal and o.name is null
       and (g.tgname ~ '^(~godwit_stamp|!godwit_)'
            or g.tgfoid in ('godwit._stamp'::regproc, 'godwit._capture'::regproc));
    if found then
        raise exception 'trigger % on % is not what keeps the history', quote_ident(t.tgname), relation
            using errcode = 'dependent_objects_still_exist',
                  detail = 'Names and functions of Godwit''s triggers are for its own.';
    end if;
    select g.tgname into t from pg_trigger g
     where g.tgrelid = relation and not g.tgisinternal and g.tgtype & 3 = 3 and g.tgtype & 20 <> 0
       and g.tgname collate "C" > '~godwit_stamp';
    if found then
        raise exception 'trigger % on % would change rows that are hashed already', quote_ident(t.tgname), relation
            using errcode = 'wrong_object_type',
                  hint = 'Give it a name that sorts before "~godwit_stamp".';
    end if;
end
$$;

create or replace function godwit._keep_states(relation regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    t record;
begin
    for t in
        select o.name, o.state from pg_trigger g
          join godwit._own_triggers((select relispartition from pg_class where oid = relation)) o on o.name = g.tgname
         where g.tgrelid = relation and g.tgenabled <> 'D' and g.tgenabled <> o.state
    loop
        execute format('alter table only %s enable %s trigger %I', relation,
                       case t.state when 'A' then 'always' when 'R' then 'replica' else '' end, t.name);
    end loop;
    if exists (select from pg_trigger g where g.tgrelid = relation and g.tgenabled = 'D'
                  and g.tgfoid in ('godwit._stamp'::regproc, 'godwit._capture'::regproc)) then
        if exists (select from pg_trigger g where g.tgrelid = relation and g.tgenabled <> 'D' and not g.tgisinternal) then
            raise exception 'a trigger that keeps the history of % can''t be disabled', relation
                using errcode = 'dependent_objects_still_exist', hint = 'godwit.untrack() takes them away.';
        end if;
        if current_setting('application_name') <> 'pg_restore' then
            raise warning 'nothing keeps the history of % while its triggers are disabled', relation
                using hint = 'Enable them again; godwit.verify() tells what was missed.';
        end if;
    end if;
end
$$;

create or replace function godwit._check_type(type oid) returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    twin regclass;
begin
    with recursive uses(oid) as (
        select type
        union
        select x.oid from uses u cross join lateral (
            select t.oid from pg_type t where t.typelem = u.oid or t.typbasetype = u.oid
            union all
            select c.reltype from pg_attribute a join pg_class c on c.oid = a.attrelid
             where a.atttypid = u.oid and not a.attisdropped and c.relkind = 'c') x)
    select k.twin into twin from godwit.tracked k
      join pg_attribute a on a.attrelid = k.twin and a.attnum > 0 and not a.attisdropped
      join uses u on u.oid = a.atttypid
     limit 1;
    if found then
        raise exception 'values of type % are in the history %', format_type(type, null), twin
            using errcode = 'dependent_objects_still_exist',
                  detail = 'Its revisions were hashed as these values print.',
                  hint = 'Make a type beside it, and alter the column to that.';
    end if;
end
$$;

create or replace function godwit._follow_ddl(
    renamed_from text, renamed_to text, harmless boolean, retypes boolean, rewritten text[]) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    t record;
begin
    if current_setting('godwit.altering', true) = 'on' then
        return;
    end if;
    for t in
        select distinct coalesce(g.tgrelid, d.objid)::regclass as relation, g.oid is not null as of_trigger
          from pg_event_trigger_ddl_commands() d
          left join pg_trigger g on d.classid = 'pg_trigger'::regclass and g.oid = d.objid
         cross join lateral godwit._self_and_ancestors(coalesce(g.tgrelid, d.objid)) o(relation)
          join godwit.tracked k on k.relation = o.relation
         where d.classid in ('pg_class'::regclass, 'pg_trigger'::regclass) and godwit._is_complete(k.relation)
    loop
        perform godwit._keep_states(t.relation);
        if t.of_trigger then
            perform godwit._check_triggers(t.relation);
        end if;
    end loop;
    -- A dump holds what the twin has; two jobs of pg_restore would get into each other's way.
    if current_setting('application_name') = 'pg_restore' then
        return;
    end if;
    if retypes then
        perform godwit._check_type(coalesce((select reltype from pg_class where oid = d.objid and relkind = 'c'), d.objid))
           from pg_event_trigger_ddl_commands() d;
    end if;
    -- While a dump is restored the catalog is there before keys and triggers are.
    if not harmless then
        select k.relation, k.twin into t
          from godwit.tracked k join pg_event_trigger_ddl_commands() d on d.objid = k.twin
         where d.classid = 'pg_class'::regclass and godwit._is_complete(k.relation);
        if found then
            raise exception '% is the history of % and follows it by itself', t.twin, t.relation
                using errcode = 'dependent_objects_still_exist', hint = 'Alter ' || t.relation || '.';
        end if;
    end if;
    select k.relation into t
      from pg_event_trigger_ddl_commands() d
      join pg_inherits i on i.inhrelid = d.objid and d.classid = 'pg_class'::regclass
      join godwit.tracked k on k.relation = i.inhparent
      join pg_class c on c.oid = k.relation and c.relkind = 'r';
    if found then
        raise exception '% is tracked and can''t take part in inheritance', t.relation
            using errcode = 'wrong_object_type', detail = 'A row would belong to two tables'' histories.';
    end if;
    for t in
        select distinct k.relation from pg_event_trigger_ddl_commands() d
         cross join lateral godwit._self_and_ancestors(d.objid) o(relation)
          join godwit.tracked k on k.relation = o.relation
         where d.classid = 'pg_class'::regclass and godwit._is_complete(k.relation)
    loop
        perform godwit._follow(t.relation, renamed_from, renamed_to);
        -- ALTER TYPE … USING may compute values: that is an edit.
        if rewritten <> '{}' then
            perform godwit._restamp(t.relation, rewritten);
        end if;
    end loop;
    -- GRANT and REVOKE don't say on which table.
    if exists (select from pg_event_trigger_ddl_commands() d where d.classid is null and d.object_type = 'TABLE') then
        perform godwit._follow_privileges(k.relation, k.twin) from godwit.tracked k
         where godwit._is_complete(k.relation);
    end if;
end
$$;

create or replace function godwit._before_drop() returns event_trigger
    language c
    security definer
    set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'godwit_before_drop';

create or replace function godwit._release_all() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set godwit.altering = 'on'
    as $$
declare
    t record;
begin
    for t in select relation, twin from godwit.tracked order by 1 loop
        perform godwit._release(t.relation, t.twin);
        perform godwit._as_owner(t.relation, format('alter table %s alter column _by drop default, alter column _seq drop default,
                            alter column _rev type text using _rev::text,
                            alter column _prev type text using _prev::text', t.twin));
    end loop;
    delete from godwit.tracked;
end
$$;

revoke execute on function godwit._before_drop(), godwit._after_drop(), godwit._after_ddl(),
    godwit._release_all() from public;

create view godwit.conflicts with (security_barrier) as
    select godwit._wire_name(c.relation) as table_name, c.relation, c.record_id as id,
           l.winner, l.conflict, l.ancestor, l.grade, l.attributes, l.at, l.by
      from godwit.conflicted c
      join godwit.tracked t on t.relation = c.relation
     cross join lateral godwit._conflict(c.relation, c.record_id) l
     where pg_catalog.has_table_privilege(t.twin, 'select');
comment on view godwit.conflicts is
    'Living leaves that are not the winner, with the common ancestor: soft if the branches changed different attributes, hard if the same.';
grant select on godwit.conflicts to public;

-- 0.1 took what a key only includes for parts of the key.
do $$
declare
    tables text;
begin
    select string_agg(t.relation::text, ', ' order by t.relation::text) into tables
      from godwit.tracked t join pg_index i on i.indrelid = t.relation and i.indisprimary
     where i.indnatts > i.indnkeyatts;
    if tables is not null then
        raise exception 'records of % are named by columns that the primary key only includes', tables
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Update when they are untracked, their histories dropped (godwit.untrack(table, drop_history => true)); then track them again.';
    end if;
end
$$;
update godwit.tracked t
   set key = godwit._key_columns(t.relation), key_types = godwit._key_types(t.relation);
alter table godwit.tracked alter column key set not null, alter column key_types set not null;

-- Each twin: the policy and the index of tombstones, what the table's row-level security and grants are by now, the conflicts, and
-- a mark on what other systems made.
do $$
declare
    t record;
begin
    perform pg_catalog.set_config('godwit.altering', 'on', true);
    for t in select k.relation, k.twin, c.relname from godwit.tracked k
               join pg_catalog.pg_class c on c.oid = k.twin
    loop
        execute pg_catalog.format('create policy godwit on %s for select using (godwit._sees(%I.*))',
                                  t.twin, t.relname);
        -- As the owner: a trigger that he has put on the twin must not run as who updates the extension.
        perform godwit._as_owner(t.relation, pg_catalog.format(
            'update %1$s h set _extra = coalesce(h._extra, ''{}'') operator(pg_catalog.||)
                    -- Under a name that no attribute has.
                    (select pg_catalog.jsonb_build_object(m.mark, true)
                       from (select pg_catalog.repeat(''_'', n) || ''foreign'' from pg_catalog.generate_series(1, 1000) n) m(mark)
                      where (h._extra operator(pg_catalog.?) m.mark) is not true limit 1)
              where not h._stub and not godwit._is_hashed(%2$s::oid, h.*::%1$s)',
            t.twin, t.relation::oid));
        perform godwit._follow(t.relation);
        perform godwit._list_conflicts(t.relation);
    end loop;
    perform pg_catalog.set_config('godwit.altering', '', true);
end
$$;

create event trigger godwit_before_drop on ddl_command_start when tag in ('DROP EXTENSION')
    execute function godwit._before_drop();
create event trigger godwit_after_drop on sql_drop
    execute function godwit._after_drop();
create event trigger godwit_after_ddl on ddl_command_end
    when tag in ('CREATE SCHEMA', 'CREATE TABLE', 'ALTER TABLE', 'GRANT', 'REVOKE', 'CREATE TRIGGER', 'ALTER TRIGGER',
                 'ALTER TYPE',
                 -- What a table can be renamed by, and its columns.
                 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER INDEX', 'ALTER SEQUENCE', 'ALTER FOREIGN TABLE')
    execute function godwit._after_ddl();
