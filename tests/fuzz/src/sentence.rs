//! In charge of what random programs are made of: tables, triggers, statements, a sentence of SQL each.

use crate::dice::Dice;

const COLUMNS: &str = "(id, part, v, n, ref)";

/// A kind of table: its keys, and what tells them apart.
pub struct Kind {
    key_type: &'static str,
    keys: &'static [&'static str],
    primary: &'static str,
    /// The target of ON CONFLICT; a deferrable key can't be one.
    pub conflict: &'static str,
    pub is_partitioned: bool,
    rest: &'static str,
}

const INT: &[&str] = &["1", "2", "3", "4"];
const fn of(primary: &'static str, conflict: &'static str, rest: &'static str) -> Kind {
    Kind { key_type: "int", keys: INT, primary, conflict, is_partitioned: false, rest }
}

pub const KINDS: &[Kind] = &[
    of("id", "(id)", ""),
    of("id", "(id)", ", foreign key (ref) references t (id) on delete cascade on update cascade"),
    of(
        "id",
        "(id)",
        ", foreign key (ref) references t (id) on delete set null deferrable initially deferred",
    ),
    of("part, id", "(part, id)", ""),
    Kind { is_partitioned: true, ..of("id, part", "(id, part)", "") },
    of("id", "", " deferrable"),
    Kind { key_type: "numeric", keys: &["1", "1.0", "2", "2.0", "3"], ..of("id", "(id)", "") },
];

impl Kind {
    pub fn tables(&self) -> String {
        let by = if self.is_partitioned { " partition by list (part)" } else { "" };
        let mut sql = format!(
            "create table t (id {0}, part int default 0, v text, n int, ref {0}, primary key ({1}){2}){by};",
            self.key_type, self.primary, self.rest
        );
        for part in (0..3).filter(|_| self.is_partitioned) {
            sql += &format!("create table t_{part} partition of t for values in ({part});");
        }
        sql
    }

    fn key<'a>(&self, dice: &mut Dice) -> &'a str {
        dice.pick(self.keys)
    }

    fn row(&self, dice: &mut Dice) -> String {
        let (key, part, n) = (self.key(dice), dice.below(3), dice.below(4));
        let to = if dice.once_in(2) { self.key(dice) } else { "null" };
        format!("({key}, {part}, '{}', {n}, {to})", dice.of(&["a", "b", "c"]))
    }

    pub fn fill(&self) -> String {
        let rows: Vec<String> =
            self.keys.iter().map(|key| format!("({key}, 0, 'v', 1, null)")).collect();
        format!("insert into t {COLUMNS} values {} {}", rows.join(", "), self.or_not("do nothing"))
    }

    fn or_not(&self, then: &str) -> String {
        match self.conflict {
            "" => String::new(),
            target => format!("on conflict {target} {then}"),
        }
    }

    fn on_conflict(&self, dice: &mut Dice) -> String {
        match dice.below(3) {
            0 => String::new(),
            1 => self.or_not("do nothing"),
            _ => self.or_not("do update set v = excluded.v, n = coalesce(t.n, 0) + 1"),
        }
    }

    fn which(&self, dice: &mut Dice) -> String {
        match dice.below(6) {
            0 | 1 => format!("t.id = {}", self.key(dice)),
            2 => format!("t.id <> {}", self.key(dice)),
            3 => format!("t.part = {}", dice.below(3)),
            4 => "t.n is not null".into(),
            _ => "true".into(),
        }
    }

    fn set(&self, dice: &mut Dice) -> String {
        match dice.below(10) {
            0 => "v = coalesce(t.v, '') || 'x'".into(),
            1 => "n = coalesce(t.n, 0) + 1".into(),
            2 => format!("n = {}, v = 'both'", dice.below(4)),
            3 => "v = t.v".into(),
            4 => format!("ref = {}", self.key(dice)),
            5 => format!("id = {}", self.key(dice)),
            6 => "id = programs.next(t.id)".into(),
            7 => "part = (t.part + 1) % 3".into(),
            8 => format!("part = {}, id = {}", dice.below(3), self.key(dice)),
            _ => "part = null".into(),
        }
    }

    fn insert(&self, dice: &mut Dice) -> String {
        let again = self.on_conflict(dice);
        if dice.once_in(2) {
            let rows: Vec<String> = (0..=dice.below(3)).map(|_| self.row(dice)).collect();
            return format!("insert into t {COLUMNS} values {} {again}", rows.join(", "));
        }
        let id = *dice.of(&["programs.next(id)", "id"]);
        format!(
            "insert into t {COLUMNS} select {id}, (part + 1) % 3, v, n, ref from t where {} {again}",
            self.which(dice)
        )
    }

    fn update(&self, dice: &mut Dice) -> String {
        format!("update t set {} where {}", self.set(dice), self.which(dice))
    }

