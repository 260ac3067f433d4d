-- A table without columns: all that its revisions say is beside the columns, where the twin's key leads to it.
select godwit.create_table('{"name": "papers", "columns": [], "metadata": {}}');
select indexrelid::regclass from pg_index where indrelid = 'papers_history'::regclass order by indexrelid::regclass::text;
select status, count(*) from godwit.put_revisions('papers', (
    select jsonb_agg(jsonb_build_object('id', 'paper ' || n, 'revision', '1-of' || n, 'revisions', jsonb_build_array('1-of' || n),
               'attributes', jsonb_build_object('title', jsonb_build_object('string', 'No. ' || n),
                   'places', '{"map": {"zoo": {"int": "1"}, "a": {"list": [{"decimal": "1.50"}, {"null": true}]}, "at sea": {"map": {}}}}'::jsonb)))
      from generate_series(1, 300) n)) group by status;
select godwit.get('papers', 'paper 7');
-- Records that are here, new ones, and one that a transaction has taken back, in one batch: the key has entries of all but the new.
begin;
savepoint taken_back;
select count(*) from godwit.put_revisions('papers', '[{"id": "paper 300b", "revision": "1-ab", "attributes": {}}]');
rollback to taken_back;
select ord, id, status from godwit.put_revisions('papers', '[
    {"id": "paper 300b", "revision": "1-cd", "attributes": {}}, {"id": "paper 300", "revision": "1-of301", "attributes": {}},
    {"id": "paper 301", "revision": "1-ef", "attributes": {}}, {"id": "a", "revision": "1-aa", "attributes": {}}]') order by ord;
commit;
-- A column that comes later takes what is put from then on; what an edit in SQL doesn't touch is carried on.
alter table papers add column pages int;
update papers set pages = 12 where _id = 'paper 7';
select record #> '{attributes}' as attributes from godwit.history('papers', 'paper 7') order by revision;
select godwit.erase('papers', 'paper 8') is not null as erased;
select godwit.verify('papers');
select * from differences('papers');
drop table papers cascade;
drop table papers_history;
-- Names on the wire that no tracked table has.
select godwit.find_table('no "such" table');
select godwit.find_table('papers');
select godwit.find_table(null);
