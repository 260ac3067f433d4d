-- Tracks an app's tables and compares them with their history, by the functions of tests/regress/sql/00_check.sql,
-- which stand in schema apps here.

-- Tables that Godwit refuses, with its reason.
create table apps.refused (relation regclass, reason text);
-- How far the last check had read the change stream.
create table apps.read_to (sequence bigint not null);
insert into apps.read_to values (0);

create function apps.track_all() returns bigint language plpgsql as $$
declare
    relation regclass;
    tracked bigint := 0;
    leftover regclass;
begin
    -- Twins whose tables were dropped have kept the history; an app whose tests make its tables anew has to
    -- let it go.
    for leftover in
        select c.oid from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
           and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = '_prev'
                          and a.atttypid = 'godwit.revision'::regtype)
           and not exists (select from godwit.tracked t where c.oid = t.twin)
    loop
        execute format('drop table %s', leftover);
    end loop;
    for relation in
        select c.oid from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
           and not exists (select from godwit.tracked t where c.oid in (t.relation, t.twin))
         order by c.relname
    loop
        begin
            perform godwit.track(relation);
            tracked := tracked + 1;
        exception when others then
            insert into apps.refused values (relation, sqlerrm);
        end;
    end loop;
    return tracked;
end
$$;

create function apps.wrong(relations oid[]) returns setof text language plpgsql as $$
declare
    one regclass;
    n bigint;
begin
    foreach one in array coalesce(relations, '{}') loop
        select count(*) into n from apps.differences(one);
        if n > 0 then
            return next format('%s: %s rows are not the winners of the history', one, n);
        end if;
        n := apps.body_differences(one);
        if n > 0 then
            return next format('%s: %s rows are not what their revision says', one, n);
        end if;
    end loop;
end
$$;

-- For a test that is about to be rolled back, in its transaction: no reader of the stream will see it.
-- The statistics may count a little of what went before; that is checked once more then.
create function apps.check_transaction() returns setof text language sql as $$
    select apps.wrong(array(
        select t.relation::oid from pg_stat_xact_user_tables s join godwit.tracked t on t.twin = s.relid
         where s.n_tup_ins > 0))
$$;

-- For a test that committed: the tables that the stream names.
create function apps.check_committed() returns setof text language plpgsql as $$
declare
    since bigint := (select sequence from apps.read_to);
    highest bigint;
    touched oid[];
begin
    select max(c.seq), array_agg(distinct t.relation::oid) into highest, touched
      from godwit.changes(since => since, max => 100000) c
      join godwit.tracked t on t.relation = to_regclass('public.' || quote_ident(c.table_name));
    if highest is not null then
        update apps.read_to set sequence = highest;
        return query select apps.wrong(touched);
    end if;
end
$$;

-- The summary of a run. Every revision takes a number, also one that is rolled back.
create function apps.summary(out tables bigint, out rows bigint, out kept bigint, out tombstones bigint, out revisions bigint)
language plpgsql as $$
declare
    t record;
    n bigint;
    k bigint;
    d bigint;
begin
    tables := 0; rows := 0; kept := 0; tombstones := 0;
    for t in select relation, twin from godwit.tracked loop
        execute format('select count(*) from %s', t.relation) into n;
        execute format('select count(*), count(*) filter (where _deleted) from %s', t.twin) into k, d;
        tables := tables + 1; rows := rows + n; kept := kept + k; tombstones := tombstones + d;
    end loop;
    revisions := (select last_value from godwit.change_sequence);
end
$$;
