//! In charge of people who come with a name and a password: HTTP Basic (RFC 7617), and a cookie that is given for them
//! (CouchDB's `_session`). Who they are stands in a table of the operator's; what they may do, in their role.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

use crate::auth::Caller;
use crate::config;
use crate::database::{Database, text};
use crate::error::Error;

/// How long a password that was right is taken without the work that bcrypt makes of it.
const KNOWN: Duration = Duration::from_secs(60);
/// Passwords that are remembered so; with more of them all are forgotten.
const KNOWN_MAX: usize = 10_000;
/// Passwords that are checked at once: it takes a core some 50 to 100 ms.
const CHECKS_MAX: usize = 2;
/// What bcrypt reads of a password; what is longer would be taken for its beginning.
const PASSWORD_BYTES_MAX: usize = 72;
/// What the documentation has operators hash with; with another, who measures can tell which names there are.
const NOBODY_COST: u32 = 10;
const SECRET_BYTES_MIN: usize = 32;
/// The cookie, by CouchDB's name.
const COOKIE: &str = "AuthSession";
/// Whom a cookie's token is for, so that none of another kind under the same secret is one.
const AUDIENCE: &str = "godwit-session";

pub struct Users {
    /// As SQL takes it.
    table: String,
    secret: Vec<u8>,
    lasts: Duration,
    /// Of a gateway that is reached by TLS its cookies go by nothing else.
    secure: &'static str,
    /// Of this process alone.
    pepper: [u8; 32],
    known: Mutex<HashMap<[u8; 32], (Instant, Caller)>>,
    checks: Arc<Semaphore>,
    /// What no password fits, for names that nobody has: they take as long as others.
    nobody: String,
}

#[derive(Serialize, Deserialize)]
struct Session {
    sub: String,
    role: String,
    /// Which password it was given for: with another it isn't renewed.
    pwd: String,
    aud: String,
    iat: u64,
    exp: u64,
}

/// Who asks, and the cookie that is to replace theirs.
pub struct Known {
    pub caller: Caller,
    pub cookie: Option<HeaderValue>,
}

