//! TLS: what clients are shown, and whom the gateway believes to be its database.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::process::{Process, command};
use godwit_e2e::stack::Stack;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("godwit-tls-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A new certificate and key in place of those that are there.
    fn certify(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        write(&self.0.join("key.pem"), &signing_key.serialize_pem());
        write(&self.0.join("cert.pem"), &cert.pem());
        cert.der().clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

async fn dial(
    address: &str,
    root: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn certificates_are_read_again_and_bad_ones_change_nothing() {
    let _stack = Stack::connect().await.unwrap();
    let folder = Folder::new();
    let first = folder.certify();
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let options = ["--tls-cert", &cert, "--tls-key", &key, "--tls-handshake-timeout-ms", "700"];
    let process = Process::start(&options).await.unwrap();
    let mut open = dial(&process.address, &first).await.unwrap();
    assert_eq!(open.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(ask(&mut open).await.starts_with("HTTP/1.1 200"));
    let mut kept = dial(&process.address, &first).await.unwrap();

    let looked_again = Duration::from_millis(1200);
    tokio::time::sleep(looked_again).await;
    let second = folder.certify();
    assert!(dial(&process.address, &first).await.is_err(), "the old certificate is shown");
    assert!(ask(&mut dial(&process.address, &second).await.unwrap()).await.contains("200"));
    assert!(ask(&mut kept).await.starts_with("HTTP/1.1 200"), "what is open stays");
    for (name, text) in [("cert.pem", "not a certificate"), ("key.pem", "")] {
        tokio::time::sleep(looked_again).await;
        write(&folder.0.join(name), text);
        assert!(ask(&mut dial(&process.address, &second).await.unwrap()).await.contains("200"));
    }
    assert!(process.log().unwrap().contains("the certificate stays what it was"));
    tokio::time::sleep(looked_again).await;
    let third = folder.certify();
    assert!(ask(&mut dial(&process.address, &third).await.unwrap()).await.contains("200"));

    // Who says nothing, or speaks no TLS.
    let mut silent = TcpStream::connect(&process.address).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "a silent handshake goes on");
    let mut plain = TcpStream::connect(&process.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "it was answered in the clear");
}

#[tokio::test]
async fn without_a_usable_certificate_it_does_not_start() {
    let _stack = Stack::connect().await.unwrap();
    let folder = Folder::new();
    folder.certify();
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let other = Folder::new();
    other.certify();
    for (cert, key, says) in [
        (cert.clone(), folder.path("none.pem"), "none.pem"),
        (key.clone(), key.clone(), "no certificate"),
        (cert.clone(), cert.clone(), "no private key"),
        (cert.clone(), other.path("key.pem"), "key.pem"),
    ] {
        let started = Process::start(&["--tls-cert", &cert, "--tls-key", &key]).await;
        let reason = started.err().unwrap().to_string();
        assert!(reason.contains(says), "{reason}");
    }
}

/// The tests' own Postgres speaks TLS from here on; other tests' connections are as they were.
#[tokio::test]
async fn the_database_is_believed_by_its_certificate() {
    let stack = Stack::connect().await.unwrap();
    let row = stack.sql.query_one("select current_setting('data_directory')", &[]).await.unwrap();
    let data = PathBuf::from(row.get::<_, String>(0));
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    // The server reads the key only if nobody else may.
    let sql = |name: &str, text: String| {
        let path = data.join(name);
        write(&path, &text);
        let owner = std::fs::metadata(&data).unwrap();
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    };
    sql("server.crt", cert.pem());
    sql("server.key", signing_key.serialize_pem());
    stack.sql.batch_execute("alter system set ssl = on").await.unwrap();
    stack.sql.batch_execute("select pg_reload_conf()").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let folder = Folder::new();
    write(&folder.0.join("roots.pem"), &cert.pem());
    folder.certify();
    let (roots, wrong) = (folder.path("roots.pem"), folder.path("cert.pem"));
    let url = std::env::var("GODWIT_DATABASE_URL").unwrap();
    let start = async |ca: Option<&str>, url: &str| {
        let ca: Vec<&str> = ca.map_or(Vec::new(), |ca| vec!["--database-ca-file", ca]);
        Process::start_with(&ca, &[("DATABASE_URL", url)]).await
    };
    let process = start(Some(&roots), &format!("{url}?sslmode=verify-full")).await.unwrap();
    let sql = "select count(*) from pg_stat_ssl s join pg_stat_activity a using (pid)
                where s.ssl and a.application_name = 'godwit'";
    assert!(stack.sql.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0);
    drop(process);
    let refused = start(Some(&wrong), &url).await.err().unwrap().to_string();
    assert!(refused.contains("can't be reached"), "{refused}");
    let by_name = url.replace("127.0.0.1", "127.0.0.3");
    assert!(
        start(Some(&roots), &by_name).await.is_err(),
        "another host than the certificate names"
    );
    let none = start(None, &format!("{url}?sslmode=require")).await.err().unwrap().to_string();
    assert!(none.contains("GODWIT_DATABASE_CA_FILE"), "{none}");
    assert!(
        command(&["doctor", "--database-ca-file", &wrong]).unwrap().output().unwrap().status.code()
            == Some(2)
    );
    stack.sql.batch_execute("alter system reset ssl").await.unwrap();
    stack.sql.batch_execute("select pg_reload_conf()").await.unwrap();
}
