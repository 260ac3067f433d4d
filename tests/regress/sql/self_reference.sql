-- A batch deletes a row and edits another that refers to it. What the foreign key does about the delete is an edit
-- too, of a row that the batch is about to write: the higher of the two wins, and the conflict is listed.
create table parts (id text primary key, whole text references parts on delete set null, name text);
select godwit.track('parts');
insert into parts values ('whole', null, 'w');
insert into parts select 'part' || n, 'whole', 'p' from generate_series(1, 6) n;
-- ids that are sure to be above, and below, whatever the foreign key makes
select status, count(*)
  from godwit.put_revisions('parts', (
      select jsonb_agg(case when id = 'whole'
          then jsonb_build_object('id', id, 'revision', '2-gone', 'revisions', jsonb_build_array('2-gone', _rev), 'deleted', true)
          else jsonb_build_object('id', id, 'revision', '2-' || token, 'revisions', jsonb_build_array('2-' || token, _rev),
                   'attributes', '{"whole": {"null": true}, "name": {"string": "edited"}}'::jsonb) end)
        from (select *, case when id < 'part4' then '~' else '!' end as token from parts) p))
 group by status;
select id, whole, name from parts order by id;
select record_id from godwit.conflicted where relation = 'parts'::regclass order by record_id;
select * from differences('parts');
select * from godwit.verify('parts');
-- A delete ends all leaves of each.
delete from parts;
select * from differences('parts');
select count(*) from godwit.verify('parts');
drop table parts cascade;
drop table parts_history;
