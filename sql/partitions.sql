-- Partitioned tables: the root is tracked, and has one twin. Postgres copies row triggers to partitions;
-- the statement triggers, which an app fires that writes a partition by its name, are made here.

create function godwit._partitions(relation regclass) returns setof regclass
    language sql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
        select p.relid from pg_partition_tree(relation) p where p.relid <> relation order by p.level, p.relid
    $$;

-- Says why a partition can't be one of a tracked table, if it can't.
create function godwit._check_partition(relation regclass, partition regclass) returns void
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

-- TRUNCATE of a partition is seen before, while its rows tell which records end.
create function godwit._create_partition_triggers(partition regclass) returns void
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

create function godwit._drop_partition_triggers(partition regclass) returns void
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

-- Brings the triggers of partitions in step with what are partitions now.
create function godwit._follow_partitions(relation regclass) returns void
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
