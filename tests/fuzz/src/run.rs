//! In charge of one run: which function is called next, by whom, with what, under which settings.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::argument::{About, Choice, expression};
use crate::check;
use crate::dice::Dice;
use crate::function::{Function, Kind};
use crate::judge::{Finding, Ledger, MEMORY_BYTES_MAX, judge};
use crate::session::{AROUND, Around, Call, Fault, Outcome, Session};
use crate::statement;
use crate::table::{Standing, Table};

const SCHEMA: &str = include_str!("../schema.sql");
const FOLDER: &str = "target/fuzz";

/// Calls between two checks of every table, and on one connection.
const CALLS_BETWEEN_CHECKS: u64 = 400;
const CALLS_ON_A_CONNECTION: u64 = 1500;

const ROLES: &[&str] = &[
    "postgres",
    "fuzz_owner",
    "fuzz_owner",
    "fuzz_owner",
    "fuzz_nobody",
    "fuzz_insert",
    "fuzz_secured",
    "fuzz_tenant",
];

const SETTINGS: &[&str] = &[
    "DateStyle to 'German, DMY'",
    "DateStyle to 'SQL, MDY'",
    "TimeZone to 'Asia/Kathmandu'",
    "IntervalStyle to 'sql_standard'",
    "extra_float_digits to -15",
    "bytea_output to 'escape'",
    "search_path to ''",
    "search_path to evil, pg_catalog, public",
    "search_path to evil, pg_catalog, public",
    "search_path to evil, godwit, fuzz",
    "search_path to fuzz, public",
    "lock_timeout to '1ms'",
    "work_mem to '64kB'",
    "statement_timeout to '3ms'",
    "standard_conforming_strings to off",
    "quote_all_identifiers to on",
    "transform_null_equals to on",
    "array_nulls to off",
    "row_security to off",
    "enable_indexscan to off",
    "enable_seqscan to off",
    "enable_hashjoin to off",
    "plan_cache_mode to force_custom_plan",
    "plan_cache_mode to force_generic_plan",
    "default_transaction_read_only to on",
    "default_transaction_isolation to 'serializable'",
    "client_min_messages to debug1",
    "check_function_bodies to off",
    "escape_string_warning to on",
    "xmloption to document",
];

/// Called more often than others: what they leave behind is what the others meet.
const LIVELY: &[&str] = &[
    "put",
    "put",
    "put_revisions",
    "put_revisions",
    "resolve",
    "retry_rejected",
    "discard_rejected",
    "erase",
    "compact",
    "get",
    "changes",
];

/// These change what only the table's owner may change, and whoever owns it called them.
const LASTING: &[&str] = &["untrack", "track", "create_table"];
const KEEPS_HOUSE: &[&str] = &[
    "_put",
    "_put_revisions",
    "_take_revisions",
    "_resolve",
    "_erase",
    "_retry_rejected",
    "_discard_rejected",
    "_compact",
];

pub struct Run {
    url: String,
    session: Session,
    /// Looks at the state, and is never crashed.
    checker: Session,
    tables: Vec<Table>,
    functions: Vec<Function>,
    dice: Dice,
    ledger: Ledger,
    log: std::fs::File,
    memory_max: u64,
}

pub async fn run(url: &str, budget: Duration, seed: u64) -> Result<usize, Fault> {
    std::fs::create_dir_all(FOLDER)?;
    let checker = Session::connect(url).await?;
    checker.client.batch_execute(SCHEMA).await?;
    checker.client.batch_execute(check::DIFFERENCES).await?;
    let mut run = Run {
        url: url.to_owned(),
        session: Session::connect(url).await?,
        tables: Table::all(&checker.client).await?,
        functions: Function::all(&checker.client).await?,
        checker,
        dice: Dice::new(seed),
        ledger: Ledger::default(),
        log: std::fs::File::create(format!("{FOLDER}/calls.sql"))?,
        memory_max: 0,
    };
    let deadline = Instant::now() + budget;
    run.each_in_turn(deadline).await?;
    while Instant::now() < deadline {
        run.one_by_chance().await?;
    }
    run.check().await?;
    run.report(seed)
}

