//! In charge of what counts as a finding: what must not happen whatever a function is handed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::function::Function;
use crate::session::{Answer, Around, Call, Failure, Outcome};

/// A statement that takes longer is one that hangs.
pub const STATEMENT_SECONDS_MAX: u64 = 30;

/// What a backend may take: the shared buffers and a few times the largest argument.
pub const MEMORY_BYTES_MAX: u64 = 2 << 30;

/// What a statement of the extension's own says when it was put together wrong.
const MALFORMED: &[&str] = &[
    "21000", "22004", "24000", "2F005", "39004", "39P01", "42601", "42702", "42703", "42704",
    "42725", "42803", "42804", "42846", "42883", "42P01", "42P03", "42P08", "42P10", "42P13",
    "42P17", "42P18", "42P20", "42P21", "42P22", "P0001",
];

/// They paste SQL of the caller's own into theirs.
const TAKES_SQL: &[&str] = &["create_table", "_create_twin"];

/// Whoever reads the stream leaves its horizon behind for standbys.
const WRITES_HORIZON: &[&str] = &[
    "stream_status",
    "changes",
    "_changes",
    "last_sequence",
    "_last_sequence",
    "_horizon",
    "_await_change",
    "peers",
    "sequence_at",
];

/// Their REVOKE runs as the caller: of what was granted to all it takes nothing away, and warns, and yet writes the same
/// row once more.
const REVOKES: &[&str] = &["_follow_privileges"];

/// Whoever may read a table may keep what they need for that.
const KEEPS: &[&str] = &["put_local", "delete_local", "put_peer", "forget_peer"];

/// Functions about one record, which their errors must name.
const ABOUT_A_RECORD: &[&str] = &[
    "put", "_put", "get", "_get", "history", "_history", "leaves", "resolve", "_resolve", "erase",
    "_erase",
];

/// Errors that are not about the record: the table, the session, the server.
const NOT_ABOUT_IT: &[&str] = &[
    "42P01", "42501", "22023", "57014", "55P03", "25006", "25001", "2D000", "54001", "54000",
    "53200", "0A000", "42883", "42601", "42725", "428C9",
];

#[derive(Clone, Debug)]
pub struct Finding {
    pub what: String,
    pub statement: String,
}

/// An error's message without what differs from call to call.
pub fn shape(message: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    for character in message.chars() {
        match (quote, character) {
            (Some(open), c) if c == open => {
                quote = None;
                out.push(c);
            }
            (Some(_), _) => {}
            (None, '"') => {
                quote = Some('"');
                out.push('"');
            }
            (None, c) if c.is_ascii_digit() => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            (None, '\n') => out.push(' '),
            (None, c) => out.push(c),
        }
        if out.len() > 110 {
            break;
        }
    }
    out
}

/// What is wrong with an answer, if anything is.
pub fn judge(function: &Function, call: &Call, id: &str, answer: &Answer) -> Option<String> {
    let failure = match &answer.outcome {
        Outcome::Lost(error) => return Some(format!("the backend died: {error}")),
        Outcome::Done { wrote: true }
            if call.role == "fuzz_nobody"
                && ![WRITES_HORIZON, REVOKES, KEEPS].concat().contains(&function.bare_name()) =>
        {
            return Some("a role without rights wrote something".into());
        }
        Outcome::Done { .. } => return slow(answer.took),
        Outcome::Failed(failure) => failure,
    };
    let told = format!("{} {}", failure.sqlstate, failure.message);
    let code = failure.sqlstate.as_str();
    let hurried = call.settings.iter().any(|setting| setting.starts_with("statement_timeout"));
    if code.starts_with("XX") || code == "58P01" {
        return Some(format!("an internal error: {told}; {}", failure.detail));
    }
    if failure.message.contains("panicked") || failure.message.contains("called `") {
        return Some(format!("a panic: {told}"));
    }
    if code == "EV1L0" {
        return Some("a name was looked up in the caller's search path".into());
    }
    if code == "57014" && !hurried {
        return slow(Duration::from_secs(STATEMENT_SECONDS_MAX + 1));
    }
    if is_malformed(function, call, failure) {
        return Some(format!("an error in the extension's own SQL: {told}"));
    }
    if is_unnamed(function, call, id, failure) {
        return Some(format!("an error that doesn't say which record: {told}"));
    }
    slow(answer.took)
}

fn slow(took: Duration) -> Option<String> {
    let too_long = took > Duration::from_secs(STATEMENT_SECONDS_MAX);
    too_long.then(|| format!("it took longer than {STATEMENT_SECONDS_MAX} s"))
}

