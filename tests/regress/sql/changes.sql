-- The change stream, read from one session.
create table c1 (id int primary key, v text);
create schema other;
create table other.c2 (id int primary key, v text);
select godwit.last_sequence() as start \gset
select godwit.track('c1'), godwit.track('other.c2');
insert into c1 values (1, 'a'), (2, 'b');
insert into other.c2 values (1, 'x');
update c1 set v = 'c' where id = 1;
delete from c1 where id = 2;
select row_number() over (order by seq) as n, table_name, id, godwit.generation(revision::godwit.revision), deleted, winner = revision as wins
  from godwit.changes(since => :start, tables => '{c1,other.c2}') order by seq;
-- Page by page it is the same, and ends where everything has been seen.
create function walk(since bigint, page int) returns table (seq bigint, table_name text, id text, revision text) language plpgsql as $$
declare n int; at bigint := since; step bigint;
begin
    loop
        n := 0;
        for seq, table_name, id, revision, step in
            select c.seq, c.table_name, c.id, c.revision, c.next from godwit.changes(at, '{c1,other.c2}', page) c order by c.seq
        loop
            n := n + 1;
            return next;
        end loop;
        exit when n = 0;
        at := step;
    end loop;
end $$;
select p, (select array_agg(w.revision order by w.seq) from walk(:start, p) w)
        = (select array_agg(c.revision order by c.seq) from godwit.changes(:start, '{c1,other.c2}', 100000) c) as same
  from unnest(array[1, 2, 3, 1000]) p;
select count(*) from godwit.changes(since => godwit.last_sequence());
-- A table by its name; an unknown one is an error, and so are bounds.
select count(*) from godwit.changes(since => :start, tables => '{other.c2}');
select record -> 'revisions' is not null as has_ancestry, record -> 'attributes' as attributes
  from godwit.changes(since => :start, tables => '{c1}', include => 'records') order by seq;
\set SHOW_CONTEXT never
select * from godwit.changes(tables => '{nope}');
select * from godwit.changes(since => -1);
select * from godwit.changes(max => 0);
select * from godwit.changes(max => 100001);
select * from godwit.changes(include => 'everything');
-- Under REPEATABLE READ the reader still sees what it is told to be complete.
begin isolation level repeatable read;
select count(*) from c1;
select count(*) from godwit.changes(since => :start, tables => '{c1}');
commit;
-- Numbers that were drawn and rolled back are gaps, not changes.
begin; insert into c1 values (9, 'z'); rollback;
insert into c1 values (3, 'd');
select count(*) from godwit.changes(since => :start, tables => '{c1}');
-- A database that finds itself restored elsewhere numbers on from above all it can have handed out.
select max(number) as incarnations, max(after) < 1000000 as small from godwit.incarnation;
select setval('godwit.incarnation_mark', 7) as somebody_else;
\c
insert into c1 values (4, 'e');
select last_value > 1000000000000000 as jumped, last_value < 9007199254740992 as for_javascript from godwit.change_sequence;
select count(*) as incarnations from godwit.incarnation;
insert into c1 values (5, 'f');
select max(seq) - min(seq) as beside from godwit.changes(tables => '{c1}', since => 1000000000000000);
