//! The kernel's counters, one set a processor (`enum ctattr_stats_cpu`,
//! `enum ctattr_expect_stats`).

/// Something that the kernel keeps for each processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerCpu<T> {
    /// The processor's number.
    pub cpu: u16,
    /// Its counters.
    pub stats: T,
}

/// Declares a set of counters that can be added up and walked by name.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<u64>,)*
        }

        impl $name {
            /// Adds another processor's counters; one that neither has stays absent.
            pub fn add(&mut self, other: &Self) {
                $(if let Some(more) = other.$field {
                    let sum = self.$field.get_or_insert(0);
                    // The kernel's are 32 bits wide, but who tells them may be anybody.
                    *sum = sum.saturating_add(more);
                })*
            }

            /// The counters that are present, by the kernel's names.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
            }
        }
    };
}

counters! {
    /// Counters of the table. The kernel's are 32 bits wide and wrap.
    FlowStats {
        /// Not counted since Linux 4.9.
        searched,
        /// Lookups that found an entry.
        found,
        /// Not counted since Linux 4.9.
        new,
        /// Packets that could not be tracked.
        invalid,
        /// Not counted since Linux 5.10.
        ignore,
        /// Not counted since Linux 4.9.
        delete,
        /// Not counted since Linux 4.9.
        delete_list,
        /// Entries inserted.
        insert,
        /// Entries that lost a race for their tuple.
        insert_failed,
        /// Packets dropped because of conntrack.
        drop,
        /// Entries evicted to make room.
        early_drop,
        /// ICMP packets that could not be related.
        error,
        /// Lookups repeated because the table was resized.
        search_restart,
        /// Insertion clashes that were resolved.
        clash_resolve,
        /// Insertions refused because a hash chain was too long.
        chain_toolong,
    }
}

counters! {
    /// Counters of expectations. The kernel's are 32 bits wide and wrap.
    ExpectationStats {
        /// Expectations created from a packet or a request.
        new,
        /// Expectations inserted.
        create,
        /// Expectations removed.
        delete,
    }
}