impl Users {
    /// None where no table was named.
    pub fn new(config: &config::Users, is_tls: bool) -> Result<Option<Self>, String> {
        let Some(table) = &config.users_table else { return Ok(None) };
        let secret = config.session_secret.clone().unwrap_or_default().into_bytes();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "GODWIT_USERS_TABLE needs GODWIT_SESSION_SECRET, of at least {SECRET_BYTES_MIN} bytes: the same for all gateways"
            ));
        }
        let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
        let nobody = bcrypt::hash(uuid::Uuid::new_v4().to_string(), NOBODY_COST)
            .map_err(|error| format!("bcrypt does not work: {error}"))?;
        Ok(Some(Users {
            table: table.split('.').map(quoted).collect::<Vec<_>>().join("."),
            secret,
            lasts: Duration::from_secs(config.session_s),
            secure: if is_tls { "; Secure" } else { "" },
            pepper: rand::random(),
            known: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            nobody,
        }))
    }

    /// Whom a request's Basic credentials or cookie name; none where it has neither, or a cookie that is over.
    pub async fn caller(
        &self,
        database: &Database,
        headers: &HeaderMap,
    ) -> Result<Option<Known>, Error> {
        if let Some(said) = headers.get(header::AUTHORIZATION) {
            let fault = || Error::unauthorized("the credentials can't be read");
            let said = said.to_str().map_err(|_| fault())?;
            let Some((scheme, credentials)) = said.split_once(' ') else { return Ok(None) };
            if !scheme.eq_ignore_ascii_case("basic") {
                return Ok(None);
            }
            let decoded = BASE64.decode(credentials.trim()).map_err(|_| fault())?;
            let decoded = String::from_utf8(decoded).map_err(|_| fault())?;
            let (name, password) = decoded.split_once(':').ok_or_else(fault)?;
            let caller = self.check(database, name, password).await?;
            return Ok(Some(Known { caller, cookie: None }));
        }
        let Some(session) = cookie(headers).and_then(|token| self.read(token)) else {
            return Ok(None);
        };
        let now = jsonwebtoken::get_current_timestamp();
        let is_old = session.exp.saturating_sub(now) < self.lasts.as_secs() / 2;
        if !is_old {
            let caller = of(&session.sub, &session.role, Some(session.exp));
            return Ok(Some(Known { caller, cookie: None }));
        }
        // Who was taken from the table is out when the cookie is, and who was given another role has it.
        let Some((hash, role)) = self.find(database, &session.sub).await? else { return Ok(None) };
        if self.mark(&hash) != session.pwd {
            return Ok(None);
        }
        let (token, expires) = self.token(&session.sub, &role, &hash)?;
        let caller = of(&session.sub, &role, Some(expires));
        Ok(Some(Known { caller, cookie: Some(self.cookie(&token)?) }))
    }

    /// The role of a name with its password, and a cookie that stands for both for a while.
    pub async fn log_in(
        &self,
        database: &Database,
        name: &str,
        password: &str,
    ) -> Result<(Caller, HeaderValue), Error> {
        let (hash, role) = self.verify(database, name, password).await?;
        let (token, _) = self.token(name, &role, &hash)?;
        let cookie = self.cookie(&token)?;
        Ok((of(name, &role, None), cookie))
    }

    /// A cookie that ends the session.
    pub fn log_out() -> HeaderValue {
        HeaderValue::from_static("AuthSession=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }

    async fn check(
        &self,
        database: &Database,
        name: &str,
        password: &str,
    ) -> Result<Caller, Error> {
        let key = self.key(name, password);
        if let Some((at, caller)) =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && at.elapsed() < KNOWN
        {
            return Ok(caller.clone());
        }
        let (_, role) = self.verify(database, name, password).await?;
        let caller = of(name, &role, None);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, (Instant::now(), caller.clone()));
        Ok(caller)
    }

    /// The hash and role of a name whose password this is. A name that nobody has takes as long as one with another
    /// password, and so does one without a hash that can be read.
    async fn verify(
        &self,
        database: &Database,
        name: &str,
        password: &str,
    ) -> Result<(String, String), Error> {
        let wrong = || Error::unauthorized("Name or password is incorrect.");
        if name.contains('\0') || password.contains('\0') || password.len() > PASSWORD_BYTES_MAX {
            return Err(wrong());
        }
        let found = self.find(database, name).await?;
        let hash = found.as_ref().map_or(&self.nobody, |(hash, _)| hash).clone();
        let (password, nobody) = (password.to_owned(), self.nobody.clone());
        let permit = Arc::clone(&self.checks).acquire_owned().await;
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            bcrypt::verify(&password, &hash).inspect_err(|_| {
                // It can't be right; the time is spent all the same.
                let _ = bcrypt::verify(&password, &nobody);
            })
        });
        let is_right = match checked.await {
            Ok(Ok(is_right)) => is_right,
            Ok(Err(error)) => {
                tracing::error!(%error, name, "a password of the users' table is no bcrypt hash");
                false
            }
            Err(error) => {
                tracing::error!(%error, "a password was not checked");
                return Err(Error::unavailable("the password can't be checked now; try again"));
            }
        };
        found.filter(|_| is_right).ok_or_else(wrong)
    }

    /// The bcrypt hash and the role that the table has for a name.
    async fn find(
        &self,
        database: &Database,
        name: &str,
    ) -> Result<Option<(String, String)>, Error> {
        let sql = format!(
            "select u.password::text, u.role::text from {} u where u.name = $1
                and u.role is not null and u.role::text not in ('', 'none')",
            self.table
        );
        let rows = database.rows(&Caller::Login, &sql, &[text(&name)]).await.map_err(|error| {
            tracing::error!(
                table = self.table,
                reason = error.reason,
                "the users' table can't be read"
            );
            Error::unavailable("names can't be looked up now; try again")
        })?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some((row.try_get::<_, Option<String>>(0)?.unwrap_or_default(), row.try_get(1)?)))
    }

    fn key(&self, name: &str, password: &str) -> [u8; 32] {
        hmac(&self.pepper, &[name.as_bytes(), b"\0", password.as_bytes()])
    }

    /// Tells one hash from another without telling either.
    fn mark(&self, hash: &str) -> String {
        hex::encode(&hmac(&self.secret, &[b"password ", hash.as_bytes()])[..8])
    }

    /// Whether a request names somebody whom only this module knows.
    pub fn are_named(headers: &HeaderMap) -> bool {
        let basic = |said: &str| said.get(..6).is_some_and(|s| s.eq_ignore_ascii_case("basic "));
        match headers.get(header::AUTHORIZATION) {
            Some(said) => said.to_str().is_ok_and(basic),
            None => cookie(headers).is_some(),
        }
    }

    fn token(&self, name: &str, role: &str, hash: &str) -> Result<(String, u64), Error> {
        let iat = jsonwebtoken::get_current_timestamp();
        let exp = iat + self.lasts.as_secs();
        let session = Session {
            sub: name.to_owned(),
            role: role.to_owned(),
            pwd: self.mark(hash),
            aud: AUDIENCE.to_owned(),
            iat,
            exp,
        };
        let key = EncodingKey::from_secret(&self.secret);
        let token = jsonwebtoken::encode(&Header::default(), &session, &key).map_err(|error| {
            tracing::error!(%error, "a session can't be signed");
            Error::unavailable("no session can be given now")
        })?;
        Ok((token, exp))
    }

    fn read(&self, token: &str) -> Option<Session> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&[AUDIENCE]);
        let key = DecodingKey::from_secret(&self.secret);
        jsonwebtoken::decode::<Session>(token, &key, &validation).ok().map(|token| token.claims)
    }

    fn cookie(&self, token: &str) -> Result<HeaderValue, Error> {
        let lasts = self.lasts.as_secs();
        let cookie = format!(
            "{COOKIE}={token}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{}",
            self.secure
        );
        HeaderValue::from_str(&cookie)
            .map_err(|_| Error::unavailable("no session can be given now"))
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn of(name: &str, role: &str, expires: Option<u64>) -> Caller {
    let mut claims = json!({"sub": name, "role": role});
    if let Some(expires) = expires {
        claims["exp"] = expires.into();
    }
    Caller::Role { role: role.to_owned(), claims: claims.to_string() }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.trim_matches('"'))
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(secret: &str) -> Users {
        let config = config::Users {
            users_table: Some("auth.people".into()),
            session_secret: Some(secret.into()),
            session_s: 600,
        };
        Users::new(&config, true).unwrap().unwrap()
    }

    #[test]
    fn a_session_is_read_by_whoever_has_the_secret() {
        let one = users("a secret of more than thirty-two bytes");
        let (token, _) = one.token("amina", "worker", "a hash").unwrap();
        let other = users("a secret of more than thirty-two bytes");
        assert_eq!(other.read(&token).unwrap().role, "worker");
        assert!(users("another secret of more than thirty bytes").read(&token).is_none());
        let mut headers = HeaderMap::new();
        let line = format!("theme=dark; AuthSession={token}; x=y");
        headers.insert(header::COOKIE, line.parse().unwrap());
        assert_eq!(cookie(&headers), Some(token.as_str()));
    }

    #[test]
    fn a_table_needs_a_secret() {
        let config = config::Users {
            users_table: Some("people".into()),
            session_secret: None,
            session_s: 600,
        };
        assert!(Users::new(&config, true).is_err());
        assert!(
            Users::new(&config::Users { users_table: None, ..config }, true).unwrap().is_none()
        );
        assert_eq!(users("a secret of more than thirty-two bytes").table, "\"auth\".\"people\"");
    }
}
