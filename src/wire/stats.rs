//! The kernel's counters.

use crate::flow::{ExpectationStats, FlowStats, PerCpu};
use crate::pb;

use super::{FieldError, required, to_u16};

/// Declares that the sets of counters have the same fields.
macro_rules! same_counters {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl From<$name> for pb::$name {
            fn from(stats: $name) -> Self {
                Self { $($field: stats.$field),* }
            }
        }

        impl From<pb::$name> for $name {
            fn from(message: pb::$name) -> Self {
                Self { $($field: message.$field),* }
            }
        }
    };
}

same_counters!(FlowStats {
    searched,
    found,
    new,
    invalid,
    ignore,
    delete,
    delete_list,
    insert,
    insert_failed,
    drop,
    early_drop,
    error,
    search_restart,
    clash_resolve,
    chain_toolong,
});

same_counters!(ExpectationStats {
    new,
    create,
    delete
});

/// Declares that one processor's counters are a message of their own.
macro_rules! per_cpu {
    ($stats:ident, $message:ident) => {
        impl From<PerCpu<$stats>> for pb::$message {
            fn from(cpu: PerCpu<$stats>) -> Self {
                Self {
                    cpu: cpu.cpu.into(),
                    stats: Some(cpu.stats.into()),
                }
            }
        }

        impl TryFrom<pb::$message> for PerCpu<$stats> {
            type Error = FieldError;

            fn try_from(message: pb::$message) -> Result<Self, FieldError> {
                Ok(Self {
                    cpu: to_u16(message.cpu, "cpu")?,
                    stats: required(message.stats, "stats")?.into(),
                })
            }
        }
    };
}

per_cpu!(FlowStats, CpuStats);
per_cpu!(ExpectationStats, ExpectationCpuStats);
