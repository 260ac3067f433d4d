//! In charge of who is asking: a bearer token's claims become a role of the database (RFC 6750, RFC 7519),
//! as in PostgREST, so that the database's own grants and policies decide.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::config;
use crate::error::Error;
use crate::routes::Gateway;

/// How often the keys' file is looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// RFC 7518, 3.2: a key for HS256 has as many bits as the hash.
const SECRET_BYTES_MIN: usize = 32;

/// As whom a statement runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The gateway's own login: nothing says who may do what.
    Login,
    Role {
        role: String,
        claims: String,
    },
}

impl Caller {
    /// Whom the token was made out to, if it says.
    pub fn subject(&self) -> Option<String> {
        let Caller::Role { claims, .. } = self else { return None };
        #[derive(serde::Deserialize)]
        struct Claims {
            sub: Option<String>,
        }
        // A subject that is no string is none.
        serde_json::from_str::<Claims>(claims).ok()?.sub
    }

    /// How long what the caller has begun may go on: until its token expires.
    pub fn expires(&self) -> Option<Duration> {
        let Caller::Role { claims, .. } = self else { return None };
        #[derive(serde::Deserialize)]
        struct Claims {
            exp: Option<f64>,
        }
        let ends = serde_json::from_str::<Claims>(claims).ok()?.exp?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
        // Far more than any feed stays open, and as much as a clock can add.
        Some(Duration::from_secs_f64((ends - now).clamp(0.0, 1e9)))
    }

    /// Who the caller is, without what each of its tokens has for itself.
    pub fn lasting(&self) -> String {
        let Caller::Role { role, claims } = self else { return String::new() };
        let mut claims: Map<String, Value> = serde_json::from_str(claims).unwrap_or_default();
        for name in ["exp", "iat", "nbf", "jti"] {
            claims.remove(name);
        }
        Value::Array(vec![role.as_str().into(), claims.into()]).to_string()
    }
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Error;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Self::Rejection> {
        // The token has been looked at already, to know whom the request is counted for.
        match parts.extensions.get::<Result<Caller, Error>>() {
            Some(known) => known.clone(),
            None => gateway.auth.caller(&parts.headers),
        }
    }
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// A file's keys, and what the file was like when they were read.
struct FromFile {
    path: PathBuf,
    keys: Arc<Vec<Key>>,
    modified: Option<SystemTime>,
    looked: Instant,
}

pub struct Auth {
    config: config::Auth,
    secret: Option<Arc<Vec<Key>>>,
    file: Option<Mutex<FromFile>>,
    has_users: bool,
}

impl Auth {
    pub fn new(config: &config::Auth) -> Result<Self, String> {
        let secret = config.jwt_secret.as_deref().map(|secret| of_secret(secret.as_bytes()));
        let secret = secret.transpose().map_err(|reason| format!("GODWIT_JWT_SECRET: {reason}"))?;
        let file = config.jwt_keys_file.as_deref().map(FromFile::read).transpose()?;
        Ok(Auth {
            config: config.clone(),
            secret: secret.map(|key| Arc::new(vec![key])),
            file: file.map(Mutex::new),
            has_users: false,
        })
    }

    /// Whether people with names and passwords are known beside tokens, who are asked for in any case then.
    pub fn with_users(mut self, has_users: bool) -> Self {
        self.has_users = has_users;
        self
    }

    /// Whether nothing is asked of anybody.
    pub fn is_open(&self) -> bool {
        self.secret.is_none()
            && self.file.is_none()
            && self.config.anonymous_role.is_none()
            && !self.has_users
    }

    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let takes_tokens = self.secret.is_some() || self.file.is_some();
        let claims = match bearer(headers)? {
            Some(token) if takes_tokens => self.claims(token)?,
            Some(_) if self.config.anonymous_role.is_some() => {
                return Err(Error::unauthorized("this gateway takes no tokens"));
            }
            _ if self.is_open() => return Ok(Caller::Login),
            _ => Map::new(),
        };
        let role =
            match claims.get(&self.config.jwt_role_claim) {
                // To Postgres "none" is no role but the login's own.
                Some(Value::String(role)) if !role.is_empty() && role != "none" => role.clone(),
                Some(_) => {
                    let claim = &self.config.jwt_role_claim;
                    return Err(Error::unauthorized(format!("the claim {claim:?} names no role")));
                }
                None => self.config.anonymous_role.clone().ok_or_else(|| {
                    Error::unauthorized("a bearer token that names a role is needed")
                })?,
            };
        // What a role is called can't hold it, nor what is handed to the database.
        let claims = Value::Object(claims).to_string();
        if role.contains('\0') || claims.contains("\\u0000") {
            return Err(Error::unauthorized("the token holds U+0000"));
        }
        Ok(Caller::Role { role, claims })
    }

