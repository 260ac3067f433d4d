-- The twin follows its table: name, owner, grants, row-level security, columns.

-- What a twin's column was called, and from which number in the change stream to which. Only for what
-- DDL has changed since the table was tracked: any other column has been what it is all along.
create table godwit.era (
    relation regclass not null,
    -- The twin's column, and the attribute's name in the revisions of that time.
    twin_column text not null,
    attribute text not null,
    since bigint not null,
    until bigint,
    primary key (relation, twin_column, since)
);
comment on table godwit.era is 'Which revisions have which attributes, where ALTER TABLE has changed that.';
grant select on godwit.era to public;
select pg_catalog.pg_extension_config_dump('godwit.era', '');

create function godwit._own_columns() returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$ select array['_id', '_rev', '_prev', '_deleted', '_seq', '_at', '_by', '_stub', '_extra',
                       '_godwit_row'] $$;

-- A twin's column for values of this column: a domain's own constraints would refuse what only the
-- history has to hold.
create function godwit._twin_type(type oid, modifier integer) returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select case t.typtype
               when 'd' then format_type(godwit._base_type(t.oid), t.typtypmod)
               else format_type(t.oid, modifier) end
          from pg_type t where t.oid = type
    $$;

create function godwit._key_columns(relation oid) returns text[]
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

-- Brings the twin in step with its table.
create function godwit._follow(relation regclass, renamed_from text default null, renamed_to text default null)
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

create function godwit._follow_name(twin regclass, schema_name text, name text, twin_name text)
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

-- Moves a twin's column out of the way of one that takes its name.
create function godwit._set_aside(relation regclass, twin regclass, twin_column text, number bigint) returns void
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

create function godwit._follow_columns(
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

-- From this number on the twin's column holds no attribute of this name.
create function godwit._close(relation regclass, twin_column text, attribute text, number bigint) returns void
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

-- Whether every key has a text of its own.
create function godwit._check_key(relation oid) returns void
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

-- The key may be renamed and change its type as long as every record keeps its id.
create function godwit._follow_key(
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

create function godwit._key_types(relation oid) returns text[]
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

-- The twin has the table's SELECT grants and no others, whatever default privileges say.
create function godwit._follow_privileges(relation regclass, twin regclass) returns void
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
