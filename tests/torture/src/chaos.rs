//! In charge of what goes wrong: kill -9 of a backend and of the whole server, and promotion of a
//! replica, with and without the primary's tail.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::read::SharedLog;
use crate::server::Servers;
use crate::world::{Failure, Figures, World, held};

/// A primary's tail that its replica lacked, from when it was known to have all that was shown.
pub struct Tail {
    pub from: Instant,
    pub to: Instant,
    /// What each reader was shown meanwhile, by place in its log.
    pub shown: Vec<Range<usize>>,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    KillBackend,
    KillServer,
    /// Ends sessions politely.
    Terminate,
    PromoteWithoutTail,
    PromoteSynchronous,
}

/// What happens in each round, in this order, so that a minute has seen everything.
const ROUND: [Event; 7] = [
    Event::KillBackend,
    Event::PromoteWithoutTail,
    Event::KillServer,
    Event::Terminate,
    Event::PromoteSynchronous,
    Event::KillBackend,
    Event::KillServer,
];

pub struct Chaos {
    pub world: Arc<World>,
    pub servers: Servers,
    pub logs: Vec<SharedLog>,
    pub random: Random,
    pub tails: Vec<Tail>,
}

impl Chaos {
    /// Goes on until the end of the run, and leaves a server that answers.
    pub async fn reign(&mut self, end: Instant, pause_ms: (u64, u64)) -> Result<(), Failure> {
        for event in ROUND.iter().cycle() {
            let pause = self.random.between(pause_ms.0, pause_ms.1);
            let next = Instant::now() + Duration::from_millis(pause);
            tokio::time::sleep_until(next.min(end).into()).await;
            if Instant::now() >= end {
                break;
            }
            self.world.say(&format!("{event:?}"));
            match event {
                Event::KillBackend => self.kill_backend().await?,
                Event::KillServer => self.kill_server().await?,
                Event::Terminate => self.terminate().await?,
                Event::PromoteWithoutTail => self.promote(false).await?,
                Event::PromoteSynchronous => self.promote(true).await?,
            }
        }
        Ok(())
    }

    async fn kill_backend(&mut self) -> Result<(), Failure> {
        let session = self.servers.answering().await?;
        self.relax().await;
        // Any of the server's own processes now and then, else a session that is at work.
        let kind = if self.random.chance(30) { "<>" } else { "=" };
        let sql = format!(
            "select pid from pg_stat_activity
              where backend_type {kind} 'client backend' and pid <> pg_backend_pid() order by pid"
        );
        let found = session.query(&sql, &[]).await?;
        let picked = self.random.below(found.len() as u64) as usize;
        if let Some(row) = found.get(picked) {
            self.servers.kill_process(row.try_get(0)?).await?;
            Figures::add(&self.world.figures.backend_kills, 1);
        }
        // The postmaster notices, and starts all others anew.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.servers.answering().await?;
        self.world.lax_only.store(false, Ordering::SeqCst);
        Ok(())
    }

    async fn kill_server(&mut self) -> Result<(), Failure> {
        self.relax().await;
        self.servers.kill_primary().await?;
        self.world.lax_only.store(false, Ordering::SeqCst);
        Figures::add(&self.world.figures.server_kills, 1);
        tokio::time::sleep(Duration::from_millis(self.random.below(400))).await;
        self.servers.start_primary().await?;
        self.servers.answering().await?;
        Ok(())
    }

    /// For a moment nothing is flushed but by readers: any commit that waits for the disk would take the
    /// others' along.
    async fn relax(&mut self) {
        self.world.lax_only.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.random.between(300, 1500))).await;
    }

    async fn terminate(&mut self) -> Result<(), Failure> {
        let session = self.servers.answering().await?;
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                    where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.3";
        session.query(sql, &[]).await?;
        Ok(())
    }

    async fn promote(&mut self, synchronous: bool) -> Result<(), Failure> {
        self.servers.clone_primary().await?;
        if synchronous {
            self.world.durable_only.store(true, Ordering::SeqCst);
            while self.world.lax.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.servers.make_synchronous().await?;
        }
        // What is shown or acknowledged up to here is on the primary's disk, and then the replica's.
        let from = Instant::now();
        let before = self.lengths();
        self.servers.replica_has_all().await?;
        if synchronous {
            tokio::time::sleep(Duration::from_millis(self.random.between(500, 2000))).await;
        } else {
            self.servers.cut_replica().await?;
            tokio::time::sleep(Duration::from_millis(self.random.between(300, 1500))).await;
        }
        self.servers.kill_primary().await?;
        Figures::add(&self.world.figures.server_kills, 1);
        // The last answers of the dead are still being read.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (to, after) = (Instant::now(), self.lengths());
        self.servers.promote().await?;
        Figures::add(&self.world.figures.promotions, 1);
        self.world.durable_only.store(false, Ordering::SeqCst);
        if !synchronous {
            let shown = before.into_iter().zip(after).map(|(from, to)| from..to).collect();
            self.tails.push(Tail { from, to, shown });
        }
        Ok(())
    }

    fn lengths(&self) -> Vec<usize> {
        self.logs.iter().map(|log| held(log).seen.len()).collect()
    }
}
