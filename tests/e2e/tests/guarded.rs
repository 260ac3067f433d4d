//! Who may do what: every endpoint as nobody, a reader, two tenants' writers, an admin, and with tokens
//! that are none. The database's own grants and policies decide.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::Gateway;
use godwit_e2e::stack::Stack;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value as Json, json};

struct Guarded {
    gateway: Gateway,
    secret: String,
}

impl Guarded {
    fn new() -> Self {
        let named = |name: &str| std::env::var(name).unwrap();
        Guarded {
            gateway: Gateway::new(named("GODWIT_GUARDED_URL")),
            secret: named("GODWIT_GUARDED_SECRET"),
        }
    }

    fn token(&self, claims: Json) -> String {
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    }

    fn role(&self, role: &str, subject: &str) -> Option<String> {
        Some(self.token(json!({"role": role, "sub": subject, "aud": "godwit"})))
    }

    /// Status and body.
    async fn ask(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> (u16, Json) {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = self.gateway.send(method, path, &headers, body).await.unwrap();
        let status = answer.status().as_u16();
        let challenged = answer.headers().contains_key("www-authenticate");
        assert_eq!(challenged, status == 401, "{path}");
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Json::Null))
    }
}

/// A table whose rows are their owner's, with a row of amina's and one of karim's.
async fn table(stack: &Stack) -> String {
    let table = stack.table("guarded", "id text primary key, owner text, note text").await.unwrap();
    let sql = format!(
        "alter table {table} enable row level security;
         create policy own on {table} using (
             owner = current_setting('request.jwt.claims', true)::json ->> 'sub');
         create policy all_to_admin on {table} to admin using (true);
         grant select on {table} to reader, admin;
         grant select, insert, update, delete on {table} to writer;
         insert into {table} values ('a', 'amina', 'hers'), ('k', 'karim', 'his');"
    );
    stack.sql.batch_execute(&sql).await.unwrap();
    table
}

fn edit(owner: &str, revision: Option<&str>) -> Json {
    json!({"revision": revision, "attributes": {
        "owner": {"string": owner}, "note": {"string": "edited"}}})
}

/// Every endpoint that reads or writes the table, with what it is asked.
fn endpoints(table: &str) -> Vec<(Method, String, Option<Json>)> {
    let of = |path: &str| format!("/v1/tables/{table}{path}");
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    vec![
        (get.clone(), of("/records"), None),
        (get.clone(), of("/records/a"), None),
        (get.clone(), of("/records/a/history"), None),
        (get.clone(), of("/records/a/leaves"), None),
        (put.clone(), of("/records/new"), Some(edit("amina", None))),
        (delete.clone(), of("/records/new"), None),
        (post.clone(), of("/records/a/resolve"), Some(json!({}))),
        (post.clone(), of("/revisions:missing"), Some(json!({"a": ["1-a"]}))),
        (post.clone(), of("/revisions"), Some(json!({"revisions": []}))),
        (post.clone(), of("/rejected:retry"), Some(json!({}))),
        (post.clone(), of("/rejected:discard"), Some(json!({"numbers": [1]}))),
        (put.clone(), of("/policy"), Some(json!({"conflicts": "keep"}))),
        (put.clone(), format!("/v1/tables/{table}_made"), Some(json!({"columns": []}))),
        (get.clone(), of("/snapshot"), None),
        (
            post.clone(),
            of("/records:put"),
            Some(json!({"records": [{"id": "a", "attributes": {"note": {"string": "x"}}}]})),
        ),
        (get.clone(), format!("/v1/changes?tables={table}"), None),
        (post.clone(), "/v1/changes".into(), Some(json!({"tables": [table], "style": "leaves"}))),
        (get.clone(), "/v1/conflicts".into(), None),
        (get.clone(), "/v1/rejected".into(), None),
        (put.clone(), format!("/v1/peers/{table}"), Some(json!({"pulled": 1}))),
        (get.clone(), format!("/v1/peers/{table}"), None),
        (delete.clone(), format!("/v1/peers/{table}"), None),
        (get.clone(), "/v1/peers".into(), None),
        (get.clone(), "/v1/status".into(), None),
        (get, "/v1/tables".into(), None),
    ]
}