    fn delete(&self, dice: &mut Dice) -> String {
        format!("delete from t where {}", self.which(dice))
    }

    fn one(&self, dice: &mut Dice) -> String {
        match dice.below(4) {
            0 => self.insert(dice),
            1 => self.delete(dice),
            _ => self.update(dice),
        }
    }

    /// Of one row: in which order several come is for the planner to say, and he may plan otherwise for wider rows.
    fn merge(&self, dice: &mut Dice) -> String {
        format!(
            "merge into t using (values ({}, {})) s (id, part) on t.id = s.id and t.part = s.part
             when matched and {} then delete when matched then update set {}
             when not matched then insert {COLUMNS} values (s.id, s.part, 'merged', 0, null)",
            self.key(dice),
            dice.below(3),
            self.which(dice),
            self.set(dice)
        )
    }

    /// One statement of an app's.
    pub fn statement(&self, dice: &mut Dice) -> String {
        match dice.below(12) {
            0 => self.merge(dice),
            1 => format!("with a as ({} returning t.id) {}", self.update(dice), self.one(dice)),
            2 => format!("with a as ({} returning *) insert into t {COLUMNS} select id, part, v || 'w', n, ref from a", self.delete(dice)),
            3 => format!(
                "do $$ begin begin {}; {}; raise exception 'no'; exception when others then {}; end; {}; end $$",
                self.one(dice),
                self.one(dice),
                self.one(dice),
                self.one(dice)
            ),
            4 => format!(
                "do $$ declare c cursor for select * from t order by id for update; r record; begin open c; loop fetch c into r;
                 exit when not found; update t set {} where current of c; end loop; end $$",
                self.set(dice)
            ),
            5 if dice.once_in(4) => "truncate t cascade".into(),
            _ => self.one(dice),
        }
    }

    /// A peer's revision of a record.
    pub fn peer(&self, dice: &mut Dice) -> String {
        let kind =
            *dice.of(&["next", "branch", "branch", "tombstone", "cut", "first", "extra", "extra"]);
        let part = |name: &str, dice: &mut Dice| match name {
            "id" => self.key(dice).to_owned(),
            _ => dice.below(3).to_string(),
        };
        let parts: Vec<String> = self.primary.split(", ").map(|name| part(name, dice)).collect();
        let id = match parts.as_slice() {
            [one] => format!("({one})::text"),
            _ => format!("format('[\"%s\",\"%s\"]', {})", parts.join(", ")),
        };
        format!("programs.peer('t', '{kind}', {id}, {})", dice.below(1000))
    }

    fn action(&self, dice: &mut Dice, row: Option<&str>) -> String {
        let sql = match (row, dice.below(8)) {
            (_, 0..3) => self.one(dice),
            (Some(row), 3 | 4) => format!(
                "insert into t {COLUMNS} values ({row}.id, {row}.part, {row}.v || 'r', {row}.n, {row}.ref) {}",
                self.on_conflict(dice)
            ),
            (Some(row), 5) => format!("delete from t where id = {row}.id"),
            (Some(row), _) => format!("update t set {} where t.id = {row}.id", self.set(dice)),
            _ => self.update(dice),
        };
        match dice.below(6) {
            0 => format!(
                "begin {sql}; raise exception 'back'; exception when others then null; end;"
            ),
            1 | 2 => format!("begin {sql}; exception when unique_violation then null; end;"),
            _ => format!("{sql};"),
        }
    }

    /// A trigger of the app's; below the third level all keep still.
    pub fn trigger(&self, dice: &mut Dice, number: usize) -> String {
        let event = *dice.of(&["insert", "update", "update", "delete", "delete"]);
        let is_row = !dice.once_in(4);
        let is_before = dice.once_in(3);
        let row = if event == "delete" { "old" } else { "new" };
        let row = is_row.then_some(row);
        let mut body = self.action(dice, row);
        if dice.once_in(3) {
            body += &self.action(dice, row);
        }
        let mut out = "null";
        if is_before && let Some(row) = row {
            out = row;
            if row == "new" && dice.once_in(2) {
                body = (*dice.of(&[
                    "new.v := 'before';",
                    "new.id := programs.next(new.id);",
                    "new.n := null;",
                ]))
                .to_owned();
            }
        }
        let name = *dice.of(&["!a", "m", "zz"]);
        let is_deferred = is_row && !is_before && dice.once_in(6);
        format!(
            "create function f{number}() returns trigger language plpgsql as $f$ begin if pg_trigger_depth() < 3 and programs.may_go_on() then {body} end if; return {out}; end $f$;
             create {} trigger \"{name}{number}\" {} {event} on t {} for each {} execute function f{number}()",
            if is_deferred { "constraint" } else { "" },
            if is_before { "before" } else { "after" },
            if is_deferred { "deferrable initially deferred" } else { "" },
            if is_row { "row" } else { "statement" },
        )
    }
}
