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

-- FUNCTIONS

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
