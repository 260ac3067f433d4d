-- What clients of CouchDB's protocol keep here beside records.
create role couch_one;
create role couch_two;
create table docs (id text primary key, name text);
select godwit.track('docs');
grant select, insert, update on docs to couch_one, couch_two;

-- Local documents: each caller's own, edited one after the other.
set role couch_one;
select godwit.put_local('docs', 'checkpoint', null, '{"last": 1.0}');
select godwit.put_local('docs', 'checkpoint', 1, '{"last": 2.0}');
select godwit.put_local('docs', 'checkpoint', 1, '{"last": 3.0}');
select * from godwit.get_local('docs', 'checkpoint');
set role couch_two;
select * from godwit.get_local('docs', 'checkpoint');
select count(*) from godwit.local_documents;
set request.jwt.claims = '{"sub": "amina"}';
select godwit.put_local('docs', 'checkpoint', null, '{}');
set request.jwt.claims = '{"sub": "bo"}';
select * from godwit.get_local('docs', 'checkpoint');
select godwit.delete_local('docs', 'checkpoint', null);
reset request.jwt.claims;
set role couch_one;
select godwit.delete_local('docs', 'checkpoint', 1), godwit.delete_local('docs', 'checkpoint', 2);
reset role;
select owner, author, id, revision, body from godwit.local_documents;
create role couch_none;
set role couch_none;
select godwit.put_local('docs', 'checkpoint', null, '{}');
reset role;

-- Several at once, and ranges.
insert into docs select 'd' || n, 'name ' || n from generate_series(1, 5) n;
select m.ord, m.id, m.record -> 'attributes' -> 'name' ->> 'string' as name, m.leaf
  from godwit.get_many('docs', '{d3,d1,nobody,d3}', '{NULL,NULL,NULL,1-x}') m;
select r.id from godwit.records_between('docs', 'd2', 'd4') r;
select r.id from godwit.records_between('docs', 'd2', null, true, 1, 2) r;
select godwit.count_records('docs');
select godwit.get_many('docs', '{d1}', '{}');

-- Parts of attachments: kept with a right to write, read by hash, swept when no revision names them.
set role couch_one;
select godwit.keep_attachment_parts('docs', array['one'::bytea, 'two']);
select godwit.attachment_part('docs', sha256('two')), godwit.attachment_part('docs', sha256('three')) is null as nothing;
select count(*) from godwit.attachment_parts;
set role couch_none;
select godwit.keep_attachment_parts('docs', array['one'::bytea]);
select godwit.attachment_part('docs', sha256('two'));
reset role;
select godwit.put('docs', jsonb_build_object('id', 'photo', 'attributes', jsonb_build_object('_attachments',
    jsonb_build_object('map', jsonb_build_object('a.jpg', jsonb_build_object('map', jsonb_build_object(
        'parts', jsonb_build_object('list', jsonb_build_array(
            jsonb_build_object('bytes', encode(sha256('one'), 'base64')))))))))))  is not null as put;
select godwit.sweep_attachments('docs', '1 minute');
update godwit.attachment_parts set at = at - interval '3 days';
select godwit.sweep_attachments('docs');
select convert_from(data, 'UTF8') from godwit.attachment_parts;
-- What is erased is gone with what it had attached.
select godwit.erase('docs', 'photo') ->> 'id' as erased;
select count(*) from godwit.attachment_parts;

-- What is refused may yet be taken, what policies hide is there, and what was kept since may be on its way: none loses its parts.
create function photo(id text, bytes bytea, revision text) returns jsonb language sql as $$
    select jsonb_build_object('id', id, 'revision', revision, 'attributes', jsonb_build_object('name', jsonb_build_object('string', 'x'),
        '_attachments', jsonb_build_object('map', jsonb_build_object('a.jpg', jsonb_build_object('map', jsonb_build_object(
            'parts', jsonb_build_object('list', jsonb_build_array(jsonb_build_object('bytes', encode(sha256(bytes), 'base64'))))))))))