fn is_malformed(function: &Function, call: &Call, failure: &Failure) -> bool {
    let chosen = failure.file.ends_with(".rs")
        || failure.context.lines().next().is_some_and(|l| l.ends_with("at RAISE"));
    let inside = failure.inner.is_some()
        || ["PL/pgSQL function ", "SQL statement ", "SQL function "]
            .iter()
            .any(|who| failure.context.contains(who));
    inside
        && !chosen
        && call.around != Around::Handler
        && !failure.is_about_the_call
        // What the extension's own steps say of what only it hands them.
        && !function.bare_name().starts_with('_')
        && !TAKES_SQL.contains(&function.bare_name())
        && MALFORMED.contains(&failure.sqlstate.as_str())
}

fn is_unnamed(function: &Function, call: &Call, id: &str, failure: &Failure) -> bool {
    let quoted = format!("{id:?}");
    // In an array of ids, or in JSON, quotes and backslashes are written otherwise.
    let plain = !id.is_empty() && !id.contains(['"', '\\', '\'']) && id.is_ascii();
    let said = [&failure.message, &failure.detail, &failure.context]
        .into_iter()
        .any(|text| text.contains(&quoted));
    let handed = call.statement.contains(&format!("'{id}'::pg_catalog.text"))
        || call.statement.contains(&format!("\"id\":{quoted}"));
    ABOUT_A_RECORD.contains(&function.bare_name())
        && plain
        && handed
        && !said
        // What was handed over may stand in another place than the id's, which is named.
        && !failure.message.contains("record \"")
        // Then nobody knows whose it is.
        && !failure.message.starts_with("the JSON can't be read")
        && !failure.is_about_the_call
        && !is_of_a_literal(call, failure)
        && !NOT_ABOUT_IT.contains(&failure.sqlstate.as_str())
}

/// A literal of no type, which the parser gave one before the function was called. Inside a handler it doesn't say so
/// by its position.
fn is_of_a_literal(call: &Call, failure: &Failure) -> bool {
    let said = failure.message.rsplit_once(": \"").map(|(_, literal)| literal);
    // Of JSON it is the context that says it.
    let context = || failure.context.lines().next()?.strip_prefix("JSON data, line 1: ");
    let Some(literal) = said.or_else(context) else { return false };
    let quoted = format!("'{}'", literal.trim_end_matches('"'));
    call.around == Around::Handler
        && ["invalid input syntax for type ", "malformed array literal"]
            .iter()
            .any(|start| failure.message.starts_with(start))
        && call.statement.contains(&quoted)
        && !call.statement.contains(&format!("{quoted}::"))
}

/// Every error that was seen, and what of it was a finding.
#[derive(Default)]
pub struct Ledger {
    pub calls: u64,
    pub failed: u64,
    counts: BTreeMap<(String, String, String), u64>,
    calls_of: BTreeMap<String, u64>,
    findings: BTreeMap<String, (u64, Finding)>,
}

impl Ledger {
    pub fn count(&mut self, function: &str, outcome: &Outcome) {
        self.calls += 1;
        *self.calls_of.entry(function.to_owned()).or_default() += 1;
        let Outcome::Failed(failure) = outcome else { return };
        self.failed += 1;
        let key = (function.to_owned(), failure.sqlstate.clone(), shape(&failure.message));
        *self.counts.entry(key).or_default() += 1;
    }

    /// Returns whether nothing like it was found before.
    pub fn found(&mut self, who: &str, finding: Finding) -> bool {
        let entry = self.findings.entry(format!("{who}: {}", shape(&finding.what)));
        let (times, _) = entry.and_modify(|(times, _)| *times += 1).or_insert((1, finding));
        *times == 1
    }

    pub fn findings(&self) -> usize {
        self.findings.len()
    }

    pub fn functions(&self) -> usize {
        self.calls_of.len()
    }

    pub fn shapes(&self) -> usize {
        self.counts.len()
    }

    pub fn errors_table(&self) -> String {
        let mut lines: Vec<_> = self.counts.iter().collect();
        lines.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let mut out = String::new();
        for ((function, sqlstate, shape), count) in lines {
            let _ = writeln!(out, "{count:6}  {sqlstate}  {function:28}  {shape}");
        }
        out
    }

    pub fn findings_list(&self) -> String {
        let mut out = String::new();
        for (key, (times, finding)) in &self.findings {
            let _ = writeln!(out, "{times} x {key}\n    {}\n{}\n", finding.what, finding.statement);
        }
        out
    }
}
