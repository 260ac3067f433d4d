-- Keys that are equal and have other texts name other records: the table has room for one of them at a time.
create table sums (id numeric primary key, v text);
select godwit.track('sums');
insert into sums values (1, 'one'), (2, 'two'), (3, 'three');
select id, status, reason from godwit.put_revisions('sums', '[
    {"id": "1.0", "revision": "2-aa", "attributes": {"id": {"decimal": "1.0"}, "v": {"string": "another"}}},
    {"id": "3", "revision": "2-bb", "attributes": {"id": {"decimal": "3"}, "v": {"string": "edited"}}}]');
-- An UPDATE that changes the text is a delete and an insert, alone and among others.
update sums set id = 2.0, v = 'too' where id = 2;
update sums set id = id * 1.00, v = v || '!' where id in (1, 3);
select * from sums order by id;
select _id, _rev, _prev, _deleted, v from sums_history where _rev::text !~ '^1-' or _id = '2.0' order by _id, _rev;
select * from godwit.verify('sums');
drop table sums, sums_history;
