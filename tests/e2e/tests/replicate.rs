//! Databases that replicate through the real command come to be equal: winners, conflicts and history,
//! whoever wrote meanwhile and whatever was cut off.

#![allow(clippy::unwrap_used)] // A test may.

use godwit_e2e::site::{Scratch, Site, godwit, run};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::process::Child;

const TABLE: &str = "create table cases (id text primary key, name text, n int);
                     select godwit.track('cases');";

async fn sites<const N: usize>(names: [&str; N]) -> Vec<Site> {
    let mut sites = Vec::new();
    for name in names {
        let site = Site::open(name).await.unwrap();
        site.sql.batch_execute(TABLE).await.unwrap();
        sites.push(site);
    }
    sites
}

async fn done(arguments: &[&str]) -> String {
    let (status, said) = run(arguments).await.unwrap();
    assert_eq!(status, 0, "{arguments:?}: {said}");
    said
}

async fn equal(sites: &[Site]) -> bool {
    let first = sites[0].digest("cases").await.unwrap();
    for site in &sites[1..] {
        if site.digest("cases").await.unwrap() != first {
            return false;
        }
    }
    true
}

async fn assert_equal(sites: &[Site]) {
    let first = sites[0].digest("cases").await.unwrap();
    for site in &sites[1..] {
        assert_eq!(
            first,
            site.digest("cases").await.unwrap(),
            "{} and {}",
            sites[0].name,
            site.name
        );
        let problems = site.value("select count(*)::text from godwit.verify('cases')").await;
        assert_eq!(problems.unwrap(), "0", "{}", site.name);
    }
}