#[tokio::test]
async fn without_a_valid_token_there_is_nothing() {
    let stack = Stack::connect().await.unwrap();
    let guarded = Guarded::new();
    let table = table(&stack).await;
    let now = jsonwebtoken::get_current_timestamp();
    let claims = json!({"role": "writer", "sub": "amina", "aud": "godwit"});
    let with = |name: &str, value: Json| {
        let mut claims = claims.clone();
        claims[name] = value;
        guarded.token(claims)
    };
    let forged = {
        let key = EncodingKey::from_secret(b"another secret of more than thirty-two bytes");
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    };
    // {"alg":"none"}, and no signature.
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", forged.split('.').nth(1).unwrap());
    let invalid = [
        with("exp", json!(now - 3600)),
        with("nbf", json!(now + 3600)),
        with("aud", json!("another")),
        forged,
        unsigned,
        "rubbish".into(),
    ];
    for (method, path, body) in endpoints(&table) {
        for token in &invalid {
            let (status, answer) =
                guarded.ask(Some(token), method.clone(), &path, body.as_ref()).await;
            assert_eq!((status, answer["error"].as_str()), (401, Some("unauthorized")), "{path}");
        }
        // Roles that the gateway's login is no member of, or that are not there.
        for role in ["elsewhere", "postgres", "nowhere", "authenticator2"] {
            let token = guarded.role(role, "amina");
            let (status, answer) =
                guarded.ask(token.as_deref(), method.clone(), &path, body.as_ref()).await;
            assert_eq!(
                (status, answer["error"].as_str()),
                (403, Some("forbidden")),
                "{path} {role}"
            );
        }
    }
    let row = stack.sql.query_one(&format!("select count(*) from {table}_history"), &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 2, "nothing was written");
}

#[tokio::test]
async fn each_endpoint_does_what_the_role_may() {
    let stack = Stack::connect().await.unwrap();
    let guarded = Guarded::new();
    let table = table(&stack).await;
    let who = [
        ("nobody", None),
        ("reader", guarded.role("reader", "amina")),
        ("amina", guarded.role("writer", "amina")),
        ("karim", guarded.role("writer", "karim")),
        ("admin", guarded.role("admin", "boss")),
    ];
    let mut found = String::new();
    for (method, path, body) in endpoints(&table) {
        let mut line = Vec::new();
        for (_, token) in &who {
            let (status, _) =
                guarded.ask(token.as_deref(), method.clone(), &path, body.as_ref()).await;
            line.push(status.to_string());
        }
        let path = path.replace(&format!("{table}_made"), "{new}").replace(&table, "{table}");
        found += &format!("{:6} {path:42} {}\n", method.as_str(), line.join(" "));
    }
    // nobody, a reader and a writer called amina, a writer called karim, an admin.
    let expected = include_str!("guarded.txt");
    assert_eq!(found, expected, "\n{found}");
}

#[tokio::test]
async fn policies_govern_everything_that_is_read_and_put() {
    let stack = Stack::connect().await.unwrap();
    let guarded = Guarded::new();
    let table = table(&stack).await;
    let (amina, karim) = (guarded.role("writer", "amina"), guarded.role("writer", "karim"));
    let (amina, karim) = (amina.as_deref(), karim.as_deref());
    let path = |rest: &str| format!("/v1/tables/{table}{rest}");
    let ids = |answer: &Json, list: &str| -> Vec<String> {
        let items = answer[list].as_array().unwrap();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, hers) = guarded.ask(amina, Method::GET, &path("/records"), None).await;
    assert_eq!(ids(&hers, "records"), ["a"]);
    let changes = format!("/v1/changes?tables={table}&include=records");
    let (_, hers) = guarded.ask(amina, Method::GET, &changes, None).await;
    assert_eq!(ids(&hers, "changes"), ["a"]);
    // Another's record isn't there, to read, to edit, or to ask about.
    for rest in ["/records/k", "/records/k/history", "/records/k/leaves"] {
        let (status, _) = guarded.ask(amina, Method::GET, &path(rest), None).await;
        assert_eq!(status, 404, "{rest}");
    }
    let (status, _) =
        guarded.ask(amina, Method::PUT, &path("/records/k"), Some(&edit("amina", None))).await;
    assert_eq!(status, 403);
    // Nor may a row be given away, or a revision be put of what is another's.
    let (_, record) = guarded.ask(amina, Method::GET, &path("/records/a"), None).await;
    let revision = record["revision"].as_str();
    let given = edit("karim", revision);
    let (status, answer) = guarded.ask(amina, Method::PUT, &path("/records/a"), Some(&given)).await;
    assert_eq!((status, answer["error"].as_str()), (403, Some("forbidden")));
    let sent = json!({"revisions": [
        {"id": "k", "revision": "2-b", "revisions": ["2-b", "1-a"], "attributes": given["attributes"]},
        {"id": "a2", "revision": "1-b", "attributes": {"owner": {"string": "amina"}}}]});
    let (_, answer) = guarded.ask(amina, Method::POST, &path("/revisions"), Some(&sent)).await;
    assert_eq!(answer["results"][0]["status"], "forbidden");
    assert_eq!(answer["results"][1]["status"], "accepted");
    // What a caller writes carries the token's subject.
    let (status, _) =
        guarded.ask(karim, Method::PUT, &path("/records/k2"), Some(&edit("karim", None))).await;
    assert_eq!(status, 201);
    let (_, history) = guarded.ask(karim, Method::GET, &path("/records/k2/history"), None).await;
    assert_eq!(history["revisions"][0]["by"], "karim");
}

