//! Files that are exchanged under an agent that runs.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use super::*;

/// Waits until the configuration in force is another one.
async fn changed(live: &Live, before: &Arc<ServerConfig>) {
    let end = Instant::now() + Duration::from_secs(20);
    while Arc::ptr_eq(&live.current(), before) {
        assert!(Instant::now() < end, "the change was not noticed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn new_files_come_into_force_and_broken_ones_do_not() {
    let issuer = Issuer::new("ours");
    let files = issuer.issue("agent");
    let live = Live::load(of(&files)).expect("files in order");
    let first = live.current();
    assert_eq!(live.reload(), Reloaded::Same);
    assert!(Arc::ptr_eq(&live.current(), &first));

    std::fs::write(&files.cert, "broken").expect("a file");
    let Reloaded::Broken(trouble) = live.reload() else {
        panic!("it was taken")
    };
    assert!(trouble.contains("agent.pem"), "{trouble}");
    assert!(Arc::ptr_eq(&live.current(), &first));
    assert_eq!(live.standing().trouble, Some(trouble));

    // The certificate without its key is broken, too.
    let good = std::fs::read(&files.key).expect("a file");
    issuer.issue("agent");
    std::fs::write(&files.key, good).expect("a file");
    let Reloaded::Broken(trouble) = live.reload() else {
        panic!("it was taken")
    };
    assert!(trouble.contains("does not belong to"), "{trouble}");
    assert!(Arc::ptr_eq(&live.current(), &first));

    issuer.issue("agent");
    assert_eq!(live.reload(), Reloaded::Changed);
    assert!(!Arc::ptr_eq(&live.current(), &first));
    assert_eq!(live.standing().trouble, None);
}

#[tokio::test]
async fn what_is_written_or_renamed_into_place_is_noticed() {
    let issuer = Issuer::new("ours");
    let files = issuer.issue("agent");
    let live = Live::load(of(&files)).expect("files in order");
    let following = tokio::spawn(live.clone().follow());
    for _ in 0..3 {
        let before = live.current();
        issuer.issue("agent");
        changed(&live, &before).await;
    }
    for _ in 0..3 {
        let before = live.current();
        let new = issuer.issue("new");
        std::fs::rename(&new.cert, &files.cert).expect("renamed");
        std::fs::rename(&new.key, &files.key).expect("renamed");
        changed(&live, &before).await;
    }
    following.abort();
}

/// Kubernetes exchanges a directory behind a link, for all files at once; others link the
/// directory itself from far away.
#[tokio::test]
async fn a_link_that_is_swapped_is_noticed_anywhere_on_the_way() {
    let issuer = Issuer::new("ours");
    let top = issuer.directory.path();
    let version = |name: &str| {
        let directory = top.join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let files = issuer.issue("agent");
        std::fs::rename(&files.cert, directory.join("tls.crt")).expect("renamed");
        std::fs::rename(&files.key, directory.join("tls.key")).expect("renamed");
    };
    let swap = |link: &str, target: &str| {
        let new = top.join("new-link");
        symlink(target, &new).expect("a link");
        std::fs::rename(&new, top.join(link)).expect("renamed");
    };
    version("secret/..1");
    swap("secret/..data", "..1");
    symlink("..data/tls.crt", top.join("secret/tls.crt")).expect("a link");
    symlink("..data/tls.key", top.join("secret/tls.key")).expect("a link");
    swap("mounted", "secret");
    let files = Files {
        cert: top.join("mounted/tls.crt"),
        key: top.join("mounted/tls.key"),
        ca: top.join("ca.pem"),
        crls: Vec::new(),
    };
    let live = Live::load(of(&files)).expect("files in order");
    let following = tokio::spawn(live.clone().follow());
    for number in 2..5 {
        let before = live.current();
        version(&format!("secret/..{number}"));
        swap("secret/..data", &format!("..{number}"));
        let old = top.join(format!("secret/..{}", number - 1));
        std::fs::remove_dir_all(old).expect("removed");
        changed(&live, &before).await;
    }
    for name in ["a", "b"] {
        let before = live.current();
        version(name);
        swap("mounted", name);
        changed(&live, &before).await;
    }
    // The directory itself goes, and another one comes.
    let before = live.current();
    version("c");
    std::fs::rename(top.join("b"), top.join("gone")).expect("renamed");
    std::fs::rename(top.join("c"), top.join("b")).expect("renamed");
    changed(&live, &before).await;
    following.abort();
}

/// Certificate and key come one after the other, again and again: whatever was read in between,
/// the last ones are in force in the end.
#[tokio::test]
async fn the_last_of_many_exchanges_is_in_force_in_the_end() {
    let issuer = Issuer::new("ours");
    let files = issuer.issue("agent");
    let live = Live::load(of(&files)).expect("files in order");
    let following = tokio::spawn(live.clone().follow());
    for _ in 0..100 {
        issuer.issue("agent");
        tokio::task::yield_now().await;
    }
    let end = Instant::now() + Duration::from_secs(20);
    let read = || files.read().expect("files in order");
    while !live.holds(&read()) {
        assert!(Instant::now() < end, "an old one stayed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    following.abort();
}
