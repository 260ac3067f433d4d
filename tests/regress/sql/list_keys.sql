-- A key that is an array or of a composite type: its record id is the value as on the wire.
\set SHOW_CONTEXT never
create type span as (low int, note text);
create table tags (path text[], at date[], s span, v text, primary key (path));
select godwit.track('tags');
insert into tags values ('{a,b}', '{2026-01-02}', (1, 'x'), 'first'), ('{}', null, null, 'none'), ('{{"a \"b",NULL},{"\\c","{d}"}}', null, null, 'deep');
select _id from tags_history order by _seq;
select godwit.put('tags', jsonb_build_object('id', h._id, 'revision', h._rev, 'attributes', '{"v": {"string": "put"}}'::jsonb)) ->> 'id' as id
  from tags_history h order by h._seq;
delete from tags where path = '{a,b}';
select id, status, reason from godwit.put_revisions('tags', '[
    {"id": "{\"list\":[{\"string\":\"a\"},{\"string\":\"b\"}]}", "revision": "4-a", "attributes": {"v": {"string": "again"}}},
    {"id": "{\"list\":[{\"string\":\"new\"}]}", "revision": "1-a", "attributes": {"path": {"list": [{"string": "new"}]}, "at": {"list": [{"date": "2026-03-02"}]}}},
    {"id": "{\"list\":[{\"string\":\"new\"}]}", "revision": "1-b", "attributes": {"path": {"list": [{"string": "old"}]}}},
    {"id": "{\"list\": []}", "revision": "1-b", "attributes": {}},
    {"id": "{\"list\":[{\"int\":\"7\"}]}", "revision": "1-b", "attributes": {}},
    {"id": "{\"list\":[{\"list\":[]},{\"string\":\"x\"}]}", "revision": "1-b", "attributes": {}},
    {"id": "{new}", "revision": "1-b", "attributes": {}},
    {"id": "new", "revision": "1-b", "attributes": {}}]') order by ord;
select t.path, t.v, godwit.get('tags', h._id) -> 'attributes' -> 'path' as said from tags t join tags_history h on h._rev = t._rev order by 1;
select * from godwit.verify('tags');
select * from differences('tags');
-- Of several columns too, and whatever is set.
create table spans (s span, days date[], v text, primary key (s, days));
select godwit.track('spans');
insert into spans values ((1, 'a "b"'), '{2026-03-02}', 'x'), ((2, null), '{}', 'y');
select _id from spans_history order by _seq;
set datestyle = 'SQL, DMY';
select godwit.put('spans', jsonb_build_object('id', h._id, 'revision', h._rev, 'attributes', '{"v": {"string": "put"}}'::jsonb)) ->> 'id' as id
  from spans_history h order by h._seq;
select godwit.put('spans', jsonb_build_object('id', h._id, 'revision', h._rev, 'deleted', true)) ->> 'deleted' as deleted
  from spans_history h where v = 'put' order by h._seq;
select godwit.put('spans', jsonb_build_object('id', h._id, 'attributes', '{"v": {"string": "again"}}'::jsonb)) ->> 'id' as id
  from spans_history h where _deleted order by h._seq;
reset datestyle;
select s, days = '{2026-03-02}' as days, v from spans order by v, s;
select * from godwit.verify('spans');
select * from differences('spans');
-- An array that counts from something else than 1 is another key, and would have the same id.
insert into tags values ('[0:1]={a,b}', null, null, 'from nought');
insert into tags values ('{a,b}', null, null, 'from one');
update tags set path = '[2:3]={a,b}' where path = '{a,b}';
update tags set path = '[1:2][0:0]={{x},{y}}' where path = '{a,b}';
select path, v from tags where path[1] = 'a';
create type lists as (low int, many int[]);
create table listed (k lists primary key, v text);
select godwit.track('listed');
insert into listed values (row(1, '{1,2}'), 'from one'), (row(2, null), 'none');
insert into listed values (row(1, '[0:1]={1,2}'), 'from nought');
select status from godwit.put_revisions('tags', '[
    {"id": "{\"string\":\"[0:1]={c,d}\"}", "revision": "1-a", "attributes": {"path": {"string": "[0:1]={c,d}"}}}]');
select reason from godwit.rejected where relation = 'tags'::regclass and record_id like '%0:1%';
create table nested (k lists[] primary key);
select godwit.track('nested');
insert into nested values (array[row(1, '{1,2}')::lists]);
insert into nested values (array[row(1, '[0:1]={1,2}')::lists]);
drop table nested, nested_history;
-- What a key only includes may be as it likes.
create table included (id int, k int[], primary key (id) include (k));
insert into included values (1, '[0:1]={1,2}');
select godwit.track('included');
drop table included, included_history;
create table ranked (k int[] primary key, v text);
insert into ranked values ('{}', 'none'), ('[0:1]={1,2}', 'from nought');
select godwit.track('ranked');
update ranked set k = '{{1},{2}}' where v = 'from nought';
select godwit.track('ranked');
select _id from ranked_history order by 1;
select * from differences('listed') union all select * from differences('tags');
drop table listed, listed_history, ranked, ranked_history;
drop type lists;
-- 7 and "7" are two keys of jsonb, and have one text.
create table bags (k jsonb primary key, v text);
select godwit.track('bags');
create table boxes (k text primary key, v text);
select godwit.track('boxes');
insert into boxes values ('7', 'seven');
alter table boxes alter column k type jsonb using k::jsonb;
drop table boxes, boxes_history;
drop table bags, tags, tags_history, spans, spans_history;
drop type span;
-- Bytes are named in base64.
create table blobs (k bytea, n int, v text, primary key (k, n));
create table blob (k bytea primary key, v text);
select godwit.track('blobs'), godwit.track('blob');
insert into blobs values ('\x01ff', 1, 'first');
insert into blob values ('\x02ff', 'second'), ('\x01ff', 'first');
select godwit.put('blobs', jsonb_set(godwit.get('blobs', _id), '{attributes,v}', '{"string": "put"}')) ->> 'id' as id from blobs_history;
select godwit.put('blob', jsonb_set(godwit.get('blob', _id), '{attributes,v}', '{"string": "put"}')) ->> 'id' as id from blob_history order by _seq desc;
select id, status, reason from godwit.put_revisions('blob', '[
    {"id": "AQ==", "revision": "1-a", "attributes": {"k": {"bytes": "AQ=="}, "v": {"string": "new"}}},
    {"id": "Ag==", "revision": "1-a", "attributes": {"v": {"string": "named by its id"}}},
    {"id": "AR==", "revision": "1-a", "attributes": {}},
    {"id": "\\x01", "revision": "1-a", "attributes": {}},
    {"id": "AQ==", "revision": "2-a", "revisions": ["2-a", "1-a"], "deleted": true, "attributes": {}}]') order by ord;
select * from blobs; select k, v from blob order by k;
select * from godwit.verify('blobs') union all select * from godwit.verify('blob');
drop table blobs, blob; drop table blobs_history, blob_history;