$$;
alter table docs add constraint no_x check (name <> 'x');
select godwit.keep_attachment_parts('docs', array['refused'::bytea, 'hidden', 'shared']);
select status from godwit.put_revisions('docs', jsonb_build_array(photo('r', 'refused', '1-a')));
alter table docs drop constraint no_x;
select status from godwit.put_revisions('docs', jsonb_build_array(photo('h', 'hidden', '1-a'), photo('s', 'shared', '1-a')));
update godwit.attachment_parts set at = at - interval '3 days';
create role couch_owner;
grant create on schema public to couch_owner;
alter table docs owner to couch_owner;
alter table docs enable row level security;
alter table docs force row level security;
set role couch_owner;
select count(*) from docs;
select godwit.sweep_attachments('docs');
reset role;
select godwit.keep_attachment_parts('docs', array['shared'::bytea]);
select godwit.erase('docs', 's') ->> 'id' as erased;
select convert_from(data, 'UTF8') from godwit.attachment_parts order by 1;
set role couch_one;
select godwit.sweep_attachments('docs');
reset role;
alter table docs owner to postgres;
alter table docs disable row level security;
alter table docs no force row level security;
revoke create on schema public from couch_owner;
drop role couch_owner;
delete from godwit.attachment_parts;
drop function photo;

-- Indexes that clients name.
select godwit.create_index('docs', 'by-name', '{name}'), godwit.create_index('docs', 'by-name', '{name}');
select godwit.create_index('docs', 'by-other', '{other}');
select * from godwit.indexes('docs') order by 1;
select godwit.drop_index('docs', 'docs_pkey'), godwit.drop_index('docs', 'by-name');

-- Only what has nothing but documents is dropped by a client.
select godwit.drop_document_table('docs');
select godwit.create_table('{"name": "notes"}');
select godwit.keep_attachment_parts('notes', array['one'::bytea]);
select godwit.put_local('notes', 'x', null, '{}');
select godwit.drop_document_table('notes');
select to_regclass('notes') is null and to_regclass('notes_history') is null as gone;
select count(*) from godwit.attachment_parts;
select godwit.database_uuid() ~ '^[0-9a-f]{32}$' as uuid;
select godwit.untrack('docs', true);
drop table docs;
select count(*) from godwit.local_documents;

-- Names that a JSON library keeps for itself are names like any other.
create table odd (id text primary key, body jsonb);
select godwit.track('odd');
insert into odd values ('a', '{"$serde_json::private::Number": "x", "b": {"$serde_json::private::RawValue": "1"}}');
select godwit.put('odd', '{"id": "b", "attributes": {"$serde_json::private::Number": {"string": "x"}}}') is not null as put;
update odd set body = '1' where id = 'b';
select r -> 'attributes' from godwit.records('odd') r;
select count(*) from godwit.verify('odd');
select godwit.untrack('odd', true);
drop table odd;

-- An app's own column _id has the database's collation and not the history's; a page still reads what is on it.
create table shelves (_id text primary key, n int);
insert into shelves select 's' || to_char(n, 'FM0000'), n from generate_series(1, 2000) n;
select godwit.track('shelves');
create function rows_read() returns bigint language sql volatile as $$
    select pg_stat_get_xact_tuples_returned('shelves'::regclass) + pg_stat_get_xact_tuples_fetched('shelves'::regclass)
$$;
begin;
select rows_read() as before \gset
select min(r ->> 'id'), max(r ->> 'id'), count(*) from godwit.records('shelves', 's0500', 100) r;
select min(id), max(id), count(*) from godwit.records_between('shelves', 's0500', 's0900', max => 100);
select rows_read() - :before < 400 as few;
commit;
-- A client's checkpoint is looked up, however many others there are.
select count(godwit.put_local('shelves', 'checkpoint-' || n, null, '{}')) from generate_series(1, 500) n;
create function checkpoints_read() returns bigint language sql volatile as $$
    select pg_stat_get_xact_tuples_returned('godwit.local_documents'::regclass)
         + pg_stat_get_xact_tuples_returned('godwit.local_documents_pkey'::regclass)
$$;
begin;
select checkpoints_read() as before \gset
select revision, body from godwit.get_local('shelves', 'checkpoint-7');
select godwit.delete_local('shelves', 'checkpoint-8', 1);
select checkpoints_read() - :before < 10 as few;
commit;
create collation letters (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
alter table shelves alter _id type text collate letters;
select id from godwit.records_between('shelves', 's0001', 's0002');
insert into shelves values ('S2001', 0);
select min(r ->> 'id') from godwit.records('shelves') r;
drop table shelves, shelves_history;
drop collation letters;
drop function rows_read, checkpoints_read;
drop role couch_one, couch_two, couch_none;