    fn claims(&self, token: &str) -> Result<Map<String, Value>, Error> {
        let header =
            decode_header(token).map_err(|_| Error::unauthorized("the token can't be read"))?;
        let keys = self.keys();
        let mut reason = "no key of this gateway's fits the token".to_owned();
        for key in keys.iter().flat_map(|keys| keys.iter()) {
            let other = matches!((&header.kid, &key.id), (Some(wanted), Some(id)) if wanted != id);
            if key.algorithm != header.alg || other {
                continue;
            }
            match decode::<Map<String, Value>>(token, &key.key, &self.validation(key.algorithm)) {
                Ok(token) => return check_times(token.claims),
                Err(error) => reason = format!("the token is not valid: {error}"),
            }
        }
        Err(Error::unauthorized(reason))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.config.jwt_leeway_s;
        validation.validate_nbf = true;
        validation.required_spec_claims = HashSet::new();
        validation.validate_aud = self.config.jwt_audience.is_some();
        if let Some(audience) = &self.config.jwt_audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".into());
        }
        if let Some(issuer) = &self.config.jwt_issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        validation
    }

    fn keys(&self) -> Vec<Arc<Vec<Key>>> {
        let from_file = self.file.as_ref().map(|file| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.refresh();
            Arc::clone(&file.keys)
        });
        self.secret.iter().cloned().chain(from_file).collect()
    }
}

/// Claims of another type than RFC 7519's are not what they are named for.
fn check_times(claims: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    for name in ["exp", "nbf"] {
        if claims.get(name).is_some_and(|time| !time.is_number()) {
            return Err(Error::unauthorized(format!("the token's {name} is not a number")));
        }
    }
    Ok(claims)
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let fault = || Error::unauthorized("authorization takes one bearer token");
    let text = value.to_str().map_err(|_| fault())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(fault)?;
    if values.next().is_some() || !scheme.eq_ignore_ascii_case("bearer") {
        return Err(fault());
    }
    Ok(Some(token.trim()))
}

impl FromFile {
    fn read(path: &Path) -> Result<Self, String> {
        let modified = modified(path);
        let keys = Arc::new(read_keys(path)?);
        Ok(FromFile { path: path.to_owned(), keys, modified, looked: Instant::now() })
    }

    /// Reads the file again if it has changed; one that can't be read changes nothing.
    fn refresh(&mut self) {
        if self.looked.elapsed() < LOOK_INTERVAL {
            return;
        }
        self.looked = Instant::now();
        let now = modified(&self.path);
        if now == self.modified {
            return;
        }
        match read_keys(&self.path) {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "the token keys were read again");
                (self.keys, self.modified) = (Arc::new(keys), now);
            }
            Err(reason) => tracing::error!(reason, "the token keys stay what they were"),
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// A JWK set, a public key in PEM, or a secret.
fn read_keys(path: &Path) -> Result<Vec<Key>, String> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("{name} can't be read: {error}"))?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        let set: JwkSet = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{name} is not a JWK set: {error}"))?;
        let keys: Vec<Key> = set.keys.iter().filter_map(of_jwk).collect();
        return match keys.is_empty() {
            true => Err(format!("{name} has no key for HS256, RS256, ES256 or EdDSA")),
            false => Ok(keys),
        };
    }
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        let readers = [
            (Algorithm::RS256, DecodingKey::from_rsa_pem as fn(&[u8]) -> _),
            (Algorithm::ES256, DecodingKey::from_ec_pem),
            (Algorithm::EdDSA, DecodingKey::from_ed_pem),
        ];
        let read = |(algorithm, reader): (Algorithm, fn(&[u8]) -> Result<_, _>)| {
            reader(&bytes).ok().map(|key| vec![Key { id: None, algorithm, key }])
        };
        let found = readers.into_iter().find_map(read);
        return found
            .ok_or_else(|| format!("{name} is no public key of RSA, P-256 or Ed25519 in PEM"));
    }
    let key = of_secret(bytes.trim_ascii()).map_err(|reason| format!("{name}: {reason}"))?;
    Ok(vec![key])
}