/// A generator that gives the same for the same seed (Knuth, MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Plain SQL on a few records, so that sites meet on the same ones; how many statements.
async fn write(sql: tokio_postgres::Client, mut dice: Dice, end: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < end {
        let (id, n) = (dice.below(12), dice.below(1000));
        let statement = match dice.below(6) {
            0 => format!("delete from cases where id = 'r{id}'"),
            1 => format!("update cases set n = {n} where id in ('r{id}', 'r{}')", (id + 1) % 12),
            _ => format!(
                "insert into cases values ('r{id}', 'name {n}', {n})
                     on conflict (id) do update set n = excluded.n, name = excluded.name"
            ),
        };
        // Its rows may be changed by what arrives meanwhile.
        match sql.batch_execute(&statement).await {
            Ok(()) => count += 1,
            Err(error) => {
                let code = error.code().map(|code| code.code().to_owned());
                assert!(matches!(code.as_deref(), Some("40P01" | "40001" | "23505")), "{error:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5 + dice.below(40))).await;
    }
    count
}

fn start(from: &str, to: &str) -> Child {
    let arguments =
        ["replicate", "--from", from, "--to", to, "--both", "--continuous", "--batch", "20"];
    godwit(&arguments).unwrap().stderr(Stdio::null()).spawn().unwrap()
}

/// Three sites that are written to and cut off from each other at random end equal.
async fn come_together(name: &str, links: &[(usize, usize)], seed: u64) {
    const SECONDS: u64 = 6;
    let mut sites = sites([&format!("{name}_a"), &format!("{name}_b"), &format!("{name}_c")]).await;
    let mut dice = Dice(seed);
    let mut running: Vec<Child> =
        links.iter().map(|(a, b)| start(&sites[*a].url, &sites[*b].url)).collect();
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut writers = Vec::new();
    for site in &sites {
        let sql = site.session().await.unwrap();
        writers.push(tokio::spawn(write(sql, Dice(dice.below(1 << 30)), end)));
    }
    let mut cuts = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(400))).await;
        cuts += 1;
        if dice.below(3) == 0 {
            let place = dice.below(3) as usize;
            sites[place].kill_gateway().await.unwrap();
            continue;
        }
        let place = dice.below(links.len() as u64) as usize;
        running[place].kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(dice.below(500))).await;
        let (a, b) = links[place];
        running[place] = start(&sites[a].url, &sites[b].url);
    }
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    // All links are up by now; what is under way arrives.
    let patience = Instant::now() + Duration::from_secs(90);
    while Instant::now() < patience && !equal(&sites).await {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for child in &mut running {
        child.kill().await.unwrap();
    }
    assert_equal(&sites).await;
    let counts = "select count(*) || ' revisions, ' || (select count(*) from godwit.conflicts) from cases_history";
    let counts = sites[0].value(counts).await.unwrap();
    println!("{name}: {written} statements, {cuts} cuts, {counts} conflicts");
    assert!(written > 100 && cuts > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_in_a_line_end_equal() {
    come_together("line", &[(0, 1), (1, 2)], 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_in_a_ring_end_equal() {
    come_together("ring", &[(0, 1), (1, 2), (2, 0)], 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_in_a_star_end_equal() {
    // The middle one is between the two others, and the links begin at either end.
    come_together("star", &[(2, 0), (2, 1)], 13).await;
}

#[tokio::test]
async fn what_is_done_is_not_done_again() {
    let sites = sites(["twice_a", "twice_b"]).await;
    let [a, b] = [&sites[0], &sites[1]];
    let fill = "insert into cases select 'r' || g, 'x', g from generate_series(1, 2500) g;
                update cases set n = n + 1 where n % 3 = 0; delete from cases where n % 10 = 0";
    a.sql.batch_execute(fill).await.unwrap();
    let arguments = ["replicate", "--from", &a.url, "--to", &b.url, "--tables", "cases"];
    let said = done(&arguments).await;
    assert!(said.contains(" put, 0 refused"), "{said}");
    assert_equal(&sites).await;
    let last = "select godwit.last_sequence()::text";
    let before = [a.value(last).await.unwrap(), b.value(last).await.unwrap()];
    let said = done(&arguments).await;
    assert!(said.contains("0 revisions read, 0 put, 0 refused"), "{said}");
    assert_eq!(before, [a.value(last).await.unwrap(), b.value(last).await.unwrap()]);
    // Both sides know how far it is, and that nothing is left to do.
    let pulled = "select pulled || ' ' || behind from godwit.peers()";
    assert_eq!(a.value(pulled).await.unwrap(), format!("{} 0", before[0]));
    let pushed = "select pushed || ' ' || incarnation from godwit.peers()";
    let incarnation = a.value("select godwit.current_incarnation()").await.unwrap();
    assert_eq!(b.value(pushed).await.unwrap(), format!("{} {incarnation}", before[0]));
    // Offered again from the start it is all known.
    let said = done(&[&arguments[..], &["--from-start"]].concat()).await;
    assert!(said.contains(" 0 put, 0 refused") && !said.contains(" 0 revisions read"), "{said}");
    assert_eq!(b.value(last).await.unwrap(), before[1]);
    // A note about what the source was counts for nothing.
    b.sql.batch_execute("update godwit.peers set incarnation = 'another'").await.unwrap();
    let said = done(&arguments).await;
    assert!(!said.contains(" 0 revisions read") && said.contains(" 0 put"), "{said}");
    // With itself a database is always in step.
    done(&["replicate", "--from", &a.url, "--to", &a.url, "--both"]).await;
    assert_eq!(a.value(last).await.unwrap(), before[0]);
}

#[tokio::test]
async fn names_without_bodies_come_along_as_ancestry() {
    let sites = sites(["stubs_a", "stubs_b"]).await;
    let fill = "insert into cases select 'r' || g, 'x', 0 from generate_series(1, 30) g;
                update cases set n = 1; update cases set n = 2; update cases set n = 3;
                select count(*) from godwit.put_revisions('cases', '[
                    {\"id\": \"r1\", \"revision\": \"7-g\", \"revisions\": [\"7-g\", \"6-f\", \"5-e\", \"4-d\"], \"attributes\": {\"n\": {\"int\": \"1\"}}},
                    {\"id\": \"r2\", \"revision\": \"3-c\", \"revisions\": [\"3-c\", \"2-b\", \"1-a\"], \"attributes\": {\"n\": {\"int\": \"2\"}}}]');";
    sites[0].sql.batch_execute(fill).await.unwrap();
    sites[0]
        .sql
        .batch_execute("call godwit.compact('cases', revisions => 1, keep => null)")
        .await
        .unwrap();
    let stubs = "select count(*)::text from cases_history where _stub";
    let had = sites[0].value(stubs).await.unwrap();
    assert!(had.parse::<u32>().unwrap() > 60, "{had}");
    done(&["replicate", "--from", &sites[0].url, "--to", &sites[1].url, "--batch", "7"]).await;
    assert_equal(&sites).await;
    // And through a file.
    let third = Site::open("stubs_c").await.unwrap();
    third.sql.batch_execute(TABLE).await.unwrap();
    let file = Scratch::new("stubs.ndjson.zst");
    done(&["export", "--from", &sites[0].url, "--batch", "7", file.path()]).await;
    done(&["import", "--to", &third.url, "--batch", "7", file.path()]).await;
    assert_eq!(third.digest("cases").await.unwrap(), sites[0].digest("cases").await.unwrap());
}

#[tokio::test]
async fn what_the_target_refuses_is_told_by_the_exit_status() {
    let sites = sites(["strict_a", "strict_b"]).await;
    let [a, b] = [&sites[0], &sites[1]];
    b.sql.batch_execute("alter table cases add constraint small check (n < 100)").await.unwrap();
    a.sql
        .batch_execute("insert into cases values ('good', 'x', 1), ('bad', 'x', 100)")
        .await
        .unwrap();
    let arguments = ["replicate", "--from", &a.url, "--to", &b.url];
    let (status, said) = run(&arguments).await.unwrap();
    assert_eq!(status, 3, "{said}");
    for part in ["1 revisions were refused", "cases/bad 1-", "small", "/v1/rejected"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(b.value("select string_agg(id, ',') from cases").await.unwrap(), "good");
    assert_eq!(b.value("select record_id from godwit.rejected").await.unwrap(), "bad");
    // It isn't asked again until it is asked to be.
    assert_eq!(run(&arguments).await.unwrap().0, 0);
    let again = [&arguments[..], &["--from-start"]].concat();
    assert_eq!(run(&again).await.unwrap().0, 3);
    b.sql.batch_execute("alter table cases drop constraint small").await.unwrap();
    assert_eq!(run(&again).await.unwrap().0, 0);
    b.sql.batch_execute("select * from godwit.retry_rejected('cases')").await.unwrap();
    assert_equal(&sites).await;
}

/// Whichever side is put back to an older state, and under whatever name, nothing is skipped.
#[tokio::test]
async fn a_side_that_was_restored_from_a_backup_is_brought_up_again() {
    let mut sites = sites(["restore_a", "restore_b"]).await;
    let both = |from: &Site, to: &Site, named: bool| {
        let mut arguments: Vec<String> =
            ["replicate", "--from", &from.url, "--to", &to.url, "--both"].map(String::from).into();
        arguments.extend(["--peer", "link"].map(String::from).into_iter().filter(|_| named));
        arguments
    };
    let run = async |arguments: Vec<String>| {
        done(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let write = "insert into cases select 'r' || g, 'x', g from generate_series(1, 50) g
                     on conflict (id) do update set n = excluded.n + cases.n";
    for named in [true, false] {
        sites[0].sql.batch_execute(write).await.unwrap();
        run(both(&sites[0], &sites[1], named)).await;
        let old_b = sites[1].copy("restore_old_b").await.unwrap();
        let old_a = sites[0].copy("restore_old_a").await.unwrap();
        sites[0].sql.batch_execute(write).await.unwrap();
        sites[1].sql.batch_execute("delete from cases where n % 2 = 0").await.unwrap();
        run(both(&sites[0], &sites[1], named)).await;
        assert_equal(&sites).await;
        // The target is yesterday's; then the source.
        run(both(&sites[0], &old_b, named)).await;
        run(both(&old_a, &sites[1], named)).await;
        for site in [&old_a, &old_b] {
            let [there, here] = [site.digest("cases").await, sites[0].digest("cases").await];
            assert_eq!(there.unwrap(), here.unwrap(), "{} {named}", site.name);
        }
    }
}

/// As deep as a value may be.
#[tokio::test]
async fn deep_values_arrive() {
    let sites = [Site::open("deep_a").await.unwrap(), Site::open("deep_b").await.unwrap()];
    for site in &sites {
        site.sql
            .batch_execute(
                "create table deep (id int primary key, j jsonb); select godwit.track('deep')",
            )
            .await
            .unwrap();
    }
    let fill = "insert into deep select g, (repeat('[', g) || repeat(']', g))::jsonb from generate_series(1, 62) g";
    sites[0].sql.batch_execute(fill).await.unwrap();
    done(&["replicate", "--from", &sites[0].url, "--to", &sites[1].url]).await;
    assert_eq!(sites[1].value("select count(*)::text from deep").await.unwrap(), "62");
}

#[tokio::test]
async fn children_whose_parents_come_later_are_no_refusals() {
    let (a, b) = (Site::open("fk_a").await.unwrap(), Site::open("fk_b").await.unwrap());
    // At the target the rule is stricter, and the source's stream has the children first.
    let tables = "create table homes (id text primary key);
                  create table people (id text primary key, home text);
                  select godwit.track('homes'), godwit.track('people');";
    a.sql.batch_execute(tables).await.unwrap();
    b.sql.batch_execute(tables).await.unwrap();
    b.sql
        .batch_execute("alter table people add foreign key (home) references homes")
        .await
        .unwrap();
    let fill = "insert into people select 'p' || g, 'h' || g from generate_series(1, 50) g;
                insert into homes select 'h' || g from generate_series(1, 50) g;";
    a.sql.batch_execute(fill).await.unwrap();
    done(&["replicate", "--from", &a.url, "--to", &b.url, "--batch", "10"]).await;
    assert_eq!(b.value("select count(*)::text from people").await.unwrap(), "50");
}

#[tokio::test]
async fn tables_are_made_where_that_is_asked_for() {
    let (a, b) = (Site::open("make_a").await.unwrap(), Site::open("make_b").await.unwrap());
    a.sql.batch_execute(TABLE).await.unwrap();
    a.sql.batch_execute("insert into cases values ('1', 'x', 7), ('2', 'y', 8)").await.unwrap();
    let arguments = ["replicate", "--from", &a.url, "--to", &b.url];
    let (status, said) = run(&arguments).await.unwrap();
    assert!(status == 1 && said.contains("--create-tables"), "{status}: {said}");
    done(&[&arguments[..], &["--create-tables"]].concat()).await;
    let row = "select _id || name || n || ' ' || _rev from cases where _id = '1'";
    let there = "select id || name || n || ' ' || _rev from cases where id = '1'";
    assert_eq!(b.value(row).await.unwrap(), a.value(there).await.unwrap());
}

#[tokio::test]
async fn what_is_called_wrongly_or_is_away_is_told() {
    assert_eq!(run(&["replicate"]).await.unwrap().0, 2);
    assert_eq!(
        run(&["replicate", "--from", "nowhere", "--to", "http://127.0.0.1:1"]).await.unwrap().0,
        2
    );
    let site = Site::open("wrong").await.unwrap();
    let (status, said) =
        run(&["replicate", "--from", &site.url, "--to", &site.url, "--tables", "nothing"])
            .await
            .unwrap();
    assert!(status == 1 && said.contains("nothing"), "{said}");
    let (status, said) = run(&["import", "--to", &site.url, "/dev/null"]).await.unwrap();
    assert!(status == 1 && said.contains("/dev/null"), "{said}");
}

#[tokio::test]
async fn a_signal_ends_it_with_the_checkpoint_written() {
    let sites = sites(["signal_a", "signal_b"]).await;
    let [a, b] = [&sites[0], &sites[1]];
    let arguments = ["replicate", "--from", &a.url, "--to", &b.url, "--continuous"];
    let child = godwit(&arguments).unwrap().stderr(Stdio::piped()).spawn().unwrap();
    a.sql.batch_execute("insert into cases values ('1', 'x', 7)").await.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end && !equal(&sites).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pid = child.id().unwrap().to_string();
    let kill = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    assert!(kill.success());
    let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_equal(&sites).await;
    assert_eq!(b.value("select pushed::text from godwit.peers()").await.unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_imported_whole_however_often_it_was_cut_off() {
    let sites = sites(["file_a", "file_b"]).await;
    let [a, b] = [&sites[0], &sites[1]];
    let fill =
        "insert into cases select 'r' || g, repeat('x', 50), g from generate_series(1, 4000) g;
                update cases set n = n + 1 where n % 3 = 0; delete from cases where n % 10 = 0";
    a.sql.batch_execute(fill).await.unwrap();
    let key = Scratch::new("key");
    std::fs::write(&key.0, [b'k'; 32]).unwrap();
    let file = Scratch::new("all.ndjson.zst");
    let said = done(&["export", "--from", &a.url, "--key-file", key.path(), file.path()]).await;
    let next = said.rsplit_once("--since ").unwrap().1.trim().to_owned();
    // Killed in the midst, again and again, each time a little later.
    let arguments =
        ["import", "--to", &b.url, "--key-file", key.path(), "--batch", "100", file.path()];
    let (killed, mut midway) = (AtomicBool::new(false), 0);
    let killed = Arc::new(killed);
    for round in 1..=4 {
        let mut child = godwit(&arguments).unwrap().stderr(Stdio::null()).spawn().unwrap();
        let wanted = round * 600;
        while child.try_wait().unwrap().is_none() {
            let count = b.value("select count(*)::text from cases_history").await.unwrap();
            if count.parse::<i32>().unwrap() >= wanted {
                killed.store(true, Ordering::SeqCst);
                midway += 1;
                child.kill().await.unwrap();
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(killed.load(Ordering::SeqCst) && midway >= 2, "it was never cut off");
    assert!(!equal(&sites).await, "it was over before it could be cut off");
    done(&arguments).await;
    assert_equal(&sites).await;
    let last = b.value("select godwit.last_sequence()::text").await.unwrap();
    let said = done(&arguments).await;
    assert!(said.contains(" 0 put, 0 refused"), "{said}");
    assert_eq!(b.value("select godwit.last_sequence()::text").await.unwrap(), last);
    // What came since fits behind it.
    a.sql.batch_execute("update cases set name = 'later' where n < 50").await.unwrap();
    let more = Scratch::new("more.ndjson.zst");
    done(&["export", "--from", &a.url, "--since", &next, more.path()]).await;
    assert!(
        std::fs::metadata(&more.0).unwrap().len() * 10 < std::fs::metadata(&file.0).unwrap().len()
    );
    done(&["import", "--to", &b.url, more.path()]).await;
    assert_equal(&sites).await;
    // What is damaged, cut off or unsigned is refused before anything is put.
    a.sql.batch_execute("update cases set name = 'never' where n < 50").await.unwrap();
    let bad = Scratch::new("bad.ndjson.zst");
    done(&["export", "--from", &a.url, bad.path()]).await;
    let (status, said) =
        run(&["import", "--to", &b.url, "--key-file", key.path(), bad.path()]).await.unwrap();
    assert!(status == 1 && said.contains("not signed"), "{said}");
    let bytes = std::fs::read(&bad.0).unwrap();
    std::fs::write(&bad.0, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let (status, said) = run(&["import", "--to", &b.url, bad.path()]).await.unwrap();
    assert!(status == 1 && said.contains("cut off"), "{said}");
    let count = b.value("select count(*)::text from cases_history where name = 'never'").await;
    assert_eq!(count.unwrap(), "0");
}
