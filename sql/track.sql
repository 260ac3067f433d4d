-- Tables become syncable, and plain again.

create function godwit._wire_name(relation oid) returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select case n.nspname when 'public' then c.relname else n.nspname || '.' || c.relname end
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.oid = $1
    $$;

create function godwit.find_table(name text) returns regclass
    language c
    stable
    as 'MODULE_PATHNAME', 'find_table_by_name_wrapper';
comment on function godwit.find_table is
    'The tracked table of this name on the wire: bare in schema public, else "schema.table".';

create function godwit._require_table(relation regclass) returns void
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

-- Says why a table can't be tracked, if it can't.
create function godwit._check_trackable(relation regclass) returns void
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

-- SQL for the record id of a row: the key's text, or the JSON array of texts.
create function godwit._id_expression(relation regclass, row_name text) returns text
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

-- Whether table and twin were tracked elsewhere: restored by themselves from a dump.
create function godwit._is_left_over(relation regclass) returns boolean
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

-- Takes table and twin as they are. The numbers are those of another change stream: readers of this
-- one would have gone past them.
create function godwit._adopt(relation regclass, metadata jsonb) returns regclass
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

create function godwit.track(
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

-- The twin's columns for a table's attributes: with their types, as a list, as names.
create function godwit._body_of(relation regclass, out columns text, out body text, out names text[])
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

create function godwit._create_twin(relation regclass, twin_name text, columns text) returns regclass
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

create function godwit._create_indexes(relation regclass, twin regclass) returns void
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

-- The last steps, once table and twin are in the catalog.
create function godwit._finish(relation regclass, twin regclass) returns void
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

-- Tracks a table while the app goes on: nothing is locked for longer than a moment. Rows that are there
-- get their first revision batch by batch; whoever edits one before its turn gives it one.
create procedure godwit.track_online(
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

create function godwit._check_batch(batch integer) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if batch is null or batch not between 1 and 1000000 then
        raise exception 'batch is 1 to 1000000' using errcode = 'invalid_parameter_value';
    end if;
end
$$;

-- True if it has begun now, false if it goes on.
create function godwit._begin_online(relation regclass, metadata jsonb) returns boolean
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

create function godwit._blocks(relation regclass, out blocks bigint)
    language sql
    volatile
    set search_path = pg_catalog, pg_temp
    as $$ select pg_relation_size(relation) / current_setting('block_size')::bigint $$;

-- Checked while writers go on; then the lock is held for a moment.
create function godwit._end_online(relation regclass) returns void
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

create function godwit._base_type(type oid) returns oid
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

-- The stamp sorts after the app's own BEFORE triggers, for it hashes what they leave; the capture
-- sorts before its AFTER triggers, so that they find the history there. Where a session replays
-- another server's changes Postgres fires no statement triggers: there a row trigger captures.
create function godwit._create_triggers(relation regclass, twin regclass) returns void
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

create function godwit._create_capture_triggers(relation regclass) returns void
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

create function godwit.untrack(
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

-- Takes off a table and its twin what makes them more than tables.
create function godwit._release(relation regclass, twin regclass) returns void
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

create function godwit.create_table(
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

-- Schema and name of a table that is to be made.
create function godwit._table_names(parts text[], schema_name text) returns text[]
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

create function godwit._create_statement(names text[], columns text) returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$
        select format('create table %I.%I (_id pg_catalog.text collate pg_catalog."C" primary key default godwit._uuid_v7()::pg_catalog.text%s)',
                      names[1], names[2],
                      case when btrim(coalesce(columns, '')) = '' then '' else ', ' || columns end)
    $$;

create function godwit._track_new(names text[], metadata jsonb) returns regclass
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

create function godwit.create_table(
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

create function godwit._names_of(definition jsonb, schema_name text) returns text[]
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

create function godwit._types_of(definition jsonb) returns table (name text, place bigint)
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

create function godwit._columns_of(definition jsonb, types regtype[]) returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select string_agg(godwit._column_definition(c.def, types[c.place]), ', ' order by c.place)
          from jsonb_array_elements(coalesce(definition -> 'columns', '[]')) with ordinality c(def, place)
    $$;

create function godwit._metadata_of(definition jsonb) returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$ select coalesce(definition -> 'metadata', '{}') $$;

-- One column as SQL. Nothing of the definition is pasted in as it came: names are quoted, a type
-- must be one as a whole, a default is a literal.
create function godwit._column_definition(def jsonb, resolved regtype) returns text
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

create function godwit.tables()
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

create function godwit.table_def(
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

create function godwit.set_metadata(
    relation regclass,
    metadata jsonb
) returns void
    language sql
    volatile
    security invoker
    set search_path = pg_catalog, pg_temp
    as $$ select godwit._annotate(relation, metadata) $$;
comment on function godwit.set_metadata is 'Attaches a JSON object of the owner''s to a tracked table.';
