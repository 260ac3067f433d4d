-- Replication: any order, once or often, the outcome is the same.
create function line(id text, revisions text, attributes jsonb, deleted boolean default false) returns jsonb
language sql as $$
    select jsonb_build_object('id', id, 'revision', split_part(revisions, ' ', 1),
        'revisions', to_jsonb(string_to_array(revisions, ' ')), 'attributes', attributes, 'deleted', deleted)
$$;
create table one (id text primary key, v text);
create table two (id text primary key, v text);
create table three (id text primary key, v text);
select godwit.track('one'), godwit.track('two'), godwit.track('three');
create temp table batch (n int, r jsonb);
insert into batch values
    (1, line('a', '1-x', '{"id": {"string": "a"}, "v": {"string": "first"}}')),
    (2, line('a', '2-x 1-x', '{"id": {"string": "a"}, "v": {"string": "second"}}')),
    (3, line('a', '2-y 1-x', '{"id": {"string": "a"}, "v": {"string": "branch"}}')),
    (4, line('a', '3-x 2-x 1-x', '{}', true)),
    (5, line('b', '4-q 3-p 2-o 1-n', '{"id": {"string": "b"}, "v": {"string": "deep"}}')),
    (6, line('c', '1-r', '{"id": {"string": "c"}, "v": {"string": "root"}}')),
    (7, line('c', '9-r', '{"id": {"string": "c"}, "v": {"string": "cut off"}}')),
    (8, line('c', '10-r 9-r', '{"id": {"string": "c"}, "v": {"string": "ten"}}')),
    (9, line('d', '1-t', '{}', true)),
    (10, line('e', '2-t 1-t', '{"reason": {"string": "moved"}}', true)),
    (11, line('e', '1-u', '{"id": {"string": "e"}}'));
select ord, id, revision, status, reason from godwit.put_revisions('one', (select jsonb_agg(r order by n) from batch));
select status, count(*) from godwit.put_revisions('two', (select jsonb_agg(r order by n desc) from batch)) group by 1;
do $$ declare r record; begin
    for r in select * from batch order by md5(n::text) loop
        perform godwit.put_revisions('three', jsonb_build_array(r.r));
        perform godwit.put_revisions('three', jsonb_build_array(r.r));
    end loop;
end $$;
select id, v, _rev from one order by id;
select count(*) as the_same from one join two using (id, _rev) join three using (id, _rev)
 where one.v is not distinct from two.v and two.v is not distinct from three.v;
select _id, _rev, _prev, _deleted, _stub, v, _extra from one_history
except select _id, _rev, _prev, _deleted, _stub, v, _extra from two_history;
select _id, _rev, _prev, _deleted, _stub, v, _extra from three_history
except select _id, _rev, _prev, _deleted, _stub, v, _extra from one_history;
select * from differences('one') union all select * from differences('two') union all select * from differences('three');
-- All over again nothing is new, nor does it make changes.
select godwit.last_sequence() as before \gset
select status, count(*) from godwit.put_revisions('one', (select jsonb_agg(r) from batch)) group by 1;
select count(*) from godwit.changes(since => :before);
-- Bodies are given back exactly as they came.
select b.n from batch b where godwit.get('one', b.r ->> 'id', b.r ->> 'revision') -> 'attributes' <> b.r -> 'attributes';
-- A stub that gets its body.
select godwit.get('one', 'b', revisions => true) -> 'revisions' as line;
\set SHOW_CONTEXT never
select godwit.get('one', 'b', '2-o');
select status from godwit.put_revisions('one', jsonb_build_array(line('b', '2-o 1-n', '{"v": {"string": "old"}}')));
select godwit.get('one', 'b', '2-o') -> 'attributes' as body;
select id, _rev from one where id = 'b';
-- What is missing here.
select godwit.revs_diff('one', '{"a": ["3-x", "3-z", "2-y"], "b": ["3-p", "4-q"], "zz": ["1-a"]}');
-- The same id with another body is refused and recorded, whoever came first.
select status, reason from godwit.put_revisions('one', jsonb_build_array(
    line('a', '2-y 1-x', '{"id": {"string": "a"}, "v": {"string": "forged"}}'),
    line('f', '1-a', '{"v": {"string": "one body"}}'), line('f', '1-a', '{"v": {"string": "one body"}}'),
    line('f', '1-a', '{"v": {"string": "another"}}'), line('a', '2-y 1-x', '{}', true)));
select record_id, revision, sqlstate, record -> 'attributes' -> 'v' as v from godwit.rejected where relation = 'one'::regclass order by number;
-- One bad revision never stops the others.
create table strict (id int primary key, name text not null, n int check (n > 0), u text unique);
create table descendant (id int primary key, of int not null references strict);
select godwit.track('strict'), godwit.track('descendant');
insert into strict values (1, 'one', 1, 'taken');
select ord, id, revision, status, reason from godwit.put_revisions('strict', jsonb_build_array(
    line('2', '1-a', '{"name": {"string": "two"}}'),
    line('3', '1-a', '{"n": {"int": "1"}}'),
    line('4', '1-a', '{"name": {"string": "four"}, "n": {"int": "0"}}'),
    line('5', '1-a', '{"name": {"string": "five"}, "u": {"string": "taken"}}'),
    line('6', '1-a', '{"name": {"string": "six"}, "n": {"string": "many"}}'),
    line('x', '1-a', '{"name": {"string": "x"}}'),
    jsonb '{"id": "7"}', jsonb '{"id": "7", "revision": "nonsense"}', 7,
    line('8', '3-a 1-a', '{"name": {"string": "gap"}}'),
    jsonb '{"id": "8", "revision": "2-a", "revisions": ["1-a"]}',
    line('9', '1-a', '{"name": {"string": "nine"}, "id": {"int": "9"}, "n": {"string": "9"}}')));
select id, name, n, _rev from strict order by id;
select record_id, sqlstate, reason from godwit.rejected where relation = 'strict'::regclass order by number;
select godwit.get('strict', '9') -> 'attributes' as as_it_came;
select status, reason from godwit.put_revisions('descendant', jsonb_build_array(
    line('1', '1-a', '{"of": {"int": "1"}}'), line('2', '1-a', '{"of": {"int": "99"}}')));
select * from differences('strict') union all select * from differences('descendant');
-- A key attribute that names another record.
select status, reason from godwit.put_revisions('strict', jsonb_build_array(
    line('20', '1-a', '{"id": {"int": "21"}, "name": {"string": "liar"}}')));
select count(*) from strict where id in (20, 21);
select godwit.put_revisions('strict', '{}');
-- A long line and many leaves.
select status, count(*) from godwit.put_revisions('one', (
    select jsonb_agg(line('long', g || '-l' || case when g > 1 then ' ' || g - 1 || '-l' else '' end, jsonb_build_object('v', jsonb_build_object('int', g::text))))
      from generate_series(1, 500) g)) group by 1;
select status, count(*) from godwit.put_revisions('one', (
    select jsonb_agg(line('wide', '2-' || g || ' 1-root', jsonb_build_object('v', jsonb_build_object('int', g::text))))
      from generate_series(1, 200) g)) group by 1;
select id, v, _rev from one where id in ('long', 'wide') order by id;
select jsonb_array_length(godwit.get('one', 'wide', conflicts => true) -> 'conflicts');
delete from one where id = 'wide';
select count(*) filter (where not deleted) from godwit.leaves('one', 'wide');
select * from differences('one');
