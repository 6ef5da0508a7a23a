//! Which fields which kind of entry has: a filter that asks for one that an entry can never
//! have is refused instead of being silently false.

use super::{AddressField, Filter, NumberField, Predicate, PresenceField, TextField};

/// What a filter selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Entries of the connection tracking table.
    Flow,
    /// Expectations.
    Expectation,
}

/// A filter asks for a field that the entries it selects never have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is no field of {}", match kind { Kind::Flow => "flows", Kind::Expectation => "expectations" })]
pub struct UnfitField {
    /// The field, as the filter language names it.
    pub field: &'static str,
    /// What the filter was to select.
    pub kind: Kind,
}

impl Filter {
    /// The first thing that `look` finds in a predicate, wherever in the tree it stands.
    pub fn find<T>(&self, look: &mut impl FnMut(&Predicate) -> Option<T>) -> Option<T> {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                filters.iter().find_map(|filter| filter.find(look))
            }
            Self::Not(filter) => filter.find(look),
            Self::Is(predicate) => look(predicate),
        }
    }

    /// Whether it looks at the master of an entry.
    pub fn asks_for_master(&self) -> bool {
        let mut look = |predicate: &Predicate| match predicate {
            Predicate::Address(AddressField::MasterSrc | AddressField::MasterDst, _)
            | Predicate::Number(
                NumberField::MasterProtocol
                | NumberField::MasterSrcPort
                | NumberField::MasterDstPort,
                ..,
            )
            | Predicate::Present(PresenceField::Master) => Some(()),
            _ => None,
        };
        self.find(&mut look).is_some()
    }

    /// Refuses a filter with a field that this kind of entry never has.
    pub fn check(&self, kind: Kind) -> Result<(), UnfitField> {
        let unfit = self.find(&mut |predicate| {
            let (field, fits) = match predicate {
                Predicate::Address(field, _) => (field.name(), field.is_of(kind)),
                Predicate::Number(field, _, _) => (field.name(), field.is_of(kind)),
                Predicate::Labels { .. } => ("labels", kind == Kind::Flow),
                Predicate::Text(field, _) => (field.name(), field.is_of(kind)),
                Predicate::Present(field) => (field.name(), field.is_of(kind)),
                Predicate::Translated(how) => (how.name(), kind == Kind::Flow),
            };
            (!fits).then_some(field)
        });
        match unfit {
            None => Ok(()),
            Some(field) => Err(UnfitField { field, kind }),
        }
    }
}

impl AddressField {
    /// Whether entries of this kind can have the field.
    pub fn is_of(self, kind: Kind) -> bool {
        match self {
            Self::Src | Self::Dst | Self::Any | Self::MasterSrc | Self::MasterDst => true,
            Self::ReplySrc | Self::ReplyDst => kind == Kind::Flow,
            Self::MaskSrc | Self::MaskDst => kind == Kind::Expectation,
        }
    }
}

