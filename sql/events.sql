-- What DDL on a tracked table means for its twin. Short, and silent for tables that are not ours.

create function godwit._after_drop() returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    delete from godwit.tracked t
     using pg_event_trigger_dropped_objects() d
     where d.classid = 'pg_class'::regclass and d.objsubid = 0
       and d.objid in (t.relation::oid, t.twin::oid);
    delete from godwit.rejected r
     using pg_event_trigger_dropped_objects() d
     where d.classid = 'pg_class'::regclass and d.objsubid = 0 and d.objid = r.relation::oid;
end
$$;

-- A new column comes to the twin as well; a dropped one stays there; the twin never shows more than
-- the table's row-level security would.
create function godwit._after_alter() returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, godwit, pg_temp
    as $$
declare
    t record;
    c record;
begin
    for t in
        select k.relation, k.twin, r.relrowsecurity as hides, w.relrowsecurity as twin_hides
          from godwit.tracked k
          join pg_class r on r.oid = k.relation
          join pg_class w on w.oid = k.twin
         where k.relation in (
               select d.objid from pg_event_trigger_ddl_commands() d
                where d.classid = 'pg_class'::regclass)
    loop
        for c in
            select a.attname, format_type(godwit._base_type(a.atttypid), a.atttypmod) as type
              from pg_attribute a
             where a.attrelid = t.relation and a.attnum > 0 and not a.attisdropped
               and a.attgenerated = '' and a.attname not in ('_id', '_rev')
               and not exists (select from pg_attribute h
                                where h.attrelid = t.twin and h.attname = a.attname
                                  and not h.attisdropped)
        loop
            execute format('alter table %s add column %I %s', t.twin, c.attname, c.type);
        end loop;
        if t.hides and not t.twin_hides then
            execute format('alter table %s enable row level security', t.twin);
        end if;
    end loop;
end
$$;

create event trigger godwit_after_drop on sql_drop
    execute function godwit._after_drop();
create event trigger godwit_after_alter on ddl_command_end when tag in ('ALTER TABLE')
    execute function godwit._after_alter();

revoke execute on function godwit._after_drop(), godwit._after_alter() from public;
