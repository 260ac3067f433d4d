//! In charge of what a DDL statement's own text tells: the event triggers read its parse tree, and
//! hand on to `godwit._follow_ddl` and `godwit._release_all` (sql/events.sql).

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::{CStr, c_char};

use crate::error::Error;
use crate::settings::Settings;
use crate::spi;

/// What ALTER TABLE may do to a twin without touching what it holds.
const HARMLESS: &[pg_sys::AlterTableType::Type] = &[
    pg_sys::AlterTableType::AT_SetRelOptions,
    pg_sys::AlterTableType::AT_ResetRelOptions,
    pg_sys::AlterTableType::AT_SetTableSpace,
    pg_sys::AlterTableType::AT_SetStatistics,
    pg_sys::AlterTableType::AT_SetOptions,
    pg_sys::AlterTableType::AT_ResetOptions,
    pg_sys::AlterTableType::AT_SetStorage,
    pg_sys::AlterTableType::AT_SetCompression,
    pg_sys::AlterTableType::AT_ClusterOn,
    pg_sys::AlterTableType::AT_DropCluster,
    pg_sys::AlterTableType::AT_ReplicaIdentity,
    pg_sys::AlterTableType::AT_EnableRowSecurity,
    pg_sys::AlterTableType::AT_ForceRowSecurity,
];

/// What the statement's tree says.
#[derive(Default)]
struct Statement {
    /// Of a column: from, to.
    renamed: Option<(String, String)>,
    harmless: bool,
    /// Whether it may change how values of a type print.
    retypes: bool,
    /// A table's columns that are of another type now, or have been computed anew.
    rewritten: Vec<String>,
}

#[pg_guard]
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn godwit_after_ddl(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: Postgres calls it.
    let statement = unsafe { Statement::read(tree(call)) };
    let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
    let (from, to) = statement.renamed.unzip();
    let args = [
        spi::optional_text(from.as_deref()),
        spi::optional_text(to.as_deref()),
        spi::boolean(statement.harmless),
        spi::boolean(statement.retypes),
        spi::texts(statement.rewritten.iter().map(String::as_str)),
    ];
    spi::run("select godwit._follow_ddl($1, $2, $3, $4, $5)", &args);
    pg_sys::Datum::from(0)
}

#[unsafe(no_mangle)]
extern "C" fn pg_finfo_godwit_after_ddl() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

#[pg_guard]
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn godwit_before_drop(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as above.
    if unsafe { drops_us(tree(call)) } {
        let _settings = Settings::path(c"pg_catalog, godwit, pg_temp");
        spi::run("select godwit._release_all()", &[]);
    }
    pg_sys::Datum::from(0)
}

#[unsafe(no_mangle)]
extern "C" fn pg_finfo_godwit_before_drop() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// # Safety
/// The node must be a name.
unsafe fn chars(name: *mut pg_sys::String) -> *const c_char {
    // SAFETY: the caller vouches for it.
    unsafe { (*name).sval }
}

/// Whether the statement is DROP EXTENSION godwit CASCADE.
///
/// # Safety
/// The node must be a statement's parse tree, or null.
unsafe fn drops_us(tree: *mut pg_sys::Node) -> bool {
    // SAFETY: a node is of the type that its tag says; an extension is named by a String node.
    unsafe {
        if tree.is_null() || (*tree).type_ != pg_sys::NodeTag::T_DropStmt {
            return false;
        }
        let statement = &*tree.cast::<pg_sys::DropStmt>();
        let names = pgrx::PgList::<pg_sys::String>::from_pg(statement.objects);
        statement.removeType == pg_sys::ObjectType::OBJECT_EXTENSION
            && statement.behavior == pg_sys::DropBehavior::DROP_CASCADE
            && names.iter_ptr().any(|name| text(chars(name)).as_deref() == Some("godwit"))
    }
}

/// The parse tree of the statement that an event trigger is called for.
///
/// # Safety
/// The call must be one that Postgres made.
unsafe fn tree(call: pg_sys::FunctionCallInfo) -> *mut pg_sys::Node {
    // SAFETY: Postgres hands every function its call information; the node's tag is checked.
    unsafe {
        let context = (*call).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            Error::BadArgument("this function runs as an event trigger only".into()).report()
        }
        (*context.cast::<pg_sys::EventTriggerData>()).parsetree
    }
}

impl Statement {
    /// # Safety
    /// The node must be a statement's parse tree, or null.
    unsafe fn read(tree: *mut pg_sys::Node) -> Statement {
        // SAFETY: a node is of the type that its tag says.
        unsafe {
            if tree.is_null() {
                return Statement::default();
            }
            match (*tree).type_ {
                pg_sys::NodeTag::T_RenameStmt => {
                    let statement = &*tree.cast::<pg_sys::RenameStmt>();
                    let column = statement.renameType == pg_sys::ObjectType::OBJECT_COLUMN;
                    let names = text(statement.subname).zip(text(statement.newname));
                    Statement {
                        renamed: names.filter(|_| column),
                        retypes: statement.renameType == pg_sys::ObjectType::OBJECT_ATTRIBUTE,
                        ..Statement::default()
                    }
                }
                pg_sys::NodeTag::T_AlterTableStmt => {
                    let statement = &*tree.cast::<pg_sys::AlterTableStmt>();
                    let commands = pgrx::PgList::<pg_sys::AlterTableCmd>::from_pg(statement.cmds);
                    let harmless = commands.iter_ptr().all(|c| HARMLESS.contains(&(*c).subtype));
                    let retypes = statement.objtype == pg_sys::ObjectType::OBJECT_TYPE;
                    let is_retyped = |c: &*mut pg_sys::AlterTableCmd| {
                        (**c).subtype == pg_sys::AlterTableType::AT_AlterColumnType
                    };
                    let rewritten = commands.iter_ptr().filter(is_retyped);
                    let rewritten = rewritten.filter_map(|c| text((*c).name)).collect();
                    Statement { renamed: None, harmless, retypes, rewritten }
                }
                pg_sys::NodeTag::T_AlterEnumStmt => {
                    let statement = &*tree.cast::<pg_sys::AlterEnumStmt>();
                    Statement { retypes: !statement.oldVal.is_null(), ..Statement::default() }
                }
                _ => Statement::default(),
            }
        }
    }
}

unsafe fn text(name: *const c_char) -> Option<String> {
    // SAFETY: a NUL-terminated string of the parse tree, or NULL.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// Makes every backend read a table's shape anew.
#[pg_extern(sql = false)]
fn _invalidate(relation: pg_sys::Oid) {
    // SAFETY: a catalog look-up, and a message to whoever has the table's shape.
    unsafe {
        if pg_sys::get_rel_type_id(relation) == pg_sys::InvalidOid {
            let reason = format!("there is no table with OID {}", relation.to_u32());
            Error::BadArgument(reason).report()
        }
        pg_sys::CacheInvalidateRelcacheByRelid(relation)
    };
}
