//! In charge of the list of what is fuzzed: every function of the extension's that anybody can call.

use tokio_postgres::Client;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Function,
    Set,
    Procedure,
    Aggregate,
}

#[derive(Clone, Debug)]
pub struct Argument {
    pub name: String,
    /// The type as SQL names it under any search path.
    pub type_name: String,
}

#[derive(Clone, Debug)]
pub struct Function {
    /// With its schema.
    pub name: String,
    pub kind: Kind,
    pub arguments: Vec<Argument>,
    /// How many of them have a default.
    pub defaults: usize,
}

const SQL: &str = "
    select n.nspname, p.proname, p.prokind::text, p.proretset, p.pronargdefaults,
           array(select coalesce(p.proargnames[a.place], '') from unnest(p.proargtypes::oid[]) with ordinality a(type, place)
                  order by a.place),
           array(select quote_ident(tn.nspname) || '.' || quote_ident(t.typname)
                   from unnest(p.proargtypes::oid[]) with ordinality a(type, place)
                   join pg_type t on t.oid = a.type join pg_namespace tn on tn.oid = t.typnamespace
                  order by a.place)
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
      join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
      join pg_extension e on e.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
     where e.extname = 'godwit' and has_function_privilege('fuzz_nobody', p.oid, 'execute')
     order by 1, 2, p.oid";

impl Function {
    pub async fn all(sql: &Client) -> Result<Vec<Function>, tokio_postgres::Error> {
        let rows = sql.query(SQL, &[]).await?;
        let read = |row: &tokio_postgres::Row| {
            let names: Vec<String> = row.get(5);
            let types: Vec<String> = row.get(6);
            let kind = match (row.get::<_, &str>(2), row.get(3)) {
                ("p", _) => Kind::Procedure,
                ("a", _) => Kind::Aggregate,
                (_, true) => Kind::Set,
                _ => Kind::Function,
            };
            Function {
                name: format!("{}.{}", row.get::<_, &str>(0), row.get::<_, &str>(1)),
                kind,
                arguments: names
                    .into_iter()
                    .zip(types)
                    .map(|(name, type_name)| Argument { name, type_name })
                    .collect(),
                defaults: row.get::<_, i16>(4) as usize,
            }
        };
        Ok(rows.iter().map(read).collect())
    }

    pub fn bare_name(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(_, name)| name)
    }

    /// Not for apps, and callable all the same.
    pub fn is_internal(&self) -> bool {
        self.bare_name().starts_with('_')
    }

    /// The statement that calls it with these expressions.
    pub fn call(&self, arguments: &[String]) -> String {
        let list = arguments.join(", ");
        match self.kind {
            Kind::Procedure => format!("call {}({list})", self.name),
            Kind::Set => format!("select * from {}({list})", self.name),
            Kind::Aggregate => format!(
                "select {}(v.x) from (values ({}), (null), ({})) v(x)",
                self.name,
                list,
                arguments.first().map_or("null", String::as_str)
            ),
            Kind::Function => format!("select {}({list})", self.name),
        }
    }
}