impl NumberField {
    /// Whether entries of this kind can have the field. The zone is none of an expectation's:
    /// the kernel takes it but never reports it.
    pub fn is_of(self, kind: Kind) -> bool {
        match self {
            Self::Family
            | Self::Protocol
            | Self::Id
            | Self::Timeout
            | Self::SrcPort
            | Self::DstPort
            | Self::Port
            | Self::IcmpType
            | Self::IcmpCode
            | Self::IcmpId
            | Self::GreSrcKey
            | Self::GreDstKey
            | Self::MasterProtocol
            | Self::MasterSrcPort
            | Self::MasterDstPort => true,
            Self::ExpectFlags | Self::ExpectClass => kind == Kind::Expectation,
            Self::Zone
            | Self::ZoneDirection
            | Self::Status
            | Self::Mark
            | Self::Use
            | Self::ReplySrcPort
            | Self::ReplyDstPort
            | Self::GreReplySrcKey
            | Self::GreReplyDstKey
            | Self::TcpState
            | Self::TcpWindowScaleOrig
            | Self::TcpWindowScaleReply
            | Self::TcpFlagsOrig
            | Self::TcpFlagsReply
            | Self::SctpState
            | Self::SctpVtagOrig
            | Self::SctpVtagReply
            | Self::DccpState
            | Self::DccpRole
            | Self::DccpHandshakeSeq
            | Self::PacketsOrig
            | Self::PacketsReply
            | Self::Packets
            | Self::BytesOrig
            | Self::BytesReply
            | Self::Bytes
            | Self::Start
            | Self::Stop
            | Self::Event
            | Self::Age
            | Self::SeqAdjOrigCorrectionPos
            | Self::SeqAdjOrigOffsetBefore
            | Self::SeqAdjOrigOffsetAfter
            | Self::SeqAdjReplyCorrectionPos
            | Self::SeqAdjReplyOffsetBefore
            | Self::SeqAdjReplyOffsetAfter
            | Self::SynproxyIsn
            | Self::SynproxyIts
            | Self::SynproxyTsoff => kind == Kind::Flow,
        }
    }
}

impl TextField {
    /// Whether entries of this kind can have the field.
    pub fn is_of(self, kind: Kind) -> bool {
        match self {
            Self::Helper => true,
            Self::SecCtx => kind == Kind::Flow,
            Self::ExpectFunction => kind == Kind::Expectation,
        }
    }
}

impl PresenceField {
    /// Whether entries of this kind can have the part.
    pub fn is_of(self, kind: Kind) -> bool {
        match self {
            Self::Helper | Self::Master => true,
            Self::HelperInfo
            | Self::Labels
            | Self::SecCtx
            | Self::SeqAdj
            | Self::Synproxy
            | Self::Counters
            | Self::Timestamps
            | Self::ProtoInfo => kind == Kind::Flow,
            Self::ExpectNat => kind == Kind::Expectation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Labels;
    use crate::flow::filter::Translation;

    fn refused(filter: &Filter, kind: Kind) -> Option<&'static str> {
        filter.check(kind).err().map(|e| e.field)
    }

    #[test]
    fn the_unfit_field_is_named_wherever_it_stands() {
        let unfit = Filter::Is(Predicate::Present(PresenceField::ExpectNat));
        let tree = Filter::And(vec![
            Filter::Is(Predicate::Present(PresenceField::Master)),
            Filter::Or(vec![Filter::Not(Box::new(unfit))]),
        ]);
        assert_eq!(refused(&tree, Kind::Flow), Some("expect-nat"));
        assert_eq!(refused(&tree, Kind::Expectation), None);
        assert_eq!(
            tree.check(Kind::Flow).unwrap_err().to_string(),
            "`expect-nat` is no field of flows"
        );
    }

    #[test]
    fn expectations_have_neither_labels_nor_translation_nor_zone() {
        let labels = Filter::Is(Predicate::Labels {
            value: Labels(1),
            mask: Labels(1),
        });
        let nat = Filter::Is(Predicate::Translated(Translation::Src));
        let zone = Filter::Is(Predicate::Number(NumberField::Zone, None, Vec::new()));
        for (filter, name) in [(labels, "labels"), (nat, "snat"), (zone, "zone")] {
            assert_eq!(refused(&filter, Kind::Flow), None);
            assert_eq!(refused(&filter, Kind::Expectation), Some(name));
        }
    }

    #[test]
    fn every_field_is_of_some_kind() {
        let of_some = |fits: &dyn Fn(Kind) -> bool| fits(Kind::Flow) || fits(Kind::Expectation);
        assert!(AddressField::ALL.iter().all(|f| of_some(&|k| f.is_of(k))));
        assert!(NumberField::ALL.iter().all(|f| of_some(&|k| f.is_of(k))));
        assert!(TextField::ALL.iter().all(|f| of_some(&|k| f.is_of(k))));
        assert!(PresenceField::ALL.iter().all(|f| of_some(&|k| f.is_of(k))));
    }
}
