-- ALTER TYPE … USING where the old values don't read as the new type.
\set SHOW_CONTEXT never
create table days (id int primary key, at text, note text not null default 'none');
select godwit.track('days');
insert into days values (1, 'seven'), (2, '8'), (3, null), (4, 'nine'), (5, 'bad'), (6, '007');
update days set at = id where id in (4, 5);
create table said as select d.id, h.revision, h.record - 'table' as record from days d, godwit.history('days', d.id::text) h;
create function differ() returns bigint language sql as $$
    select count(*) from said s where s.record is distinct from godwit.get('days', s.id::text, s.revision) - 'table'
$$;
alter table days alter column at type int using case at when 'seven' then 7 else at::int end;
create function shown() returns table (id int, at text, generation bigint, said jsonb) language plpgsql as $$ begin
    return query select d.id, d.at::text, godwit.generation(d._rev), godwit.get('days', d.id::text) -> 'attributes' -> 'at' from days d order by d.id;
end $$;
-- What a cast gives is no edit.
select * from shown();
select differ();
-- Another peer brings the old revisions, and one of an old form that doesn't read.
select s.id, p.status from said s, godwit.put_revisions('days', jsonb_build_array(s.record)) p order by s.id, s.revision;
select status, reason from godwit.put_revisions('days', '[{"id": "2", "revision": "1-zz", "attributes": {"at": {"string": "eight"}, "id": {"int": "2"}}}]');
select * from godwit.verify('days');
-- Again, with what has been set aside before.
alter table days alter column at type text using case when id = 2 then 'eight' else at::text end;
alter table days alter column at type bigint using case at when 'eight' then 80 else at::bigint end;
select * from shown();
select differ();
-- A domain has a say too.
create domain low as int not null check (value < 8);
alter table days alter column at type low using least(coalesce(at, 0), 3);
select * from shown();
select differ();
-- What a type makes of a value it can't read is an error of the revision that would show it.
select 1 from godwit.as_of(null::days, (select min(_seq) from days_history));
select * from godwit.verify('days');
select * from differences('days');
drop table days, days_history, said;
drop domain low;
drop function differ, shown;
-- Many rows are gone through once, and once more from the one on whose revision says what can't be cast.
create table many (id int primary key, said text);
select godwit.track('many');
insert into many select g, g::text from generate_series(1, 2500) g;
insert into many values (2501, 'none');
analyze many, many_history;
begin;
select pg_stat_get_xact_tuples_returned('many_history'::regclass) as read, pg_stat_get_xact_tuples_inserted('many_history'::regclass) as added \gset
alter table many alter said type int using case when said ~ '^\d+$' then said::int + 1 end;
select pg_stat_get_xact_tuples_returned('many_history'::regclass) - :read <= 3 * 2501 as no_more_than_twice,
       pg_stat_get_xact_tuples_inserted('many_history'::regclass) - :added as edits;
commit;
select godwit.generation(_rev), count(*), min(said), max(said) from many group by 1;
select * from godwit.verify('many');
drop table many; drop table many_history;
