//! In charge of what the gateway's login may do: where requests run as roles, nothing but switch to them.

use tokio_postgres::Row;

use crate::auth::Caller;
use crate::database::Database;
use crate::error::Error;

/// What a login should not be or have, in the order of how bad it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub name: String,
    pub is_superuser: bool,
    pub bypasses_policies: bool,
    /// Roles whose rights it has without switching to them.
    pub inherits: Vec<String>,
}

impl Login {
    pub async fn read(database: &Database) -> Result<Self, Error> {
        // USAGE: the rights are there at once. MEMBER would be: they can be switched to.
        let sql = "select r.rolname::text, r.rolsuper, r.rolbypassrls,
                          array(select g.rolname::text from pg_catalog.pg_auth_members m
                                  join pg_catalog.pg_roles g on g.oid = m.roleid
                                 where m.member = r.oid and pg_catalog.pg_has_role(r.oid, g.oid, 'usage')
                                 order by 1)
                     from pg_catalog.pg_roles r where r.rolname = session_user";
        let rows = database.rows(&Caller::Login, sql, &[]).await?;
        let row: &Row = rows.first().ok_or_else(|| Error::unavailable("the login is gone"))?;
        Ok(Login {
            name: row.try_get(0)?,
            is_superuser: row.try_get(1)?,
            bypasses_policies: row.try_get(2)?,
            inherits: row.try_get(3)?,
        })
    }

    /// What it may beyond switching roles, and what to do about it.
    pub fn excess(&self) -> Option<String> {
        let name = &self.name;
        let quoted = name.replace('"', "\"\"");
        if self.is_superuser {
            return Some(format!(
                "the login {name} is a superuser. Make one that may only switch roles: create role \
                 authenticator login noinherit password '…'; grant the roles that tokens name to it."
            ));
        }
        if self.bypasses_policies {
            return Some(format!(
                "row-level security doesn't hold for the login {name}: alter role \"{quoted}\" nobypassrls."
            ));
        }
        if !self.inherits.is_empty() {
            let roles = self.inherits.join(", ");
            return Some(format!(
                "the login {name} has the rights of {roles} without switching to them: alter role \
                 \"{quoted}\" noinherit (from Postgres 16 on: grant … to \"{quoted}\" with inherit false)."
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_may_only_switch_roles_is_fine() {
        let login = |superuser, bypasses, inherits: &[&str]| Login {
            name: "web".into(),
            is_superuser: superuser,
            bypasses_policies: bypasses,
            inherits: inherits.iter().map(|role| (*role).to_owned()).collect(),
        };
        assert_eq!(login(false, false, &[]).excess(), None);
        for (login, says) in [
            (login(true, true, &["clerk"]), "superuser"),
            (login(false, true, &[]), "nobypassrls"),
            (login(false, false, &["clerk", "reader"]), "clerk, reader"),
        ] {
            assert!(login.excess().unwrap().contains(says), "{login:?}");
        }
    }
}
