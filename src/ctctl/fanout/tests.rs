//! The fan-out against sockets that accept connections and say nothing: what the tasks send
//! is the tests' own.

use std::sync::atomic::AtomicUsize;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::Barrier;

use super::*;

/// Sockets that accept connections, and one that does not exist.
struct Sockets {
    directory: TempDir,
    accepting: Vec<tokio::task::JoinHandle<()>>,
}

impl Sockets {
    fn open(count: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let accept = |n: usize| {
            let listener = UnixListener::bind(directory.path().join(n.to_string())).unwrap();
            tokio::spawn(async move {
                let mut connections = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.push(stream);
                }
            })
        };
        let accepting = (0..count).map(accept).collect();
        Self {
            directory,
            accepting,
        }
    }

    fn target(&self, name: &str) -> Arc<Target> {
        let path = self.directory.path().join(name);
        Arc::new(format!("{name}=unix:{}", path.display()).parse().unwrap())
    }

    fn fleet(&self, parallel: usize) -> Fleet {
        fleet(
            (0..self.accepting.len())
                .map(|n| self.target(&n.to_string()))
                .collect(),
            parallel,
        )
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.accepting.iter().for_each(|task| task.abort());
    }
}

fn fleet(targets: Vec<Arc<Target>>, parallel: usize) -> Fleet {
    let dialler = Dialler::new(None, false, None, "", parallel);
    Fleet {
        targets,
        dialler,
        parallel,
    }
}

/// Hands every item to a closure.
struct Each<F>(F);

impl<T, F> Consumer<T> for Each<F>
where
    F: FnMut(&Target, T) -> io::Result<ControlFlow<()>> + Send + 'static,
{
    fn item(&mut self, node: &Arc<Target>, item: T) -> io::Result<ControlFlow<()>> {
        (self.0)(node, item)
    }
}

fn names(outcome: &Outcome<impl Sized>) -> Vec<String> {
    let nodes = outcome.failures.iter();
    nodes
        .map(|failure| failure.node.name().to_string())
        .collect()
}

/// The consumer may be at its end before the failure of a task is noted: often enough for
/// this to have found it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_failure_is_forgotten() {
    let target: Target = "unix:/nonexistent/ctagent.sock".parse().unwrap();
    let fleet = fleet(vec![Arc::new(target)], 1);
    let mut interrupt = Interrupt::listen().unwrap();
    for round in 0..500 {
        let taker = Each(|_: &Target, (): ()| Ok(ControlFlow::Continue(())));
        let work = |_: Session, _: Sink<()>| async { Ok(()) };
        let outcome = fleet.run(Width::Bounded, &mut interrupt, taker, work).await;
        assert_eq!(outcome.exit_code(), 2, "round {round}");
        assert_eq!(outcome.failures.len(), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_does_not_spoil_the_others() {
    let sockets = Sockets::open(3);
    let mut fleet = sockets.fleet(2);
    fleet.targets.insert(1, sockets.target("gone"));
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let consumer = {
        let seen = Arc::clone(&seen);
        Each(move |node: &Target, item: usize| {
            seen.lock().unwrap().push((node.name().to_string(), item));
            Ok(ControlFlow::Continue(()))
        })
    };
    let work = |session: Session, sink: Sink<usize>| async move {
        sink.send(1).await?;
        if &**session.target().name() == "2" {
            return Err(NodeError::Incomplete.into());
        }
        sink.send(2).await?;
        Ok(())
    };
    let mut interrupt = Interrupt::listen().unwrap();
    let outcome = fleet
        .run(Width::Bounded, &mut interrupt, consumer, work)
        .await;
    let mut failed = names(&outcome);
    failed.sort();
    assert_eq!(failed, ["2", "gone"]);
    assert_eq!(outcome.exit_code(), 1);
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort();
    let expected = [("0", 1), ("0", 2), ("1", 1), ("1", 2), ("2", 1)];
    assert_eq!(seen, expected.map(|(node, item)| (node.to_owned(), item)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_bound_work_at_once() {
    let sockets = Sockets::open(20);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |_: Session, sink: Sink<()>| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..10 {
                    sink.send(()).await?;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        }
    };
    let taker = Each(|_: &Target, (): ()| Ok(ControlFlow::Continue(())));
    let mut interrupt = Interrupt::listen().unwrap();
    let outcome = sockets
        .fleet(3)
        .run(Width::Bounded, &mut interrupt, taker, work)
        .await;
    assert_eq!(outcome.exit_code(), 0);
    assert!(most.load(Ordering::SeqCst) <= 3);
}

/// Only then a watch of a fleet wider than the bound watches all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_without_an_end_runs_on_all_whatever_the_bound() {
    let sockets = Sockets::open(9);
    let all = Arc::new(Barrier::new(9));
    let work = move |_: Session, _: Sink<()>| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            Ok(())
        }
    };
    let taker = Each(|_: &Target, (): ()| Ok(ControlFlow::Continue(())));
    let mut interrupt = Interrupt::listen().unwrap();
    let outcome = sockets
        .fleet(2)
        .run(Width::All, &mut interrupt, taker, work)
        .await;
    assert_eq!(outcome.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_holds_the_agents() {
    let sockets = Sockets::open(4);
    let sent = Arc::new(AtomicUsize::new(0));
    let consumer = {
        let (sent, mut taken) = (Arc::clone(&sent), 0);
        Each(move |_: &Target, (): ()| {
            taken += 1;
            // What waits in the channel, and what each agent holds in its hand.
            let ahead = sent.load(Ordering::SeqCst) - taken;
            assert!(ahead <= PARCELS + 4, "{ahead} parcels in memory");
            std::thread::yield_now();
            Ok(ControlFlow::Continue(()))
        })
    };
    let work = move |_: Session, sink: Sink<()>| {
        let sent = Arc::clone(&sent);
        async move {
            for _ in 0..500 {
                sent.fetch_add(1, Ordering::SeqCst);
                sink.send(()).await?;
            }
            Ok(())
        }
    };
    let mut interrupt = Interrupt::listen().unwrap();
    let outcome = sockets
        .fleet(4)
        .run(Width::Bounded, &mut interrupt, consumer, work)
        .await;
    // A consumer that panicked would be gone.
    assert!(outcome.consumer.is_some());
    assert_eq!(outcome.exit_code(), 0);
}

/// Work that would go on for ever.
async fn forever(_: Session, sink: Sink<u64>) -> Result<(), Stop> {
    for n in 0.. {
        sink.send(n).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_has_enough_ends_everything() {
    let sockets = Sockets::open(3);
    let mut left = 1000;
    let consumer = Each(move |_: &Target, _: u64| {
        left -= 1;
        Ok(if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    });
    let mut interrupt = Interrupt::listen().unwrap();
    let outcome = sockets
        .fleet(3)
        .run(Width::All, &mut interrupt, consumer, forever)
        .await;
    assert!(matches!(outcome.ended, Ended::Enough));
    assert_eq!(outcome.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_pipe_ends_everything_and_is_success() {
    let sockets = Sockets::open(3);
    let consumer = Each(|_: &Target, n: u64| match n {
        100 => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Ok(ControlFlow::Continue(())),
    });
    let mut interrupt = Interrupt::listen().unwrap();
    let outcome = sockets
        .fleet(3)
        .run(Width::All, &mut interrupt, consumer, forever)
        .await;
    assert!(matches!(outcome.ended, Ended::PipeClosed));
    assert_eq!(outcome.exit_code(), 0);
}
