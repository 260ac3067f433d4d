-- Defaults and policies run as texts of ours, whose constants no setting may change.
\set SHOW_CONTEXT never
-- The constants of a default are in no session's form.
set datestyle = 'SQL, DMY';
create table stays (id int primary key, i interval);
select godwit.track('stays');
insert into stays values (1);
alter table stays add column booked date default '2026-03-02', add column u2 timestamptz default '2026-03-02 23:00Z';
select godwit.get('stays', '1') ->> 'table' as name;
set datestyle = 'SQL, MDY';
select status, reason from godwit.put_revisions('stays', '[{"id": "3", "revision": "1-zz", "attributes": {"id": {"int": "3"}}}]');
set datestyle = 'ISO'; set timezone = 'UTC';
select booked, u2 from stays where id = 3;
-- Nor are those of a policy.
create role guest;
grant select on stays to guest;
insert into stays (id, booked) values (4, '2026-02-01');
delete from stays where id = 4;
create policy late on stays using (booked > '2026-03-01');
alter table stays enable row level security;
set datestyle = 'SQL, DMY';
select godwit.get('stays', '1') ->> 'table' as name;
set datestyle = 'SQL, MDY';
set role guest;
select count(*) from stays_history where _id = '4';
reset role;
reset all;
drop table stays, stays_history;
drop role guest;
