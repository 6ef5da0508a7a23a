//! net/netfilter/nf_internals.h: the bits of CTA_FILTER_ORIG_FLAGS and
//! CTA_FILTER_REPLY_FLAGS (Linux 5.8). Host byte order, unlike everything else.
#![allow(missing_docs)]

pub const CTA_FILTER_F_CTA_IP_SRC: u32 = 1 << 0;
pub const CTA_FILTER_F_CTA_IP_DST: u32 = 1 << 1;
pub const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;
pub const CTA_FILTER_F_CTA_PROTO_SRC_PORT: u32 = 1 << 4;
pub const CTA_FILTER_F_CTA_PROTO_DST_PORT: u32 = 1 << 5;