impl Run {
    /// Every function with each argument in turn null, odd and huge, the others being good.
    async fn each_in_turn(&mut self, deadline: Instant) -> Result<(), Fault> {
        for at in 0..self.functions.len() {
            let arguments = self.functions[at].arguments.len();
            let mut plans = vec![vec![Choice::Good; arguments], vec![Choice::Null; arguments]];
            for place in 0..arguments {
                for choice in [Choice::Null, Choice::Any, Choice::Any, Choice::Huge, Choice::Wrong]
                {
                    let mut plan = vec![Choice::Good; arguments];
                    plan[place] = choice;
                    plans.push(plan);
                }
            }
            for plan in plans {
                if Instant::now() >= deadline {
                    return Ok(());
                }
                let role = if self.dice.once_in(3) { *self.dice.of(ROLES) } else { "fuzz_owner" };
                self.call(at, &plan, role, Vec::new()).await?;
            }
        }
        Ok(())
    }

    async fn one_by_chance(&mut self) -> Result<(), Fault> {
        let role = *self.dice.of(ROLES);
        let mut settings = Vec::new();
        while self.dice.once_in(2) && settings.len() < 3 {
            settings.push(*self.dice.of(SETTINGS));
        }
        match self.dice.below(40) {
            0..3 => {
                let statement = statement::of_an_app(&mut self.dice);
                let call =
                    Call { role: "fuzz_owner", settings, around: Around::Nothing, statement };
                return self.make("an app's SQL", call, None, "").await;
            }
            3 => {
                let statement = statement::of_a_meddler(&mut self.dice);
                let call =
                    Call { role: "fuzz_tenant", settings, around: Around::RollBack, statement };
                return self.make("a meddler's triggers", call, None, "").await;
            }
            4 => return self.receive().await,
            _ => {}
        }
        let lively = self.dice.once_in(2).then(|| *self.dice.of(LIVELY));
        let at = match lively
            .and_then(|name| self.functions.iter().position(|f| f.bare_name() == name))
        {
            Some(at) => at,
            None => self.dice.below(self.functions.len()),
        };
        let good = self.dice.once_in(2);
        let plan: Vec<Choice> = (0..self.functions[at].arguments.len())
            .map(|_| match self.dice.below(300) {
                _ if good => Choice::Good,
                0 => Choice::Huge,
                1..15 => Choice::Wrong,
                15..40 => Choice::Null,
                40..160 => Choice::Any,
                _ => Choice::Good,
            })
            .collect();
        self.call(at, &plan, role, settings).await
    }

    async fn call(
        &mut self,
        at: usize,
        plan: &[Choice],
        role: &'static str,
        settings: Vec<&'static str>,
    ) -> Result<(), Fault> {
        let function = self.functions[at].clone();
        let table_at = self.dice.below(self.tables.len());
        let standing =
            Standing::of(&self.checker.client, &self.tables[table_at], &mut self.dice).await?;
        let about = About { table: &self.tables[table_at], standing: &standing };
        let mut expressions: Vec<String> = function
            .arguments
            .iter()
            .zip(plan)
            .map(|(argument, choice)| {
                expression(&function, argument, *choice, &about, &mut self.dice)
            })
            // Text has a namesake in the schema evil.
            .map(|sql| sql.replace("::text", "::pg_catalog.text"))
            .collect();
        if self.dice.once_in(4) {
            let least = expressions.len() - function.defaults;
            expressions.truncate(least + self.dice.below(function.defaults + 1));
        }
        let mut around = *self.dice.of(AROUND);
        let owner = matches!(role, "postgres" | "fuzz_owner" | "fuzz_tenant");
        let lasting = LASTING.contains(&function.bare_name())
            || (function.is_internal() && !KEEPS_HOUSE.contains(&function.bare_name()));
        if (owner && lasting) || plan.contains(&Choice::Huge) {
            around = Around::RollBack;
        }
        if role == "fuzz_nobody" {
            around = Around::Commit;
        }
        if function.kind == Kind::Procedure {
            around = Around::Nothing;
        }
        let call = Call { role, settings, around, statement: function.call(&expressions) };
        let arguments = format!("select {}", expressions.join(", "));
        let name = function.name.clone();
        self.make(&name, call, Some((&function, arguments)), &standing.id).await
    }

