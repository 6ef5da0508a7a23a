//! The formats `json` (one array) and `jsonl` (one object a line): the same objects, which
//! docs/json.md describes.

use super::json_entry::{self, Object};
use super::report::{Report, Value};
use super::{Formatter, Notice, Origin};
use crate::flow::{Expectation, Flow};

/// The format `json` or `jsonl`.
pub(super) struct Json {
    /// An array, and whether it has been opened; lines otherwise.
    array: Option<bool>,
}

impl Json {
    /// One array.
    pub(super) fn array() -> Self {
        Self { array: Some(false) }
    }

    /// One object a line.
    pub(super) fn lines() -> Self {
        Self { array: None }
    }

    fn object(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        if let Some(open) = &mut self.array {
            out.extend_from_slice(if *open { b",\n" } else { b"[\n" });
            *open = true;
        }
        let mut object = Object::open(out);
        write(&mut object);
        object.close();
        if self.array.is_none() {
            out.push(b'\n');
        }
    }
}

impl Formatter for Json {
    fn flow(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, flow: &Flow) {
        self.object(out, |object| {
            json_entry::origin(object, origin);
            json_entry::flow(object, flow);
        });
    }

    fn expectation(&mut self, out: &mut Vec<u8>, origin: Origin<'_>, expectation: &Expectation) {
        self.object(out, |object| {
            json_entry::origin(object, origin);
            json_entry::expectation(object, expectation);
        });
    }

    fn report(&mut self, out: &mut Vec<u8>, report: &Report) {
        for row in report.rows() {
            self.object(out, |object| {
                for (name, value) in report.columns().zip(row) {
                    match value {
                        Value::None => {}
                        Value::Bool(b) => object.boolean(name, *b),
                        Value::Number(n) => object.number(name, *n),
                        Value::Text(text) => object.text(name, text),
                        Value::List(list) => object.texts(name, list.iter().map(|s| &**s)),
                    }
                }
            });
        }
    }

    fn notice(&mut self, out: &mut Vec<u8>, node: Option<&str>, notice: &Notice) {
        self.object(out, |object| {
            if let Some(node) = node {
                object.text("node", node);
            }
            match *notice {
                Notice::Subscribed {
                    epoch,
                    sequence,
                    destroy_events_complete,
                } => {
                    object.text("event", "SUBSCRIBED");
                    // 64 bits do not fit the numbers of many JSON readers.
                    object.hex("epoch", &epoch.to_be_bytes());
                    object.number("sequence", sequence);
                    object.boolean("destroy_events_complete", destroy_events_complete);
                }
                Notice::SnapshotBegin => object.text("event", "SNAPSHOT_BEGIN"),
                Notice::SnapshotEnd { entries } => {
                    object.text("event", "SNAPSHOT_END");
                    object.number("entries", entries);
                }
                Notice::Gap {
                    kernel,
                    lost,
                    next_sequence,
                } => {
                    object.text("event", "GAP");
                    object.text("source", if kernel { "kernel" } else { "subscriber" });
                    object.number("lost", lost);
                    object.number("next_sequence", next_sequence);
                }
            }
        });
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        match self.array {
            Some(true) => out.extend_from_slice(b"\n]\n"),
            Some(false) => out.extend_from_slice(b"[]\n"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventOrigin;
    use super::*;
    use crate::flow::*;

    fn udp() -> Flow {
        let orig = Tuple {
            src: "192.0.2.1".parse().expect("an address"),
            dst: "192.0.2.2".parse().expect("an address"),
            protocol: Protocol::UDP,
            l4: L4::Ports { src: 53, dst: 5353 },
        };
        Flow::new(orig, orig.inverse())
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_line_is_one_object() {
        let mut flow = udp();
        flow.status = Some(Status(1 << 3 | 1 << 30));
        flow.labels = Some(Labels(1 << 127 | 1));
        flow.helper = Some(Helper {
            name: "s\"i\\p\n".parse().expect("a name"),
            info: Some(Box::new([0, 255])),
        });
        flow.timestamps.start = Some(1);
        let origin = Origin {
            node: Some("fw1"),
            event: Some(EventOrigin::Event {
                kind: EventType::New,
                sequence: 4,
                port_id: 0,
            }),
        };
        assert_eq!(
            text(|out| Json::lines().flow(out, origin, &flow)),
            concat!(
                r#"{"node":"fw1","event":"NEW","sequence":4,"family":"ipv4","protocol":"udp","#,
                r#""orig":{"src":"192.0.2.1","dst":"192.0.2.2","sport":53,"dport":5353},"#,
                r#""reply":{"src":"192.0.2.2","dst":"192.0.2.1","sport":5353,"dport":53},"#,
                r#""zone":0,"status":["CONFIRMED","BIT_30"],"labels":[0,127],"#,
                r#""start":"1970-01-01T00:00:00.000000001Z","helper":"s\"i\\p\u000a","#,
                r#""helper_info":"00ff"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_array_is_valid_whatever_its_length() {
        for rows in 0..3 {
            let document = text(|out| {
                let mut json = Json::array();
                for _ in 0..rows {
                    json.flow(out, Origin::default(), &udp());
                }
                json.end(out);
            });
            let parsed: Vec<serde_json::Value> =
                serde_json::from_str(&document).expect("a JSON array");
            assert_eq!(parsed.len(), rows);
        }
    }

    #[test]
    fn a_report_is_an_object_a_row() {
        let mut report = Report::new(["node", "ok", "limits", "why"]);
        report.push([
            "fw1".into(),
            true.into(),
            vec!["a".to_owned(), "\u{9b}".to_owned()].into(),
        ]);
        assert_eq!(
            text(|out| Json::lines().report(out, &report)),
            "{\"node\":\"fw1\",\"ok\":true,\"limits\":[\"a\",\"\\u009b\"]}\n"
        );
    }

    #[test]
    fn a_gap_is_told() {
        let gap = Notice::Gap {
            kernel: true,
            lost: 3,
            next_sequence: 10,
        };
        assert_eq!(
            text(|out| Json::lines().notice(out, Some("fw1"), &gap)),
            "{\"node\":\"fw1\",\"event\":\"GAP\",\"source\":\"kernel\",\"lost\":3,\"next_sequence\":10}\n"
        );
    }
}
