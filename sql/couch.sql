-- What clients that speak CouchDB's protocol keep here beside records.

-- Tells this database from every other, and stays with it over dumps and restores. A sequence, for that is the one
-- thing of which a dump brings back the value instead of adding a row.
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

create function godwit.database_uuid() returns text
    language sql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select md5('godwit ' || last_value) from godwit.identity $$;
comment on function godwit.database_uuid is
    'Tells this database from others; a dump or backup that is restored goes on as the same.';

-- CouchDB's local documents: what a client keeps with a database and never replicates, its checkpoints above all.
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

create function godwit.get_local(relation regclass, id text)
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

create function godwit.put_local(relation regclass, id text, edited bigint, body text) returns bigint
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

create function godwit.delete_local(relation regclass, id text, edited bigint) returns boolean
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

create function godwit.count_records(relation regclass) returns bigint
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

create function godwit.records_between(
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

create function godwit.get_many(
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

create function godwit.drop_document_table(relation regclass) returns void
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

create function godwit.keep_attachment_parts(relation regclass, parts bytea[]) returns void
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._keep_attachment_part(relation, p.data) from pg_catalog.unnest(parts) p(data) $$;
comment on function godwit.keep_attachment_parts is
    'Keeps parts of attachments, at most 1 MiB each, before the document that names them is put.';

create function godwit.attachment_part(relation regclass, digest bytea) returns bytea
    language sql
    stable
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._attachment_part(relation, digest) $$;
comment on function godwit.attachment_part is 'A part of an attachment, by its SHA-256 as a document names it.';

create function godwit.sweep_attachments(relation regclass, older interval default '1 day') returns bigint
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

-- When a record's revisions that have attachments came, the last of them; what was kept since is of others.
create function godwit._attachments_came(relation regclass, id text) returns timestamptz
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

create function godwit._drop_attachment_parts(relation regclass, digests text[], kept_until timestamptz) returns void
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

-- Indexes that clients ask for by `_index`. CouchDB's name of one stands in its comment.
create function godwit._index_comment(name text) returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$ select 'godwit index ' || name $$;

create function godwit.create_index(relation regclass, name text, columns text[]) returns boolean
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

create function godwit.indexes(relation regclass)
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

create function godwit.drop_index(relation regclass, name text) returns boolean
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
