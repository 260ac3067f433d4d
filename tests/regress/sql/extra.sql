-- What the table's columns can't hold is kept beside them and comes back, whatever SQL does.
create table homes (id text primary key, rooms int, note text);
select godwit.track('homes');
select godwit.put('homes', '{"id": "h", "attributes": {"rooms": {"int": "3"}, "roof": {"string": "tin"}, "photos": {"list": [{"bytes": "AAE="}]}}}') ->> 'id' as id;
select rooms, note, _extra from homes_history;
update homes set rooms = 4;
insert into homes values ('h', 9, 'x') on conflict (id) do update set note = excluded.note;
select godwit.get('homes', 'h') -> 'attributes' as attributes, godwit.generation(_rev) from homes;
-- An edit through put is the whole of what has no column.
select godwit.put('homes', jsonb_build_object('id', 'h', 'revision', _rev::text, 'attributes', '{"roof": {"string": "thatch"}}'::jsonb)) ->> 'id' as id from homes;
select godwit.get('homes', 'h') -> 'attributes' as attributes from homes;
-- A value that came in another kind stays as it came until SQL changes its column.
select status from godwit.put_revisions('homes', '[{"id": "k", "revision": "1-a", "attributes": {"rooms": {"string": "7"}, "wall": {"string": "mud"}}}]');
update homes set note = 'n' where id = 'k';
select rooms, godwit.get('homes', 'k') -> 'attributes' as attributes from homes where id = 'k';
update homes set rooms = 8 where id = 'k';
select rooms, godwit.get('homes', 'k') -> 'attributes' as attributes from homes where id = 'k';
-- The revision that SQL made is the hash of that whole.
select count(*) from homes h where not exists (
    select from godwit.history('homes', h.id) where winner and revision = h._rev::text);
-- A record that is deleted and made anew begins with its columns alone.
delete from homes where id = 'k';
insert into homes values ('k', 1);
select godwit.get('homes', 'k') -> 'attributes' as attributes;
-- A column that comes later takes what comes after it; older revisions keep theirs.
alter table homes add column roof text;
update homes set roof = 'tiles' where id = 'h';
select record -> 'attributes' -> 'roof' as roof from godwit.history('homes', 'h');
insert into homes (id, roof) values ('m', 'slate');
select godwit.get('homes', 'm') -> 'attributes' -> 'roof' as roof;
alter table homes drop column note;
update homes set rooms = 5 where id = 'm';
select godwit.get('homes', 'm') -> 'attributes' as attributes;
select _id, note from homes_history where note is not null order by 1, _rev limit 1;
select * from differences('homes');
-- An attribute may have the name under which another system's revisions are marked.
select status from godwit.put_revisions('homes', '[
    {"id": "q", "revision": "1-a", "attributes": {"_foreign": {"string": "x"}}},
    {"id": "r", "revision": "1-a", "attributes": {"_foreign": {"bool": "true"}, "__foreign": {"null": true}}}]');
select _id, _extra from homes_history where _id in ('q', 'r') order by 1;
update homes set rooms = 2 where id in ('q', 'r');
select n as id, h.record -> 'attributes' as attributes from unnest(array['q', 'r']) n, godwit.history('homes', n) h order by h.seq;
select * from godwit.verify('homes');
select * from differences('homes');