fn of_secret(secret: &[u8]) -> Result<Key, String> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("a secret for HS256 has at least {SECRET_BYTES_MIN} bytes"));
    }
    Ok(Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
}

/// A key of a set; those for other algorithms or uses are left out.
fn of_jwk(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    if algorithm == Algorithm::HS256
        && key.try_get_as_bytes().is_ok_and(|secret| secret.len() < SECRET_BYTES_MIN)
    {
        return None;
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    const SECRET: &str = "a secret of more than thirty-two bytes";

    fn config() -> config::Auth {
        config::Auth {
            jwt_keys_file: None,
            jwt_secret: Some(SECRET.into()),
            jwt_audience: Some("godwit".into()),
            jwt_issuer: None,
            jwt_leeway_s: 30,
            jwt_role_claim: "role".into(),
            anonymous_role: None,
        }
    }

    fn headers(token: &str) -> HeaderMap {
        let value = format!("Bearer {token}").parse().unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    fn signed(claims: Value, secret: &str, algorithm: Algorithm) -> HeaderMap {
        let key = EncodingKey::from_secret(secret.as_bytes());
        headers(&encode(&Header::new(algorithm), &claims, &key).unwrap())
    }

    #[test]
    fn a_token_names_the_role_and_carries_its_claims() {
        let auth = Auth::new(&config()).unwrap();
        let claims = json!({"role": "clerk", "sub": "amina", "aud": "godwit"});
        let caller = auth.caller(&signed(claims.clone(), SECRET, Algorithm::HS256)).unwrap();
        let Caller::Role { role, claims: told } = caller else { panic!("no role") };
        assert_eq!(role, "clerk");
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), claims);
    }

    #[test]
    fn what_is_not_a_valid_token_is_refused() {
        let auth = Auth::new(&config()).unwrap();
        let now = jsonwebtoken::get_current_timestamp();
        let good = json!({"role": "clerk", "aud": "godwit"});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let refused = |headers: &HeaderMap| auth.caller(headers).unwrap_err().status.as_u16();
        assert_eq!(refused(&HeaderMap::new()), 401);
        for claims in [
            with("exp", json!(now - 31)),
            with("exp", json!("never")),
            with("nbf", json!(now + 60)),
            with("nbf", json!("soon")),
            with("aud", json!("another")),
            with("role", json!(7)),
            with("role", json!("")),
            with("role", json!("none")),
            with("role", json!("a\0b")),
            with("sub", json!("a\0b")),
            json!({"role": "clerk"}),
            json!({"aud": "godwit"}),
        ] {
            assert_eq!(refused(&signed(claims.clone(), SECRET, Algorithm::HS256)), 401, "{claims}");
        }
        let other = "another secret of more than thirty-two bytes";
        assert_eq!(refused(&signed(good.clone(), other, Algorithm::HS256)), 401);
        assert_eq!(refused(&signed(good.clone(), SECRET, Algorithm::HS384)), 401);
        // {"alg":"none"} and the same claims, without a signature.
        let none = "eyJhbGciOiJub25lIn0.eyJyb2xlIjoiY2xlcmsiLCJhdWQiOiJnb2R3aXQifQ.";
        for token in [none, "", "a.b.c", "x"] {
            assert_eq!(refused(&headers(token)), 401, "{token}");
        }
        let basic = HeaderMap::from_iter([(header::AUTHORIZATION, "Basic eDp5".parse().unwrap())]);
        assert_eq!(refused(&basic), 401);
        assert!(
            auth.caller(&signed(with("exp", json!(now - 20)), SECRET, Algorithm::HS256)).is_ok()
        );
    }

    #[test]
    fn without_keys_everybody_is_the_login_or_nobody() {
        let mut open = config();
        open.jwt_secret = None;
        assert_eq!(Auth::new(&open).unwrap().caller(&HeaderMap::new()).unwrap(), Caller::Login);
        open.anonymous_role = Some("web".into());
        let auth = Auth::new(&open).unwrap();
        let caller = auth.caller(&HeaderMap::new()).unwrap();
        assert_eq!(caller, Caller::Role { role: "web".into(), claims: "{}".into() });
        assert!(auth.caller(&headers("x.y.z")).is_err());
        let mut short = config();
        short.jwt_secret = Some("short".into());
        assert!(Auth::new(&short).is_err());
    }
}
