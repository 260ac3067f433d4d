-- What Godwit remembers: the tracked tables, the refused revisions, the change stream's numbers.

create table godwit.tracked (
    relation regclass primary key,
    twin regclass not null unique,
    -- The primary key's columns and their types: the record ids are made of them.
    key text[] not null,
    key_types text[] not null,
    created_by text not null default current_user,
    created_at timestamptz not null default pg_catalog.now(),
    -- Whatever the table's owner attaches: an object, so that two tools can keep theirs side by side.
    metadata jsonb not null default '{}' check (pg_catalog.jsonb_typeof(metadata) = 'object'),
    -- What is done about conflicts; see godwit.set_policy.
    policy jsonb not null default '{"conflicts": "keep"}'
);
comment on table godwit.tracked is 'Tables with a history twin; written by godwit.track and godwit.untrack.';

create table godwit.rejected (
    number bigint generated always as identity primary key,
    relation regclass not null,
    record_id text not null,
    revision godwit.revision,
    -- The wire record as it came, with its ancestry.
    record jsonb not null,
    sqlstate text not null check (pg_catalog.length(sqlstate) = 5),
    reason text not null,
    detail text,
    by text not null,
    at timestamptz not null default pg_catalog.clock_timestamp()
);
-- The same revision refused again replaces its reason; another body of it is kept beside.
create unique index on godwit.rejected (relation, record_id, revision, pg_catalog.md5(record::pg_catalog.text));
comment on table godwit.rejected is 'Revisions that a table''s own constraints or types refused.';

-- Who owns a table sees what it refused.
alter table godwit.rejected enable row level security;
create policy owner on godwit.rejected for select using (pg_catalog.pg_has_role(
    (select c.relowner from pg_catalog.pg_class c where c.oid = relation), 'usage'));
create index on godwit.rejected (relation, sqlstate);
-- What waits for a parent is found by what it says of it.
create index rejected_attributes on godwit.rejected using gin ((record -> 'attributes') pg_catalog.jsonb_path_ops)
    with (fastupdate = off) where sqlstate = '23503';

-- Every record with more than one living leaf is here, and maybe some that had; the view
-- godwit.conflicts looks at the leaves themselves.
create table godwit.conflicted (
    relation regclass not null,
    record_id text collate "C" not null,
    primary key (relation, record_id)
);
comment on table godwit.conflicted is 'Records that may have conflicts; read godwit.conflicts.';

-- Every record of which a revision came after one made on it, or without its ancestry, is here: the twin's key alone
-- doesn't tell what leaves it has. Maybe others, and some twice: a unique key would make who lists one wait for whoever
-- is about to list it, too.
create table godwit.unordered (
    relation regclass not null,
    record_id text collate "C" not null
);
create index unordered_by_record on godwit.unordered (relation, record_id);
comment on table godwit.unordered is 'Records whose revisions may not have come one on top of the other.';

-- One number for every change in this database; see godwit._next_sequence.
create sequence godwit.change_sequence as bigint maxvalue 9007199254740991;

-- Which incarnation the numbers are of, as a hash. A sequence, for it is never rolled back.
create sequence godwit.incarnation_mark as bigint;

-- How far the primary has let its readers go: its standbys' readers go as far.
create sequence godwit.horizon as bigint minvalue 0 start 0 maxvalue 9007199254740991;

create table godwit.incarnation (
    number bigint generated always as identity primary key,
    system_identifier bigint not null,
    timeline bigint not null,
    database bigint not null,
    -- The last number that this incarnation found handed out; null where the transaction that found
    -- it was rolled back.
    after bigint,
    at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table godwit.incarnation is
    'What this database has been: restored, promoted or copied, it numbers its changes from above.';

grant select on godwit.tracked, godwit.rejected, godwit.incarnation to public;

select pg_catalog.pg_extension_config_dump('godwit.tracked', '');
select pg_catalog.pg_extension_config_dump('godwit.rejected', '');
select pg_catalog.pg_extension_config_dump('godwit.rejected_number_seq', '');
select pg_catalog.pg_extension_config_dump('godwit.conflicted', '');
select pg_catalog.pg_extension_config_dump('godwit.unordered', '');
select pg_catalog.pg_extension_config_dump('godwit.incarnation', '');
select pg_catalog.pg_extension_config_dump('godwit.incarnation_number_seq', '');
select pg_catalog.pg_extension_config_dump('godwit.incarnation_mark', '');
select pg_catalog.pg_extension_config_dump('godwit.change_sequence', '');
