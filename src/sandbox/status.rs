//! What the kernel says of every thread of this process, in /proc/self/task.

use std::fs;
use std::io;

use caps::{Capability, CapsHashSet};

use super::capabilities::needed;

/// What a process may do that was started by the user root, more or less.
const MANY: usize = 4;

/// Filters are in force: SECCOMP_MODE_FILTER of linux/seccomp.h.
const FILTERED: u64 = 2;

/// The least that is in force on any thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Threads {
    /// Every capability that any thread has in any set but the bounding one.
    held: u64,
    bounding: u64,
    all_without_new_privileges: bool,
    all_filtered: bool,
}

impl Threads {
    /// Asks the kernel.
    pub(super) fn read() -> io::Result<Self> {
        let mut threads = Self::none();
        for task in fs::read_dir("/proc/self/task")? {
            match fs::read_to_string(task?.path().join("status")) {
                Ok(status) => threads.add(&status),
                // Ended since it was listed.
                Err(_) => continue,
            }
        }
        Ok(threads)
    }

    fn none() -> Self {
        Self {
            held: 0,
            bounding: 0,
            all_without_new_privileges: true,
            all_filtered: true,
        }
    }

    /// One thread's `status`. What it does not say is not in force.
    fn add(&mut self, status: &str) {
        let field = |name: &str, radix| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            u64::from_str_radix(value.trim(), radix).ok()
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            self.held |= field(set, 16).unwrap_or_default();
        }
        self.bounding |= field("CapBnd", 16).unwrap_or_default();
        self.all_without_new_privileges &= field("NoNewPrivs", 10) == Some(1);
        self.all_filtered &= field("Seccomp", 10) == Some(FILTERED);
    }

    /// Those that are left, if that is no more than needed.
    pub(super) fn capabilities(&self, other_namespaces: bool) -> Result<String, String> {
        let needed = needed(other_namespaces);
        let held = set(self.held);
        if !held.is_subset(&needed) {
            return Err(words(&held));
        }
        if set(self.bounding).is_subset(&needed) {
            return Ok(words(&held));
        }
        // Of no use to a process that executes nothing.
        Ok(format!("{}; the bounding set has more", words(&held)))
    }

    pub(super) fn no_new_privileges(&self) -> Result<String, String> {
        match self.all_without_new_privileges {
            true => Ok(String::new()),
            false => Err("a program that it executes could gain rights".to_owned()),
        }
    }

    pub(super) fn seccomp(&self) -> Result<String, String> {
        match self.all_filtered {
            true => Ok("filter".to_owned()),
            false => Err("every system call can be made".to_owned()),
        }
    }
}

fn set(mask: u64) -> CapsHashSet {
    let all = caps::all().into_iter();
    all.filter(|capability| mask & capability.bitmask() != 0)
        .collect()
}

fn words(held: &CapsHashSet) -> String {
    if held.len() > MANY {
        return format!("{} capabilities", held.len());
    }
    let mut names: Vec<String> = held.iter().map(Capability::to_string).collect();
    names.sort_unstable();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINED: &str = "\
Name:\tctagent
CapInh:\t0000000000000000
CapPrm:\t0000000000001000
CapEff:\t0000000000001000
CapBnd:\t0000000000001000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t2
";

    fn of(threads: &[&str]) -> Threads {
        let mut found = Threads::none();
        for thread in threads {
            found.add(thread);
        }
        found
    }

    #[test]
    fn a_thread_with_cap_net_admin_alone_is_confined() {
        let threads = of(&[CONFINED, CONFINED]);
        assert_eq!(threads.capabilities(false), Ok("CAP_NET_ADMIN".to_owned()));
        assert_eq!(threads.no_new_privileges(), Ok(String::new()));
        assert_eq!(threads.seccomp(), Ok("filter".to_owned()));
    }

    #[test]
    fn one_thread_that_is_not_confined_is_enough_to_say_so() {
        let free = "CapPrm:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n";
        let threads = of(&[CONFINED, free]);
        let many = threads.capabilities(true).expect_err("too many");
        assert!(many.ends_with("capabilities"), "{many}");
        assert!(threads.no_new_privileges().is_err());
        assert!(threads.seccomp().is_err());
        assert!(of(&[CONFINED, ""]).seccomp().is_err());
    }

    #[test]
    fn cap_sys_admin_is_more_than_needed_unless_it_was_asked_for() {
        let both = CONFINED.replace("1000\n", "201000\n");
        let threads = of(&[&both]);
        let names = "CAP_NET_ADMIN, CAP_SYS_ADMIN".to_owned();
        assert_eq!(threads.capabilities(false), Err(names.clone()));
        assert_eq!(threads.capabilities(true), Ok(names));
    }

    #[test]
    fn a_larger_bounding_set_is_told() {
        let larger = CONFINED.replace("CapBnd:\t0000000000001", "CapBnd:\t0000000000003");
        let told = of(&[&larger]).capabilities(false).expect("confined");
        assert_eq!(told, "CAP_NET_ADMIN; the bounding set has more");
    }
}