    async fn make(
        &mut self,
        who: &str,
        call: Call,
        what: Option<(&Function, String)>,
        id: &str,
    ) -> Result<(), Fault> {
        let pasted = script(&call);
        writeln!(self.log, "{pasted}\n")?;
        let answer = self.session.make(&call).await;
        self.ledger.count(who, &answer.outcome);
        let lost = matches!(answer.outcome, Outcome::Lost(_));
        let app =
            Function { name: who.into(), kind: Kind::Function, arguments: Vec::new(), defaults: 0 };
        let (function, arguments) = what.unwrap_or((&app, "select 1".into()));
        let mut found = judge(function, &call, id, &answer);
        if let (Some(_), Outcome::Failed(failure)) = (&found, &answer.outcome) {
            // The arguments may be what fails.
            let alone = Call {
                role: call.role,
                settings: call.settings.clone(),
                around: Around::RollBack,
                statement: arguments,
            };
            if let Outcome::Failed(own) = self.session.make(&alone).await.outcome
                && own.sqlstate == failure.sqlstate
                && own.message == failure.message
            {
                found = None;
            }
        }
        if let Some(what) = found {
            self.found(who, what, pasted);
        }
        let memory = check::memory_bytes(self.session.pid);
        if memory > MEMORY_BYTES_MAX {
            self.found(who, format!("the backend has {} MB", memory >> 20), script(&call));
        }
        self.memory_max = self.memory_max.max(memory);
        if lost {
            self.checker = Session::connect_again(&self.url).await?;
        }
        if lost
            || memory > MEMORY_BYTES_MAX
            || self.ledger.calls.is_multiple_of(CALLS_ON_A_CONNECTION)
        {
            self.session = Session::connect_again(&self.url).await?;
        }
        if self.ledger.calls.is_multiple_of(CALLS_BETWEEN_CHECKS) {
            self.check().await?;
        }
        Ok(())
    }

    /// Random bytes as a revision in binary form.
    async fn receive(&mut self) -> Result<(), Fault> {
        let bytes: Vec<u8> = match self.dice.below(4) {
            0 => crate::record::TEXTS[self.dice.below(crate::record::TEXTS.len())].into(),
            1 => format!("{}-{}", self.dice.below(1 << 40), self.dice.token()).into(),
            _ => (0..self.dice.below(40)).map(|_| self.dice.below(256) as u8).collect(),
        };
        let script = format!("-- binary parameter {bytes:?}\nselect $1::godwit.revision::text;");
        let answer = self.session.receive(bytes).await;
        let function = Function {
            name: "godwit._revision_recv".into(),
            kind: Kind::Function,
            arguments: Vec::new(),
            defaults: 0,
        };
        self.ledger.count(&function.name, &answer.outcome);
        let call = Call {
            role: "postgres",
            settings: Vec::new(),
            around: Around::Nothing,
            statement: String::new(),
        };
        if let Some(what) = judge(&function, &call, "", &answer) {
            self.found(&function.name, what, script);
        }
        if matches!(answer.outcome, Outcome::Lost(_)) {
            self.session = Session::connect_again(&self.url).await?;
            self.checker = Session::connect_again(&self.url).await?;
        }
        Ok(())
    }

    fn found(&mut self, who: &str, what: String, statement: String) {
        let line = format!("FOUND {who}: {what}");
        if self.ledger.found(who, Finding { what, statement: statement.clone() }) {
            println!("{line}\n{statement}\n");
        }
    }

    async fn check(&mut self) -> Result<(), Fault> {
        let names: Vec<&str> = self.tables.iter().map(|table| table.name).collect();
        let mut problems = check::problems(&self.checker.client).await?;
        problems.extend(check::forgotten(&self.checker.client, &names).await?);
        for problem in problems {
            let after =
                format!("-- seen after call {} of target/fuzz/calls.sql", self.ledger.calls);
            self.found("the state", problem, after);
        }
        Ok(())
    }

    fn report(&mut self, seed: u64) -> Result<usize, Fault> {
        for line in check::crashes() {
            self.found("the server's log", line, String::new());
        }
        let table = self.ledger.errors_table();
        std::fs::write(format!("{FOLDER}/errors.txt"), format!("seed {seed}\n{table}"))?;
        let findings = self.ledger.findings_list();
        std::fs::write(format!("{FOLDER}/findings.txt"), format!("seed {seed}\n{findings}"))?;
        // The findings last: of a long log it is the end that is kept.
        println!("{table}\n{findings}");
        println!(
            "fuzz: {} calls of {} functions, {} refused with {} different errors, {} MB at most, {} findings, seed {seed}",
            self.ledger.calls,
            self.ledger.functions(),
            self.ledger.failed,
            self.ledger.shapes(),
            self.memory_max >> 20,
            self.ledger.findings()
        );
        Ok(self.ledger.findings())
    }
}

/// The call as it can be pasted into psql.
fn script(call: &Call) -> String {
    let mut out = format!("set session authorization {};", call.role);
    for setting in &call.settings {
        out.push_str(&format!(" set {setting};"));
    }
    out.push_str(&format!(" -- {:?}\n{};", call.around, call.statement));
    out
}
