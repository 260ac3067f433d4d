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
-- A collation that takes other texts for equal: the second record has no place in the table, and leaves the first alone.
create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table names (id text collate loose primary key, v text);
select godwit.track('names');
select id, status, reason from godwit.put_revisions('names', '[
    {"id": "AB", "revision": "1-a", "attributes": {"id": {"string": "AB"}, "v": {"string": "one"}}},
    {"id": "ab", "revision": "1-b", "attributes": {"id": {"string": "ab"}, "v": {"string": "two"}}}]');
select id, status, reason from godwit.put_revisions('names', '[{"id": "ab", "revision": "2-b", "revisions": ["2-b", "1-b"], "deleted": true, "attributes": {}}]');
select * from names;
select id, revision, problem from godwit.verify('names');
drop table names, names_history;
drop collation loose;
