-- What DDL on a tracked table means for its twin. Short, and silent for tables that are not ours.

-- A table and what it is a partition of: asked of what a statement was about, and not for every tracked table whether it is.
create function godwit._self_and_ancestors(relation oid) returns setof oid
    language sql
    stable
    rows 2
    set search_path = pg_catalog, pg_temp
    as $$ select relation union select relid from pg_partition_ancestors(relation) $$;

create function godwit._after_drop() returns event_trigger
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

-- The library reads from the statement what a column was renamed to, and whether a twin's own
-- ALTER touches what it holds.
create function godwit._after_ddl() returns event_trigger
    language c
    security definer
    set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'godwit_after_ddl';

create function godwit._is_complete(relation oid) returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select exists (select from pg_trigger where tgrelid = relation and tgname = '~godwit_stamp')
    $$;

-- What a trigger of ours is: its name, function, pg_trigger.tgtype, transition tables and state.
create function godwit._own_triggers(is_partition boolean)
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

-- Whoever may alter a table could take its history's triggers away one by one, or put one behind the stamp.
create function godwit._check_triggers(relation regclass) returns void
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

-- ENABLE TRIGGER ALL makes every state the same. Whoever disables all, as a restore does, is warned.
create function godwit._keep_states(relation regclass) returns void
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

-- A type's values are hashed as they print.
create function godwit._check_type(type oid) returns void
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

create function godwit._follow_ddl(
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

-- With DROP EXTENSION … CASCADE tables and twins stay, as plain tables; revisions become texts.
create function godwit._before_drop() returns event_trigger
    language c
    security definer
    set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'godwit_before_drop';

create function godwit._release_all() returns void
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

revoke execute on function godwit._before_drop(), godwit._after_drop(), godwit._after_ddl(),
    godwit._release_all() from public;
