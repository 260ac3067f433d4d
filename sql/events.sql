-- What DDL on a tracked table means for its twin. Short, and silent for tables that are not ours.

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
    for d in
        select o.object_identity as name, t.relation
          from pg_event_trigger_dropped_objects() o
          join pg_class c on c.relname = o.address_names[2]
          join pg_namespace n on n.oid = c.relnamespace and n.nspname = o.address_names[1]
          join godwit.tracked t
            on t.relation in (select c.oid union select relid from pg_partition_ancestors(c.oid))
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
    delete from godwit.era e
     using pg_event_trigger_dropped_objects() o
     where o.classid = 'pg_class'::regclass and o.objsubid = 0 and o.objid = e.relation;
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

create function godwit._follow_ddl(renamed_from text, renamed_to text, harmless boolean) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    t record;
begin
    -- A dump holds what the twin has; two jobs of pg_restore would get into each other's way.
    if current_setting('godwit.altering', true) = 'on' or current_setting('application_name') = 'pg_restore' then
        return;
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
        select distinct k.relation from godwit.tracked k
          join pg_event_trigger_ddl_commands() d
            on d.classid = 'pg_class'::regclass
               and k.relation in (select d.objid union select relid from pg_partition_ancestors(d.objid))
            -- GRANT and REVOKE don't say on which table.
            or d.classid is null and d.object_type = 'TABLE'
         where godwit._is_complete(k.relation)
    loop
        perform godwit._follow(t.relation, renamed_from, renamed_to);
    end loop;
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
    when tag in ('CREATE TABLE', 'ALTER TABLE', 'GRANT', 'REVOKE')
    execute function godwit._after_ddl();

revoke execute on function godwit._before_drop(), godwit._after_drop(), godwit._after_ddl(),
    godwit._release_all() from public;
