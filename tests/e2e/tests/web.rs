//! What browsers and slow lines ask of HTTP: CORS, and compression both ways.

#![allow(clippy::unwrap_used)] // A test may.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use godwit_e2e::Process;
use godwit_e2e::stack::Stack;
use reqwest::{Method, Response};
use serde_json::{Value as Json, json};
use std::io::{Read, Write};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn answers_are_compressed_as_the_client_likes() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("packed", "id int primary key, body text").await.unwrap();
    let fill =
        format!("insert into {table} select n, repeat('abc ', 100) from generate_series(1, 50) n");
    stack.sql.batch_execute(&fill).await.unwrap();
    let path = format!("/v1/tables/{table}/records");
    let get = async |path: &str, accepts: &str| {
        let headers = [("accept-encoding", accepts)];
        stack.gateway.send(Method::GET, path, &headers, None).await.unwrap()
    };
    let plain = get(&path, "identity").await;
    assert_eq!(header(&plain, "content-encoding"), None);
    let plain = plain.bytes().await.unwrap();
    for accepts in ["gzip", "zstd"] {
        for path in [path.clone(), format!("/v1/tables/{table}/snapshot")] {
            let answer = get(&path, accepts).await;
            assert_eq!(header(&answer, "content-encoding"), Some(accepts), "{path}");
            let bytes = answer.bytes().await.unwrap();
            assert!(bytes.len() < plain.len() / 5, "{} of {}", bytes.len(), plain.len());
            let mut unpacked = Vec::new();
            match accepts {
                "gzip" => GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap(),
                _ => zstd::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut unpacked).unwrap(),
            };
            assert!(path.ends_with("snapshot") || unpacked == plain);
        }
    }
    let small = get("/health", "gzip").await;
    assert_eq!(header(&small, "content-encoding"), None);
    // A feed is to arrive at once.
    for feed in ["sse", "ndjson"] {
        let path = format!("/v1/changes?since=0&tables={table}&feed={feed}");
        assert_eq!(header(&get(&path, "gzip, zstd").await, "content-encoding"), None, "{feed}");
    }
}

#[tokio::test]
async fn bodies_may_be_compressed_and_are_bounded_as_they_are_then() {
    let stack = Stack::connect().await.unwrap();
    let table = stack.table("unpacked", "id int primary key, body text").await.unwrap();
    let process = Process::start(&["--body-bytes-max", "1000000"]).await.unwrap();
    let put = async |id: u32, encoding: &str, body: Vec<u8>| {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let path = format!("/v1/tables/{table}/records/{id}");
        let answer = process.gateway.send(Method::PUT, &path, &headers, Some(body)).await.unwrap();
        let status = answer.status().as_u16();
        let body: Json = answer.json().await.unwrap();
        (status, body["error"].as_str().map(str::to_owned))
    };
    let of = |bytes: usize| {
        let body = json!({"attributes": {"body": {"string": "x".repeat(bytes)}}});
        body.to_string().into_bytes()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let error = |name: &str| Some(name.to_owned());
    assert_eq!(put(1, "gzip", gzip(&of(900_000))).await, (201, None));
    assert_eq!(put(2, "zstd", zstd(&of(900_000))).await, (201, None));
    assert_eq!(put(3, "identity", of(900_000)).await, (201, None));
    // A kilobyte that would be a megabyte and more, and 64 kB that would be 64 MB.
    assert_eq!(put(4, "gzip", gzip(&of(1_100_000))).await, (413, error("too_large")));
    assert_eq!(put(4, "zstd", zstd(&of(1_100_000))).await, (413, error("too_large")));
    let bomb = {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..64 {
            encoder.write_all(&[b' '; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap()
    };
    assert!(bomb.len() < 100_000);
    let before = memory(process.id());
    assert_eq!(put(4, "gzip", bomb).await, (413, error("too_large")));
    let grown = memory(process.id()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    assert_eq!(put(4, "gzip", b"not gzip".to_vec()).await, (400, error("bad_request")));
    assert_eq!(put(4, "gzip", gzip(&of(10))[..20].to_vec()).await, (400, error("bad_request")));
    assert_eq!(put(4, "br", of(10)).await, (415, error("unsupported_media_type")));
}

/// The most that a process has had resident, in bytes.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn browsers_are_let_in_from_where_the_configuration_says() {
    let stack = Stack::connect().await.unwrap();
    let ask = async |process: &Process, method: Method, path: &str, origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization,content-type,if-match"),
        ];
        process.gateway.send(method, path, &headers, None).await.unwrap()
    };
    let app = "https://app.example.org";
    let process =
        Process::start(&["--cors-origins", "https://app.example.org,http://localhost:3000"])
            .await
            .unwrap();
    let preflight = ask(&process, Method::OPTIONS, "/v1/tables/x/records/y", app).await;
    assert_eq!(preflight.status(), 200);
    assert_eq!(header(&preflight, "access-control-allow-origin"), Some(app));
    assert_eq!(header(&preflight, "access-control-max-age"), Some("3600"));
    let allowed = header(&preflight, "access-control-allow-headers").unwrap();
    assert!(allowed.contains("authorization") && allowed.contains("if-match"), "{allowed}");
    assert!(header(&preflight, "access-control-allow-methods").unwrap().contains("PUT"));
    for (path, status) in [("/v1/tables", 200), ("/nothing", 404)] {
        let answer = ask(&process, Method::GET, path, app).await;
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(app));
        let exposed = header(&answer, "access-control-expose-headers").unwrap();
        for name in ["etag", "x-request-id", "retry-after"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
    let other = ask(&process, Method::GET, "/v1/tables", "https://evil.example").await;
    assert_eq!(header(&other, "access-control-allow-origin"), None);

    let process = Process::start(&["--cors-origins", "*"]).await.unwrap();
    let any = ask(&process, Method::GET, "/v1/tables", "https://evil.example").await;
    assert_eq!(header(&any, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&any, "access-control-allow-credentials"), None);

    // Off unless it is asked for.
    let headers = [("origin", app)];
    let answer = stack.gateway.send(Method::GET, "/v1/tables", &headers, None).await.unwrap();
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
}