#[tokio::test]
async fn what_leaves_a_view_is_told_and_work_on_it_is_kept() {
    let stack = Stack::connect().await.unwrap();
    let guarded = Guarded::new();
    let table = table(&stack).await;
    let amina = guarded.role("writer", "amina");
    let amina = amina.as_deref();
    let page = format!("/v1/changes?tables={table}");
    let (_, before) = guarded.ask(amina, Method::GET, &page, None).await;
    let held = before["changes"][0]["revision"].as_str().unwrap().to_owned();
    let give = format!(
        "update {table} set owner = 'karim' where id = 'a'; update {table} set note = 'x' where id = 'k'"
    );
    stack.sql.batch_execute(&give).await.unwrap();
    let since = format!("{page}&since={}", before["next"]);
    let (_, after) = guarded.ask(amina, Method::GET, &since, None).await;
    let changes = after["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{after}");
    let said: Vec<&str> = changes[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(said, ["id", "left", "sequence", "table"]);
    assert_eq!((&changes[0]["id"], &changes[0]["left"]), (&json!("a"), &json!(true)));
    // Who begins now never held it.
    let (_, fresh) = guarded.ask(amina, Method::GET, &page, None).await;
    assert_eq!(fresh["changes"], json!([]));
    let work = json!({"revisions": [{"id": "a", "revision": "2-hers", "revisions": ["2-hers", held],
        "attributes": {"owner": {"string": "amina"}, "note": {"string": "seen at home"}}}]});
    let (_, answer) = guarded
        .ask(amina, Method::POST, &format!("/v1/tables/{table}/revisions"), Some(&work))
        .await;
    assert_eq!(answer["results"][0]["status"], "rejected");
    let kept = "select by, record #>> '{attributes,note,string}' from godwit.rejected where revision = '2-hers' and relation = $1::text::regclass";
    let row = stack.sql.query_one(kept, &[&table]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("amina", "seen at home"));
}

#[tokio::test]
async fn a_feed_ends_with_the_token_that_opened_it() {
    let stack = Stack::connect().await.unwrap();
    let guarded = Guarded::new();
    let table = table(&stack).await;
    let now = jsonwebtoken::get_current_timestamp();
    let token =
        guarded.token(json!({"role": "writer", "sub": "amina", "aud": "godwit", "exp": now + 2}));
    let bearer = format!("Bearer {token}");
    let path = format!("/v1/changes?tables={table}&feed=ndjson");
    let headers = [("authorization", bearer.as_str())];
    let answer = guarded.gateway.send(Method::GET, &path, &headers, None).await.unwrap();
    let body = tokio::time::timeout(std::time::Duration::from_secs(20), answer.text());
    let body = body.await.expect("the feed ends").unwrap();
    let lines: Vec<&str> = body.lines().collect();
    assert!(
        lines[0].contains("\"id\":\"a\"") && lines[lines.len() - 1].starts_with("{\"next\":"),
        "{body}"
    );
}
